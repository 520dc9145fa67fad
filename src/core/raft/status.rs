//! What a node says about itself, for health checks, reports and whoever waits for a leader.

use crate::id::{ClusterId, Epoch, NodeId};
use crate::proto::internal;

/// Which cluster a data directory belongs to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct ClusterMark {
    /// The cluster.
    pub id: ClusterId,
    /// Its epoch.
    pub epoch: Epoch,
}

impl From<ClusterMark> for internal::ClusterMark {
    fn from(mark: ClusterMark) -> internal::ClusterMark {
        internal::ClusterMark {
            cluster_id: bytes::Bytes::copy_from_slice(mark.id.0.as_bytes()),
            epoch: mark.epoch.0,
        }
    }
}

impl ClusterMark {
    /// The mark in a message; `None` while it says "not known yet".
    #[must_use]
    pub fn from_wire(mark: Option<&internal::ClusterMark>) -> Option<ClusterMark> {
        let mark = mark?;
        let id = uuid::Uuid::from_slice(&mark.cluster_id).ok()?;
        (!id.is_nil()).then_some(ClusterMark { id: ClusterId(id), epoch: Epoch(mark.epoch) })
    }
}

/// What this node is at the moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Not part of a cluster yet: waits for its peers, joins, or has not heard from a leader.
    Starting,
    /// Takes part without a vote: a replaced master that is catching up.
    Learner,
    /// Follows a leader, or votes for one.
    Follower,
    /// Leads.
    Leader,
    /// Stopped for good by a disk error or a bug: the process must be restarted. [`Status::problem`] says why.
    Failed,
    /// Shut down.
    Stopped,
}

/// The leading master.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Leader {
    /// Its Raft node id.
    pub node: NodeId,
    /// Its slot.
    pub slot: u32,
    /// What clients dial, `host:port`.
    pub rpc: String,
    /// Raft address, `host:port`.
    pub raft: String,
}

/// A master that has a vote.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Voter {
    /// Its Raft node id.
    pub node: NodeId,
    /// Its slot.
    pub slot: u32,
}

/// What a node says about itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Status {
    /// What it is.
    pub role: Role,
    /// Raft term.
    pub term: u64,
    /// Who leads, as far as this node knows.
    pub leader: Option<Leader>,
    /// Who votes.
    pub voters: Vec<Voter>,
    /// Index of the last entry in the log.
    pub last_log: u64,
    /// Index of the last committed entry this node knows of.
    pub committed: u64,
    /// Index of the last applied entry.
    pub applied: u64,
    /// The state is current enough to serve: a leader that has applied its own term's first entry, or a follower that
    /// hears a leader and has applied what was in its log when it started.
    pub serving: bool,
    /// It votes, and no change of who votes is half-way: as many others may be lost as a quorum allows.
    pub votes: bool,
    /// Why it does not work, for a person: what is missing or broken.
    pub problem: Option<String>,
}

/// The voting masters as one of them sees them, by slot.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Quorum {
    /// Every voter.
    pub servers: Vec<Server>,
}

/// One master of a [`Quorum`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Server {
    /// Its slot.
    pub slot: u32,
    /// Raft address, `host:port`.
    pub raft: String,
    /// What clients dial, `host:port`.
    pub rpc: String,
    /// It has answered lately.
    pub available: bool,
    /// It leads, as far as is known.
    pub leads: bool,
}

/// A backup that was written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backup {
    /// Where.
    pub path: std::path::PathBuf,
    /// Records in it.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
}
