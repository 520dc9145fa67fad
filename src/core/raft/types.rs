//! The types openraft is parameterised with, and their form on the wire and on disk (`proto/internal/raft.proto`).

use crate::proto::raft as wire;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::vote::RaftLeaderId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A command as Raft sees it: bytes.
#[derive(Clone, PartialEq, Eq, Default)]
pub(super) struct Command(pub(super) Bytes);

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// What the membership says of a node: the slot it fills. Addresses stay out of it, because they change.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Slot(pub(super) u32);

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "slot {}", self.0)
    }
}

openraft::declare_raft_types!(
    /// Our Raft.
    pub(super) Types:
        D = Command,
        R = Bytes,
        NodeId = u64,
        Node = Slot,
);

pub(super) type LeaderId = openraft::impls::leader_id_adv::LeaderId<u64, u64>;
pub(super) type LogId = openraft::type_config::alias::LogIdOf<Types>;
pub(super) type Vote = openraft::type_config::alias::VoteOf<Types>;
pub(super) type Entry = openraft::type_config::alias::EntryOf<Types>;
pub(super) type Membership = openraft::Membership<u64, Slot>;
pub(super) type StoredMembership = openraft::type_config::alias::StoredMembershipOf<Types>;
pub(super) type Metrics = openraft::RaftMetrics<Types>;
pub(super) type MetricsWatch = openraft::type_config::alias::WatchReceiverOf<Types, Metrics>;
pub(super) type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;

/// Bytes an entry costs in memory and on the wire beside its command.
const ENTRY_OVERHEAD: usize = 96;

/// What an entry weighs in caches and messages.
pub(super) fn weight(entry: &Entry) -> usize {
    match &entry.payload {
        EntryPayload::Normal(command) => command.0.len() + ENTRY_OVERHEAD,
        EntryPayload::Blank | EntryPayload::Membership(_) => ENTRY_OVERHEAD,
    }
}

/// A message that does not say what it must.
#[derive(Debug, thiserror::Error)]
#[error("malformed Raft message: {0}")]
pub(super) struct Malformed(pub(super) &'static str);

impl From<Malformed> for std::io::Error {
    fn from(malformed: Malformed) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::InvalidData, malformed)
    }
}

impl From<Malformed> for tonic::Status {
    fn from(malformed: Malformed) -> tonic::Status {
        tonic::Status::invalid_argument(malformed.to_string())
    }
}

pub(super) fn log_id_to_wire(id: &LogId) -> wire::LogId {
    wire::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(super) fn log_id_from_wire(id: &wire::LogId) -> LogId {
    openraft::LogId { leader_id: LeaderId::new(id.term, id.node).to_committed(), index: id.index }
}

pub(super) fn vote_to_wire(vote: &Vote) -> wire::Vote {
    wire::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(super) fn vote_from_wire(vote: &wire::Vote) -> Vote {
    Vote { leader_id: LeaderId::new(vote.term, vote.node), committed: vote.committed }
}

/// The vote that a message must carry.
pub(super) fn need_vote(vote: Option<&wire::Vote>) -> Result<Vote, Malformed> {
    vote.map(vote_from_wire).ok_or(Malformed("no vote"))
}

pub(super) fn membership_to_wire(membership: &Membership) -> wire::Membership {
    wire::Membership {
        configs: membership
            .get_joint_config()
            .iter()
            .map(|set| wire::NodeSet { nodes: set.iter().copied().collect() })
            .collect(),
        nodes: membership.nodes().map(|(node, slot)| (*node, wire::Slot { slot: slot.0 })).collect(),
    }
}

pub(super) fn membership_from_wire(membership: &wire::Membership) -> Result<Membership, Malformed> {
    let configs: Vec<BTreeSet<u64>> =
        membership.configs.iter().map(|set| set.nodes.iter().copied().collect()).collect();
    let nodes: BTreeMap<u64, Slot> =
        membership.nodes.iter().map(|(node, slot)| (*node, Slot(slot.slot))).collect();
    if configs.is_empty() && nodes.is_empty() {
        return Ok(Membership::default());
    }
    Membership::new(configs, nodes).map_err(|_| Malformed("membership with a voter that has no slot"))
}

pub(super) fn stored_membership_from_wire(
    log: Option<&wire::LogId>,
    membership: Option<&wire::Membership>,
) -> Result<StoredMembership, Malformed> {
    let membership = membership.map(membership_from_wire).transpose()?.unwrap_or_default();
    Ok(StoredMembership::new(log.map(log_id_from_wire), membership))
}

pub(super) fn entry_to_wire(entry: &Entry) -> wire::LogEntry {
    use wire::log_entry::Payload;
    let payload = match &entry.payload {
        EntryPayload::Blank => Payload::Blank(true),
        EntryPayload::Normal(command) => Payload::Command(command.0.clone()),
        EntryPayload::Membership(membership) => Payload::Membership(membership_to_wire(membership)),
    };
    wire::LogEntry { id: Some(log_id_to_wire(&entry.log_id)), payload: Some(payload) }
}

pub(super) fn entry_from_wire(entry: wire::LogEntry) -> Result<Entry, Malformed> {
    use wire::log_entry::Payload;
    let log_id = log_id_from_wire(&entry.id.ok_or(Malformed("entry without id"))?);
    let payload = match entry.payload.ok_or(Malformed("entry without payload"))? {
        Payload::Blank(_) => EntryPayload::Blank,
        Payload::Command(command) => EntryPayload::Normal(Command(command)),
        Payload::Membership(membership) => EntryPayload::Membership(membership_from_wire(&membership)?),
    };
    Ok(Entry { log_id, payload })
}

#[cfg(test)]
mod tests {
    use super::*;
    use openraft::RaftTypeConfig;

    fn id(term: u64, index: u64) -> LogId {
        log_id_from_wire(&wire::LogId { term, node: 9, index })
    }

    #[test]
    fn entries_survive_the_wire() {
        let membership = Membership::new(
            vec![BTreeSet::from([1, 2]), BTreeSet::from([2, 3])],
            BTreeMap::from([(1, Slot(0)), (2, Slot(1)), (3, Slot(2)), (4, Slot(0))]),
        )
        .unwrap();
        for payload in [
            EntryPayload::Blank,
            EntryPayload::Normal(Command(Bytes::from_static(b"make /a"))),
            EntryPayload::Normal(Command(Bytes::new())),
            EntryPayload::Membership(membership),
        ] {
            let entry: <Types as RaftTypeConfig>::Entry = Entry { log_id: id(3, 7), payload };
            assert_eq!(entry_from_wire(entry_to_wire(&entry)).unwrap(), entry);
        }
    }

    #[test]
    fn a_message_without_its_parts_is_refused() {
        assert!(entry_from_wire(wire::LogEntry::default()).is_err());
        assert!(need_vote(None).is_err());
        let broken =
            wire::Membership { configs: vec![wire::NodeSet { nodes: vec![5] }], nodes: Default::default() };
        assert!(membership_from_wire(&broken).is_err());
    }
}
