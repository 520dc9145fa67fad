//! What a master is told when it starts.

use crate::desired::ClusterFile;
use goosefs_core::config::{Key, Properties, keys};
use goosefs_core::id::ClusterId;
use goosefs_core::raft::{Restore, Roster};
use goosefs_core::rpc::control::KeyFile;
use goosefs_core::rpc::sasl::AuthType;
use goosefs_core::{Code, Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
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
    /// Host to listen on for both ports; `None` is the host of our own addresses (`goosefs.master.bind.host`).
    pub bind_host: Option<String>,
    /// The cluster id that a first start must use; drawn at random when not set.
    pub cluster: Option<ClusterId>,
    /// The file that says who the masters are, and what it said; goes before the addresses here
    /// (`goosefs.master.cluster.file`).
    pub cluster_file: Option<(ClusterFile, Roster)>,
    /// The file that says what shall be mounted (`goosefs.master.mounts.file`).
    pub mounts_file: Option<PathBuf>,
    /// How callers say who they are (`goosefs.security.authentication.type`).
    pub auth: AuthType,
    /// What who administers the masters must have (`goosefs.security.control.key.file`).
    pub control: Option<KeyFile>,
    /// Owner of the root directory, and the user to whom everything is allowed: who runs the masters.
    pub superuser: String,
    /// The group whose members may do everything, too (`goosefs.security.authorization.permission.supergroup`).
    pub supergroup: String,
    /// Owner, group and mode of files are checked (`goosefs.security.authorization.permission.enabled`).
    pub permissions: bool,
    /// What the first leader mounts at `/` (`goosefs.master.mount.table.root.ufs`).
    pub root_ufs: String,
    /// Options of the root mount (`goosefs.master.mount.table.root.option.*`).
    pub root_options: BTreeMap<String, String>,
    /// Settings of storages that hold for every mount, the root's too.
    pub storages: goosefs_ufs::Settings,
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
    /// A file that was not written for so long is completed as it is when the session of its writer has ended.
    pub abandoned_after: Duration,
    /// As [`Config::abandoned_after`] when its writer had no session, as clients of the GooseFS protocol.
    pub unnamed_abandoned_after: Duration,
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
    /// The root under-storage is our own folder: made when it is missing.
    pub make_root_folder: bool,
    /// How often a leader makes itself heard (`goosefs.master.raft.heartbeat`).
    pub raft_heartbeat: Duration,
    /// Shortest time without a leader before an election (`goosefs.master.raft.election.min`).
    pub raft_election_min: Duration,
    /// Longest such time, and the leader's lease (`goosefs.master.raft.election.max`).
    pub raft_election_max: Duration,
    /// A snapshot is taken after so many entries (`goosefs.master.raft.snapshot.entries`).
    pub raft_snapshot_entries: u64,
    /// Where backups go that name no directory (`goosefs.master.backup.directory`).
    pub backup_dir: String,
    /// Starts a new epoch of the cluster from this master's data alone; see `RaftConfig::force_new_cluster`.
    pub force_new_cluster: bool,
    /// Founds the cluster with the state of a backup.
    pub restore: Option<Restore>,
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
            cluster_file: None,
            mounts_file: None,
            auth: AuthType::Simple,
            control: None,
            superuser: Properties::new().user(),
            supergroup: keys::SUPERGROUP.default.to_owned(),
            permissions: true,
            root_ufs: String::new(),
            root_options: BTreeMap::new(),
            storages: goosefs_ufs::Settings::default(),
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
            abandoned_after: Duration::from_secs(60),
            unnamed_abandoned_after: Duration::from_secs(24 * 3600),
            propose_timeout: Duration::from_secs(10),
            leader_wait: Duration::from_secs(10),
            effect_deadline: Duration::from_secs(120),
            effect_concurrency: 32,
            list_batch: 1000,
            make_root_folder: false,
            raft_heartbeat: Duration::from_millis(50),
            raft_election_min: Duration::from_millis(150),
            raft_election_max: Duration::from_millis(300),
            raft_snapshot_entries: 200_000,
            backup_dir: keys::MASTER_BACKUP_DIR.default.to_owned(),
            force_new_cluster: false,
            restore: None,
        }
    }

    /// The configuration of master `id` as properties give it.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property, its value and what is allowed.
    pub fn from_properties(properties: &Properties, id: u32) -> Result<Config> {
        let raft = addresses(properties, &keys::MASTER_JOURNAL_ADDRESSES, &keys::MASTER_JOURNAL_PORT)?;
        let mut rpc = addresses(properties, &keys::MASTER_RPC_ADDRESSES, &keys::MASTER_RPC_PORT)?;
        if rpc.len() != raft.len() && !properties.is_set(&keys::MASTER_RPC_ADDRESSES) {
            // The Raft addresses name the hosts; every master has the same RPC port then.
            let port = properties.number::<u16>(&keys::MASTER_RPC_PORT)?;
            rpc = raft.iter().map(|address| format!("{}:{port}", host_of(address))).collect();
        }
        let home = match properties.text(&keys::HOME) {
            "" => PathBuf::from("goosefs-dev"),
            home => PathBuf::from(home),
        };
        let home = std::path::absolute(&home)
            .map_err(|cause| Error::io(format!("find the folder {}", home.display()), cause))?;
        let dir = match properties.text(&keys::MASTER_JOURNAL_FOLDER) {
            "" => home.join("journal"),
            folder => PathBuf::from(folder),
        };
        let mut config = Config::new(id, dir, rpc, raft);
        config.check()?;
        config.web_ports = web_ports(&config, properties)?;
        config.auth = AuthType::from_properties(properties)?;
        config.control = KeyFile::of_server(properties)?;
        config.superuser = properties.user();
        config.supergroup = properties.text(&keys::SUPERGROUP).to_owned();
        config.permissions = properties.truth(&keys::PERMISSIONS)?;
        config.root_ufs = match properties.text(&keys::MASTER_ROOT_UFS) {
            "" if spread_out(&config.raft_addresses) => {
                let text =
                    "goosefs.master.mount.table.root.ufs is not set, and the masters are on several machines";
                return Err(Error::new(Code::InvalidArgument, text)
                    .hint("set it to a storage that every master and worker reaches, like https://host/path/ or a folder on a shared file system"));
            }
            "" => {
                config.make_root_folder = true;
                home.join("underFSStorage").display().to_string()
            }
            uri => uri.to_owned(),
        };
        config.storages = goosefs_ufs::Settings::of(properties);
        config.root_read_only = properties.truth(&keys::MASTER_ROOT_READONLY)?;
        config.sync_interval = properties.duration(&keys::USER_SYNC_INTERVAL)?;
        config.block_size = properties.size(&keys::USER_BLOCK_SIZE)?;
        config.virtual_nodes = properties.number(&keys::MASTER_VIRTUAL_NODES)?;
        config.heartbeat = properties.finite_duration(&keys::WORKER_HEARTBEAT)?;
        config.worker_timeout = properties.finite_duration(&keys::MASTER_WORKER_TIMEOUT)?;
        config.raft_heartbeat = properties.finite_duration(&keys::MASTER_RAFT_HEARTBEAT)?;
        config.raft_election_min = properties.finite_duration(&keys::MASTER_RAFT_ELECTION_MIN)?;
        config.raft_election_max = properties.finite_duration(&keys::MASTER_RAFT_ELECTION_MAX)?;
        config.raft_snapshot_entries = properties.number(&keys::MASTER_RAFT_SNAPSHOT_ENTRIES)?;
        config.backup_dir = properties.text(&keys::MASTER_BACKUP_DIR).to_owned();
        let mounts = properties.text(&keys::MASTER_MOUNTS_FILE);
        config.mounts_file = (!mounts.is_empty()).then(|| PathBuf::from(mounts));
        let bind = properties.text(&keys::MASTER_BIND_HOST);
        config.bind_host = (!bind.is_empty()).then(|| bind.to_owned());
        Ok(config)
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

/// `key`'s list of addresses; without one the single master's.
fn addresses(properties: &Properties, key: &Key, port: &Key) -> Result<Vec<String>> {
    let listed = properties.list(key);
    if !listed.is_empty() {
        return Ok(listed);
    }
    let host = properties.text(&keys::MASTER_HOSTNAME);
    Ok(vec![format!("{host}:{}", properties.number::<u16>(port)?)])
}

fn host_of(address: &str) -> &str {
    address.rsplit_once(':').map_or(address, |(host, _)| host)
}

/// Whether the masters have several hosts that are not this machine's loopback: a folder here is not one there.
fn spread_out(addresses: &[String]) -> bool {
    let loopback =
        |host: &str| host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    let hosts: BTreeSet<&str> = addresses.iter().map(|address| host_of(address)).collect();
    hosts.len() > 1 && !hosts.iter().all(|host| loopback(host))
}

/// Our own web port is configured; the others' follow their RPC ports, as ours does by default.
fn web_ports(config: &Config, properties: &Properties) -> Result<Vec<u16>> {
    let own: u16 = properties.number(&keys::MASTER_WEB_PORT)?;
    let port_of = |address: &String| address.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
    let next =
        config.rpc_addresses.iter().map(|address| port_of(address).map_or(0, |port| port.saturating_add(1)));
    let mut ports: Vec<u16> = next.collect();
    if let Some(port) = ports.get_mut(config.id as usize) {
        *port = own;
    }
    Ok(ports)
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
    fn properties_of_a_single_master_and_of_three() {
        let one = Config::from_properties(&Properties::new(), 0).unwrap();
        assert_eq!(one.rpc_addresses, ["127.0.0.1:9200"]);
        assert_eq!(one.raft_addresses, ["127.0.0.1:9202"]);
        assert_eq!(one.web_ports, [9201]);
        assert!(one.make_root_folder && one.root_ufs.ends_with("/underFSStorage"));
        let hosts = Properties::new().with(&keys::MASTER_JOURNAL_ADDRESSES, "a:9202,b:9202,c:9202");
        let no_root = Config::from_properties(&hosts, 2).unwrap_err();
        assert!(no_root.message.contains("goosefs.master.mount.table.root.ufs is not set"), "{no_root}");
        let hosts = hosts.with(&keys::MASTER_ROOT_UFS, "https://storage/");
        let three = Config::from_properties(&hosts, 2).unwrap();
        assert_eq!(three.rpc_addresses, ["a:9200", "b:9200", "c:9200"]);
        assert!(Config::from_properties(&hosts, 3).unwrap_err().message.contains("--id 3"));
    }

    #[test]
    fn the_bind_host_replaces_the_host_only() {
        let mut config = of(0, &["pod-0.ns.svc:9200"], &["pod-0.ns.svc:9202"]);
        assert_eq!(config.listen_address(&config.rpc_addresses).unwrap(), "pod-0.ns.svc:9200");
        config.bind_host = Some("0.0.0.0".to_owned());
        assert_eq!(config.listen_address(&config.rpc_addresses).unwrap(), "0.0.0.0:9200");
    }
}
