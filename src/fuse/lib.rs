//! The FUSE face of GooseFS: a directory that shows the namespace.
//!
//! [`start`] mounts and serves. Rooms: [`backend`] is what is needed from below; [`fs`] has all meaning, without FUSE
//! requests or replies, and runs without a mount in tests; `ops` unpacks requests, calls it and replies; [`handle`]
//! decides which way each open goes (kernel passthrough, page cache, daemon); `session` and `device` are the mount and
//! its `/dev/fuse`; `interrupt` gives up what a killed program waits for; `park` leaves the mount to
//! the next process.

pub mod attr;
pub mod backend;
pub mod cluster;
pub mod config;
mod device;
pub mod errno;
pub mod fs;
pub mod handle;
mod interrupt;
pub mod kernel;
pub mod metrics;
mod ops;
pub mod owner;
mod park;
mod preflight;
mod properties;
mod session;
mod start;
mod teller;
#[cfg(any(test, feature = "testing"))]
pub mod testing;

pub use backend::Backend;
pub use cluster::Cluster;
pub use config::Config;
pub use start::{Deps, Running, start};
