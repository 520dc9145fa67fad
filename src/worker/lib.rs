//! The worker role: blocks of files cached on this machine's disks, filled from under-storages, served to everybody.
//!
//! [`start`] opens the block store (`goosefs_core::block`), meets the masters and serves. A walk through the rooms:
//!
//! | file | owns |
//! |---|---|
//! | `config` | what a worker is told |
//! | `start` | the order of starting and stopping |
//! | `metrics` | what is counted |

#![cfg_attr(test, allow(clippy::unwrap_used))]

mod config;
mod metrics;
mod start;

pub use config::Config;
pub use start::{Addresses, Deps, Running, start};
