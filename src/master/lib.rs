//! The master role: one namespace over many under-storages, replicated by Raft.
//!
//! | room | owns |
//! |---|---|
//! | [`namespace`] | the replicated state, a plain struct that entries are applied to |
//! | [`journal`] | the way into the log and back out: proposals, reads under the leader's lease, news |
//! | `authority` | who may do what |
//! | `find` | paths and names, loading what the namespace does not know yet |
//! | `desired` | who the masters are and what is mounted, as files say |
//! | `mounts` | connectors to under-storages, metadata loaded from them |
//! | `effects` | side effects on under-storages: intents carried out by the leader |
//! | `writing` | what "complete" and "persisted" mean for each write type |
//! | `workers` | who is alive, the ring, orders to workers |
//! | `service` | gRPC and frames, and what standbys do with calls |
//! | `preload` | trees that workers are to cache: durable, carried out by the leader |
//! | `upkeep` | what the leader does from time to time |
//!
//! **A write** (create, say): `service` decodes it and finds out who calls, `find` follows the path and loads what is
//! missing, `authority` says whether the caller may, `journal` gives it the leader's time and proposes it. Raft has it fsynced on a quorum and applies it to the
//! namespace on every master. What `apply` said goes back to the caller; polling clients and heartbeating workers hear of
//! the change after that. If the command touches an under-storage, `apply` only announced it: `effects` does it and logs
//! the end, and the caller's answer is that entry's. A leader that dies in between is followed by one that goes on.
//!
//! **A read**: `journal` checks the leader's lease, a look at memory; the answer comes from the namespace. A name in a
//! directory that was never listed is looked for in the under-storage first, and what comes back is written as above.
//!
//! **A standby** hands gRPC calls to the leader's Raft port and waits while there is none; frames are told who leads.

mod authority;
mod config;
mod desired;
mod effects;
mod find;
pub mod journal;
mod master;
mod metrics;
mod mounts;
pub mod namespace;
mod preload;
mod service;
mod start;
mod upkeep;
mod workers;
mod writing;

pub use config::Config;
pub use desired::{ClusterFile, configure};
pub use metrics::MasterMetrics;
pub use start::{Addresses, Deps, Listeners, Running, start};

#[cfg(test)]
mod tests;
