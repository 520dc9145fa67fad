//! The replicated log of the masters: one Raft group over opaque commands.
//!
//! A [`Node`] owns one data directory and one state machine ([`Machine`]). It acknowledges a command after a quorum has
//! fsynced it and this node has applied it; proposals that arrive together share one fsync and one message. Called by
//! `master/journal`, which owns what commands mean.
//!
//! Everything of a node lives in the node: three of them run in one test process.

mod config;
mod machine;
mod node;
mod status;

pub use config::RaftConfig;
pub use machine::{Frozen, Machine};
pub use node::Node;
pub use status::{ClusterMark, Leader, Role, Status, Voter};
