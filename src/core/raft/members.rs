//! Who takes part: the leader's side of joining, and what operators change.
//!
//! The membership in the log is the only authority on who votes. A change is made on the leader, one at a time, each
//! through a joint configuration; one that a former leader left half-way is finished by the next. A learner that has
//! caught up takes the vote of its slot by itself.

use super::me::{Me, wrong_cluster};
use super::network::Network;
use super::observe::Lease;
use super::state::StateMachine;
use super::types::{MetricsWatch, Slot, Types};
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
/// A learner is promoted when it lacks no more entries than this.
const CAUGHT_UP: u64 = 1000;
/// A master that has not answered for so long is shown as unavailable.
const LATELY: Duration = Duration::from_secs(3);
/// For a master that was just started to answer.
const STARTING: Duration = Duration::from_secs(5);
/// For a new master to get a snapshot and catch up.
const CATCHING_UP: Duration = Duration::from_secs(90);

/// The members of the group, as this master sees and changes them.
#[derive(Clone)]
pub(super) struct Members {
    pub(super) me: Arc<Me>,
    pub(super) raft: Raft,
    pub(super) network: Network,
    pub(super) metrics: MetricsWatch,
    pub(super) lease: Arc<Lease>,
}

impl Members {
    /// Who leads, as far as we know.
    pub(super) fn leader(&self) -> Option<Leader> {
        let metrics = self.metrics.borrow_watched();
        let node = metrics.current_leader?;
        Some(self.me.leader(node, metrics.membership_config.get_node(&node)?.0))
    }

