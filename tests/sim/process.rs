//! One process of one master: its own runtime on the simulation's thread, the real node, journal and namespace.

use crate::ground::{Queues, Simulated, address};
use crate::kernel;
use crate::network::Network;
use goosefs_core::Result;
use goosefs_core::clock::SystemClock;
use goosefs_core::metrics::Metrics;
use goosefs_core::raft::{Node, RaftConfig};
use goosefs_core::task::Tasks;
use goosefs_master::MasterMetrics;
use goosefs_master::journal::{Journal, State};
use parking_lot::Mutex;
use rand::Rng;
use rand::rngs::StdRng;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

/// For a proposal to be answered, as masters have it.
const PROPOSE: Duration = Duration::from_secs(10);

type Starting = Arc<Mutex<Option<Result<(Node, Arc<Journal>)>>>>;

/// A process that runs.
pub(crate) struct Process {
    master: usize,
    // Dropped before what the tasks use.
    runtime: Option<Runtime>,
    queues: Arc<Mutex<Queues>>,
    starting: Starting,
    pub(crate) node: Option<Node>,
    pub(crate) journal: Option<Arc<Journal>>,
    pub(crate) state: Arc<State>,
    pub(crate) tasks: Tasks,
    /// Milliseconds that a sync takes.
    pub(crate) disk: (u64, u64),
    /// The log's writer waits for the disk until then.
    busy: u64,
}

impl Process {
    /// Starts a process over the data in `folder`.
    pub(crate) fn start(master: usize, masters: usize, folder: &Path, network: &Network) -> Process {
        let mut builder = tokio::runtime::Builder::new_current_thread();
        let runtime = builder.enable_time().build().unwrap();
        let queues: Arc<Mutex<Queues>> = Arc::default();
        let (state, tasks) = (Arc::new(State::new()), Tasks::new(format!("master-{master}")));
        let starting: Starting = Arc::default();
        let peers: Vec<String> = (0..masters).map(address).collect();
        let mut config = RaftConfig::new(folder.to_owned(), master as u32, peers.clone(), peers);
        config.snapshot_entries = 40;
        config.keep_entries = 12;
        config.cache_bytes = 4 << 10;
        config.reserve_bytes = 4096;
        config.snapshot_chunk = 1 << 10;
        config.ground = Arc::new(Simulated { master, network: network.clone(), queues: queues.clone() });
        let (to, of, tracked) = (starting.clone(), state.clone(), tasks.clone());
        runtime.spawn(async move {
            let metrics = Metrics::new();
            let node = Node::start(config, of.clone(), &tracked, &metrics).await;
            let started = node.map(|node| {
                let counted = Arc::new(MasterMetrics::new(&metrics));
                let journal = Journal::new(node.clone(), of, SystemClock::shared(), PROPOSE, counted);
                (node, Arc::new(journal))
            });
            *to.lock() = Some(started);
        });
        Process {
            master,
            runtime: Some(runtime),
            queues,
            starting,
            node: None,
            journal: None,
            state,
            tasks,
            disk: (0, 3),
            busy: 0,
        }
    }

    pub(crate) fn handle(&self) -> tokio::runtime::Handle {
        self.runtime.as_ref().unwrap().handle().clone()
    }

    /// Lets the process run at `now`, in milliseconds, until it waits for something.
    pub(crate) fn turn(&mut self, now: u64, dice: &mut StdRng) {
        kernel::disk(|disk| disk.run(Some(self.master)));
        for _ in 0..3 {
            self.work(now, dice);
            self.runtime.as_ref().unwrap().block_on(async {
                for _ in 0..3 {
                    tokio::task::yield_now().await;
                }
            });
        }
        kernel::disk(|disk| disk.run(None));
        if self.node.is_none()
            && let Some(started) = self.starting.lock().take()
        {
            let (node, journal) = started.unwrap_or_else(|error| panic!("master {}: {error:?}", self.master));
            self.node = Some(node);
            self.journal = Some(journal);
        }
    }

    fn work(&mut self, now: u64, dice: &mut StdRng) {
        let works = std::mem::take(&mut self.queues.lock().works);
        for work in works {
            work();
        }
        let workers = std::mem::take(&mut self.queues.lock().workers);
        for (name, mut worker) in workers {
            let writes = name == "raft-log";
            if !writes || self.busy <= now {
                let before = kernel::disk(|disk| disk.synced(self.master));
                if !worker.turn(false) {
                    continue;
                }
                if writes && kernel::disk(|disk| disk.synced(self.master)) > before {
                    self.busy = now + dice.random_range(self.disk.0..=self.disk.1);
                }
            }
            self.queues.lock().workers.push((name, worker));
        }
    }
}

impl Drop for Process {
    /// Ends as a kill does: wherever it was, without a word.
    fn drop(&mut self) {
        kernel::disk(|disk| {
            disk.die(self.master);
            disk.run(Some(self.master));
        });
        drop(self.runtime.take());
        self.node = None;
        self.journal = None;
        let queues = std::mem::take(&mut *self.queues.lock());
        drop(queues);
        self.starting.lock().take();
        kernel::disk(|disk| disk.run(None));
    }
}
