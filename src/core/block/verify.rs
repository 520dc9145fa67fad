//! Checking cached pages that nobody has used since an unclean stop.

use super::pages::{PAGE, page_len};
use super::read::PageRead;
use super::store::Store;
use crate::Result;
use crate::id::ContentId;

/// What a check found.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Verified {
    /// Pages that match their checksum.
    pub good: u64,
    /// Pages that did not, and were dropped.
    pub bad: u64,
}

impl Store {
    /// Bytes of a content that must be read to verify it.
    #[must_use]
    pub fn unverified_bytes(&self, content: ContentId) -> u64 {
        let pages = self.inner.index.lock().unverified(content.container());
        pages.len() as u64 * PAGE
    }

    /// Reads every page of a content that was not verified since the store was opened, and drops the bad ones. A
    /// damaged only copy is an error. Blocks for as long as the disk takes.
    pub fn verify(&self, content: ContentId) -> Result<Verified> {
        let pages = self.inner.index.lock().unverified(content.container());
        let mut verified = Verified::default();
        for (block, page) in pages {
            let Some(pin) = self.pin(block, None) else { continue };
            let length = page_len(pin.length(), page) as usize;
            match pin.read(u64::from(page) * PAGE, length)? {
                PageRead::Bytes(_) => verified.good += 1,
                PageRead::Absent => verified.bad += 1,
            }
        }
        Ok(verified)
    }
}
