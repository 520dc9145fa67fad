//! How side effects ended, for the callers that wait for them.
//!
//! A command with a side effect is answered when its `FinishIntent` is applied, on whichever master the caller waits by
//! then. The latest answers are kept, because an intent may end before its caller begins to wait.

use goosefs_core::id::IntentId;
use goosefs_core::proto::journal::Applied;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use tokio::sync::oneshot;

/// Answers kept for callers that come late.
const KEPT: usize = 4096;

#[derive(Default)]
pub(crate) struct Settled {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiting: HashMap<IntentId, Vec<oneshot::Sender<Applied>>>,
    latest: VecDeque<(IntentId, Applied)>,
}

impl Settled {
    /// Resolves when `id` is settled from now on; fails when this master loses sight of it.
    pub(crate) fn wait(&self, id: IntentId) -> oneshot::Receiver<Applied> {
        let (tell, told) = oneshot::channel();
        let mut inner = self.inner.lock();
        inner.waiting.retain(|_, callers| {
            callers.retain(|caller| !caller.is_closed());
            !callers.is_empty()
        });
        inner.waiting.entry(id).or_default().push(tell);
        told
    }

    /// The answer, if `id` was settled lately.
    pub(crate) fn known(&self, id: IntentId) -> Option<Applied> {
        let inner = self.inner.lock();
        inner.latest.iter().rev().find(|(known, _)| *known == id).map(|(_, applied)| applied.clone())
    }

    /// `id` ended with `applied`.
    pub(crate) fn settle(&self, id: IntentId, applied: &Applied) {
        let mut inner = self.inner.lock();
        for caller in inner.waiting.remove(&id).unwrap_or_default() {
            // A caller that gave up is no concern of ours.
            let _ = caller.send(applied.clone());
        }
        inner.latest.push_back((id, applied.clone()));
        if inner.latest.len() > KEPT {
            inner.latest.pop_front();
        }
    }

    /// The state jumped: what was waited for may have ended unseen.
    pub(crate) fn lose_all(&self) {
        *self.inner.lock() = Inner::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn early_and_late_callers_get_the_same_answer() {
        let settled = Settled::default();
        let early = settled.wait(IntentId(7));
        let other = settled.wait(IntentId(8));
        let answer = Applied { mount: 3, ..Default::default() };
        settled.settle(IntentId(7), &answer);
        assert_eq!(early.await.unwrap(), answer);
        assert_eq!(settled.known(IntentId(7)), Some(answer));
        assert_eq!(settled.known(IntentId(8)), None);
        settled.lose_all();
        assert!(other.await.is_err());
    }

    #[test]
    fn callers_that_gave_up_are_forgotten() {
        let settled = Settled::default();
        drop(settled.wait(IntentId(1)));
        let _kept = settled.wait(IntentId(2));
        assert_eq!(settled.inner.lock().waiting.len(), 1);
    }
}
