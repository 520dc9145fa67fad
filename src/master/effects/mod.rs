//! Side effects on under-storages: done by the leader, announced and finished in the log.
//!
//! A command that touches an under-storage is applied as an *intent*. The leader carries intents out, each an idempotent
//! operation, and logs `FinishIntent` with the outcome; the command takes effect, or fails, with that entry. A new leader
//! finds the intents of the old one in the namespace and carries them out again. Callers wait for the end in
//! [`Journal::propose`], whichever master leads by then.

mod operation;
mod upload;

pub(crate) use upload::Uploads;

use crate::journal::{Journal, Op};
use crate::metrics::MasterMetrics;
use crate::mounts::{Connectors, of_storage};
use goosefs_core::id::IntentId;
use goosefs_core::proto::internal::{Caller, Fingerprint};
use goosefs_core::proto::journal::{FinishIntent, Intent, entry::Command};
use goosefs_core::raft::Role;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::time::Instant;

const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// Intents are looked for at least so often, whether or not somebody woke us.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Carries out intents while this master leads.
pub(crate) struct Effects {
    journal: Arc<Journal>,
    connectors: Arc<Connectors>,
    uploads: Uploads,
    tasks: Tasks,
    deadline: Duration,
    permits: Arc<Semaphore>,
    running: Mutex<HashSet<IntentId>>,
    metrics: Arc<MasterMetrics>,
}

impl Effects {
    pub(crate) fn new(
        journal: Arc<Journal>,
        connectors: Arc<Connectors>,
        uploads: Uploads,
        tasks: Tasks,
        (deadline, concurrency): (Duration, usize),
        metrics: Arc<MasterMetrics>,
    ) -> Arc<Effects> {
        let permits = Arc::new(Semaphore::new(concurrency.max(1)));
        Arc::new(Effects {
            journal,
            connectors,
            uploads,
            tasks,
            deadline,
            permits,
            running: Mutex::default(),
            metrics,
        })
    }

    /// Looks for intents whenever there is a new one or this master begins to lead. Runs until the role stops.
    pub(crate) async fn run(self: Arc<Self>) {
        let stop = self.tasks.stop();
        let mut status = self.journal.node().status();
        loop {
            status.borrow_and_update();
            if self.journal.leads() {
                self.start_missing();
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.journal.state().new_intent() => {}
                changed = status.changed() => if changed.is_err() { return },
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
        }
    }

    fn start_missing(self: &Arc<Self>) {
        let intents = self.journal.state().read().intents();
        for intent in intents {
            let id = IntentId(intent.id);
            if !self.running.lock().insert(id) {
                continue;
            }
            // One that ended since we looked is not to be done again: what it made may be renamed or removed by now.
            if self.journal.state().read().intent(id).is_none() {
                self.running.lock().remove(&id);
                continue;
            }
            let effects = self.clone();
            self.tasks.spawn(format!("effect/{id}"), async move {
                effects.carry_out(&intent).await;
                effects.running.lock().remove(&id);
            });
        }
    }

    async fn carry_out(&self, intent: &Intent) {
        let stop = self.tasks.stop();
        let Ok(_permit) = self.permits.acquire().await else { return };
        let outcome = tokio::select! {
            outcome = self.until_done(intent) => outcome,
            () = stop.cancelled() => return,
        };
        let Some(outcome) = outcome else { return };
        match &outcome {
            Ok(_) => self.metrics.effects.inc(),
            Err(error) => {
                self.metrics.effects_failed.inc();
                if tried_once(intent) {
                    tracing::info!(intent = intent.id, %error, "an upload failed; it is tried again later");
                } else {
                    tracing::warn!(intent = intent.id, %error, "side effect on an under-storage failed for good");
                }
                0
            }
        };
        let (persisted, error) = match outcome {
            Ok(persisted) => (persisted, None),
            Err(error) => (None, Some(error.to_wire())),
        };
        let finish = FinishIntent { intent: intent.id, error, persisted };
        self.log_end(finish).await;
    }

    /// Tries until it is done or has failed for good; `None` when this master no longer leads.
    async fn until_done(&self, intent: &Intent) -> Option<Result<Option<Fingerprint>>> {
        let started = Instant::now();
        let mut pause = FIRST_PAUSE;
        loop {
            while self.journal.check_lease().is_err() {
                // On a busy machine the lease of a leader comes and goes.
                if !self.journal.leads() {
                    return None;
                }
                tokio::time::sleep(FIRST_PAUSE).await;
            }
            // What a deposed leader still does may meet what the next one has made since.
            let attempted = tokio::select! {
                attempted = self.attempt(intent) => attempted,
                () = self.deposed() => return None,
            };
            let error = match attempted {
                Ok(persisted) => return Some(Ok(persisted)),
                Err(error) => error,
            };
            let deadline = if tried_once(intent) { Duration::ZERO } else { self.deadline };
            if !may_pass(error.code) || started.elapsed() + pause > deadline {
                return Some(Err(of_storage(error)));
            }
            tracing::debug!(intent = intent.id, %error, ?pause, "side effect failed, trying again");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Resolves when this master no longer leads.
    async fn deposed(&self) {
        let mut status = self.journal.node().status();
        // The node is gone when the watch is, and leads nothing.
        let _ = status.wait_for(|status| status.role != Role::Leader).await;
    }

    /// Logs how an intent ended, again and again while that may help. Whoever leads next would carry it out again.
    async fn log_end(&self, finish: FinishIntent) {
        let stop = self.tasks.stop();
        while self.journal.leads() && !stop.is_cancelled() {
            let command = Command::FinishIntent(finish.clone());
            match self.journal.begin(command, &Caller::default(), Op::Unnumbered).await {
                Err(error) if error.code.retryable() => tokio::time::sleep(FIRST_PAUSE).await,
                // An error that stays is the command's own answer, for whoever waits for it.
                Ok(_) | Err(_) => return,
            }
        }
    }
}

/// Whether who announced it comes back to it by himself.
fn tried_once(intent: &Intent) -> bool {
    let command = intent.entry.as_ref().and_then(|entry| entry.command.as_ref());
    matches!(command, Some(Command::PersistFile(persist)) if persist.once)
}

/// Whether an operation on an under-storage that failed like this may succeed a moment later.
fn may_pass(code: Code) -> bool {
    code.retryable() || matches!(code, Code::Ufs | Code::Io)
}

fn malformed(intent: &Intent) -> Error {
    Error::new(Code::Internal, format!("intent {} names no effect", intent.id))
}
