//! The pages of one block: 1 MiB each, the unit of filling and checking.
//!
//! Owns presence, checksum and the verified mark of every page; knows nothing of files. Page *i* of a block covers its
//! bytes from `i * PAGE`; the last one is as short as the block. Used by the index alone.

/// Bytes of a page.
pub const PAGE: u64 = 1 << 20;

/// What a file system allocates at least; quotas count in multiples of it.
const ALLOCATION: u64 = 4096;

/// Number of pages in a block of `length` bytes.
#[must_use]
pub fn page_count(length: u64) -> u32 {
    u32::try_from(length.div_ceil(PAGE)).unwrap_or(u32::MAX)
}

/// Bytes of page `page` in a block of `length` bytes.
#[must_use]
pub fn page_len(length: u64, page: u32) -> u64 {
    length.saturating_sub(u64::from(page) * PAGE).min(PAGE)
}

/// Disk space that `bytes` take.
#[must_use]
pub fn disk_space(bytes: u64) -> u64 {
    bytes.next_multiple_of(ALLOCATION)
}

/// One page.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Page {
    /// Not in the file.
    Absent,
    /// In the file.
    Present {
        /// crc32c of its bytes.
        crc: u32,
        /// Its bytes were seen to match `crc` since the store was opened.
        verified: bool,
    },
}

/// The pages of one block, as far as the highest that is present.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Pages(Vec<Page>);

impl Pages {
    /// Page `page`.
    #[must_use]
    pub fn get(&self, page: u32) -> Page {
        self.0.get(page as usize).copied().unwrap_or(Page::Absent)
    }

    /// Sets page `page`.
    pub fn set(&mut self, page: u32, state: Page) {
        let at = page as usize;
        if at >= self.0.len() {
            if state == Page::Absent {
                return;
            }
            self.0.reserve_exact(at + 1 - self.0.len());
            self.0.resize(at + 1, Page::Absent);
        }
        self.0[at] = state;
        while self.0.last() == Some(&Page::Absent) {
            self.0.pop();
        }
    }

    /// No page is present.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The present pages with their checksums, in order.
    pub fn present(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().zip(0..).filter_map(|(page, number)| match page {
            Page::Present { crc, .. } => Some((number, *crc)),
            Page::Absent => None,
        })
    }

    /// The present pages that were not verified since the store was opened.
    pub fn unverified(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        self.0.iter().zip(0..).filter_map(|(page, number)| match page {
            Page::Present { crc, verified: false } => Some((number, *crc)),
            Page::Present { .. } | Page::Absent => None,
        })
    }

    /// Whether every page of a block of `length` bytes is present.
    #[must_use]
    pub fn whole(&self, length: u64) -> bool {
        self.present().count() == page_count(length) as usize
    }

    /// Bytes of the present pages of a block of `length` bytes.
    #[must_use]
    pub fn bytes(&self, length: u64) -> u64 {
        self.present().map(|(page, _)| page_len(length, page)).sum()
    }

    /// Disk space of the present pages of a block of `length` bytes.
    #[must_use]
    pub fn disk_space(&self, length: u64) -> u64 {
        self.present().map(|(page, _)| disk_space(page_len(length, page))).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_page_is_as_short_as_the_block() {
        assert_eq!(page_count(0), 0);
        assert_eq!(page_count(PAGE), 1);
        assert_eq!(page_count(PAGE + 1), 2);
        assert_eq!(page_len(PAGE + 1, 0), PAGE);
        assert_eq!(page_len(PAGE + 1, 1), 1);
        assert_eq!(page_len(PAGE + 1, 2), 0);
    }

    #[test]
    fn pages_come_and_go_in_any_order() {
        let mut pages = Pages::default();
        pages.set(3, Page::Present { crc: 7, verified: false });
        pages.set(0, Page::Present { crc: 5, verified: true });
        assert_eq!(pages.present().collect::<Vec<_>>(), [(0, 5), (3, 7)]);
        assert_eq!(pages.unverified().collect::<Vec<_>>(), [(3, 7)]);
        assert_eq!(pages.bytes(3 * PAGE + 10), PAGE + 10);
        assert_eq!(pages.disk_space(3 * PAGE + 10), PAGE + 4096);
        assert!(!pages.whole(3 * PAGE + 10));
        pages.set(3, Page::Absent);
        assert!(pages.whole(PAGE));
        pages.set(0, Page::Absent);
        assert!(pages.is_empty());
    }
}
