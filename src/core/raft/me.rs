//! Who we are and who the others are, for everything in a node that talks to peers.

use super::identity::{Directory, Identity};
use super::{ClusterMark, Leader, RaftConfig};
use crate::error::{Code, Error, Result};
use crate::id::NodeId;
use crate::proto::internal;
use parking_lot::Mutex;
use std::time::{Duration, Instant};

/// This master and its peers.
pub(super) struct Me {
    pub(super) config: RaftConfig,
    directory: Directory,
    identity: Mutex<Identity>,
    started: Instant,
    /// Whether this directory has been in use before this start.
    used: bool,
}

impl Me {
    pub(super) fn new(config: RaftConfig, directory: Directory, identity: Identity, used: bool) -> Me {
        Me { config, directory, identity: Mutex::new(identity), started: Instant::now(), used }
    }

    /// How long this master still keeps out of elections. A follower promises its leader not to elect another for
    /// `election_max`, and the leader's reads rest on that; openraft forgets the promise with the process.
    pub(super) fn quiet(&self) -> Duration {
        if !self.used || self.config.peers.len() == 1 {
            return Duration::ZERO;
        }
        self.config.election_max.saturating_sub(self.started.elapsed())
    }

    /// Lets another process have the data directory.
    pub(super) fn release(&self) {
        self.directory.release();
    }

    pub(super) fn identity(&self) -> Identity {
        *self.identity.lock()
    }

    pub(super) fn node(&self) -> NodeId {
        self.identity.lock().node
    }

    pub(super) fn mark(&self) -> Option<ClusterMark> {
        self.identity.lock().mark
    }

    pub(super) fn wire_mark(&self) -> Option<internal::ClusterMark> {
        self.mark().map(internal::ClusterMark::from)
    }

    /// Other slots.
    pub(super) fn others(&self) -> impl Iterator<Item = u32> + use<> {
        let slot = self.config.slot;
        (0..u32::try_from(self.config.peers.len()).unwrap_or(u32::MAX)).filter(move |other| *other != slot)
    }

    pub(super) fn raft_address(&self, slot: u32) -> Option<&str> {
        self.config.peers.get(slot as usize).map(String::as_str)
    }

    pub(super) fn rpc_address(&self, slot: u32) -> Option<&str> {
        self.config.rpc_addresses.get(slot as usize).map(String::as_str)
    }

    /// The master that is `node` and fills `slot`.
    pub(super) fn leader(&self, node: u64, slot: u32) -> Leader {
        Leader {
            node: NodeId(node),
            slot,
            rpc: self.rpc_address(slot).unwrap_or_default().to_owned(),
            raft: self.raft_address(slot).unwrap_or_default().to_owned(),
        }
    }

    /// Notes, durably, which cluster this directory belongs to and whether it has taken part.
    ///
    /// # Errors
    /// `WrongCluster` when it belongs to another, I/O errors.
    pub(super) fn settle(&self, mark: ClusterMark, member: bool) -> Result<()> {
        let mut identity = self.identity.lock();
        match identity.mark {
            Some(ours) if ours != mark => return Err(wrong_cluster(ours, mark)),
            Some(_) if identity.member || !member => return Ok(()),
            _ => {}
        }
        let settled = Identity { mark: Some(mark), member: member || identity.member, ..*identity };
        self.directory.save(settled)?;
        *identity = settled;
        Ok(())
    }

    /// Checks that a message of a cluster member is meant for us; a new directory takes over the sender's cluster.
    ///
    /// # Errors
    /// `WrongCluster`, `NotFound` when the sender means another life of this slot, I/O errors.
    pub(super) async fn admit(
        self: &std::sync::Arc<Me>,
        mark: Option<&internal::ClusterMark>,
        target: u64,
    ) -> Result<()> {
        let theirs = ClusterMark::from_wire(mark)
            .ok_or_else(|| Error::new(Code::InvalidArgument, "a Raft message without cluster id"))?;
        let identity = self.identity();
        if target != identity.node.0 {
            return Err(Error::new(
                Code::NotFound,
                format!("this is Raft node {}, not {target}: its data directory was lost", identity.node),
            ));
        }
        match identity.mark {
            Some(ours) if ours == theirs && identity.member => Ok(()),
            Some(ours) if ours != theirs => Err(wrong_cluster(ours, theirs)),
            _ => {
                let me = self.clone();
                tokio::task::spawn_blocking(move || me.settle(theirs, true)).await.map_err(|e| {
                    Error::new(Code::Internal, "settling in the cluster panicked").caused_by(e)
                })?
            }
        }
    }

    /// How long a peer may take to answer a small message.
    pub(super) fn patience(&self) -> Duration {
        self.config.election_max.max(Duration::from_millis(500))
    }
}

pub(super) fn wrong_cluster(ours: ClusterMark, theirs: ClusterMark) -> Error {
    Error::new(
        Code::WrongCluster,
        format!(
            "this data directory belongs to cluster {} epoch {}, not to {} epoch {}",
            ours.id, ours.epoch, theirs.id, theirs.epoch
        ),
    )
}
