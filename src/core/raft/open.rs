//! From a data directory to a running Raft core.
//!
//! Log, acknowledgement mark and snapshots lie in a folder named by the node id, a *life* of this slot. Which life counts
//! is said by the identity file alone, so a master changes its life (after damage, or when a new cluster is forced) in
//! one atomic step, and the former life stays for people to look at.

use super::addresses::Addresses;
use super::force;
use super::ground;
use super::identity::{Directory, Identity, make_folder};
use super::log::{LogStore, Opened};
use super::me::{ADDRESSES, Me, wrong_cluster};
use super::metrics::Counters;
use super::network::{Network, identify_at};
use super::restore;
use super::snapshot::Snapshots;
use super::space::Space;
use super::state::StateMachine;
use super::types::Types;
use super::{ClusterMark, Machine, RaftConfig};
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use openraft::SnapshotPolicy;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

type Raft = openraft::Raft<Types, StateMachine>;

/// Entries in one message to a follower.
const MESSAGE_ENTRIES: u64 = 4096;

/// What a start brings up before tasks run.
pub(super) struct Parts {
    pub(super) me: Arc<Me>,
    pub(super) raft: Raft,
    pub(super) log: LogStore,
    pub(super) snapshots: Arc<Snapshots>,
    pub(super) network: Network,
    pub(super) space: Arc<Space>,
    /// Last entry that was in the log.
    pub(super) recovered: u64,
}

/// Where one life of a directory lies.
pub(super) struct Life {
    folder: PathBuf,
}

impl Life {
    pub(super) fn of(config: &RaftConfig, identity: Identity) -> Life {
        Life { folder: config.dir.join(format!("node-{}", identity.node)) }
    }

    /// # Errors
    /// Those of [`LogStore::open`].
    pub(super) fn log(&self, config: &RaftConfig, counters: Counters) -> Result<Opened> {
        let context = || format!("make {}", self.folder.display());
        make_folder(&self.folder).map_err(|e| Error::io(context(), e))?;
        LogStore::open(
            &self.folder.join("log"),
            &self.folder.join("acknowledged"),
            config.cache_bytes,
            counters,
            config.ground.clone(),
        )
    }

    /// # Errors
    /// Those of [`Snapshots::open`].
    pub(super) fn snapshots(&self) -> Result<Arc<Snapshots>> {
        Ok(Arc::new(Snapshots::open(&self.folder.join("snapshot"))?))
    }
}

/// Runs blocking work of the start.
async fn blocking<T: Send + 'static>(
    config: &RaftConfig,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    ground::blocking(&config.ground, work)
        .await
        .map_err(|e| Error::new(Code::Internal, "opening the data directory panicked").caused_by(e))?
}

/// Opens the directory and starts the Raft core. Runs on Raft's runtime.
///
/// # Errors
/// When the directory cannot be used, is damaged beyond what the other masters can mend, or is not ours.
pub(super) async fn open(config: RaftConfig, machine: Arc<dyn Machine>, counters: Counters) -> Result<Parts> {
    let settings = raft_config(&config)?;
    let (look, counted) = (config.clone(), counters.clone());
    let (directory, space, mut identity) = blocking(&config, move || {
        let directory = Directory::open(&look.dir)?;
        let space = Arc::new(Space::open(&look.dir, look.reserve_bytes, counted));
        let identity = first_identity(&look, &directory)?;
        Ok((directory, space, identity))
    })
    .await?;
    let kept = config.dir.join(ADDRESSES);
    let learned = blocking(&config, move || Addresses::load(&kept)).await?;
    check_alone(&config, identity, &learned).await?;
    let ordered = config.listed().is_some_and(|roster| roster.forces(config.slot, identity.mark));
    if config.force_new_cluster || ordered {
        identity = force::new_cluster(&config, &directory, identity, machine.clone(), &counters).await?;
    }
    let mut opened = open_log(&config, identity, &counters).await?;
    if let Some(damage) = opened.damage.take() {
        opened.log.close().await;
        identity = next_life(&config, &directory, identity, &damage)?;
        opened = open_log(&config, identity, &counters).await?;
    }
    if let Some(wanted) = restore::wanted(&config) {
        let found = restore::found(&config, &directory, identity, &opened.log, &wanted, &machine, &counters);
        let founded = found.await;
        if !matches!(founded, Ok(None)) {
            opened.log.close().await;
        }
        if let Some(founded) = founded? {
            identity = founded;
            opened = open_log(&config, identity, &counters).await?;
        }
    }
    if opened.empty && identity.member {
        tracing::warn!("this master has no log; it asks the others to take it in");
    }
    let (log, life) = (opened.log, Life::of(&config, identity));
    let snapshots = blocking(&config, move || life.snapshots()).await?;
    let recovered = log.last_index();
    let ground = config.ground.clone();
    let state = StateMachine::start(machine, snapshots.clone(), space.clone(), counters.clone(), ground)?;
    let configured = Addresses::configured(&config.peers, &config.rpc_addresses);
    let me = Arc::new(Me::new(config, directory, identity, configured, !opened.empty));
    me.learn(&learned).await;
    if learned.get(me.config.slot).is_none() {
        // Where this directory belongs is written down, so that a copy of it is known for one.
        me.edit_addresses(|_, _| true).await;
    }
    let network = Network::new(me.clone(), counters);
    let raft = openraft::Raft::new(me.node().0, settings, network.clone(), log.clone(), state).await;
    let raft = raft.map_err(|e| {
        let message = format!("the state in {} cannot be restored: {e}", me.config.dir.display());
        Error::new(Code::Corrupt, message).caused_by(e)
    })?;
    Ok(Parts { me, raft, log, snapshots, network, space, recovered })
}

