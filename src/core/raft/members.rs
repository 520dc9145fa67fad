//! Who takes part: the leader's side of joining, and what operators change.
//!
//! The membership in the log is the only authority on who votes. A change is made on the leader, one at a time, each
//! through a joint configuration; one that was left half-way, by a former leader or by an error, is finished. A learner that has
//! caught up takes the vote of its slot by itself.

mod change;

use super::me::{Me, wrong_cluster};
use super::network::Network;
use super::observe::Lease;
use super::state::StateMachine;
use super::types::{Membership, MetricsWatch, Slot, Types};
use super::{ClusterMark, Leader, Quorum, Server};
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{ClientWriteError, RaftError};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

type Raft = openraft::Raft<Types, StateMachine>;

/// Between two looks at what is to be done.
const ROUND: Duration = Duration::from_millis(200);
/// A change that takes longer is not waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// A learner is promoted when it lacks no more entries than this.
const CAUGHT_UP: u64 = 1000;
/// A master that has not answered for so long is shown as unavailable.
const LATELY: Duration = Duration::from_secs(3);

/// The members of the group, as this master sees and changes them.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) me: Arc<Me>,
    pub(super) raft: Raft,
    pub(super) network: Network,
    pub(super) metrics: MetricsWatch,
    pub(super) lease: Arc<Lease>,
    /// Held by the change that is under way.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
}

impl Members {
    /// Who leads, as far as we know.
    pub(super) fn leader(&self) -> Option<Leader> {
        let metrics = self.metrics.borrow_watched();
        let node = metrics.current_leader?;
        Some(self.me.leader(node, metrics.membership_config.get_node(&node)?.0))
    }

    /// Who votes and who of them answers. While a change is half-way, who votes both before and after it: another master
    /// cannot stand in yet for one of these that is lost.
    pub(super) fn quorum(&self) -> Quorum {
        let leader = self.leader();
        let (slots, lasting) = electorate(self.metrics.borrow_watched().membership_config.membership());
        let server = |slot: u32| {
            let place = self.me.place(slot).unwrap_or_default();
            let answers = |(node, its): &(u64, u32)| *its == slot && self.me.hears_node(slot, *node, LATELY);
            let available = lasting.iter().any(answers);
            // Who led last is remembered until another does, be it dead or cut off.
            let leads = leader.as_ref().is_some_and(|leader| leader.slot == slot)
                && if slot == self.me.config.slot { self.lease.check().is_ok() } else { available };
            Server { slot, raft: place.raft, rpc: place.rpc, available, leads }
        };
        Quorum { servers: slots.into_iter().map(server).collect() }
    }

    /// Node id and slot of every voter.
    fn voters(&self) -> Vec<(u64, u32)> {
        let metrics = self.metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        membership.voter_ids().filter_map(|node| Some((node, membership.get_node(&node)?.0))).collect()
    }

    /// Makes the asking master a learner; [`Members::keep`] does the rest.
    ///
    /// # Errors
    /// `NotLeader`, `WrongCluster`, `InvalidArgument` when there is no place for it, `Busy` while another change is under
    /// way or another master fills its slot, that of [`Lease::check`] without a majority.
    pub(super) async fn admit(&self, request: wire::JoinRequest) -> Result<wire::JoinResponse> {
        let mark = self.me.mark().ok_or_else(|| Error::not_leader(""))?;
        if let Some(theirs) = ClusterMark::from_wire(request.cluster.as_ref())
            && theirs != mark
        {
            return Err(wrong_cluster(mark, theirs));
        }
        self.check_leads()?;
        self.check_place(&request)?;
        self.take_in(request.node, request.slot, &request.raft, &request.rpc).await?;
        let cluster = Some(mark.into());
        Ok(wire::JoinResponse { cluster, leader: self.leader().map_or(String::new(), |leader| leader.rpc) })
    }

    fn check_place(&self, request: &wire::JoinRequest) -> Result<()> {
        let slot = request.slot;
        if slot == self.me.config.slot {
            let text = format!("this is master {slot}; each --id must be used once");
            return Err(Error::new(Code::InvalidArgument, text));
        }
        if let Some(roster) = self.me.config.listed().filter(|roster| !roster.lists(slot)) {
            let text = format!("{} does not list a master {slot} yet", roster.file.display());
            return Err(Error::new(Code::InvalidArgument, text));
        }
        if self.me.place(slot).is_none_or(|place| place.removed) {
            let text =
                format!("the quorum has no master {slot}; `goosefs fsadmin journal quorum add` takes one in");
            return Err(Error::new(Code::InvalidArgument, text));
        }
        match self.me.other_in(slot, request.node, &request.raft, LATELY) {
            Some(address) => {
                let text = format!("master {slot} runs at {address} already; each --id must be used once");
                Err(Error::new(Code::Busy, text))
            }
            None => Ok(()),
        }
    }

    /// Makes `node` a learner for `slot`, in place of a learner there that was lost.
    async fn take_in(&self, node: u64, slot: u32, raft: &str, rpc: &str) -> Result<()> {
        if !raft.is_empty() && !rpc.is_empty() {
            self.me.edit_addresses(|ours, now_ms| ours.put(slot, raft, rpc, false, now_ms)).await;
        }
        let (known, stale) = {
            let metrics = self.metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let stale: BTreeSet<u64> = membership
                .nodes()
                .filter(|(other, place)| place.0 == slot && **other != node)
                .map(|(other, _)| *other)
                .filter(|other| membership.learner_ids().any(|learner| learner == *other))
                .collect();
            (membership.get_node(&node).is_some(), stale)
        };
        if known {
            return Ok(());
        }
        // A leader that hears of no majority would give away what was never agreed on.
        self.lease.check()?;
        let _turn = self.turn()?;
        if !stale.is_empty() {
            // A learner that lost its directory again before it was promoted.
            self.change_in_turn(ChangeMembers::RemoveNodes(stale)).await?;
        }
        let added = self.raft.add_learner(node, Slot(slot), false).await;
        added.map_err(|e| self.refused(e))?;
        tracing::info!(slot, node, "a master joins as learner");
        Ok(())
    }