    /// Who votes and who of them answers.
    pub(super) fn quorum(&self) -> Quorum {
        let leader = self.leader();
        let voters = self.voters();
        let mut slots: Vec<u32> = voters.iter().map(|(_, slot)| *slot).collect();
        slots.sort_unstable();
        slots.dedup();
        let server = |slot: u32| {
            let place = self.me.place(slot).unwrap_or_default();
            let available = self.me.hears(slot, LATELY);
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
    /// way or another master fills its slot.
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
        if !stale.is_empty() {
            // A learner that lost its directory again before it was promoted.
            self.change(ChangeMembers::RemoveNodes(stale)).await?;
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
        self.raft.change_membership(change, false).await.map(drop).map_err(|e| self.refused(e))
    }

    fn refused(&self, error: RaftError<Types, ClientWriteError<Types>>) -> Error {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => Error::not_leader(""),
            e => Error::new(Code::Busy, format!("the group of masters cannot be changed now: {e}")),
        }
    }

    /// Takes in the master that was started at `address`, and waits until it votes. Its slot.
    ///
    /// # Errors
    /// `NotLeader`; `WrongCluster`; `InvalidArgument` when nobody answers there or its id is taken; `DeadlineExceeded` when it does not catch up in time.
    pub(super) async fn add(&self, address: &str) -> Result<u32> {
        self.check_leads()?;
        let mark = self.me.mark().ok_or_else(|| Error::not_leader(""))?;
        let who = self.answer_of(address).await?;
        if let Some(theirs) = ClusterMark::from_wire(who.cluster.as_ref())
            && theirs != mark
        {
            return Err(wrong_cluster(mark, theirs).context(format!("the master at {address}")));
        }
        if let Some(other) = self.me.other_in(who.slot, who.node, address, LATELY) {
            let text = format!("{address} is master {} as is {other}; each --id must be used once", who.slot);
            return Err(Error::new(Code::InvalidArgument, text));
        }
        self.take_in(who.node, who.slot, address, &who.rpc).await?;
        self.me.heard(who.slot, who.node);
        let until = Instant::now() + CATCHING_UP;
        while !self.votes(who.node) {
            self.check_leads()?;
            if Instant::now() >= until {
                let text = format!("{address} has not caught up within {CATCHING_UP:?}");
                return Err(Error::new(Code::DeadlineExceeded, text).hint("it votes as soon as it has"));
            }
            tokio::time::sleep(ROUND / 4).await;
        }
        tracing::info!(slot = who.slot, address, "a master was added to the quorum");
        Ok(who.slot)
    }

    /// Who is at `address`; waits a moment for a master that was just started.
    async fn answer_of(&self, address: &str) -> Result<wire::IdentifyResponse> {
        let until = Instant::now() + STARTING;
        loop {
            match self.network.identify_at(address).await {
                Err(error) if error.code == Code::InvalidArgument => return Err(error),
                Err(_) if Instant::now() >= until => {
                    let text = format!("no master answers at {address}");
                    return Err(Error::new(Code::InvalidArgument, text)
                        .hint("start it first, with an --id of its own and the list of all masters"));
                }
                Err(_) => tokio::time::sleep(ROUND).await,
                Ok(answer) => return Ok(answer),
            }
        }
    }

    fn votes(&self, node: u64) -> bool {
        let metrics = self.metrics.borrow_watched();
        let settled = metrics.membership_config == metrics.committed_membership_config;
        let membership = metrics.membership_config.membership();
        settled
            && membership.get_joint_config().len() == 1
            && membership.voter_ids().any(|voter| voter == node)
    }

    /// Asks those who they are that have not said so lately.
    async fn listen(&self, slots: impl Iterator<Item = u32>) {
        let silent = slots.filter(|slot| !self.me.hears(*slot, LATELY));
        let asked = silent.map(async |slot| match self.network.identify(slot).await {
            Ok(answer)
                if answer.slot == slot
                    && ClusterMark::from_wire(answer.cluster.as_ref()) == self.me.mark() =>
            {
                self.me.heard(slot, answer.node);
            }
            Ok(_) | Err(_) => {}
        });
        futures::future::join_all(asked).await;
    }

    /// The slot of the master whose Raft address is `address`, if it takes part.
    ///
    /// # Errors
    /// `NotFound`, naming who takes part.
    pub(super) fn slot_at(&self, address: &str) -> Result<u32> {
        let servers = self.quorum().servers;
        if let Some(server) = servers.iter().find(|server| server.raft == address) {
            return Ok(server.slot);
        }
        if let Some(server) = servers.iter().find(|server| server.rpc == address) {
            let text = format!("{address} is the RPC address of a master");
            return Err(Error::new(Code::NotFound, text)
                .hint(format!("its address in the quorum is {}", server.raft)));
        }
        let all: Vec<&str> = servers.iter().map(|server| server.raft.as_str()).collect();
        let text = format!("{address} is not in the quorum");
        Err(Error::new(Code::NotFound, text).hint(format!("the quorum is {}", all.join(", "))))
    }

    /// Takes the master at `address` out of the quorum. It may be gone already.
    ///
    /// # Errors
    /// `NotLeader`, `NotFound`; `InvalidArgument` for the last one and when too few of the others answer.
    pub(super) async fn remove(&self, address: &str) -> Result<()> {
        self.check_leads()?;
        let slot = match self.slot_at(address) {
            // The answer to the first call was lost.
            Err(_) if self.me.addresses().is_removed(address) => return Ok(()),
            slot => slot?,
        };
        let rest: Vec<(u64, u32)> = self.voters().into_iter().filter(|(_, other)| *other != slot).collect();
        if rest.is_empty() {
            let text = format!("{address} is the last master of the quorum");
            return Err(Error::new(Code::InvalidArgument, text));
        }
        self.listen(rest.iter().map(|(_, other)| *other)).await;
        let answering = rest.iter().filter(|(_, other)| self.me.hears(*other, LATELY)).count();
        if answering * 2 <= rest.len() {
            let text = format!(
                "without {address} only {answering} of {} masters would answer, which is no majority",
                rest.len()
            );
            return Err(Error::new(Code::InvalidArgument, text).hint("start the others first"));
        }
        if slot == self.me.config.slot {
            let text = "this master leads; the next leader takes it out";
            return Err(Error::new(Code::Busy, text));
        }
        self.change(ChangeMembers::ReplaceAllVoters(rest.iter().map(|(node, _)| *node).collect())).await?;
        let learners: BTreeSet<u64> = {
            let metrics = self.metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let of_slot = |node: &u64| membership.get_node(node).is_some_and(|place| place.0 == slot);
            membership.learner_ids().filter(of_slot).collect()
        };
        if !learners.is_empty() {
            self.change(ChangeMembers::RemoveNodes(learners)).await?;
        }
        self.me.edit_addresses(|ours, now_ms| ours.set_removed(slot, true, now_ms)).await;
        tracing::info!(slot, address, "a master was taken out of the quorum");
        Ok(())
    }

    /// The node that votes for the master at `address`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when it does not answer.
    pub(super) async fn candidate(&self, address: &str) -> Result<u64> {
        let slot = self.slot_at(address)?;
        self.listen([slot].into_iter()).await;
        if !self.me.hears(slot, LATELY) {
            return Err(Error::new(Code::InvalidArgument, format!("{address} does not answer")));
        }
        let found = self.voters().into_iter().find(|(_, other)| *other == slot).map(|(node, _)| node);
        found.ok_or_else(|| Error::new(Code::NotFound, format!("{address} does not vote")))
    }

    /// While this master leads: learners that have caught up take the vote of their slot's former node id, and a change
    /// that a former leader began is finished.
    pub(super) async fn keep(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
            if self.half_way() {
                let finished = self.change(ChangeMembers::AddVoterIds(BTreeSet::new())).await;
                tracing::info!(?finished, "finished a change of the quorum that a former leader began");
            }
            let Some((learner, slot, voters)) = self.next_promotion() else { continue };
            match self.change(ChangeMembers::ReplaceAllVoters(voters)).await {
                Ok(()) => tracing::info!(slot, node = learner, "a master that has caught up votes"),
                Err(error) => tracing::info!(slot, node = learner, %error, "a master cannot be promoted yet"),
            }
        }
    }

    /// We lead, a joint configuration is committed, and it is not ours that is under way. Leaders are told apart by term and
    /// node: two may follow each other in one term.
    fn half_way(&self) -> bool {
        let metrics = self.metrics.borrow_watched();
        metrics.state.is_leader()
            && metrics.membership_config == metrics.committed_membership_config
            && metrics.membership_config.membership().get_joint_config().len() > 1
            && metrics.membership_config.log_id().is_some_and(|id| id.leader_id < metrics.vote.leader_id)
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
