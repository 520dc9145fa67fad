//! Giving the lead away: asked to, when stopping, and when this master's disk is nearly full or does not answer.

use super::Node;
use crate::error::{Code, Error, Result};
use crate::raft::Role;
use crate::raft::ground::blocking;
use openraft::Instant;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Between two looks at the disk.
const LOOK: Duration = Duration::from_millis(500);

/// A leader with a full or silent disk that nobody relieved tries again after this.
const HAND_OVER_AGAIN: Duration = Duration::from_secs(60);

/// A disk that keeps the log waiting for so long is silent.
const SILENT: Duration = Duration::from_secs(1);

/// The master that is to take over is asked again after so long: the message may be lost, or come before the last entries.
const ASK_AGAIN: Duration = Duration::from_millis(100);

impl Node {
    /// Hands the lead over while the disk is nearly full, so that changes go on elsewhere.
    pub(super) fn watch_space(&self) {
        let (inner, space, stop) =
            (Arc::downgrade(&self.inner), self.inner.space.clone(), self.inner.tasks.stop());
        let ground = self.inner.me.config.ground.clone();
        let _on = self.inner.handle.enter();
        self.inner.tasks.spawn("space", async move {
            let mut tried = None;
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(LOOK) => {}
                }
                let looked = space.clone();
                if blocking(&ground, move || looked.look()).await.is_err() {
                    return;
                }
                let Some(inner) = inner.upgrade() else { return };
                let stuck = space.low() && !(Node { inner }).be_relieved(&mut tried, "nearly full").await;
                space.stuck.store(stuck, Ordering::SeqCst);
            }
        });
    }

    /// Hands the lead over while the disk keeps the log waiting. A quorum of the others commits without it, but what they
    /// have and it has not piles up in memory, and one more trouble would stop all.
    pub(super) fn watch_disk(&self) {
        let (inner, log, stop) =
            (Arc::downgrade(&self.inner), self.inner.log.clone(), self.inner.tasks.stop());
        let _on = self.inner.handle.enter();
        self.inner.tasks.spawn("disk", async move {
            let (mut tried, mut long, mut was_silent) = (None, false, false);
            loop {
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(SILENT / 4) => {}
                }
                let waiting = log.waiting();
                // Twice in a row: it may have been this process that stood still.
                let was_long = std::mem::replace(&mut long, waiting >= SILENT);
                let silent = was_long && long;
                match (std::mem::replace(&mut was_silent, silent), silent) {
                    (false, true) => tracing::error!(?waiting, "the disk of the Raft log does not answer"),
                    (true, false) => tracing::info!("the disk of the Raft log answers again"),
                    _ => {}
                }
                let Some(inner) = inner.upgrade() else { return };
                inner.lease.silent.store(silent, Ordering::SeqCst);
                if silent {
                    (Node { inner }).be_relieved(&mut tried, "silent").await;
                }
            }
        });
    }

    /// Hands the lead over, if this node has it and did not try lately, because of what its disk is. False when it keeps
    /// the lead.
    async fn be_relieved(self, tried: &mut Option<std::time::Instant>, disk: &str) -> bool {
        if self.inner.status.borrow().role != Role::Leader {
            return true;
        }
        if tried.is_some_and(|tried| tried.elapsed() < HAND_OVER_AGAIN) {
            return false;
        }
        *tried = Some(std::time::Instant::now());
        let handed = self.transfer_leadership().await;
        if let Err(error) = &handed {
            tracing::warn!(%error, "the disk is {disk} and no other master can lead");
        }
        handed.is_ok()
    }

    /// Hands leadership to the most caught-up voter and waits until it leads.
    ///
    /// # Errors
    /// `NotLeader` when this node does not lead, `Unavailable` when no voter took over in time.
    pub async fn transfer_leadership(&self) -> Result<()> {
        if !self.inner.metrics.borrow_watched().state.is_leader() {
            return Err(Error::not_leader(""));
        }
        let Some(target) = self.successor() else {
            return Err(Error::new(Code::Unavailable, "no other master can take over the lead"));
        };
        self.hand_over(target).await
    }

    /// Hands leadership to `target` and waits until a master leads that is not this one.
    async fn hand_over(&self, target: u64) -> Result<()> {
        let inner = &self.inner;
        let limit = inner.me.config.election_max * 2 + Duration::from_millis(500);
        // Before the followers hear of it, since their promise to wait for us ends there.
        inner.lease.handing_over.store(true, Ordering::SeqCst);
        let handed = async {
            let until = tokio::time::Instant::now() + limit;
            let mut status = inner.status.clone();
            while tokio::time::Instant::now() < until {
                inner.raft.trigger().transfer_leader(target).await.map_err(|e| {
                    Error::new(Code::Unavailable, format!("the lead could not be handed over: {e}"))
                })?;
                let moved = status.wait_for(|s| s.role != Role::Leader && s.leader.is_some());
                if matches!(tokio::time::timeout(ASK_AGAIN, moved).await, Ok(Ok(_))) {
                    return Ok(());
                }
            }
            Err(Error::new(Code::Unavailable, format!("no master took over the lead within {limit:?}")))
        }
        .await;
        // A leader that nobody relieved may serve again only under a lease that began after this.
        if handed.is_err() {
            tokio::time::sleep(inner.me.config.election_max * 2).await;
        }
        inner.lease.handing_over.store(false, Ordering::SeqCst);
        handed
    }

    /// As leader, hands leadership to the master at Raft address `address`.
    ///
    /// # Errors
    /// `NotLeader`; `NotFound`; `InvalidArgument` when it does not answer; `Unavailable` when it did not take over.
    pub async fn elect(&self, address: &str) -> Result<()> {
        let inner = &self.inner;
        if !inner.metrics.borrow_watched().state.is_leader() {
            return Err(Error::not_leader(inner.members.leader().map_or(String::new(), |leader| leader.rpc)));
        }
        let target = inner.members.candidate(address).await?;
        if target == inner.me.node().0 {
            return Ok(());
        }
        self.hand_over(target).await?;
        match inner.members.leader() {
            Some(leader) if leader.node.0 != target => {
                Err(Error::new(Code::Unavailable, format!("{} was elected instead", leader.raft)))
            }
            _ => Ok(()),
        }
    }

    /// The voter that has the most of the log among those heard from lately.
    pub(in crate::raft) fn successor(&self) -> Option<u64> {
        let lately = self.inner.me.config.election_max;
        let metrics = self.inner.metrics.borrow_watched();
        let replication = metrics.replication.as_ref()?;
        let heard = |node: &u64| {
            let last = metrics.heartbeat.as_ref()?.get(node)?.as_ref()?;
            (last.elapsed() < lately).then_some(())
        };
        metrics
            .membership_config
            .voter_ids()
            .filter(|node| *node != metrics.id && heard(node).is_some())
            .max_by_key(|node| replication.get(node).cloned().flatten())
    }
}
