//! Masters keep each other told of where they are.
//!
//! Every second, and at once after a change, each asks every other who it is. Question and answer carry all addresses that
//! either knows; the newer ones win on both sides. Who does not answer where we think it is, is looked for where the
//! configuration says. What came of it is also how `quorum info` knows who answers.

use super::ClusterMark;
use super::addresses::Addresses;
use super::me::Me;
use super::network::Network;
use super::state::StateMachine;
use super::types::Types;
use crate::error::Result;
use crate::id::Epoch;
use crate::proto::raft as wire;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Between two rounds.
const ROUND: Duration = Duration::from_secs(1);

/// What a master that was taken out says of itself.
const REMOVED: &str = "this master was taken out of the quorum: stop it, or take it in again by `goosefs fsadmin \
                       journal quorum add`";

/// The task of one master.
pub(super) struct Acquaint {
    pub(super) me: Arc<Me>,
    pub(super) network: Network,
    pub(super) raft: openraft::Raft<Types, StateMachine>,
    /// For people.
    pub(super) problem: watch::Sender<Option<String>>,
    /// Other epochs of this cluster that were met.
    pub(super) strangers: Mutex<BTreeSet<(u32, Epoch)>>,
}

impl Acquaint {
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut moves = self.me.moves();
        let mut removed = false;
        loop {
            moves.borrow_and_update();
            if self.me.mark().is_some() {
                let asked = self.me.others().map(|slot| self.ask(slot));
                futures::future::join_all(asked).await;
            }
            if self.me.removed() != removed {
                removed = !removed;
                self.out(removed);
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = moves.changed() => {}
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    /// Keeps out of elections while it is out of the quorum: the others would not have it anyway.
    fn out(&self, removed: bool) {
        self.raft.runtime_config().elect(!removed);
        let text = || match self.me.config.listed().filter(|roster| !roster.lists(self.me.config.slot)) {
            Some(roster) => format!("{} does not list this master any more: stop it", roster.file.display()),
            None => REMOVED.to_owned(),
        };
        self.problem.send_replace(removed.then(text));
    }

    async fn ask(&self, slot: u32) {
        let mut heard = self.heard(slot, self.network.identify(slot).await).await;
        if !heard && let Some(address) = self.me.other_address(slot) {
            heard = self.heard(slot, self.network.identify_at(&address).await).await;
        }
        if !heard {
            tracing::debug!(slot, "a master does not say where it is");
        }
    }

    /// Whether this is the answer of the master in `slot`; what it knows is learned then.
    async fn heard(&self, slot: u32, answer: Result<wire::IdentifyResponse>) -> bool {
        let Ok(answer) = answer else { return false };
        let theirs = ClusterMark::from_wire(answer.cluster.as_ref());
        if answer.slot != slot || theirs.is_none() || theirs != self.me.mark() {
            self.tell_of_epoch(slot, theirs);
            return false;
        }
        self.me.heard(slot, answer.node);
        self.me.learn(&Addresses::from_wire(&answer.addresses)).await;
        true
    }

    /// Says once that somebody goes on with another epoch of this cluster: one of the two must stop.
    fn tell_of_epoch(&self, slot: u32, theirs: Option<ClusterMark>) {
        let (Some(ours), Some(theirs)) = (self.me.mark(), theirs) else { return };
        if ours.id == theirs.id
            && ours.epoch != theirs.epoch
            && self.strangers.lock().insert((slot, theirs.epoch))
        {
            let address = self.me.raft_address(slot).unwrap_or_default();
            tracing::warn!(
                slot,
                address,
                ours = %ours.epoch,
                theirs = %theirs.epoch,
                "a master goes on with another epoch of this cluster: stop those of the epoch that is given up and \
                 start them with empty directories"
            );
        }
    }
}