/// A directory that was copied must not become a second process of one Raft node.
///
/// # Errors
/// `InvalidArgument` when the master that this directory belongs to answers at another address.
async fn check_alone(config: &RaftConfig, identity: Identity, learned: &Addresses) -> Result<()> {
    let Some(before) = learned.get(config.slot).map(|place| place.raft.as_str()) else { return Ok(()) };
    if config.peers.get(config.slot as usize).is_some_and(|now| now == before) {
        return Ok(());
    }
    let request = wire::IdentifyRequest { slot: identity.slot, node: identity.node.0, ..Default::default() };
    match identify_at(&config.ground, before, request, config.election_max * 2).await {
        Ok(answer) if answer.node == identity.node.0 => {
            let (slot, dir) = (config.slot, config.dir.display());
            let text = format!(
                "master {slot} with this very directory's identity runs at {before}: {dir} is a copy"
            );
            Err(Error::new(Code::InvalidArgument, text)
                .hint("stop that one first if it is to move; another master needs an empty directory and its own --id"))
        }
        Ok(_) | Err(_) => Ok(()),
    }
}

async fn open_log(config: &RaftConfig, identity: Identity, counters: &Counters) -> Result<Opened> {
    let (of, counters) = (config.clone(), counters.clone());
    blocking(config, move || Life::of(&of, identity).log(&of, counters)).await
}

/// Who we are; a new directory gets its identity here.
fn first_identity(config: &RaftConfig, directory: &Directory) -> Result<Identity> {
    let identity = match directory.identity()? {
        Some(identity) => identity,
        None => {
            let identity = Identity::new(config.slot, None, false);
            directory.save(identity)?;
            identity
        }
    };
    check_identity(config, identity)?;
    Ok(identity)
}

/// A log that is less than what was acknowledged must never vote again: this slot gets a new node id and joins anew.
fn next_life(config: &RaftConfig, directory: &Directory, old: Identity, damage: &str) -> Result<Identity> {
    let grown = Addresses::load(&config.dir.join(ADDRESSES)).is_ok_and(|learned| learned.slots().count() > 1);
    if config.peers.len() == 1 && !grown {
        return Err(Error::new(
            Code::Corrupt,
            format!("the Raft log in {} has lost acknowledged entries: {damage}", config.dir.display()),
        )
        .hint(
            "restore the data directory from a backup, or go on with what is left by --force-new-cluster",
        ));
    }
    let identity = Identity::new(config.slot, old.mark, true);
    directory.save(identity)?;
    tracing::error!(
        damage,
        old = %old.node,
        new = %identity.node,
        "the Raft log has lost acknowledged entries and is set aside; this master joins its cluster anew"
    );
    Ok(identity)
}

fn check_identity(config: &RaftConfig, identity: Identity) -> Result<()> {
    if config.slot as usize >= config.peers.len() {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("master {} is not among the {} configured masters", config.slot, config.peers.len()),
        ));
    }
    if identity.slot != config.slot {
        return Err(Error::new(
            Code::InvalidArgument,
            format!(
                "data directory {} belongs to master {}, not to master {}",
                config.dir.display(),
                identity.slot,
                config.slot
            ),
        )
        .hint("give each master a directory of its own"));
    }
    if let (Some(wanted), Some(mark)) = (config.cluster, identity.mark)
        && mark.id != wanted
    {
        return Err(wrong_cluster(mark, ClusterMark { id: wanted, epoch: mark.epoch }));
    }
    match (config.listed(), identity.mark) {
        (Some(roster), Some(mark)) if !config.force_new_cluster => {
            roster.check(mark).map_err(|e| e.context(format!("data directory {}", config.dir.display())))
        }
        _ => Ok(()),
    }
}

fn raft_config(config: &RaftConfig) -> Result<Arc<openraft::Config>> {
    let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let settings = openraft::Config {
        cluster_name: "goosefs".to_owned(),
        heartbeat_interval: ms(config.heartbeat),
        election_timeout_min: ms(config.election_min),
        election_timeout_max: ms(config.election_max),
        enable_pre_vote: Some(true),
        // A leader that comes back may have a state machine behind what it has answered before.
        enable_leader_restore: Some(false),
        install_snapshot_timeout: ms(Duration::from_secs(3600)),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(config.snapshot_entries),
        // A follower gets a snapshot when its entries have been purged, not merely because it is late.
        replication_lag_threshold: u64::MAX / 2,
        max_in_snapshot_log_to_keep: config.keep_entries,
        purge_batch_size: (config.keep_entries / 4).clamp(1, 4096),
        max_payload_entries: MESSAGE_ENTRIES,
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        ..openraft::Config::default()
    };
    let valid = settings
        .validate()
        .map_err(|e| Error::new(Code::InvalidArgument, format!("the timing of Raft is not usable: {e}")))?;
    Ok(Arc::new(valid))
}
