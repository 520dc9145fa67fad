//! One Raft node.

use super::{ClusterMark, Leader, Machine, RaftConfig, Role, Status};
use crate::error::{Code, Error, Result};
use crate::id::NodeId;
use crate::metrics::Metrics;
use crate::task::Tasks;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::watch;

/// One member of the Raft group. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    status: watch::Receiver<Status>,
}

impl Node {
    /// Opens or makes the data directory, restores the state machine and starts Raft on threads of its own; joining the
    /// cluster goes on in the background. Peers need [`Node::serve`] to be called.
    ///
    /// # Errors
    /// When the directory cannot be used, belongs to another slot or is in use by another process.
    pub async fn start(
        config: RaftConfig,
        machine: Arc<dyn Machine>,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Result<Node> {
        let _ = (config, machine, tasks, metrics);
        Err(Error::new(Code::Unimplemented, "Raft is being built"))
    }

    /// Serves the Raft service on `listener`, on Raft's own threads; `others` (client calls that a standby forwards) are
    /// run on the caller's runtime.
    ///
    /// # Errors
    /// When the listener cannot be taken over.
    pub fn serve(&self, listener: TcpListener, others: Option<tonic::service::Routes>) -> Result<()> {
        let _ = (listener, others);
        Err(Error::new(Code::Unimplemented, "Raft is being built"))
    }

    /// The cluster this directory belongs to; `None` before the first start is complete.
    #[must_use]
    pub fn mark(&self) -> Option<ClusterMark> {
        None
    }

    /// The Raft node id, made with the data directory.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        NodeId(0)
    }

    /// Replicates `command` and gives back what the state machine answered: after a quorum has fsynced it and this node
    /// has applied it.
    ///
    /// # Errors
    /// `NotLeader` (with the leader's RPC address) when nothing was done; `Unavailable` when the outcome is not known.
    pub async fn propose(&self, command: Bytes) -> Result<Bytes> {
        drop(command);
        Err(Error::not_leader(""))
    }

    /// What this node is, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// Whether a read of local state is current: cheap, no message to anybody.
    ///
    /// # Errors
    /// `NotLeader` or `Unavailable`.
    pub fn check_lease(&self) -> Result<()> {
        Err(Error::not_leader(""))
    }

    /// Waits until some master leads, at most `timeout`.
    pub async fn wait_leader(&self, timeout: Duration) -> Option<Leader> {
        let mut status = self.status.clone();
        let found = status.wait_for(|status| status.leader.is_some() || status.role == Role::Failed);
        tokio::time::timeout(timeout, found).await.ok()?.ok()?.leader.clone()
    }

    /// Hands leadership to the most caught-up voter and waits until it leads.
    ///
    /// # Errors
    /// `Unavailable` when no voter took over in time.
    pub async fn transfer_leadership(&self) -> Result<()> {
        Ok(())
    }

    /// Hands leadership over if this node leads, then stops Raft and closes the log.
    pub async fn shutdown(&self) {}
}
