//! Following a roster: every master learns the addresses it lists, and the leader brings the quorum to it.

use super::Node;
use crate::error::{Error, Result};
use crate::raft::Roster;
use crate::raft::roster::Step;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::Arc;
use std::time::Duration;

/// Between two looks when nothing was changed.
const LOOK: Duration = Duration::from_secs(1);

/// Between two changes.
const NEXT: Duration = Duration::from_millis(100);

/// What was said last, so that it is said once.
type Told = Option<String>;

impl Node {
    /// Keeps to the roster of the configuration, if it has one.
    pub(super) fn follow_roster(&self) {
        let Some(mut roster) = self.inner.me.config.roster.clone() else { return };
        let (inner, stop) = (Arc::downgrade(&self.inner), self.inner.tasks.stop());
        let _on = self.inner.handle.enter();
        self.inner.tasks.spawn("roster", async move {
            let mut told = None;
            loop {
                let wanted = roster.borrow_and_update().clone();
                let Some(inner) = inner.upgrade() else { return };
                let changed = tokio::select! {
                    () = stop.cancelled() => return,
                    changed = (Node { inner }).approach(&wanted, &mut told) => changed,
                };
                tokio::select! {
                    () = stop.cancelled() => return,
                    Ok(()) = roster.changed() => {}
                    () = tokio::time::sleep(if changed { NEXT } else { LOOK }) => {}
                }
            }
        });
    }

    /// One step towards what `roster` says; whether one was made.
    async fn approach(self, roster: &Roster, told: &mut Told) -> bool {
        let me = &self.inner.me;
        me.follow(roster).await;
        let Some(mark) = me.mark() else { return false };
        if let Err(error) = roster.check(mark) {
            // The next start is refused; what runs is not torn down.
            say(
                told,
                error.to_string(),
                || tracing::error!(%error, "the list of masters is not about this master's data"),
            );
            return false;
        }
        if !self.inner.metrics.borrow_watched().state.is_leader() || !self.inner.members.settled() {
            return false;
        }
        let members = self.inner.members.slots();
        // Those that were listed and never came are not waited for any more.
        let gone: Vec<u32> =
            me.others().filter(|slot| !roster.lists(*slot) && !members.contains(slot)).collect();
        for slot in gone {
            me.edit_addresses(|ours, now_ms| ours.set_removed(slot, true, now_ms)).await;
        }
        let steps = roster.steps(me.config.slot, &members);
        if steps.is_empty() {
            *told = None;
        }
        for step in steps {
            match self.make(step, roster).await {
                Ok(()) => return true,
                Err(error) => tell(step, roster, told, &error),
            }
        }
        false
    }

    async fn make(&self, step: Step, roster: &Roster) -> Result<()> {
        let inner = &self.inner;
        match step {
            Step::TakeIn(slot) => {
                let address = roster.raft.get(slot as usize).map(String::as_str).unwrap_or_default();
                inner.members.take_in_at(slot, address).await
            }
            Step::TakeOut(slot) => {
                let address = inner.me.raft_address(slot).unwrap_or_default();
                inner.members.take_out(slot, &address).await
            }
            Step::HandOver => self.transfer_leadership().await,
        }
    }
}

fn tell(step: Step, roster: &Roster, told: &mut Told, error: &Error) {
    let file = roster.file.display();
    say(told, format!("{step:?} {error}"), || match step {
        // It may not have been started yet.
        Step::TakeIn(slot) => {
            tracing::info!(slot, %file, %error, "a master that the list gained is waited for")
        }
        Step::TakeOut(slot) => {
            tracing::warn!(slot, %file, %error, "a master that the list lost cannot be taken out of the quorum yet");
        }
        Step::HandOver => {
            tracing::warn!(%file, %error, "this master is no longer listed, and nobody takes over the lead yet");
        }
    });
}

fn say(told: &mut Told, text: String, log: impl FnOnce()) {
    if told.as_ref() != Some(&text) {
        log();
        *told = Some(text);
    }
}
