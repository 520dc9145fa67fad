//! Who we are and who the others are, for everything in a node that talks to peers.

use super::addresses::{Addresses, Place};
use super::ground::blocking;
use super::identity::{Directory, Identity};
use super::{ClusterMark, Leader, RaftConfig, Roster};
use crate::error::{Code, Error, Result};
use crate::id::NodeId;
use crate::proto::internal;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::watch;

/// Where the addresses that were learned are kept in the data directory.
pub(super) const ADDRESSES: &str = "addresses";

/// This master and its peers.
pub(super) struct Me {
    pub(super) config: RaftConfig,
    directory: Directory,
    identity: Mutex<Identity>,
    addresses: Mutex<Addresses>,
    /// Raised with every change of the addresses.
    moved: watch::Sender<u64>,
    /// One writer of the addresses' file at a time.
    keeping: tokio::sync::Mutex<()>,
    /// When the master of a slot last told us who it is, and who it was.
    heard: Mutex<BTreeMap<u32, (u64, Instant)>>,
    started: Instant,
    /// Whether this directory has been in use before this start.
    used: bool,
    /// Peers' messages are refused: Raft is about to stop, or has.
    pub(super) stopping: AtomicBool,
}

impl Me {
    pub(super) fn new(
        config: RaftConfig,
        directory: Directory,
        identity: Identity,
        addresses: Addresses,
        used: bool,
    ) -> Me {
        Me {
            config,
            directory,
            identity: Mutex::new(identity),
            addresses: Mutex::new(addresses),
            moved: watch::Sender::new(0),
            keeping: tokio::sync::Mutex::default(),
            heard: Mutex::default(),
            started: Instant::now(),
            used,
            stopping: AtomicBool::new(false),
        }
    }

