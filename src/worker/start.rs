//! Starting and stopping a worker.

use crate::config::Config;
use crate::disk::blocking;
use crate::fill::{Fill, Limits};
use crate::heartbeat::Heartbeats;
use crate::metrics::WorkerMetrics;
use crate::mounts::Mounts;
use crate::node::Node;
use crate::peers::{Peers, mark_of, wire_mark};
use crate::service::{Blocks, Frames};
use crate::socket::Sockets;
use crate::tasks;
use crate::versions::Versions;
use goosefs_core::block::{Mark, Store};
use goosefs_core::clock::{Clock, SystemClock};
use goosefs_core::id::WorkerId;
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::{Caller, WorkerAddress};
use goosefs_core::rpc::masters::{Masters, MastersConfig};
use goosefs_core::rpc::park::holder::Holder;
use goosefs_core::rpc::sasl::Sasl;
use goosefs_core::rpc::{fds, server};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::Ufs;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};

/// A mount that does not say how long it wants to be kept is kept so long.
const PATIENCE: Duration = Duration::from_secs(120);

/// Makes the connector for a mount's URI and options.
pub type Connect = dyn Fn(&str, &BTreeMap<String, String>) -> Result<Arc<dyn Ufs>> + Send + Sync;

/// What a worker takes from outside.
#[derive(Clone)]
pub struct Deps {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Storages.
    pub connect: Arc<Connect>,
}

impl Default for Deps {
    fn default() -> Deps {
        Deps { clock: SystemClock::shared(), connect: Arc::new(goosefs_ufs::connect) }
    }
}

impl fmt::Debug for Deps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Deps")
    }
}

/// Where a worker listens.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// gRPC and frames.
    pub rpc: SocketAddr,
    /// The Unix socket that hands out descriptors.
    pub socket: Option<PathBuf>,
}

/// A worker that was started.
#[derive(Debug)]
pub struct Running {
    addresses: Addresses,
    worker: WorkerId,
    metrics: Metrics,
    tasks: Tasks,
    ready: watch::Receiver<bool>,
    failure: watch::Receiver<Option<Error>>,
    /// Until it is closed.
    store: Mutex<Option<Store>>,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Which worker it is, as its first tier folder says.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.worker
    }

    /// What it counts.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Returns once the leading master has heard of this worker.
    ///
    /// # Errors
    /// `Unavailable` when the worker stopped before that.
    pub async fn ready(&self) -> Result<()> {
        let stopped = |_| Error::new(Code::Unavailable, format!("worker {} has stopped", self.worker));
        self.ready.clone().wait_for(|ready| *ready).await.map(drop).map_err(stopped)
    }

    /// Whether the leading master has heard of this worker.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }

    /// Stops in order: nothing new is taken, what is under way may end within `grace`, then the store is flushed and
    /// closed so that the next start trusts it.
    pub async fn shutdown(&self, grace: Duration) {
        self.tasks.shutdown(grace).await;
        let store = self.store.lock().take();
        let Some(store) = store else { return };
        if let Err(error) = blocking(move || store.close()).await {
            tracing::warn!(%error, "the cache was not closed well: it will be checked at its next use");
        }
    }

    /// Ends it as a kill would: nothing is flushed, nothing is marked.
    #[cfg(test)]
    pub(crate) async fn kill(&self) {
        self.tasks.shutdown(Duration::ZERO).await;
        self.store.lock().take();
    }

    /// Returns when the worker has ended: `Ok` after [`Running::shutdown`].
    ///
    /// # Errors
    /// What brought it down: `WrongCluster` when the masters turned out to be another cluster's (a worker that is
    /// started again joins it), `Internal` when a part of it failed.
    pub async fn join(&self) -> Result<()> {
        self.tasks.join().await;
        if let Some(error) = self.failure.borrow().clone() {
            return Err(error);
        }
        if self.tasks.failed().is_cancelled() {
            return Err(Error::new(Code::Internal, "a part of the worker failed; see the log"));
        }
        Ok(())
    }
}

/// Starts a worker. Its port is bound first, then the store is opened and the masters are met, which is waited for;
/// when this returns it serves, and [`Running::ready`] says when the leading master knows it.
///
/// # Errors
/// `Busy` when the port or a tier directory is in use, `InvalidArgument` naming the setting that cannot be used, else
/// what the disk said.
pub async fn start(config: Config, deps: Deps) -> Result<Running> {
    let listener = server::bind("worker RPC", &config.rpc_bind).await?;
    let (specs, clock) = (config.store(), deps.clock.clone());
    let store = blocking(move || Store::open(&specs, clock)).await?;
    tell_opening(&store);
    let mark = meet(&config, &store).await?;
    let adopting = store.clone();
    let adopted = blocking(move || adopting.adopt(mark)).await?;
    if adopted != goosefs_core::block::store::Adopted::default() {
        let (dropped, kept) = (adopted.dropped, adopted.quarantined.len());
        tracing::warn!(dropped, kept, cluster = %mark, "the cache belonged to another cluster: cached bytes were dropped, unpersisted files put aside");
    }
    serve(config, deps, listener, store, mark)
}

