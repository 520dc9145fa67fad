//! The replicated state as Raft drives it: the namespace behind a lock, and what its changes set off.

use super::recent::{Recent, Since};
use super::settled::Settled;
use crate::namespace::{Namespace, Outcome};
use bytes::Bytes;
use goosefs_core::id::IntentId;
use goosefs_core::proto::internal::Change;
use goosefs_core::proto::journal::{Applied, Entry, entry::Command};
use goosefs_core::raft::{Frozen, Machine};
use goosefs_core::{Code, Error, Result};
use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use prost::Message;
use std::io::Read;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// Changes that are kept for clients which poll.
const CHANGES_KEPT: usize = 64 * 1024;

/// Dropped contents that are kept for workers which were away for a while.
const DROPS_KEPT: usize = 256 * 1024;

/// Entries that are applied before readers get their turn.
const ENTRIES_PER_LOCK: usize = 32;

/// The namespace and its followers. One per master; Raft is the only writer.
pub struct State {
    namespace: RwLock<Namespace>,
    changes: Mutex<Recent<Change>>,
    dropped: Mutex<Recent<u64>>,
    /// The last applied index, for those who wait for news.
    applied: watch::Sender<u64>,
    settled: Settled,
    /// How many side effects have ended, for commands that one of them holds up.
    ended: watch::Sender<u64>,
    /// Woken by every new intent.
    intents: Notify,
    /// Woken by every new preload.
    preloads: Notify,
}

impl State {
    /// An empty one.
    #[allow(clippy::new_without_default)]
    pub fn new() -> State {
        State {
            namespace: RwLock::new(Namespace::new()),
            changes: Mutex::new(Recent::new(CHANGES_KEPT)),
            dropped: Mutex::new(Recent::new(DROPS_KEPT)),
            applied: watch::Sender::new(0),
            settled: Settled::default(),
            ended: watch::Sender::new(0),
            intents: Notify::new(),
            preloads: Notify::new(),
        }
    }

    /// The namespace, for reading. Hold it for a look only: applying waits meanwhile.
    pub fn read(&self) -> RwLockReadGuard<'_, Namespace> {
        self.namespace.read()
    }

    /// Contents dropped after log index `after`.
    pub(crate) fn dropped_since(&self, after: u64, limit: usize) -> Since<u64> {
        self.dropped.lock().since(after, limit)
    }

    /// What changed after log index `after`, waiting up to `wait` for something. Zero asks where we are.
    pub(crate) async fn changes_since(&self, after: u64, wait: Duration, limit: usize) -> Since<Change> {
        if after == 0 {
            let up_to = self.changes.lock().last();
            return Since { items: Vec::new(), up_to, overrun: false };
        }
        let mut applied = self.applied.subscribe();
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            applied.borrow_and_update();
            let since = self.changes.lock().since(after, limit);
            if since.overrun || !since.items.is_empty() {
                return since;
            }
            match tokio::time::timeout_at(deadline, applied.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) | Err(_) => return since,
            }
        }
    }

    /// Waits until a new intent was applied.
    pub(crate) async fn new_intent(&self) {
        self.intents.notified().await;
    }

    /// Waits until a new preload was applied.
    pub(crate) async fn new_preload(&self) {
        self.preloads.notified().await;
    }

    /// Changes whenever a side effect has ended.
    pub(crate) fn ended(&self) -> watch::Receiver<u64> {
        self.ended.subscribe()
    }

    /// Waits until intent `id` is finished and gives its command's answer.
    ///
    /// # Errors
    /// `Unavailable` when the answer is no longer known here: ask again with the same operation id.
    pub(crate) async fn settled(&self, id: IntentId) -> Result<Applied> {
        // The namespace is asked while we are on the list already, so an end in between is not missed.
        let waiting = self.settled.wait(id);
        if let Some(known) = self.settled.known(id) {
            return Ok(known);
        }
        if self.read().intent(id).is_none() && self.settled.known(id).is_none() {
            return Err(Error::new(
                Code::Unavailable,
                format!("the outcome of side effect {id} is not known to this master"),
            ));
        }
        waiting
            .await
            .map_err(|_| Error::new(Code::Unavailable, format!("this master lost sight of side effect {id}")))
    }

    fn apply_some(&self, entries: &[(u64, Bytes)], answers: &mut Vec<Bytes>) {
        let mut outcomes = Vec::with_capacity(entries.len());
        {
            let mut namespace = self.namespace.write();
            for (index, bytes) in entries {
                outcomes.push(apply_one(&mut namespace, *index, bytes));
            }
        }
        for ((index, _), (finished, outcome)) in entries.iter().zip(outcomes) {
            let Outcome { applied, changes } = outcome;
            self.changes.lock().push(*index, changes);
            self.dropped.lock().push(*index, applied.dropped_contents.iter().copied());
            if let Some(finished) = finished {
                self.settled.settle(finished, &applied);
                self.ended.send_modify(|ended| *ended += 1);
            }
            if applied.intent != 0 {
                self.intents.notify_one();
            }
            if applied.preload != 0 {
                self.preloads.notify_one();
            }
            answers.push(Bytes::from(applied.encode_to_vec()));
            self.applied.send_replace(*index);
        }
    }
}

/// Applies one entry; says which intent it finished, if any.
fn apply_one(namespace: &mut Namespace, index: u64, bytes: &Bytes) -> (Option<IntentId>, Outcome) {
    match Entry::decode(bytes.clone()) {
        Ok(entry) => {
            let finished = match &entry.command {
                Some(Command::FinishIntent(finish)) => Some(IntentId(finish.intent)),
                _ => None,
            };
            (finished, namespace.apply(index, &entry))
        }
        Err(cause) => {
            // Every master reads the same bytes, so every master answers the same.
            tracing::error!(index, %cause, "log entry cannot be decoded; it is skipped");
            let error = Error::new(Code::Corrupt, format!("log entry {index} cannot be decoded"));
            let applied = Applied { error: Some(error.to_wire()), ..Default::default() };
            (None, Outcome { applied, changes: Vec::new() })
        }
    }
}

impl Machine for State {
    fn apply(&self, entries: &[(u64, Bytes)]) -> Vec<Bytes> {
        let mut answers = Vec::with_capacity(entries.len());
        for some in entries.chunks(ENTRIES_PER_LOCK) {
            self.apply_some(some, &mut answers);
        }
        answers
    }

    fn freeze(&self) -> Box<dyn Frozen> {
        self.namespace.read().freeze()
    }

    fn restore(&self, image: &mut dyn Read) -> Result<()> {
        let restored = Namespace::restore(image)?;
        let index = restored.last_index();
        *self.namespace.write() = restored;
        self.changes.lock().jump(index);
        self.dropped.lock().jump(index);
        self.settled.lose_all();
        self.intents.notify_one();
        self.applied.send_replace(index);
        Ok(())
    }
}
