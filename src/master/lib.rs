//! The master role.
//!
//! To be completed with the rooms.

mod config;
pub mod namespace;
mod start;

pub use config::Config;
pub use start::{Addresses, Deps, Listeners, Running, start};