    /// # Errors
    /// `NotLeader`.
    fn check_leads(&self) -> Result<()> {
        if self.metrics.borrow_watched().state.is_leader() {
            return Ok(());
        }
        Err(Error::not_leader(self.leader().map_or(String::new(), |leader| leader.rpc)))
    }

    async fn change(&self, change: ChangeMembers<u64, Slot>) -> Result<()> {
        let _turn = self.turn()?;
        self.change_in_turn(change).await
    }

    /// # Errors
    /// `Busy` while another change is under way.
    fn turn(&self) -> Result<tokio::sync::MutexGuard<'_, ()>> {
        let busy = |_| Error::new(Code::Busy, "another change of the quorum is under way");
        self.changing.try_lock().map_err(busy)
    }

    /// What does not end in time ends half-way, which [`Members::keep`] sees to.
    async fn change_in_turn(&self, change: ChangeMembers<u64, Slot>) -> Result<()> {
        match tokio::time::timeout(PATIENCE, self.raft.change_membership(change, false)).await {
            Ok(outcome) => outcome.map(drop).map_err(|e| self.refused(e)),
            Err(_) => {
                let text = format!("the quorum is not changed after {PATIENCE:?}");
                Err(Error::new(Code::DeadlineExceeded, text))
            }
        }
    }

    fn refused(&self, error: RaftError<Types, ClientWriteError<Types>>) -> Error {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Error::not_leader(""),
            e => Error::new(Code::Busy, format!("the group of masters cannot be changed now: {e}")),
        }
    }

    /// While this master leads: learners that have caught up take the vote of their slot's former node id, and a change
    /// that a former leader began is finished.
    pub(super) async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            if let Ok(_turn) = self.turn()
                && self.half_way()
            {
                let finished = self.change_in_turn(ChangeMembers::AddVoterIds(BTreeSet::new())).await;
                tracing::info!(?finished, "finished a change of the quorum that was left half-way");
            }
            let Some((learner, slot, voters)) = self.next_promotion() else { continue };
            match self.change(ChangeMembers::ReplaceAllVoters(voters)).await {
                Ok(()) => tracing::info!(slot, node = learner, "a master that has caught up votes"),
                Err(error) => tracing::info!(slot, node = learner, %error, "a master cannot be promoted yet"),
            }
        }
    }

    /// We lead, and a joint configuration is committed: whoever has the turn now may finish it. Meanwhile a master that was
    /// replaced counts as lost beside any other that is.
    fn half_way(&self) -> bool {
        let metrics = self.metrics.borrow_watched();
        metrics.state.is_leader()
            && metrics.membership_config == metrics.committed_membership_config
            && metrics.membership_config.membership().get_joint_config().len() > 1
    }

    /// A learner that may vote, its slot, and the voters then.
    fn next_promotion(&self) -> Option<(u64, u32, BTreeSet<u64>)> {
        let metrics = self.metrics.borrow_watched();
        if !metrics.state.is_leader() || metrics.membership_config != metrics.committed_membership_config {
            return None;
        }
        let membership = metrics.membership_config.membership();
        let last = metrics.last_log_index?;
        let caught_up = |node: &u64| {
            let matched = metrics.replication.as_ref()?.get(node)?.as_ref()?.index;
            (matched + CAUGHT_UP >= last).then_some(())
        };
        let learner = membership.learner_ids().find(|node| caught_up(node).is_some())?;
        let slot = membership.get_node(&learner)?.0;
        let others =
            membership.voter_ids().filter(|voter| membership.get_node(voter).is_none_or(|s| s.0 != slot));
        let voters = others.chain([learner]).collect();
        Some((learner, slot, voters))
    }

    /// How far everything goes that was acknowledged before this call.
    ///
    /// # Errors
    /// `Unavailable` when no leader says so in time.
    pub(super) async fn read_index(&self, own_last: impl Fn() -> u64, limit: Duration) -> Result<u64> {
        let until = Instant::now() + limit;
        loop {
            let error = if self.metrics.borrow_watched().state.is_leader() {
                match self.lease.check() {
                    Ok(()) => return Ok(own_last()),
                    Err(error) => error,
                }
            } else if let Some(leader) = self.leader() {
                match self.network.read_index(leader.slot, leader.node.0).await {
                    Ok(index) => return Ok(index),
                    Err(error) => error,
                }
            } else {
                Error::new(Code::Unavailable, "no master leads")
            };
            if Instant::now() >= until {
                return Err(Error { code: Code::Unavailable, ..error });
            }
            tokio::time::sleep(ROUND / 4).await;
        }
    }
}

/// The slots that vote before and after a change that is under way, and the node id and slot of the masters that do.
pub(super) fn electorate(membership: &Membership) -> (BTreeSet<u32>, Vec<(u64, u32)>) {
    let configs = membership.get_joint_config();
    let slot_of = |node: u64| membership.get_node(&node).map(|place| place.0);
    let voters = || membership.voter_ids().filter_map(|node| Some((node, slot_of(node)?)));
    let votes_throughout =
        |slot: &u32| configs.iter().all(|set| set.iter().any(|node| slot_of(*node) == Some(*slot)));
    let slots = voters().map(|(_, slot)| slot).filter(votes_throughout).collect();
    let lasting = voters().filter(|(node, _)| configs.iter().all(|set| set.contains(node))).collect();
    (slots, lasting)
}
