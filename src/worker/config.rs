//! What a worker is told. Plain data; whoever starts the role fills it in.

use goosefs_core::block::{DirSpec, StoreConfig, TierSpec};
use goosefs_core::rpc::sasl::AuthType;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Everything a worker needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// The host others dial. Clients of the GooseFS protocol count hosts, so workers on one machine need addresses of
    /// their own (127.0.0.1, 127.0.0.2, ...).
    pub host: String,
    /// `host:port` to listen on, for gRPC and frames; port 0 takes a free one.
    pub rpc_bind: String,
    /// Port of the metrics pages, told to masters; 0 when there is none. The role does not bind it.
    pub web_port: u16,
    /// Path of the Unix socket that hands out descriptors; `None` for none.
    pub socket: Option<PathBuf>,
    /// Path of the Unix socket on which mounts of this machine are kept while their FUSE process is away; `None` for none.
    pub holder: Option<PathBuf>,
    /// `host:port` of every master's RPC port.
    pub masters: Vec<String>,
    /// How callers of the GooseFS protocol say who they are.
    pub auth: AuthType,
    /// The user this process acts as.
    pub user: String,
    /// Tiers, fastest first, with their directories, quotas and watermarks.
    pub tiers: Vec<TierSpec>,
    /// Points on the ring that places blocks.
    pub virtual_nodes: u32,
    /// Range requests to a storage at a time, for one file.
    pub fill_parallel: usize,
    /// Range requests to storages at a time, in all.
    pub fill_parallel_in_all: usize,
    /// Most bytes of one such request when reading ahead. A multiple of the page of 1 MiB.
    pub fill_range: u64,
    /// A storage that sends nothing for so long is given up on.
    pub fill_timeout: Duration,
    /// How long a writer waits for room that only copies are about to give up.
    pub room_timeout: Duration,
    /// How often the masters are told how we are.
    pub heartbeat: Duration,
    /// A call to the masters is given up after so long without a leader that answers.
    pub master_deadline: Duration,
    /// How long a complete file rests before it is flushed to the disk.
    pub sync_after: Duration,
}

impl Config {
    /// A worker with the usual settings and one tier of one directory, on a free port of `host`.
    #[must_use]
    pub fn new(host: &str, masters: Vec<String>, dir: &Path, quota: u64) -> Config {
        let tier = TierSpec {
            alias: "SSD".to_owned(),
            dirs: vec![DirSpec { path: dir.to_owned(), quota }],
            high: 0.95,
            low: 0.8,
        };
        Config {
            host: host.to_owned(),
            rpc_bind: format!("{host}:0"),
            web_port: 0,
            socket: Some(dir.join("worker.sock")),
            holder: None,
            masters,
            auth: AuthType::Simple,
            user: "root".to_owned(),
            tiers: vec![tier],
            virtual_nodes: 5000,
            fill_parallel: 4,
            fill_parallel_in_all: 32,
            fill_range: 8 << 20,
            fill_timeout: Duration::from_secs(30),
            room_timeout: Duration::from_secs(10),
            heartbeat: Duration::from_secs(1),
            master_deadline: Duration::from_secs(30),
            sync_after: Duration::from_secs(5),
        }
    }

    /// What the block store is made of.
    #[must_use]
    pub fn store(&self) -> StoreConfig {
        StoreConfig { tiers: self.tiers.clone(), sync_after: self.sync_after }
    }
}
