//! The worker role: blocks of files cached on this machine's disks, filled from under-storages, served to everybody.
//!
//! [`start`] opens the block store (`goosefs_core::block`), meets the masters and serves. A walk through the rooms:
//!
//! | file | owns |
//! |---|---|
//! | `config` | what a worker is told |
//! | `start` | the order of starting and stopping |
//! | `node` | all rooms of one worker, for each other |
//! | `service` | what others may ask: frames, the GooseFS protocol's `BlockWorker` |
//! | `socket` | descriptors of cached files for clients on this machine |
//! | `read`, `write` | one content, from the nearest source, into the store |
//! | `fill` | missing pages from under-storages, each fetched once |
//! | `versions`, `mounts`, `peers` | what the masters say: which bytes count, storages, other workers |
//! | `troubles` | which storages refuse or are silent |
//! | `heartbeat` | telling every master, dropping what they say |
//! | `tasks` | eviction, flushing, letting go of only copies that were persisted |
//! | `metrics` | what is counted |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod disk;
mod fill;
mod heartbeat;
mod metrics;
mod mounts;
mod node;
mod peers;
mod properties;
mod read;
mod service;
mod socket;
mod start;
mod tasks;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod troubles;
mod versions;
mod write;

pub use config::Config;
pub use start::{Addresses, Connect, Deps, Running, start};
