//! The end of the log in memory: what followers and the state machine read next.

use crate::raft::types::{Entry, LogId, weight};
use std::collections::VecDeque;

/// The newest entries, without a gap, limited in bytes. Entries that are not on disk yet always stay.
pub(super) struct Window {
    entries: VecDeque<Entry>,
    bytes: usize,
    limit: usize,
}

impl Window {
    pub(super) fn new(limit: usize) -> Window {
        Window { entries: VecDeque::new(), bytes: 0, limit }
    }

    /// Index of the first entry that is held.
    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.log_id.index)
    }

    pub(super) fn push(&mut self, entry: Entry) {
        self.bytes += weight(&entry);
        self.entries.push_back(entry);
    }

    /// Entries `begin..end` as far as they are held; `begin` must not lie before [`Window::first`].
    pub(super) fn range(&self, begin: u64, end: u64, max_bytes: usize) -> Vec<Entry> {
        let Some(first) = self.first() else { return Vec::new() };
        let skip = usize::try_from(begin.saturating_sub(first)).unwrap_or(usize::MAX);
        let count = usize::try_from(end.saturating_sub(begin.max(first))).unwrap_or(usize::MAX);
        let mut bytes = 0;
        let fits = |entry: &&Entry| {
            let room = bytes == 0 || bytes + weight(entry) <= max_bytes;
            bytes += weight(entry);
            room
        };
        self.entries.iter().skip(skip).take(count).take_while(fits).cloned().collect()
    }

    /// Drops entries after `last`.
    pub(super) fn truncate_after(&mut self, last: Option<u64>) {
        while self.entries.back().is_some_and(|entry| last.is_none_or(|last| entry.log_id.index > last)) {
            if let Some(entry) = self.entries.pop_back() {
                self.bytes -= weight(&entry);
            }
        }
    }

    /// Drops entries up to `upto`.
    pub(super) fn purge(&mut self, upto: u64) {
        while self.first().is_some_and(|first| first <= upto) {
            self.pop_front();
        }
    }

    /// Drops old entries beyond the limit, as far as they are on disk (`flushed`).
    pub(super) fn shrink(&mut self, flushed: Option<&LogId>) {
        let Some(flushed) = flushed else { return };
        // One entry always stays, so that the window never loses its place in the log.
        while self.bytes > self.limit
            && self.entries.len() > 1
            && self.first().is_some_and(|i| i <= flushed.index)
        {
            self.pop_front();
        }
    }

    fn pop_front(&mut self) {
        if let Some(entry) = self.entries.pop_front() {
            self.bytes -= weight(&entry);
        }
    }
}
