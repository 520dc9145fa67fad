//! Starting and stopping a worker.

use crate::config::Config;
use goosefs_core::clock::{Clock, SystemClock};
use goosefs_core::id::WorkerId;
use goosefs_core::metrics::Metrics;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::Ufs;
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

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
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
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
    }

    /// Returns when the worker has ended: after [`Running::shutdown`], or because a part of it failed.
    pub async fn join(&self) {
        self.tasks.join().await;
    }
}

/// Starts a worker. Its port is bound first; when this returns it serves, and [`Running::ready`] says when the leading
/// master knows it.
///
/// # Errors
/// `Busy` when the port or a tier directory is in use, `InvalidArgument` naming the setting that cannot be used,
/// `WrongCluster`, else what the disk said.
pub async fn start(config: Config, deps: Deps) -> Result<Running> {
    let _ = (config, deps);
    Err(Error::new(Code::Unimplemented, "the worker is being built"))
}
