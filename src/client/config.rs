//! What a client is told at its start.

use goosefs_core::proto::internal::{Caller, ClusterMark, WriteType};
use goosefs_core::rpc::sasl::AuthType;
use std::path::PathBuf;
use std::time::Duration;

/// What a client is told at its start. Sizes are bytes.
#[derive(Clone, Debug)]
pub struct Config {
    /// `host:port` of every master's RPC port (`goosefs.master.rpc.addresses`).
    pub masters: Vec<String>,
    /// Who we are in logs: "client" or "fuse".
    pub role: String,
    /// On whose behalf calls are made that name nobody else.
    pub caller: Caller,
    /// The cluster we must meet; none to take whichever answers.
    pub cluster: Option<ClusterMark>,
    /// How we say who we are over gRPC (`goosefs.security.authentication.type`).
    pub auth: AuthType,
    /// The local worker's Unix socket (`goosefs.worker.data.server.domain.socket.address`); none to look for a worker
    /// of the list whose socket exists on this machine.
    pub socket: Option<PathBuf>,
    /// Ask a local worker for descriptors of cached files (`goosefs.user.short.circuit.enabled`).
    pub short_circuit: bool,
    /// Block size of new files (`goosefs.user.block.size.bytes.default`).
    pub block_size: u64,
    /// Write type of new files (`goosefs.user.file.writetype.default`).
    pub write_type: WriteType,
    /// How long an operation is retried (`goosefs.user.rpc.retry.max.duration`).
    pub deadline: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a worker may be silent in the middle of a read or write before another is asked.
    pub worker_timeout: Duration,
    /// How long a read or write goes on looking for a worker that answers when none does.
    pub worker_patience: Duration,
    /// How long a worker that failed is asked last.
    pub failed_worker: Duration,
    /// How often the list of workers is asked for.
    pub workers_refresh: Duration,
    /// The most a sequential reader fetches ahead.
    pub read_ahead: u64,
    /// The most that all readers together hold of what was fetched ahead.
    pub read_ahead_total: u64,
    /// The most a writer keeps of what no quorum of masters knows of yet.
    pub write_window: u64,
    /// How many descriptors of cached files are kept after their last user let go.
    pub kept_descriptors: usize,
}

impl Config {
    /// The defaults for the cluster of these masters.
    #[must_use]
    pub fn new(masters: Vec<String>) -> Config {
        Config {
            masters,
            role: "client".to_owned(),
            caller: Caller::default(),
            cluster: None,
            auth: AuthType::Simple,
            socket: None,
            short_circuit: true,
            block_size: 64 << 20,
            write_type: WriteType::CacheThrough,
            deadline: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            worker_timeout: Duration::from_secs(30),
            worker_patience: Duration::from_secs(30),
            failed_worker: Duration::from_secs(10),
            workers_refresh: Duration::from_secs(1),
            read_ahead: 16 << 20,
            read_ahead_total: 256 << 20,
            write_window: 16 << 20,
            kept_descriptors: 1024,
        }
    }
}
