//! What a master is told when it starts.

use goosefs_core::id::ClusterId;
use goosefs_core::rpc::sasl::AuthType;
use goosefs_core::{Code, Error, Result};
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
    /// Owner of the root directory, and the user to whom everything is allowed: who runs the masters.
    pub superuser: String,
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
            superuser: std::env::var("USER").unwrap_or_else(|_| "root".to_owned()),
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

    /// Whether the parts fit together.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property.
    pub(crate) fn check(&self) -> Result<()> {
        let masters = self.raft_addresses.len();
        if masters == 0 || self.rpc_addresses.len() != masters {
            return Err(Error::new(
                Code::InvalidArgument,
                format!(
                    "goosefs.master.rpc.addresses has {} addresses and goosefs.master.embedded.journal.addresses {masters}",
                    self.rpc_addresses.len()
                ),
            )
            .hint("both must name every master once, in the same order"));
        }
        if self.id as usize >= masters {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("--id {} names none of the {masters} masters", self.id),
            )
            .hint(format!("ids go from 0 to {}", masters - 1)));
        }
        Ok(())
    }

    /// Where to listen, for our place in `addresses`.
    ///
    /// # Errors
    /// `InvalidArgument` when the address has no port.
    pub(crate) fn listen_address(&self, addresses: &[String]) -> Result<String> {
        let address = addresses.get(self.id as usize).map(String::as_str).unwrap_or_default();
        let Some((host, port)) = address.rsplit_once(':') else {
            return Err(Error::new(Code::InvalidArgument, format!("\"{address}\" is not host:port")));
        };
        Ok(format!("{}:{port}", self.bind_host.as_deref().unwrap_or(host)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(id: u32, rpc: &[&str], raft: &[&str]) -> Config {
        let owned = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        Config::new(id, PathBuf::new(), owned(rpc), owned(raft))
    }

    #[test]
    fn lists_that_do_not_match_are_refused_by_name() {
        let error = of(0, &["a:1"], &["a:2", "b:2"]).check().unwrap_err();
        assert!(error.message.contains("goosefs.master.rpc.addresses"), "{error}");
        assert!(of(2, &["a:1", "b:1"], &["a:2", "b:2"]).check().unwrap_err().message.contains("--id 2"));
        of(1, &["a:1", "b:1"], &["a:2", "b:2"]).check().unwrap();
    }

    #[test]
    fn the_bind_host_replaces_the_host_only() {
        let mut config = of(0, &["pod-0.ns.svc:9200"], &["pod-0.ns.svc:9202"]);
        assert_eq!(config.listen_address(&config.rpc_addresses).unwrap(), "pod-0.ns.svc:9200");
        config.bind_host = Some("0.0.0.0".to_owned());
        assert_eq!(config.listen_address(&config.rpc_addresses).unwrap(), "0.0.0.0:9200");
    }
}
