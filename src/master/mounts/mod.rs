//! Under-storages as the master uses them: a connector per mount, and metadata loaded from them.
//!
//! The mount table itself is part of the namespace. Here are the connectors it calls for, made at first use, kept while
//! the mount's URI and options stay the same, and wrapped in retries, a limit on parallel calls and counters. Called by
//! `loading` and `effects`.

mod connectors;
mod freshness;
mod loading;

pub(crate) use connectors::{Connect, Connectors};
pub(crate) use freshness::Freshness;
pub(crate) use loading::{LoadLimits, Loader, of_storage};
