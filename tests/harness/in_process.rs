//! A whole cluster within the test's process: real roles, real ports on loopback, real directories.

use crate::wait_until;
use anyhow::Context;
use goosefs_client::{Client, Config};
use goosefs_core::Code;
use goosefs_core::clock::SystemClock;
use goosefs_core::metrics::Metrics;
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_master::{Deps, Listeners};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::time::Instant;

/// How long a role may take to stop in good order.
const GRACE: Duration = Duration::from_secs(10);

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Options {
    /// Masters.
    pub masters: usize,
    /// Workers, each on a loopback address of its own.
    pub workers: usize,
    /// Bytes that each worker may cache.
    pub quota: u64,
    /// URI of the root mount; none for a folder of the cluster's own.
    pub root_ufs: Option<String>,
    /// Workers hand out descriptors.
    pub sockets: bool,
    /// Metadata older than this is compared with the storage; none for never.
    pub sync_interval: Option<Duration>,
}

impl Default for Options {
    fn default() -> Options {
        Options { masters: 3, workers: 2, quota: 1 << 30, root_ufs: None, sockets: true, sync_interval: None }
    }
}

/// A cluster. Its files are deleted when it is dropped.
#[derive(Debug)]
pub struct InProcess {
    options: Options,
    dir: TempDir,
    masters: Vec<MasterSlot>,
    workers: Vec<WorkerSlot>,
}

struct MasterSlot {
    rpc: String,
    raft: String,
    running: Option<goosefs_master::Running>,
}

#[derive(Debug)]
struct WorkerSlot {
    config: goosefs_worker::Config,
    running: Option<goosefs_worker::Running>,
}

impl std::fmt::Debug for MasterSlot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "master {} {}", self.rpc, if self.running.is_some() { "up" } else { "down" })
    }
}

impl InProcess {
    /// Starts a cluster and waits until all of it serves.
    ///
    /// # Errors
    /// What kept a role from starting.
    pub async fn start(options: Options) -> anyhow::Result<InProcess> {
        let dir = TempDir::new()?;
        std::fs::create_dir(dir.path().join("ufs"))?;
        let mut ports = Vec::new();
        for _ in 0..options.masters {
            ports.push((listen("127.0.0.1:0").await?, listen("127.0.0.1:0").await?));
        }
        let mut masters = Vec::new();
        for (rpc, raft) in &ports {
            let (rpc, raft) = (rpc.local_addr()?.to_string(), raft.local_addr()?.to_string());
            masters.push(MasterSlot { rpc, raft, running: None });
        }
        let mut cluster = InProcess { options, dir, masters, workers: Vec::new() };
        for (id, (rpc, raft)) in ports.into_iter().enumerate() {
            cluster.start_master_on(id, Listeners { rpc, raft }).await?;
        }
        for number in 0..cluster.options.workers {
            cluster.add_worker(number).await?;
        }
        cluster.ready().await?;
        Ok(cluster)
    }

