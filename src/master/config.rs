//! What a master is told when it starts.

use goosefs_core::id::ClusterId;
use goosefs_core::rpc::sasl::AuthType;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// Configuration of one master. Plain fields; [`Config::new`] fills in the defaults.
#[derive(Clone, Debug)]
pub struct Config {
    /// Our place in the address lists, `--id`.
    pub id: u32,
    /// The data directory: identity, Raft log, snapshots (`goosefs.master.journal.folder`).
    pub dir: PathBuf,
    /// RPC addresses that clients dial, `host:port`, by id (`goosefs.master.rpc.addresses`).
    pub rpc_addresses: Vec<String>,
    /// Raft addresses, `host:port`, by id (`goosefs.master.embedded.journal.addresses`).
    pub raft_addresses: Vec<String>,
    /// Web ports by id, for reports; the web server itself is not ours.
    pub web_ports: Vec<u16>,
    /// Host to listen on for both ports; `None` is the host of our own addresses.
    pub bind_host: Option<String>,
    /// The cluster id that a first start must use; drawn at random when not set.
    pub cluster: Option<ClusterId>,
    /// How callers say who they are (`goosefs.security.authentication.type`).
    pub auth: AuthType,
    /// What the first leader mounts at `/` (`goosefs.master.mount.table.root.ufs`).
    pub root_ufs: String,
    /// Options of the root mount (`goosefs.master.mount.table.root.option.*`).
    pub root_options: BTreeMap<String, String>,
    /// The root mount takes no writes (`goosefs.master.mount.table.root.readonly`).
    pub root_read_only: bool,
    /// Metadata of the under-storage older than this is checked again when it is looked at; `None` is never, zero always
    /// (`goosefs.user.file.metadata.sync.interval`).
    pub sync_interval: Option<Duration>,
    /// Block size of files made without one (`goosefs.user.block.size.bytes.default`).
    pub block_size: u64,
    /// Points of a worker on the placement ring, where the worker does not say
    /// (`goosefs.master.consistent.hash.virtual.node.num.per.worker`).
    pub virtual_nodes: u32,
    /// Entries of a listing that go into one log entry.
    pub load_batch: usize,
    /// Listings of the under-storage that run at the same time.
    pub load_concurrency: usize,
    /// A listing of the under-storage that makes no progress for so long fails.
    pub load_stall: Duration,
    /// Time between heartbeats that workers are asked for.
    pub heartbeat: Duration,
    /// A worker silent for so long is lost and leaves the ring (`goosefs.master.worker.timeout`).
    pub worker_timeout: Duration,
    /// A worker silent for so long is gone for good: only copies it held are declared lost.
    pub worker_gone: Duration,
    /// A client session silent for so long is closed.
    pub session_timeout: Duration,
    /// How long one proposal may take before its outcome is called unknown.
    pub propose_timeout: Duration,
    /// How long a call is held while no master leads.
    pub leader_wait: Duration,
    /// A side effect on the under-storage is retried for so long before it fails for good.
    pub effect_deadline: Duration,
    /// Side effects on the under-storage that run at the same time.
    pub effect_concurrency: usize,
    /// Entries of one `ListStatus` answer.
    pub list_batch: usize,
}

impl Config {
    /// The defaults for master `id` of a cluster whose masters have these addresses, by id.
    #[must_use]
    pub fn new(id: u32, dir: PathBuf, rpc_addresses: Vec<String>, raft_addresses: Vec<String>) -> Config {
        Config {
            id,
            dir,
            rpc_addresses,
            raft_addresses,
            web_ports: Vec::new(),
            bind_host: None,
            cluster: None,
            auth: AuthType::Simple,
            root_ufs: String::new(),
            root_options: BTreeMap::new(),
            root_read_only: false,
            sync_interval: None,
            block_size: 64 << 20,
            virtual_nodes: 5000,
            load_batch: 2000,
            load_concurrency: 8,
            load_stall: Duration::from_secs(60),
            heartbeat: Duration::from_secs(1),
            worker_timeout: Duration::from_secs(10),
            worker_gone: Duration::from_secs(24 * 3600),
            session_timeout: Duration::from_secs(600),
            propose_timeout: Duration::from_secs(10),
            leader_wait: Duration::from_secs(10),
            effect_deadline: Duration::from_secs(120),
            effect_concurrency: 32,
            list_batch: 1000,
        }
    }
}
