//! Backing files that nobody has open, kept for the next open of the same file.
//!
//! Every one of them keeps its worker from evicting the file, so there are bounds on their count, their bytes and how
//! long they lie unused; large files are not kept, because for them one round trip per open is nothing, and a few of them
//! would leave a small cache no room for what is read next.

use super::Backing;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// What may be kept.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Most files.
    pub count: usize,
    /// Most bytes of one file.
    pub largest: u64,
    /// Most bytes of all files together.
    pub bytes: u64,
    /// A file unused for so long is given up.
    pub idle: Duration,
}

#[derive(Debug)]
struct Entry {
    backing: Arc<Backing>,
    turn: u64,
    since: Duration,
}

/// An LRU of closed backing files, by FUSE node id.
#[derive(Debug)]
pub struct Kept {
    bounds: Bounds,
    entries: HashMap<u64, Entry>,
    order: BTreeMap<u64, u64>,
    next: u64,
    bytes: u64,
}

impl Kept {
    /// Nothing is kept yet.
    #[must_use]
    pub fn new(bounds: Bounds) -> Kept {
        Kept { bounds, entries: HashMap::new(), order: BTreeMap::new(), next: 0, bytes: 0 }
    }

    /// Keeps `backing` for the next open of `node`, giving up the longest unused ones to stay within the bounds.
    /// Returns what was given up; dropping it tells kernel and worker.
    pub fn put(&mut self, node: u64, backing: Arc<Backing>, now: Duration) -> Vec<Arc<Backing>> {
        let mut gone: Vec<Arc<Backing>> = self.take(node).into_iter().collect();
        if backing.length() > self.bounds.largest || !backing.is_alive() {
            gone.push(backing);
            return gone;
        }
        self.bytes += backing.length();
        self.order.insert(self.next, node);
        self.entries.insert(node, Entry { backing, turn: self.next, since: now });
        self.next += 1;
        while self.entries.len() > self.bounds.count || self.bytes > self.bounds.bytes {
            let Some((_, oldest)) = self.order.first_key_value() else { break };
            gone.extend(self.take(*oldest));
        }
        gone
    }

    /// Takes the backing file of `node` out.
    pub fn take(&mut self, node: u64) -> Option<Arc<Backing>> {
        let entry = self.entries.remove(&node)?;
        self.order.remove(&entry.turn);
        self.bytes -= entry.backing.length();
        Some(entry.backing)
    }

    /// Gives up what lay unused for too long, and what its worker no longer honours.
    pub fn expire(&mut self, now: Duration) -> Vec<Arc<Backing>> {
        let over: Vec<u64> = self
            .entries
            .iter()
            .filter(|(_, entry)| {
                now.saturating_sub(entry.since) >= self.bounds.idle || !entry.backing.is_alive()
            })
            .map(|(node, _)| *node)
            .collect();
        over.into_iter().filter_map(|node| self.take(node)).collect()
    }

    /// Gives up everything.
    pub fn clear(&mut self) -> Vec<Arc<Backing>> {
        self.order.clear();
        self.bytes = 0;
        self.entries.drain().map(|(_, entry)| entry.backing).collect()
    }

    /// Files kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is kept.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernel::testing::FakeKernel;

    const BOUNDS: Bounds = Bounds { count: 3, largest: 70, bytes: 100, idle: Duration::from_secs(10) };
    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn the_longest_unused_goes_first() {
        let kernel = FakeKernel::new();
        let mut kept = Kept::new(BOUNDS);
        for node in 1..=3 {
            assert!(kept.put(node, kernel.backing(1, 10), NOW).is_empty());
        }
        let used = kept.take(1).expect("kept");
        assert!(kept.put(1, used, NOW).is_empty());
        assert_eq!(kept.put(4, kernel.backing(1, 10), NOW).len(), 1);
        assert!(kept.take(2).is_none());
        assert!(kept.take(1).is_some());
        assert_eq!(kernel.registered().len(), 2, "the others were given up");
    }

    #[test]
    fn bytes_are_bounded_and_large_files_are_not_kept() {
        let kernel = FakeKernel::new();
        let mut kept = Kept::new(BOUNDS);
        kept.put(1, kernel.backing(1, 60), NOW);
        kept.put(2, kernel.backing(1, 60), NOW);
        assert!(kept.take(1).is_none());
        kept.put(3, kernel.backing(1, 71), NOW);
        assert!(kept.take(3).is_none());
        assert_eq!(kept.len(), 1);
    }

    #[test]
    fn what_lies_idle_or_lost_its_lease_is_given_up() {
        let kernel = FakeKernel::new();
        let mut kept = Kept::new(BOUNDS);
        kept.put(1, kernel.backing(1, 10), NOW);
        kept.put(2, kernel.backing(1, 10), NOW + Duration::from_secs(9));
        drop(kept.expire(NOW + Duration::from_secs(10)));
        assert!(kept.take(1).is_none());
        assert_eq!(kept.len(), 1);
        kernel.end_leases();
        drop(kept.expire(NOW + Duration::from_secs(10)));
        assert!(kept.is_empty());
        assert!(kernel.registered().is_empty());
    }
}
