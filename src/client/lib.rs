//! The client library: what FUSE, the command line and the web pages see of a cluster.
//!
//! [`Client`] is the entrance. Metadata goes to the leading master over frames, by inode ([`meta::Inodes`], for FUSE) or
//! by path ([`meta::Paths`], for the command line); what the framed protocol lacks goes over the public gRPC protocol
//! ([`admin::Admin`]). File data goes to workers: [`read::Reader`] and [`write::Writer`]. [`route::Router`] knows which
//! worker holds what and who failed lately.
//!
//! Everything here retries what helps until `goosefs.user.rpc.retry.max.duration`, and every operation that changes the
//! namespace is numbered within a session, so that it takes effect once however often it was sent.

pub mod admin;
mod backups;
pub mod changes;
pub mod config;
pub mod fs;
pub mod meta;
pub mod metrics;
mod preloads;
pub mod read;
pub mod route;
mod session;
#[cfg(test)]
mod tests;
mod waits;
pub mod write;

pub use changes::{Event, Listener};
pub use config::Config;
pub use fs::Client;
pub use preloads::Preloads;
pub use read::{LocalFile, Reader};
pub use waits::WorkerWait;
pub use write::Writer;
