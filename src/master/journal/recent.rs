//! What happened lately, numbered by Raft log index, in bounded memory.

use std::collections::VecDeque;

/// The latest items that applied entries brought about. Numbers are log indexes, so they mean the same on every master
/// and after a failover. What no longer fits is forgotten entry by entry; whoever asks for something older is told so.
#[derive(Debug)]
pub(crate) struct Recent<T> {
    items: VecDeque<(u64, T)>,
    /// Items of entries up to this index may have been forgotten.
    forgotten: u64,
    /// The last entry that was applied, whether it brought items or not.
    last: u64,
    capacity: usize,
}

/// Items after some index.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Since<T> {
    /// The items, oldest first; entries are never split.
    pub(crate) items: Vec<T>,
    /// How far they go: ask for what is after this next time.
    pub(crate) up_to: u64,
    /// Some items after the index that was asked for are forgotten.
    pub(crate) overrun: bool,
}

impl<T: Clone> Recent<T> {
    /// Nothing yet; at most `capacity` items are kept.
    pub(crate) fn new(capacity: usize) -> Recent<T> {
        Recent { items: VecDeque::new(), forgotten: 0, last: 0, capacity }
    }

    /// Notes what the entry at `index` brought about. Indexes must not go down.
    pub(crate) fn push(&mut self, index: u64, items: impl IntoIterator<Item = T>) {
        debug_assert!(index >= self.last, "entries are applied in order");
        self.last = index;
        self.items.extend(items.into_iter().map(|item| (index, item)));
        while self.items.len() > self.capacity {
            let Some((oldest, _)) = self.items.pop_front() else { break };
            self.forgotten = oldest;
            while self.items.front().is_some_and(|(index, _)| *index == oldest) {
                self.items.pop_front();
            }
        }
    }

    /// Forgets everything: the state jumped to `index` (a snapshot was installed).
    pub(crate) fn jump(&mut self, index: u64) {
        self.items.clear();
        self.forgotten = index;
        self.last = index;
    }

    /// The last applied entry.
    pub(crate) fn last(&self) -> u64 {
        self.last
    }

    /// What entries after `after` brought about: about `limit` items, and never part of an entry.
    pub(crate) fn since(&self, after: u64, limit: usize) -> Since<T> {
        if after < self.forgotten {
            return Since { items: Vec::new(), up_to: self.last, overrun: true };
        }
        let start = self.items.partition_point(|(index, _)| *index <= after);
        let mut items = Vec::new();
        let mut reached = after;
        for (index, item) in self.items.range(start..) {
            if items.len() >= limit && *index != reached {
                return Since { items, up_to: reached, overrun: false };
            }
            reached = *index;
            items.push(item.clone());
        }
        Since { items, up_to: self.last.max(after), overrun: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_handed_out_whole_and_in_order() {
        let mut recent = Recent::new(10);
        recent.push(3, ["a", "b"]);
        recent.push(4, []);
        recent.push(5, ["c"]);
        assert_eq!(recent.since(0, 1), Since { items: vec!["a", "b"], up_to: 3, overrun: false });
        assert_eq!(recent.since(3, 9), Since { items: vec!["c"], up_to: 5, overrun: false });
        assert_eq!(recent.since(5, 9), Since { items: vec![], up_to: 5, overrun: false });
    }

    #[test]
    fn whoever_falls_behind_is_told() {
        let mut recent = Recent::new(2);
        recent.push(1, ["a", "b"]);
        recent.push(2, ["c"]);
        assert_eq!(recent.since(0, 9), Since { items: vec![], up_to: 2, overrun: true });
        assert_eq!(recent.since(1, 9), Since { items: vec!["c"], up_to: 2, overrun: false });
    }

    #[test]
    fn an_entry_larger_than_the_ring_overruns_everybody_before_it() {
        let mut recent = Recent::new(2);
        recent.push(1, ["a"]);
        recent.push(7, ["b", "c", "d"]);
        assert!(recent.since(6, 9).overrun);
        assert!(!recent.since(7, 9).overrun);
    }

    #[test]
    fn a_snapshot_voids_what_was_known() {
        let mut recent = Recent::new(2);
        recent.push(1, ["a"]);
        recent.jump(40);
        assert!(recent.since(1, 9).overrun);
        assert_eq!(recent.since(40, 9), Since { items: vec![], up_to: 40, overrun: false });
    }
}
