//! How a master starts, and the handle to one that runs.

use crate::config::Config;
use goosefs_core::clock::Clock;
use goosefs_core::metrics::Metrics;
use goosefs_core::raft::Status;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// What a master gets from outside.
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ports that were bound already, so that tests can use port 0; `None` binds those of the configuration.
    pub listeners: Option<Listeners>,
}

/// The two ports of a master.
pub struct Listeners {
    /// gRPC and frames.
    pub rpc: TcpListener,
    /// Raft.
    pub raft: TcpListener,
}

/// Where a master listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// gRPC and frames.
    pub rpc: SocketAddr,
    /// Raft.
    pub raft: SocketAddr,
}

/// A master that runs.
pub struct Running {
    addresses: Addresses,
    metrics: Metrics,
    status: watch::Receiver<Status>,
    tasks: Tasks,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// What its Raft node is, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Waits until it can serve: as leader, or as a caught-up standby that sees a leader.
    ///
    /// # Errors
    /// When it has failed for good.
    pub async fn ready(&self) -> Result<()> {
        Err(Error::new(Code::Unimplemented, "the master is being built"))
    }

    /// Hands leadership over, answers what is in flight and stops, within `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        self.tasks.shutdown(grace).await;
    }

    /// Waits until it has ended: `Ok` after [`Running::shutdown`].
    ///
    /// # Errors
    /// What brought it down.
    pub async fn join(&self) -> Result<()> {
        self.tasks.join().await;
        Ok(())
    }
}

/// Starts one master.
///
/// # Errors
/// When a port is in use, the configuration is wrong or the data directory cannot be used.
pub async fn start(config: Config, deps: Deps) -> Result<Running> {
    let _ = (config, deps.clock, deps.listeners);
    Err(Error::new(Code::Unimplemented, "the master is being built"))
}
