//! Reads and writes that wait because no worker takes them, for whoever tells people about it.
//!
//! Whoever waits holds a [`Wait`] for as long; [`Waits::longest`] is what commands show on standard error.

use goosefs_core::Error;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// A read or write that no worker has taken yet.
#[derive(Clone, Debug)]
pub struct WorkerWait {
    /// When it began.
    pub since: Instant,
    /// Why it still waits.
    pub last: Error,
}

/// Those of one client. Cheap to clone.
#[derive(Clone, Default, Debug)]
pub(crate) struct Waits {
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Default, Debug)]
struct Waiting {
    next: u64,
    all: BTreeMap<u64, WorkerWait>,
}

impl Waits {
    /// Somebody waits since `since` because of `last`.
    pub(crate) fn begin(&self, since: Instant, last: Error) -> Wait {
        let mut waiting = self.waiting.lock();
        let number = waiting.next;
        waiting.next += 1;
        waiting.all.insert(number, WorkerWait { since, last });
        Wait { waits: self.clone(), number }
    }

    /// The one that has waited longest.
    pub(crate) fn longest(&self) -> Option<WorkerWait> {
        self.waiting.lock().all.values().min_by_key(|wait| wait.since).cloned()
    }
}

/// One that waits; it no longer does when this is dropped.
#[derive(Debug)]
pub(crate) struct Wait {
    waits: Waits,
    number: u64,
}

impl Drop for Wait {
    fn drop(&mut self) {
        self.waits.waiting.lock().all.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::Code;
    use std::time::Duration;

    #[test]
    fn the_longest_wait_is_told_until_it_ends() {
        let waits = Waits::default();
        let now = Instant::now();
        let error = |text: &str| Error::new(Code::Unavailable, text);
        let second = waits.begin(now, error("second"));
        let first = waits.begin(now.checked_sub(Duration::from_secs(1)).unwrap(), error("first"));
        assert_eq!(waits.longest().unwrap().last.message, "first");
        drop(first);
        assert_eq!(waits.longest().unwrap().last.message, "second");
        drop(second);
        assert!(waits.longest().is_none());
    }
}