    /// Waits until every role that was started serves.
    ///
    /// # Errors
    /// When one does not in time, or failed.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let all = async {
            for (id, master) in self.masters.iter().enumerate() {
                if let Some(running) = &master.running {
                    running.ready().await.with_context(|| format!("master {id}"))?;
                }
            }
            for (number, worker) in self.workers.iter().enumerate() {
                if let Some(running) = &worker.running {
                    running.ready().await.with_context(|| format!("worker {number}"))?;
                }
            }
            Ok(())
        };
        tokio::time::timeout(crate::LONG, all).await.context("the cluster did not become ready")?
    }

    /// A client of this cluster, with the defaults but for what `tune` changes.
    #[must_use]
    pub fn client(&self, tune: impl FnOnce(&mut Config)) -> Client {
        self.client_counting(&Metrics::new(), tune)
    }

    /// As [`InProcess::client`], counting into `metrics`.
    #[must_use]
    pub fn client_counting(&self, metrics: &Metrics, tune: impl FnOnce(&mut Config)) -> Client {
        let mut config = Config::new(self.rpc_addresses());
        config.caller = crate::root();
        tune(&mut config);
        Client::new(config, metrics)
    }

    /// `host:port` of every master.
    #[must_use]
    pub fn rpc_addresses(&self) -> Vec<String> {
        self.masters.iter().map(|master| master.rpc.clone()).collect()
    }

    /// The folder under the root mount, unless the options named another storage.
    #[must_use]
    pub fn ufs(&self) -> PathBuf {
        self.dir.path().join("ufs")
    }

    /// Where everything lies.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A running master.
    #[must_use]
    pub fn master(&self, id: usize) -> Option<&goosefs_master::Running> {
        self.masters[id].running.as_ref()
    }

    /// A running worker.
    #[must_use]
    pub fn worker(&self, number: usize) -> Option<&goosefs_worker::Running> {
        self.workers[number].running.as_ref()
    }

    /// Which master leads; waits for one.
    ///
    /// # Errors
    /// When none does in time.
    pub async fn leader(&self) -> anyhow::Result<usize> {
        let leads = || {
            self.masters.iter().position(|master| {
                let status = master.running.as_ref().map(goosefs_master::Running::status);
                status.is_some_and(|status| status.borrow().role == goosefs_core::raft::Role::Leader)
            })
        };
        wait_until("a master leads", || async { leads().is_some() }).await?;
        leads().context("the leader is gone again")
    }

    /// Stops a master: in good order, else at once, connections broken in the middle.
    pub async fn stop_master(&mut self, id: usize, gracefully: bool) {
        if let Some(running) = self.masters[id].running.take() {
            if gracefully { running.shutdown(GRACE).await } else { running.abort().await }
        }
    }

    /// Starts a master again, on its old ports and directory.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start_master(&mut self, id: usize) -> anyhow::Result<()> {
        let listeners = Listeners {
            rpc: listen(&self.masters[id].rpc).await?,
            raft: listen(&self.masters[id].raft).await?,
        };
        self.start_master_on(id, listeners).await
    }

    /// Stops a worker, in good order or at once.
    pub async fn stop_worker(&mut self, number: usize, gracefully: bool) {
        if let Some(running) = self.workers[number].running.take() {
            running.shutdown(if gracefully { GRACE } else { Duration::ZERO }).await;
        }
    }

    /// Starts a worker again, on its old port and directory.
    ///
    /// # Errors
    /// What kept it from starting.
    pub async fn start_worker(&mut self, number: usize) -> anyhow::Result<()> {
        let slot = &mut self.workers[number];
        let running = goosefs_worker::start(slot.config.clone(), goosefs_worker::Deps::default()).await?;
        slot.config.rpc_bind = running.addresses().rpc.to_string();
        slot.running = Some(running);
        Ok(())
    }

    /// Stops everything in good order: workers first, so that they can say goodbye.
    pub async fn shutdown(mut self) {
        for number in 0..self.workers.len() {
            self.stop_worker(number, true).await;
        }
        // All at once: the last one has nobody left to hand leadership to.
        let masters = self.masters.iter_mut().filter_map(|master| master.running.take());
        let stops: Vec<_> = masters.map(|running| async move { running.shutdown(GRACE).await }).collect();
        let tasks = Tasks::new("harness");
        for (id, stop) in stops.into_iter().enumerate() {
            tasks.spawn(format!("stop master {id}"), stop);
        }
        tasks.join().await;
    }

    async fn start_master_on(&mut self, id: usize, listeners: Listeners) -> anyhow::Result<()> {
        let raft = self.masters.iter().map(|master| master.raft.clone()).collect();
        let folder = self.dir.path().join(format!("master-{id}"));
        let number = u32::try_from(id)?;
        let mut config = goosefs_master::Config::new(number, folder, self.rpc_addresses(), raft);
        config.root_ufs =
            self.options.root_ufs.clone().unwrap_or_else(|| self.ufs().to_string_lossy().into_owned());
        config.sync_interval = self.options.sync_interval;
        let deps = Deps { clock: SystemClock::shared(), listeners: Some(listeners) };
        self.masters[id].running = Some(goosefs_master::start(config, deps).await?);
        Ok(())
    }

    async fn add_worker(&mut self, number: usize) -> anyhow::Result<()> {
        let folder = self.dir.path().join(format!("worker-{number}"));
        let host = format!("127.0.0.{}", number + 1);
        let mut config =
            goosefs_worker::Config::new(&host, self.rpc_addresses(), &folder, self.options.quota);
        if !self.options.sockets {
            config.socket = None;
        }
        self.workers.push(WorkerSlot { config, running: None });
        self.start_worker(number).await
    }
}

/// Binds an address; waits while a role that was cut off has not let go of it.
async fn listen(address: &str) -> anyhow::Result<TcpListener> {
    let until = Instant::now() + crate::LONG;
    loop {
        match server::bind("test", address).await {
            Err(error) if error.code == Code::Busy && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            outcome => return Ok(outcome?),
        }
    }
}
