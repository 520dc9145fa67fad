//! What a client is told at its start.

use goosefs_core::Result;
use goosefs_core::config::{Properties, keys};
use goosefs_core::proto::internal::{Caller, ClusterMark, WriteType};
use goosefs_core::rpc::control::ControlKey;
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
    /// What we administer masters with that ask for it (`goosefs.security.control.key.file`).
    pub control: Option<ControlKey>,
    /// Unix sockets of workers on this machine, besides those that the workers name (`goosefs.user.worker.sockets`).
    pub sockets: Vec<PathBuf>,
    /// Ask workers on this machine for descriptors of cached files.
    pub short_circuit: bool,
    /// Block size of new files (`goosefs.user.block.size.bytes.default`).
    pub block_size: u64,
    /// Write type of new files (`goosefs.user.file.writetype.default`).
    pub write_type: WriteType,
    /// Metadata older than this is compared with the storage, in milliseconds (0 always, -1 never); none leaves it to the
    /// masters (`goosefs.user.file.metadata.sync.interval`).
    pub sync_interval_ms: Option<i64>,
    /// How long an operation is retried (`goosefs.user.rpc.retry.max.duration`).
    pub deadline: Duration,
    /// How long a connection may take to be made.
    pub connect_timeout: Duration,
    /// How long a worker may be silent in the middle of a read or write before another is asked: longer than it waits for
    /// its storage, so that what it says of that is heard. One that is gone or stopped is noticed much sooner.
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
            control: None,
            sockets: Vec::new(),
            short_circuit: true,
            block_size: 64 << 20,
            write_type: WriteType::CacheThrough,
            sync_interval_ms: None,
            deadline: Duration::from_secs(120),
            connect_timeout: Duration::from_secs(5),
            worker_timeout: Duration::from_secs(60),
            worker_patience: Duration::from_secs(30),
            failed_worker: Duration::from_secs(10),
            workers_refresh: Duration::from_secs(1),
            read_ahead: 16 << 20,
            read_ahead_total: 256 << 20,
            write_window: 16 << 20,
            kept_descriptors: 1024,
        }
    }

    /// What the properties say, on behalf of the login user.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property and what is allowed; I/O errors of the control key's file.
    pub fn from_properties(properties: &Properties) -> Result<Config> {
        let age_ms =
            |age: Option<Duration>| age.map_or(-1, |age| i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
        let sync_interval = properties.duration(&keys::USER_SYNC_INTERVAL)?;
        let write_type = properties.choice(&keys::USER_WRITE_TYPE)?;
        Ok(Config {
            caller: Caller { group: process_group(), user: properties.user() },
            auth: AuthType::from_properties(properties)?,
            control: ControlKey::of_caller(properties)?,
            sockets: properties.list(&keys::USER_SOCKETS).into_iter().map(PathBuf::from).collect(),
            block_size: properties.size(&keys::USER_BLOCK_SIZE)?,
            write_type: WriteType::from_str_name(&format!("WRITE_TYPE_{write_type}"))
                .unwrap_or(WriteType::CacheThrough),
            deadline: properties.finite_duration(&keys::USER_RETRY_MAX)?,
            sync_interval_ms: properties.is_set(&keys::USER_SYNC_INTERVAL).then(|| age_ms(sync_interval)),
            ..Config::new(properties.masters())
        })
    }
}

/// The name of this process's group, or its number.
fn process_group() -> String {
    let id = nix::unistd::getegid();
    nix::unistd::Group::from_gid(id).ok().flatten().map_or_else(|| id.to_string(), |group| group.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_name_masters_user_and_write_type() {
        let properties = Properties::new()
            .with(&keys::MASTER_RPC_ADDRESSES, "m1:9200,m2:9200")
            .with(&keys::LOGIN_USER, "ann")
            .with(&keys::USER_WRITE_TYPE, "MUST_CACHE")
            .with(&keys::USER_BLOCK_SIZE, "1MB")
            .with(&keys::USER_RETRY_MAX, "5s")
            .with(&keys::USER_SOCKETS, "/a.sock,/b.sock");
        let config = Config::from_properties(&properties).unwrap();
        assert_eq!(config.masters, ["m1:9200", "m2:9200"]);
        assert_eq!(config.caller.user, "ann");
        assert_eq!(config.write_type, WriteType::MustCache);
        assert_eq!((config.block_size, config.deadline), (1 << 20, Duration::from_secs(5)));
        assert_eq!(config.sockets, [PathBuf::from("/a.sock"), PathBuf::from("/b.sock")]);
    }

    #[test]
    fn without_properties_it_is_the_default_dev_cluster_and_the_users_own_name() {
        let config = Config::from_properties(&Properties::new()).unwrap();
        assert_eq!(config.masters, ["127.0.0.1:9200", "127.0.0.1:9210", "127.0.0.1:9220"]);
        assert_eq!(config.sync_interval_ms, None);
        assert!(!config.caller.user.is_empty());
        assert_eq!(config.write_type, WriteType::CacheThrough);
    }
}
