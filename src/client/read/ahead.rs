//! What a sequential reader fetches ahead: decided here, fetched by [`super::Reader`].
//!
//! Pure. A read that begins near where the last one ended is sequential; the window ahead doubles with each such read up
//! to a bound and falls to nothing with a random one. Chunks lie on a grid of 1 MiB, the workers' page size.

use std::collections::BTreeMap;

/// Size of what is fetched ahead in one piece.
pub(crate) const CHUNK: u64 = 1 << 20;

/// How far from the expected offset a read may begin and still be sequential: the kernel's own read-ahead comes in
/// parallel requests that overtake each other.
const SLACK: u64 = 2 << 20;

/// The same for large reads: two windows of the kernel's read-ahead (4 MiB each on a mount) may be on their way at once,
/// in any order.
const WIDE_SLACK: u64 = 8 << 20;

/// A first read at the start of the file of at least this size is taken for the begin of a sequential one.
const EAGER: u64 = 256 << 10;

/// What a reader has fetched or is fetching. `C` is one chunk under way or there.
#[derive(Debug)]
pub(crate) struct Ahead<C> {
    bound: u64,
    expected: Option<u64>,
    window: u64,
    chunks: BTreeMap<u64, C>,
}

/// How to serve a read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Fetch exactly the range.
    Exactly,
    /// Take these chunks (numbers on the grid); the range lies in those of `needed`, the others are ahead.
    Chunks { needed: std::ops::Range<u64>, ahead: std::ops::Range<u64> },
}

impl<C: Clone> Ahead<C> {
    /// Nothing yet; at most `bound` bytes are kept or fetched ahead of the reader.
    pub(crate) fn new(bound: u64) -> Ahead<C> {
        Ahead { bound, expected: None, window: 0, chunks: BTreeMap::new() }
    }

    /// Decides how to read `length` bytes (not 0) at `offset` of a file of `size` bytes.
    pub(crate) fn plan(&mut self, offset: u64, length: u64, size: u64) -> Plan {
        let end = offset + length;
        let sequential = match self.expected {
            Some(expected) => offset.abs_diff(expected) <= if length >= EAGER { WIDE_SLACK } else { SLACK },
            None => offset == 0 && length >= EAGER,
        };
        let needed = offset / CHUNK..end.div_ceil(CHUNK);
        if sequential {
            self.window = (self.window * 2).max(length).max(CHUNK).min(self.bound);
            self.expected = Some(self.expected.unwrap_or(0).max(end));
        } else {
            self.window = 0;
            self.expected = Some(end);
            if !needed.clone().all(|number| self.chunks.contains_key(&number)) {
                return Plan::Exactly;
            }
        }
        self.trim(offset);
        let last = size.div_ceil(CHUNK);
        let ahead = needed.end..(end + self.window).div_ceil(CHUNK).min(last).max(needed.end);
        Plan::Chunks { needed, ahead }
    }

    /// The chunk of this number, if it is there or under way.
    pub(crate) fn get(&self, number: u64) -> Option<C> {
        self.chunks.get(&number).cloned()
    }

    /// Keeps a chunk.
    pub(crate) fn insert(&mut self, number: u64, chunk: C) {
        self.chunks.insert(number, chunk);
    }

    /// Drops a chunk that could not be fetched.
    pub(crate) fn remove(&mut self, number: u64) {
        self.chunks.remove(&number);
    }

    /// Drops what lies so far behind or ahead of the reader that no overtaking request asks for it.
    fn trim(&mut self, offset: u64) {
        let from = offset.saturating_sub(SLACK) / CHUNK;
        let to = (offset + SLACK + self.bound).div_ceil(CHUNK);
        self.chunks.retain(|&number, _| number >= from && number <= to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 100 * CHUNK;

    fn ahead() -> Ahead<()> {
        Ahead::new(8 * CHUNK)
    }

    #[test]
    fn a_random_read_fetches_exactly_itself() {
        let mut ahead = ahead();
        for offset in [50 << 20, 7 << 20, 90 << 20, 33 << 20] {
            assert_eq!(ahead.plan(offset, 4096, SIZE), Plan::Exactly);
        }
        assert_eq!(super::Ahead::<()>::new(CHUNK).plan(0, 4096, SIZE), Plan::Exactly, "a look at the header");
    }

    #[test]
    fn a_sequential_read_opens_its_window_up_to_the_bound() {
        let mut ahead = ahead();
        let mut offset = 0;
        let mut windows = Vec::new();
        for _ in 0..6 {
            match ahead.plan(offset, CHUNK, SIZE) {
                Plan::Chunks { needed, ahead } => windows.push(ahead.end - needed.end),
                Plan::Exactly => panic!("sequential from the start"),
            }
            offset += CHUNK;
        }
        assert_eq!(windows, [1, 2, 4, 8, 8, 8]);
    }

    #[test]
    fn requests_that_overtake_each_other_are_still_sequential() {
        let mut ahead = ahead();
        ahead.plan(0, CHUNK, SIZE);
        assert_ne!(ahead.plan(2 * CHUNK, CHUNK, SIZE), Plan::Exactly);
        assert_ne!(ahead.plan(CHUNK, CHUNK, SIZE), Plan::Exactly);
        assert_ne!(ahead.plan(3 * CHUNK, CHUNK, SIZE), Plan::Exactly);
    }

    #[test]
    fn two_windows_of_the_kernel_in_any_order_are_still_sequential() {
        let mut ahead = ahead();
        ahead.plan(0, CHUNK, SIZE);
        for number in [4, 3, 2, 1, 8, 7, 6, 5, 12, 9, 10, 11] {
            assert_ne!(ahead.plan(number * CHUNK, CHUNK, SIZE), Plan::Exactly, "MiB {number}");
        }
        assert_eq!(ahead.plan(3 * CHUNK, 4096, SIZE), Plan::Exactly, "a small read far back is a random one");
    }

    #[test]
    fn nothing_is_fetched_behind_the_end() {
        let mut ahead = ahead();
        let size = 3 * CHUNK + 5;
        assert_eq!(ahead.plan(0, CHUNK, size), Plan::Chunks { needed: 0..1, ahead: 1..2 });
        assert_eq!(ahead.plan(CHUNK, 2 * CHUNK, size), Plan::Chunks { needed: 1..3, ahead: 3..4 });
        assert_eq!(ahead.plan(3 * CHUNK, 5, size), Plan::Chunks { needed: 3..4, ahead: 4..4 });
    }

    #[test]
    fn memory_stays_bounded_however_long_the_file() {
        let mut ahead = ahead();
        for step in 0..1000 {
            if let Plan::Chunks { needed, ahead: more } = ahead.plan(step * CHUNK, CHUNK, u64::MAX / 2) {
                for number in needed.start..more.end {
                    ahead.insert(number, ());
                }
            }
            assert!(ahead.chunks.len() <= 14, "{}", ahead.chunks.len());
        }
    }
}
