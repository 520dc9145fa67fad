//! Finding the leading master and staying with it: what our clients and workers call masters through.
//!
//! Dials all masters in parallel, follows leader hints, asks the others when a ping stays unanswered for 300 ms, and
//! retries retryable errors with back-off until the deadline. A retry of an operation carries the same `SessionOp`, so
//! it takes effect once.

use super::frame::Channel;
use crate::error::{Code, Error, Result};
use crate::proto::internal::{Caller, ClusterMark};
use crate::proto::method::Method;
use crate::task::Tasks;
use prost::Message;
use std::time::Duration;

/// Who we are and how patient.
#[derive(Clone, Debug)]
pub struct MastersConfig {
    /// `host:port` of every master's RPC port.
    pub addresses: Vec<String>,
    /// "client", "fuse" or "worker".
    pub role: String,
    /// On whose behalf.
    pub caller: Caller,
    /// The cluster we belong to; none before we have met it.
    pub cluster: Option<ClusterMark>,
    /// A call is given up after so long without a leader that answers (`goosefs.user.rpc.retry.max.duration`).
    pub deadline: Duration,
}

/// The masters of one cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Masters {}

impl Masters {
    /// Starts to look for the leader in the background.
    #[must_use]
    pub fn new(config: MastersConfig, tasks: &Tasks) -> Masters {
        let _ = (config, tasks);
        Masters {}
    }

    /// Calls the leader, whoever that is by then; retried as long as that helps and the deadline allows.
    ///
    /// # Errors
    /// The leader's, or `Unavailable` / `DeadlineExceeded` naming the masters that were tried.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: Method, request: &Q) -> Result<A> {
        let _ = (method, request);
        Err(Error::new(Code::Unimplemented, "masters are being built"))
    }

    /// A channel to the master at `address`, whether it leads or not (heartbeats go to every master).
    ///
    /// # Errors
    /// `Unavailable`.
    pub async fn channel(&self, address: &str) -> Result<Channel> {
        let _ = address;
        Err(Error::new(Code::Unimplemented, "masters are being built"))
    }

    /// `host:port` of the leader, once there is one.
    ///
    /// # Errors
    /// `Unavailable` after the deadline.
    pub async fn leader(&self) -> Result<String> {
        Err(Error::new(Code::Unimplemented, "masters are being built"))
    }

    /// The configured addresses.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &[]
    }

    /// The cluster that was met.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterMark> {
        None
    }
}