    /// How long this master still keeps out of elections. A follower promises its leader not to elect another for
    /// `election_max`, and the leader's reads rest on that; openraft forgets the promise with the process.
    pub(super) fn quiet(&self) -> Duration {
        if !self.used || self.others().next().is_none() {
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
        let slots: Vec<u32> = self.addresses.lock().slots().collect();
        let own = self.config.slot;
        slots.into_iter().filter(move |slot| *slot != own)
    }

    /// Where the master of `slot` is.
    pub(super) fn place(&self, slot: u32) -> Option<Place> {
        self.addresses.lock().get(slot).cloned()
    }

    /// Where else the master of `slot` may be: what the configuration says, when something else was learned.
    pub(super) fn other_address(&self, slot: u32) -> Option<String> {
        let listed = self.config.listed().map(|roster| roster.raft);
        let configured = listed.as_ref().unwrap_or(&self.config.peers).get(slot as usize)?;
        (self.raft_address(slot).as_ref() != Some(configured)).then(|| configured.clone())
    }

    pub(super) fn raft_address(&self, slot: u32) -> Option<String> {
        self.place(slot).map(|place| place.raft)
    }

    pub(super) fn rpc_address(&self, slot: u32) -> Option<String> {
        self.place(slot).map(|place| place.rpc)
    }

    pub(super) fn addresses(&self) -> Addresses {
        self.addresses.lock().clone()
    }

    /// Whether an operator took this master out of the quorum.
    pub(super) fn removed(&self) -> bool {
        self.place(self.config.slot).is_some_and(|place| place.removed)
    }

    /// Changes whenever an address does.
    pub(super) fn moves(&self) -> watch::Receiver<u64> {
        self.moved.subscribe()
    }

    /// Changes the addresses as `change` does, which says whether it did, and keeps them when it did.
    pub(super) async fn edit_addresses(self: &Arc<Me>, change: impl FnOnce(&mut Addresses, u64) -> bool) {
        if !change(&mut self.addresses.lock(), now_ms()) {
            return;
        }
        self.moved.send_modify(|count| *count += 1);
        let _one_at_a_time = self.keeping.lock().await;
        let me = self.clone();
        let kept = blocking(&self.config.ground, move || {
            let addresses = me.addresses();
            addresses.save(&me.config.dir.join(ADDRESSES))
        });
        match kept.await {
            Ok(Ok(())) => {}
            // They are learned again after the next start.
            Ok(Err(error)) => tracing::warn!(%error, "the addresses of the masters could not be kept"),
            Err(error) => tracing::warn!(%error, "keeping the addresses of the masters panicked"),
        }
    }

    /// Takes over what another master of this cluster knows of addresses, and says where we are if it knows better.
    pub(super) async fn learn(self: &Arc<Me>, theirs: &Addresses) {
        let slot = self.config.slot;
        let (raft, rpc) = self.own_addresses();
        self.edit_addresses(|ours, now_ms| {
            let merged = ours.merge(theirs);
            let removed = ours.get(slot).is_some_and(|place| place.removed);
            let moved = ours.put(slot, &raft, &rpc, removed, now_ms);
            // What they were configured with counts as much as what we were: only a stamp makes ours the newer one.
            moved | ours.insist(slot, theirs, now_ms) | merged
        })
        .await;
    }

    /// Knows the masters that `roster` lists; without a cluster, those alone.
    pub(super) async fn follow(self: &Arc<Me>, roster: &Roster) {
        let only = self.mark().is_none();
        self.edit_addresses(|ours, _| ours.follow(&roster.raft, &roster.rpc, only)).await;
    }

    /// Where the configuration says we are: Raft and RPC address.
    fn own_addresses(&self) -> (String, String) {
        let own = |list: &[String]| list.get(self.config.slot as usize).cloned().unwrap_or_default();
        (own(&self.config.peers), own(&self.config.rpc_addresses))
    }

    /// The master of `slot` has just told us that it is `node`.
    pub(super) fn heard(&self, slot: u32, node: u64) {
        self.heard.lock().insert(slot, (node, Instant::now()));
    }

    /// Whether the master of `slot` is us or has answered within `time`.
    pub(super) fn hears(&self, slot: u32, time: Duration) -> bool {
        slot == self.config.slot
            || self.heard.lock().get(&slot).is_some_and(|(_, last)| last.elapsed() < time)
    }

    /// Whether `node` is us or has answered for `slot` within `time`: not another that fills the slot since, which has no vote
    /// before it has caught up.
    pub(super) fn hears_node(&self, slot: u32, node: u64, time: Duration) -> bool {
        if slot == self.config.slot {
            return node == self.node().0;
        }
        let heard = self.heard.lock();
        heard.get(&slot).is_some_and(|(other, last)| *other == node && last.elapsed() < time)
    }

    /// Where another master than `node`, which is at `address`, has answered for `slot` within `time`, if one has.
    pub(super) fn other_in(&self, slot: u32, node: u64, address: &str, time: Duration) -> Option<String> {
        let known = self.raft_address(slot).unwrap_or_default();
        if slot == self.config.slot {
            return (node != self.node().0).then_some(known);
        }
        let (other, last) = *self.heard.lock().get(&slot)?;
        // Nothing but a later process of the same master listens where that one did.
        (other != node && last.elapsed() < time && known != address).then_some(known)
    }

    /// The master that is `node` and fills `slot`.
    pub(super) fn leader(&self, node: u64, slot: u32) -> Leader {
        let Place { raft, rpc, .. } = self.place(slot).unwrap_or_default();
        Leader { node: NodeId(node), slot, rpc, raft }
    }

    /// Notes, durably, which cluster this directory belongs to and whether it has taken part.
    ///
    /// # Errors
    /// `WrongCluster` when it belongs to another or is not to be in this one, I/O errors.
    pub(super) fn settle(&self, mark: ClusterMark, member: bool) -> Result<()> {
        let mut identity = self.identity.lock();
        match identity.mark {
            Some(ours) if ours != mark => return Err(wrong_cluster(ours, mark)),
            Some(_) if identity.member || !member => return Ok(()),
            Some(_) => {}
            None => self.config.listed().map_or(Ok(()), |roster| roster.check(mark))?,
        }
        let settled = Identity { mark: Some(mark), member: member || identity.member, ..*identity };
        self.directory.save(settled)?;
        *identity = settled;
        Ok(())
    }

    /// Checks that a message of a cluster member is meant for us; a new directory takes over the sender's cluster.
    ///
    /// # Errors
    /// `WrongCluster`, `NotFound` when the sender means another life of this slot, `Unavailable` when this node stops, I/O
    /// errors.
    pub(super) async fn admit(
        self: &Arc<Me>,
        mark: Option<&internal::ClusterMark>,
        target: u64,
    ) -> Result<()> {
        if self.stopping.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Unavailable, "this master is shutting down"));
        }
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
                blocking(&self.config.ground, move || me.settle(theirs, true)).await.map_err(|e| {
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

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
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
