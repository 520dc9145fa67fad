//! The order in which cached blocks go.
//!
//! A [`Policy`] ranks candidates; `select` takes the lowest ranks that free enough. What may be a candidate at all
//! (not pinned, not leased, not unpersisted, nobody reading) is the index's business.

use crate::id::{BlockId, ContainerId};
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// What goes in one piece.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Unit {
    /// One block, by punching it out of its container.
    Block(BlockId),
    /// A whole container, by unlinking it: its descriptor was handed out once.
    Container(ContainerId),
}

/// Something that may go.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// What it is.
    pub unit: Unit,
    /// Disk space it would free.
    pub bytes: u64,
    /// When it was last asked for.
    pub last_access_ms: u64,
}

/// Ranks candidates.
pub trait Policy: Send + Sync + 'static {
    /// The lowest rank goes first.
    fn rank(&self, candidate: &Candidate) -> u64;
}

/// Least recently used first.
#[derive(Clone, Copy, Debug, Default)]
pub struct Lru;

impl Policy for Lru {
    fn rank(&self, candidate: &Candidate) -> u64 {
        candidate.last_access_ms
    }
}

/// Collects candidates as they are found and keeps only the lowest ranks that together free enough.
#[derive(Debug)]
pub struct Selection {
    need: u64,
    total: u64,
    kept: BinaryHeap<Ranked>,
}

#[derive(Debug, PartialEq, Eq)]
struct Ranked {
    rank: u64,
    candidate: Candidate,
}

impl Ord for Ranked {
    fn cmp(&self, other: &Ranked) -> Ordering {
        (self.rank, self.candidate.unit).cmp(&(other.rank, other.candidate.unit))
    }
}

impl PartialOrd for Ranked {
    fn partial_cmp(&self, other: &Ranked) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Selection {
    /// Nothing selected yet; `need` bytes are to be freed.
    #[must_use]
    pub fn new(need: u64) -> Selection {
        Selection { need, total: 0, kept: BinaryHeap::new() }
    }

    /// Whether a candidate would be selected, of those that were offered so far.
    #[must_use]
    pub fn wants(&self, policy: &dyn Policy, candidate: &Candidate) -> bool {
        let lower = |highest: &Ranked| {
            (policy.rank(candidate), candidate.unit) < (highest.rank, highest.candidate.unit)
        };
        candidate.bytes > 0 && (self.total < self.need || self.kept.peek().is_some_and(lower))
    }

    /// Considers one candidate.
    pub fn offer(&mut self, policy: &dyn Policy, candidate: Candidate) {
        if !self.wants(policy, &candidate) {
            return;
        }
        self.total += candidate.bytes;
        self.kept.push(Ranked { rank: policy.rank(&candidate), candidate });
        while let Some(highest) = self.kept.peek()
            && self.total - highest.candidate.bytes >= self.need
        {
            self.total -= highest.candidate.bytes;
            self.kept.pop();
        }
    }

    /// What goes, lowest rank first.
    #[must_use]
    pub fn finish(self) -> Vec<Unit> {
        self.kept.into_sorted_vec().into_iter().map(|ranked| ranked.candidate.unit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(block: u64, bytes: u64, last_access_ms: u64) -> Candidate {
        Candidate { unit: Unit::Block(BlockId(block)), bytes, last_access_ms }
    }

    #[test]
    fn the_least_recently_used_go_and_no_more_than_needed() {
        let mut selection = Selection::new(25);
        for (block, last_access_ms) in [(1, 50), (2, 10), (3, 40), (4, 20), (5, 30)] {
            selection.offer(&Lru, candidate(block, 10, last_access_ms));
        }
        let order = [2, 4, 5].map(|block| Unit::Block(BlockId(block)));
        assert_eq!(selection.finish(), order);
    }

    #[test]
    fn what_is_wanted_is_what_would_be_kept() {
        let mut selection = Selection::new(20);
        for (block, bytes, last_access_ms, wanted) in
            [(1, 10, 50, true), (2, 0, 1, false), (3, 10, 40, true), (4, 10, 60, false), (5, 10, 45, true)]
        {
            let candidate = candidate(block, bytes, last_access_ms);
            assert_eq!(selection.wants(&Lru, &candidate), wanted, "{candidate:?}");
            selection.offer(&Lru, candidate);
        }
        assert_eq!(selection.finish(), [3, 5].map(|block| Unit::Block(BlockId(block))));
    }

    #[test]
    fn everything_goes_when_it_is_not_enough() {
        let mut selection = Selection::new(1000);
        selection.offer(&Lru, candidate(1, 10, 1));
        selection.offer(&Lru, candidate(2, 0, 1));
        assert_eq!(selection.finish(), [Unit::Block(BlockId(1))]);
    }
}
