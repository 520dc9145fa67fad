//! The bytes of one file: as they read now, and as a power cut would leave them.

use rand::Rng;
use rand::rngs::StdRng;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Bytes that become durable together or not at all.
const PAGE: usize = 4096;

/// Pages that are not there are zeros. Shared between the two images until one is written.
#[derive(Clone, Debug, Default)]
struct Image {
    size: u64,
    pages: BTreeMap<u64, Arc<[u8; PAGE]>>,
}

impl Image {
    /// Sets the size; what is cut off reads as zeros when the file grows again.
    fn resize(&mut self, size: u64) {
        self.pages.split_off(&size.div_ceil(PAGE as u64));
        let kept = (size % PAGE as u64) as usize;
        if kept > 0
            && let Some(last) = self.pages.get_mut(&(size / PAGE as u64))
        {
            Arc::make_mut(last)[kept..].fill(0);
        }
        self.size = size;
    }
}

/// A file's content.
#[derive(Clone, Debug, Default)]
pub(super) struct Content {
    now: Image,
    durable: Image,
    /// Pages of `now` that differ from `durable` and that the next fsync takes over.
    dirty: BTreeSet<u64>,
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.now.size
    }

    /// At most `length` bytes from `offset`; fewer at the end.
    pub(super) fn read(&self, offset: u64, length: usize) -> Vec<u8> {
        let end = self.now.size.min(offset.saturating_add(length as u64));
        let mut bytes = Vec::with_capacity(length);
        let mut at = offset;
        while at < end {
            let (page, from) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let upto = PAGE.min(from + (end - at) as usize);
            match self.now.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[from..upto]),
                None => bytes.resize(bytes.len() + upto - from, 0),
            }
            at += (upto - from) as u64;
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        let (mut at, mut left) = (offset, bytes);
        while !left.is_empty() {
            let (number, from) = (at / PAGE as u64, (at % PAGE as u64) as usize);
            let (piece, rest) = left.split_at(left.len().min(PAGE - from));
            let page = self.now.pages.entry(number).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(page)[from..from + piece.len()].copy_from_slice(piece);
            self.dirty.insert(number);
            at += piece.len() as u64;
            left = rest;
        }
        self.now.size = self.now.size.max(at);
    }

    pub(super) fn resize(&mut self, size: u64) {
        // Pages that vanish and the one that is cut into.
        let first = size / PAGE as u64;
        self.dirty.extend(self.now.pages.range(first..).map(|(number, _)| *number));
        self.now.resize(size);
    }

    /// All of it is durable.
    pub(super) fn sync(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            self.persist(number);
        }
        self.durable.resize(self.now.size);
    }

    /// An fsync failed: as Linux does it, what was to be written counts as clean, and a later fsync that succeeds does
    /// not write it.
    pub(super) fn sync_failed(&mut self) {
        self.dirty.clear();
    }

    /// Drops what is not durable and says how many pages that were. With dice each of them, and the size, is thrown for:
    /// a disk writes what it has in any order.
    pub(super) fn cut(&mut self, dice: Option<&mut StdRng>) -> usize {
        let mut dirty = std::mem::take(&mut self.dirty);
        if let Some(dice) = dice {
            let size = if dice.random() { self.now.size } else { self.durable.size };
            let written: Vec<u64> = dirty.iter().copied().filter(|_| dice.random()).collect();
            for number in written {
                self.persist(number);
                dirty.remove(&number);
            }
            self.durable.resize(size);
        }
        self.now = self.durable.clone();
        dirty.len()
    }

    fn persist(&mut self, number: u64) {
        match self.now.pages.get(&number) {
            Some(page) => drop(self.durable.pages.insert(number, page.clone())),
            None => drop(self.durable.pages.remove(&number)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;

    #[test]
    fn a_cut_leaves_what_was_synced_last() {
        let mut content = Content::default();
        content.write(10, b"synced");
        content.sync();
        content.write(12, b"NOT");
        content.write(100_000, b"far");
        assert_eq!(content.read(10, 6), b"syNOTd");
        assert_eq!(content.cut(None), 2);
        assert_eq!((content.size(), content.read(0, 100)), (16, [&[0; 10][..], b"synced"].concat()));
    }

    #[test]
    fn a_size_is_durable_with_an_fsync_only() {
        let mut content = Content::default();
        content.write(0, &[7; 10_000]);
        content.sync();
        content.resize(5_000);
        content.cut(None);
        assert_eq!(content.read(0, 20_000), [7; 10_000]);
        content.resize(5_000);
        content.sync();
        content.resize(6_000);
        content.cut(None);
        assert_eq!(content.read(0, 20_000), [7; 5_000]);
        content.resize(10_000);
        assert_eq!(content.read(5_000, 5_000), [0; 5_000]);
    }

    #[test]
    fn what_a_failed_fsync_had_is_not_written_by_the_next() {
        let mut content = Content::default();
        content.write(0, &[1; PAGE]);
        content.sync_failed();
        content.write(PAGE as u64, &[2; PAGE]);
        content.sync();
        assert_eq!(content.read(0, 1), [1]);
        content.cut(None);
        assert_eq!(content.read(0, 2 * PAGE), [[0; PAGE], [2; PAGE]].concat());
    }

    #[test]
    fn with_dice_every_page_is_whole_old_or_whole_new() {
        let mut seen = BTreeSet::new();
        for seed in 0..50 {
            let mut content = Content::default();
            content.write(0, &[1; 2 * PAGE]);
            content.sync();
            content.write(0, &[2; 2 * PAGE]);
            content.cut(Some(&mut StdRng::seed_from_u64(seed)));
            let pages: Vec<Vec<u8>> = content.read(0, 2 * PAGE).chunks(PAGE).map(<[u8]>::to_vec).collect();
            assert!(pages.iter().all(|page| page.iter().all(|byte| *byte == page[0])));
            seen.insert((pages[0][0], pages[1][0]));
        }
        assert_eq!(seen.len(), 4);
    }
}