fn serve(config: Config, deps: Deps, listener: TcpListener, store: Store, mark: Mark) -> Result<Running> {
    let tasks = Tasks::new("worker");
    let metrics = Metrics::new();
    let address = WorkerAddress {
        host: config.host.clone(),
        rpc_port: u32::from(local_port(&listener)?),
        web_port: u32::from(config.web_port),
        socket: config.socket.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
    };
    let socket = config.socket.clone();
    let node = node(config, deps, store.clone(), mark, &metrics, &tasks);
    let frames = Arc::new(Frames::new(node.clone()));
    let blocks = Blocks::server(node.clone());
    let routes = Sasl::new(node.config.auth).protect(tonic::service::Routes::new(blocks));
    let rpc = server::serve("worker", listener, routes, Some(frames), &tasks)?;
    if let Some(path) = &socket {
        match fds::serve(path, Arc::new(Sockets::new(node.clone())), &tasks) {
            Err(error) if error.code == Code::Unimplemented => {
                tracing::warn!(%error, "no descriptors are handed out");
            }
            served => served?,
        }
    }
    if let Some(path) = &node.config.holder {
        // Mounts say how long they are kept; that one was given up is the CSI plugin's to tell people.
        let (_holder, _lost) = Holder::serve(path, PATIENCE, &tasks)?;
    }
    let ((ready, is_ready), (failure, failed)) = (watch::channel(false), watch::channel(None));
    tasks::start(&node);
    Heartbeats::start(&node, address, ready, failure);
    Ok(Running {
        addresses: Addresses { rpc, socket },
        worker: store.worker(),
        metrics,
        tasks,
        ready: is_ready,
        failure: failed,
        store: Mutex::new(Some(store)),
    })
}

fn node(config: Config, deps: Deps, store: Store, mark: Mark, metrics: &Metrics, tasks: &Tasks) -> Arc<Node> {
    let counts = WorkerMetrics::new(metrics);
    let masters = Masters::new(masters_config(&config, Some(mark)), tasks);
    let mounts = Arc::new(Mounts::new(masters.clone(), deps.connect, deps.clock.clone()));
    let limits = Limits {
        parallel: config.fill_parallel.max(1),
        range: config.fill_range,
        timeout: config.fill_timeout,
    };
    let peers = Peers::new(
        masters.clone(),
        mark,
        store.worker(),
        config.user.clone(),
        deps.clock.clone(),
        tasks.clone(),
    );
    let peers = Arc::new(peers);
    let in_all = config.fill_parallel_in_all;
    Arc::new(Node {
        fill: Fill::new(
            store.clone(),
            mounts.clone(),
            peers.clone(),
            counts.clone(),
            tasks.clone(),
            limits,
            in_all,
        ),
        versions: Versions::new(masters.clone(), deps.clock.clone()),
        peers,
        clock: deps.clock,
        config,
        tasks: tasks.clone(),
        metrics: counts,
        mark,
        store,
        masters,
        mounts,
        uploaded: Notify::new(),
        making_way: tokio::sync::Mutex::default(),
    })
}

pub(crate) fn masters_config(config: &Config, mark: Option<Mark>) -> MastersConfig {
    MastersConfig {
        addresses: config.masters.clone(),
        role: "worker".to_owned(),
        caller: Caller { user: config.user.clone(), group: String::new() },
        cluster: mark.map(wire_mark),
        deadline: config.master_deadline,
        control: None,
    }
}

/// Waits for a leading master and asks which cluster it leads. The masters' word counts over what the directories say.
async fn meet(config: &Config, store: &Store) -> Result<Mark> {
    let tasks = Tasks::new("worker-meets-masters");
    let masters = Masters::new(masters_config(config, None), &tasks);
    let mark = loop {
        match masters.leader().await {
            Ok(_) => {
                if let Some(mark) = mark_of(masters.cluster().as_ref()) {
                    break mark;
                }
            }
            Err(error) if error.code.retryable() => {
                let worker = store.worker();
                tracing::warn!(%worker, masters = ?config.masters, %error, "waiting for a leading master");
            }
            Err(error) => return Err(error),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    };
    drop(masters);
    tasks.shutdown(Duration::from_secs(1)).await;
    Ok(mark)
}

fn local_port(listener: &TcpListener) -> Result<u16> {
    let address = listener.local_addr().map_err(|cause| Error::io("look at the worker's port", cause))?;
    Ok(address.port())
}

fn tell_opening(store: &Store) {
    let opening = store.opening();
    for (dir, stop) in &opening.last_stops {
        tracing::info!(worker = %store.worker(), dir = %dir.display(), last_stop = ?stop, "opened a tier directory");
    }
    if opening.held_log_cut > 0 || !opening.lost.is_empty() {
        let (cut, lost) = (opening.held_log_cut, &opening.lost);
        tracing::error!(cut, ?lost, "unpersisted blocks were lost: their files cannot be read");
    }
    if opening.trimmed > 0 {
        tracing::info!(bytes = opening.trimmed, "evicted because a quota has shrunk");
    }
    for (dir, adopted) in &opening.foreign {
        let (dropped, kept) = (adopted.dropped, &adopted.quarantined);
        tracing::warn!(dir = %dir.display(), dropped, ?kept, "a tier directory belonged to another worker");
    }
}
