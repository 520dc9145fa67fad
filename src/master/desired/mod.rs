//! What there shall be, as files say that somebody outside writes (the Kubernetes controller): who the masters are, and
//! what is mounted.
//!
//! | room | owns |
//! |---|---|
//! | `file` | a file that is followed: replaced as a whole, absent for a while |
//! | `cluster` | `cluster.json`, the roster that Raft keeps to |
//! | `mounts` | `mounts.json`, and the options of its mounts, which are kept nowhere else |
//! | `plan` | the difference between that file and the mount table, a plain function |
//! | `carry_out` | the leader's task that makes the difference go away |
//!
//! A file that is absent or cannot be understood changes nothing: what it said last counts. Called by `start`; `mounts`
//! asks for options, `service` for what came of it.

mod carry_out;
mod cluster;
mod file;
mod mounts;
mod plan;

pub(crate) use carry_out::start;
pub(crate) use cluster::follow as follow_cluster;
pub use cluster::{ClusterFile, configure};
pub(crate) use mounts::{Desired, Outcome};
