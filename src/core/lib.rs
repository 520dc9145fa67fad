//! What two roles of GooseFS share.
//!
//! Rooms, each of which may import only those before it:
//! `id path clock checksum mountinfo` < `error` < `config proto task metrics` < `rpc` < `raft`; `block` uses only the first two
//! groups, and `ring` only `id`.
//! A type moves here when a second role needs it, never before.

pub mod block;
pub mod checksum;
pub mod clock;
pub mod config;
pub mod error;
pub mod id;
pub mod metrics;
pub mod mountinfo;
pub mod path;
pub mod proto;
pub mod raft;
pub mod ring;
pub mod rpc;
pub mod task;
pub mod telemetry;

pub use error::{Code, Error, Result};
