//! A new epoch from one master's data, when a quorum of directories is lost for good.
//!
//! The state is rebuilt from snapshot and log, everything in this log counting as committed, and becomes the snapshot of
//! a new life of this slot whose only voter is its new node id. The identity file is replaced last, so a crash leaves
//! either the old life or the new one.

use super::ground::blocking;
use super::identity::{Directory, Identity};
use super::log::LogStore;
use super::metrics::Counters;
use super::network::identify_at;
use super::open::Life;
use super::space::Space;
use super::state::StateMachine;
use super::types::{LeaderId, LogId, Membership, Slot, SnapshotMeta, StoredMembership, Vote};
use super::{ClusterMark, Frozen, Machine, RaftConfig};
use crate::error::{Code, Error, Result};
use crate::id::Epoch;
use crate::proto::raft as wire;
use openraft::storage::{RaftLogReader, RaftLogStorage, RaftStateMachine};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// Entries that are read and applied at once.
const PORTION: u64 = 4096;

/// Makes the new life and gives its identity.
///
/// # Errors
/// `InvalidArgument` when there is nothing to start from, and whatever reading and writing may meet.
pub(super) async fn new_cluster(
    config: &RaftConfig,
    directory: &Directory,
    old: Identity,
    machine: Arc<dyn Machine>,
    counters: &Counters,
) -> Result<Identity> {
    check_needed(config, old).await?;
    let life = Life::of(config, old);
    let opened = life.log(config, counters.clone())?;
    let snapshots = life.snapshots()?;
    let Some(mark) = old.mark.filter(|_| !opened.empty || snapshots.current().is_some()) else {
        return Err(Error::new(
            Code::InvalidArgument,
            format!("{} has no data to start a new cluster from", config.dir.display()),
        )
        .hint("use --force-new-cluster on the master that has the most recent data"));
    };
    if let Some(damage) = &opened.damage {
        tracing::warn!(damage, "a new cluster is started from a damaged log, as was asked for");
    }
    let space = Arc::new(Space::open(&config.dir, config.reserve_bytes, counters.clone()));
    let mut state =
        StateMachine::start(machine, snapshots.clone(), space, counters.clone(), config.ground.clone())?;
    let rebuilt = replay(&mut state, &opened.log, snapshots.current()).await;
    opened.log.close().await;
    let last = rebuilt.map_err(|e| Error::io("rebuild the state from the log", e))?;

    let epoch = next_epoch(mark.epoch);
    let new = Identity::new(config.slot, Some(ClusterMark { id: mark.id, epoch }), true);
    let (_, frozen) = state.freeze().await.map_err(|e| Error::io("take the state of the log", e))?;
    write_life(config, new, frozen, last, counters).await?;
    directory.save(new)?;
    tracing::warn!(cluster = %mark.id, %epoch, node = %new.node, "a new epoch of the cluster was forced from this master");
    Ok(new)
}

/// Whether most masters have lost their data, as far as those that run say: a flag that was left in a unit file must not
/// split a cluster that is well.
///
/// # Errors
/// `InvalidArgument` naming those that have the cluster's data.
async fn check_needed(config: &RaftConfig, old: Identity) -> Result<()> {
    let request = || wire::IdentifyRequest { slot: old.slot, node: old.node.0, ..Default::default() };
    let others = (0..).zip(&config.peers).filter(|(slot, _)| *slot != config.slot).map(|(_, peer)| peer);
    let (ground, patience) = (&config.ground, config.election_max * 2);
    let asked =
        others.map(|peer| async move { (peer, identify_at(ground, peer, request(), patience).await) });
    let whole: Vec<&str> = futures::future::join_all(asked)
        .await
        .into_iter()
        .filter(|(_, answer)| {
            answer.as_ref().is_ok_and(|a| !a.empty && ClusterMark::from_wire(a.cluster.as_ref()) == old.mark)
        })
        .map(|(peer, _)| peer.as_str())
        .collect();
    if whole.is_empty() || (whole.len() + 1) * 2 <= config.peers.len() {
        return Ok(());
    }
    let text = format!("nothing is forced: with {} most masters have the cluster's data", whole.join(", "));
    Err(Error::new(Code::InvalidArgument, text)
        .hint("start this one without --force-new-cluster; stop the others first if they cannot go on"))
}

/// Brings `state` to the end of the log.
async fn replay(
    state: &mut StateMachine,
    log: &LogStore,
    snapshot: Option<(SnapshotMeta, super::snapshot::SnapshotFile)>,
) -> std::io::Result<Option<LogId>> {
    if let Some((meta, file)) = snapshot {
        state.install_snapshot(&meta, file).await?;
    }
    let mut log = log.clone();
    loop {
        let applied = state.applied_state().await?.0;
        let begin = applied.map_or(0, |id| id.index + 1);
        let entries = log.try_get_log_entries(begin..begin + PORTION).await?;
        match entries.first() {
            None => return Ok(applied),
            Some(first) if first.log_id.index != begin => {
                return Err(std::io::Error::other(format!("entry {begin} is missing")));
            }
            Some(_) => {}
        }
        state.apply(futures::stream::iter(entries.into_iter().map(|entry| Ok((entry, None))))).await?;
    }
}

/// An epoch after `before` that no cluster of the same id has had: two that were started anew from copies of one state
/// would otherwise take each other's cached blocks for their own. Seconds since 1970 outrun any count.
pub(super) fn next_epoch(before: Epoch) -> Epoch {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    Epoch(now.max(before.0 + 1))
}

/// Snapshot, log and vote of the new life.
///
/// # Errors
/// I/O errors.
pub(super) async fn write_life(
    config: &RaftConfig,
    new: Identity,
    frozen: Box<dyn Frozen>,
    last: Option<LogId>,
    counters: &Counters,
) -> Result<()> {
    let failed = |e| Error::io("write the data of the new cluster", e);
    let voters =
        Membership::new(vec![BTreeSet::from([new.node.0])], BTreeMap::from([(new.node.0, Slot(new.slot))]))
            .map_err(|e| Error::new(Code::Internal, e.to_string()))?;
    let meta = SnapshotMeta { last_log_id: last, last_membership: StoredMembership::new(last, voters) };
    let life = Life::of(config, new);
    let mut log = life.log(config, counters.clone())?.log;
    let snapshots = life.snapshots()?;
    blocking(&config.ground, move || snapshots.write(&meta, frozen.as_ref()).map(drop))
        .await
        .map_err(|e| Error::new(Code::Internal, "writing the snapshot panicked").caused_by(e))??;
    let written = async {
        if let Some(last) = last {
            // The next election must be of a later term than any entry.
            let vote = Vote {
                leader_id: LeaderId { term: last.leader_id.term, node_id: new.node.0 },
                committed: false,
            };
            log.save_vote(&vote).await?;
            log.purge(last).await?;
            log.save_committed(Some(last)).await?;
        }
        Ok(())
    }
    .await;
    log.close().await;
    written.map_err(failed)
}
