//! Opens that race with renames and removals of the same name.
//!
//! The kernel looks a name up, asks for attributes if its own may be old, and opens what it found; in between the file may
//! be replaced and its bytes dropped. Answered with ESTALE, it tries once more, and a program sees the second ESTALE. So the
//! look-up of a thread that has just lost such a race takes hold of the bytes before it answers ([`Races::hold`]), and what
//! follows finds them, whatever has become of the name.
//!
//! The other way round, a call of this mount that takes a name off a file keeps the bytes of whoever has the file open
//! ([`super::nameless`]). An open that is just being made is not seen by it; so the open waits, once it can be seen, for
//! the calls that began before ([`Races::settled`]), and then asks whether the file is still there.
//!
//! Locks are held for look-ups only. Everything here is bounded in number and time.

use super::node;
use crate::backend::Source;
use goosefs_core::proto::internal::Attr;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// A thread that lost a race tries again at once, as far as a busy machine lets it.
const AGAIN: Duration = Duration::from_secs(5);

/// An open follows its look-up at once.
const HELD: Duration = Duration::from_secs(5);

/// Threads and held files remembered at a time.
const BOUND: usize = 64;

/// The races of one mount.
#[derive(Default)]
pub(crate) struct Races {
    state: Mutex<State>,
    ended: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Calls under way that take a name off a file: off which FUSE node, once that is known.
    taking: BTreeMap<u64, Option<u64>>,
    /// Threads that were told ESTALE, and when.
    lost: VecDeque<(u32, Duration)>,
    held: VecDeque<Held>,
}

/// A file and its bytes, since when.
struct Held {
    attr: Attr,
    bytes: Arc<dyn Source>,
    since: Duration,
}

/// A call that takes a name off a file, until it is dropped.
pub(crate) struct Taking {
    races: Arc<Races>,
    number: u64,
}

impl Taking {
    /// The file is this one.
    pub(crate) fn is_of(&self, node: u64) {
        if let Some(taking) = self.races.state.lock().taking.get_mut(&self.number) {
            *taking = Some(node);
        }
        self.races.ended.send_replace(());
    }
}

impl Drop for Taking {
    fn drop(&mut self) {
        self.races.state.lock().taking.remove(&self.number);
        self.races.ended.send_replace(());
    }
}

impl Races {
    /// A call that will take a name off some file begins.
    pub(crate) fn take(self: &Arc<Races>) -> Taking {
        let mut state = self.state.lock();
        let number = state.next;
        state.next += 1;
        state.taking.insert(number, None);
        Taking { races: self.clone(), number }
    }

    /// Waits until the calls under way that may take the name of `node` have ended; not for those that begin meanwhile.
    pub(crate) async fn settled(&self, node: u64) {
        let mut ended = self.ended.subscribe();
        let end = self.state.lock().next;
        loop {
            let under_way = {
                let state = self.state.lock();
                state.taking.range(..end).any(|(_, of)| of.is_none_or(|of| of == node))
            };
            if !under_way || ended.changed().await.is_err() {
                return;
            }
        }
    }

    /// This thread is told ESTALE.
    pub(crate) fn lost(&self, pid: u32, now: Duration) {
        let mut state = self.state.lock();
        state.lost.retain(|(other, since)| *other != pid && now.saturating_sub(*since) < AGAIN);
        if state.lost.len() == BOUND {
            state.lost.pop_front();
        }
        state.lost.push_back((pid, now));
    }

    /// Whether this thread was told so a moment ago.
    pub(crate) fn has_lost(&self, pid: u32, now: Duration) -> bool {
        let state = self.state.lock();
        state.lost.iter().any(|(other, since)| *other == pid && now.saturating_sub(*since) < AGAIN)
    }

    /// Holds the bytes of a file, once, for the open that follows.
    pub(crate) fn hold(&self, attr: Attr, bytes: Arc<dyn Source>, now: Duration) {
        let node = node::of(&attr);
        let over = {
            let mut state = self.state.lock();
            let before = state.held.iter().position(|held| node::of(&held.attr) == node);
            let before = before.or((state.held.len() == BOUND).then_some(0));
            let over = before.and_then(|at| state.held.remove(at));
            state.held.push_back(Held { attr, bytes, since: now });
            over
        };
        drop(over);
    }

    /// A file with its bytes, if they are held. For one that is gone: of any other, masters may know newer bytes.
    pub(crate) fn held(&self, node: u64, now: Duration) -> Option<(Attr, Arc<dyn Source>)> {
        let state = self.state.lock();
        let found = state.held.iter().find(|held| node::of(&held.attr) == node)?;
        (now.saturating_sub(found.since) < HELD).then(|| (found.attr.clone(), found.bytes.clone()))
    }

    /// Lets go of what nobody opened.
    pub(crate) fn expire(&self, now: Duration) {
        let gone: Vec<_> = {
            let mut state = self.state.lock();
            let old = state.held.partition_point(|held| now.saturating_sub(held.since) >= HELD);
            state.held.drain(..old).collect()
        };
        drop(gone);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn only_the_thread_that_lost_and_only_for_a_moment_is_remembered() {
        let races = Races::default();
        races.lost(7, seconds(10));
        assert!(races.has_lost(7, seconds(10)));
        assert!(!races.has_lost(8, seconds(10)));
        assert!(!races.has_lost(7, seconds(15)));
        for pid in 100..100 + 2 * BOUND as u32 {
            races.lost(pid, seconds(20));
        }
        assert_eq!(races.state.lock().lost.len(), BOUND);
    }

    #[tokio::test]
    async fn an_open_waits_for_the_calls_before_it_that_may_take_its_name_and_no_others() {
        let races = Arc::new(Races::default());
        let soon = Duration::from_millis(10);
        races.settled(1).await;
        let (mine, other) = (races.take(), races.take());
        assert!(tokio::time::timeout(soon, races.settled(1)).await.is_err(), "either may be of node 1");
        mine.is_of(1);
        other.is_of(2);
        assert!(tokio::time::timeout(soon, races.settled(1)).await.is_err());
        races.settled(3).await;
        let waiting = tokio::spawn({
            let races = races.clone();
            async move { races.settled(1).await }
        });
        tokio::task::yield_now().await;
        let _later = races.take();
        drop(mine);
        waiting.await.expect("not for the later one");
    }
}
