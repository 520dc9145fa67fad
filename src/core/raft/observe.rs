//! From openraft's metrics to [`Status`], the counters and the lease.

use super::me::Me;
use super::metrics::Counters;
use super::types::{Metrics, MetricsWatch};
use super::{Leader, Role, Status, Voter};
use crate::error::{Code, Error, Result};
use crate::id::NodeId;
use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::Fatal;
use openraft::{Instant, ServerState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// A status before anything is known.
pub(super) fn starting() -> Status {
    Status {
        role: Role::Starting,
        term: 0,
        leader: None,
        voters: Vec::new(),
        last_log: 0,
        committed: 0,
        applied: 0,
        serving: false,
        votes: false,
        problem: None,
    }
}

/// What `metrics` say. `recovered` is the last entry that was in the log at start.
pub(super) fn status(me: &Me, metrics: &Metrics, recovered: u64, problem: Option<String>) -> Status {
    let membership = metrics.membership_config.membership();
    let slot_of = |node: u64| membership.get_node(&node).map(|slot| slot.0);
    let leader = metrics.current_leader.and_then(|node| Some(me.leader(node, slot_of(node)?)));
    let ours = me.node().0;
    let role = match (&metrics.running_state, metrics.state) {
        (Err(Fatal::Stopped), _) | (Ok(()), ServerState::Shutdown) => Role::Stopped,
        (Err(Fatal::StorageError(_) | Fatal::Panicked), _) => Role::Failed,
        (Ok(()), ServerState::Leader) => Role::Leader,
        (Ok(()), _) if membership.get_node(&ours).is_none() => Role::Starting,
        (Ok(()), ServerState::Learner) => Role::Learner,
        (Ok(()), ServerState::Follower | ServerState::Candidate) => Role::Follower,
    };
    let applied = metrics.last_applied.map_or(0, |id| id.index);
    let problem = match &metrics.running_state {
        Err(fatal @ (Fatal::StorageError(_) | Fatal::Panicked)) => {
            Some(format!("Raft stopped in data directory {}: {fatal}", me.config.dir.display()))
        }
        Err(Fatal::Stopped) | Ok(()) => problem,
    };
    let mut voters: Vec<Voter> = membership
        .voter_ids()
        .filter_map(|node| Some(Voter { node: NodeId(node), slot: slot_of(node)? }))
        .collect();
    voters.sort_by_key(|voter| (voter.slot, voter.node));
    let votes = membership.get_joint_config().len() == 1 && voters.iter().any(|voter| voter.node.0 == ours);
    let serving = match role {
        Role::Leader => leads(metrics),
        Role::Follower | Role::Learner => {
            !me.removed() && leader.is_some() && (applied >= recovered || current(metrics))
        }
        Role::Starting | Role::Failed | Role::Stopped => false,
    };
    Status {
        role,
        term: metrics.current_term,
        leader: if role == Role::Failed || role == Role::Stopped { None } else { leader },
        voters,
        last_log: metrics.last_log_index.unwrap_or(0),
        committed: metrics.local_committed.map_or(0, |id| id.index),
        applied,
        serving,
        votes,
        problem,
    }
}

/// Has applied an entry of the present leader, hence everything that was acknowledged before it. The term alone would not
/// do: two leaders may follow each other in one.
fn current(metrics: &Metrics) -> bool {
    metrics.last_applied.is_some_and(|id| id.leader_id == metrics.vote.leader_id)
}

/// Leads and has applied the first entry of its own term, hence everything that was acknowledged before.
fn leads(metrics: &Metrics) -> bool {
    metrics.state == ServerState::Leader
        && metrics.vote.committed
        && metrics.last_applied.is_some_and(|id| id.leader_id == metrics.vote.leader_id)
}

/// Keeps [`Status`] and the counters up to date until Raft has stopped.
pub(super) async fn watch(
    me: Arc<Me>,
    mut metrics: MetricsWatch,
    status_out: watch::Sender<Status>,
    problem: watch::Receiver<Option<String>>,
    counters: Counters,
    recovered: u64,
) {
    let mut problem = problem;
    loop {
        let now = {
            let seen = metrics.borrow_and_update();
            status(&me, &seen, recovered, problem.borrow_and_update().clone())
        };
        count(&counters, &now);
        let ended = matches!(now.role, Role::Failed | Role::Stopped);
        status_out.send_if_modified(|before| {
            report(before, &now);
            if leader_changed(before, &now) {
                counters.leader_changes.inc();
            }
            let changed = *before != now;
            *before = now;
            changed
        });
        if ended {
            return;
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() { return },
            // The join ends once there is nothing left to say.
            Ok(()) = problem.changed() => {}
        }
    }
}

fn leader_changed(before: &Status, now: &Status) -> bool {
    now.leader.is_some() && before.leader.as_ref().map(|l| l.node) != now.leader.as_ref().map(|l| l.node)
}

fn report(before: &Status, now: &Status) {
    if before.role != now.role {
        match now.role {
            Role::Failed => {
                let problem = now.problem.as_deref().unwrap_or("unknown");
                tracing::error!(
                    problem,
                    "this master stopped working: see to the disk of its data directory (room, errors), then start it again"
                );
            }
            role => tracing::info!(?role, term = now.term, "Raft role changed"),
        }
    }
    if leader_changed(before, now)
        && let Some(leader) = &now.leader
    {
        tracing::info!(leader = %leader.rpc, slot = leader.slot, term = now.term, "a master leads");
    }
    if before.problem != now.problem
        && now.role != Role::Failed
        && let Some(problem) = &now.problem
    {
        tracing::warn!(problem, "this master waits");
    }
}

fn count(counters: &Counters, now: &Status) {
    let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
    counters.term.set(number(now.term));
    counters.voters.set(number(now.voters.len() as u64));
    counters.last_log.set(number(now.last_log));
    counters.committed.set(number(now.committed));
    counters.applied.set(number(now.applied));
    counters.role.set(match now.role {
        Role::Starting => 0,
        Role::Learner => 1,
        Role::Follower => 2,
        Role::Leader => 3,
        Role::Failed => 4,
        Role::Stopped => 5,
    });
}

/// Decides whether local reads are current, from what the core last published.
pub(super) struct Lease {
    me: Arc<Me>,
    metrics: MetricsWatch,
    counters: Counters,
    /// Leadership is on its way to another: from then on the followers' promise to wait is void.
    pub(super) handing_over: AtomicBool,
    /// The disk of the log does not answer. The core then waits for it as soon as it hears of another leader, and cannot
    /// say so.
    pub(super) silent: AtomicBool,
}

impl Lease {
    pub(super) fn new(me: Arc<Me>, metrics: MetricsWatch, counters: Counters) -> Lease {
        Lease { me, metrics, counters, handing_over: AtomicBool::new(false), silent: AtomicBool::new(false) }
    }

    /// How long after a quorum's acknowledgement nobody else can have been elected: followers refuse votes for
    /// `election_max` after they heard of us. The clock starts when the acknowledged message was *sent*, and a tenth is
    /// taken off for clocks that run at different speeds.
    fn length(&self) -> Duration {
        self.me.config.election_max * 9 / 10
    }

    /// False for a leader that has not heard from a quorum for so long that another may have been elected: followers wait
    /// for the lease and the shortest election time. What it has begun may never end here, but on another master. The same
    /// holds of one that hands over because its disk is silent.
    fn in_touch(&self) -> bool {
        if self.handing_over.load(Ordering::SeqCst) && self.silent.load(Ordering::SeqCst) {
            return false;
        }
        let metrics = self.metrics.borrow_watched();
        let config = &self.me.config;
        let mut voters = metrics.membership_config.voter_ids();
        let alone = voters.next() == Some(metrics.id) && voters.next().is_none();
        match metrics.state {
            ServerState::Leader if !alone => metrics.last_quorum_acked.is_some_and(|heard| {
                heard.into_inner().elapsed() < config.election_max + config.election_min
            }),
            _ => true,
        }
    }

    /// Keeps `out` at what [`Lease::in_touch`] says.
    pub(super) async fn watch_touch(self: Arc<Lease>, out: watch::Sender<bool>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let now = self.in_touch();
            out.send_if_modified(|before| std::mem::replace(before, now) != now);
            tokio::time::sleep(self.me.config.heartbeat / 2).await;
        }
    }

    /// # Errors
    /// `NotLeader` when another leads or none is known, `Unavailable` when we lead but cannot prove it.
    pub(super) fn check(&self) -> Result<()> {
        let metrics = self.metrics.borrow_watched();
        if metrics.running_state.is_err() || metrics.state != ServerState::Leader {
            return Err(Error::not_leader(
                self.other_leader(&metrics).map_or(String::new(), |leader| leader.rpc),
            ));
        }
        if self.handing_over.load(Ordering::SeqCst) {
            return Err(Error::not_leader(""));
        }
        if !leads(&metrics) {
            return Err(Error::new(Code::Unavailable, "this master was just elected and catches up"));
        }
        let mut voters = metrics.membership_config.voter_ids();
        if voters.next() == Some(metrics.id) && voters.next().is_none() {
            return Ok(());
        }
        match metrics.last_quorum_acked {
            Some(acknowledged) if acknowledged.into_inner().elapsed() < self.length() => Ok(()),
            _ => {
                self.counters.lease_refusals.inc();
                Err(Error::new(Code::Unavailable, "this master has not heard from a quorum lately"))
            }
        }
    }

    fn other_leader(&self, metrics: &Metrics) -> Option<Leader> {
        let node = metrics.current_leader.filter(|node| *node != metrics.id)?;
        Some(self.me.leader(node, metrics.membership_config.get_node(&node)?.0))
    }
}
