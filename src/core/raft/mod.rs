//! The replicated log of the masters: one Raft group over opaque commands.
//!
//! A [`Node`] owns one data directory and one state machine ([`Machine`]). It acknowledges a command after a quorum has
//! fsynced it and this node has applied it; proposals that arrive together share one fsync and one message. Called by
//! `master/journal`, which owns what commands mean.
//!
//! Everything of a node lives in the node: three of them run in one test process.

mod acquaint;
mod addresses;
mod backup;
mod config;
mod force;
mod ground;
mod identity;
mod join;
mod log;
mod machine;
mod me;
mod members;
mod metrics;
mod network;
mod node;
mod observe;
mod open;
mod proposals;
mod restore;
mod roster;
mod snapshot;
mod space;
mod state;
mod status;
#[cfg(test)]
mod tests;
mod transfer;
mod types;

pub use config::{RaftConfig, Restore};
pub use ground::{Ground, Line, System, Worker};
pub use machine::{Frozen, Machine};
pub use node::Node;
pub use roster::{Force, Roster};
pub use status::{Backup, ClusterMark, Leader, Quorum, Role, Server, Status, Voter};
pub use transfer::{check_backup, receive_backup, send_backup};
