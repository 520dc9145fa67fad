//! Reading cached pages and filling missing ones.
//!
//! A [`Pin`] keeps a block from being evicted while it is read; a [`BlockSlot`] while it is filled. Pages are checked
//! against their crc32c at their first use after the store was opened: a bad one is dropped, counted and reported as
//! absent, so that the caller fetches it again; a bad only copy is an error. Everything here that takes a page blocks.

use super::container;
use super::index::{Claim, Content, Input, PageView, Refusal};
use super::pages::{PAGE, page_count, page_len};
use super::store::{Counts, Store};
use crate::checksum::{crc32c, crc32c_append};
use crate::id::{BlockId, ContentId};
use crate::{Code, Error, Result};
use bytes::Bytes;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

/// What reading a page gave.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PageRead {
    /// The bytes asked for.
    Bytes(Bytes),
    /// The page is not here.
    Absent,
}

/// Keeps a block in place while it is read.
#[derive(Debug)]
pub struct Pin {
    store: Store,
    block: BlockId,
    claim: Claim,
    file: Arc<File>,
}

/// Keeps a block in place while its missing pages are filled.
#[derive(Debug)]
pub struct BlockSlot {
    store: Store,
    block: BlockId,
    claim: Claim,
    file: File,
}

/// Room for one page.
#[derive(Debug)]
pub struct PageSlot {
    slot: Arc<BlockSlot>,
    page: u32,
    reserved: u64,
}

impl Store {
    /// Pins a block of which something is here, of `generation` if one is given. Opens its file, so it blocks.
    #[must_use]
    pub fn pin(&self, block: BlockId, generation: Option<u64>) -> Option<Pin> {
        let (claim, record) = self.inner.index.lock().pin(block, generation, self.now_ms())?;
        let unpin = || self.unpin(block, claim, false);
        if record {
            self.dir(claim.dir).mirror.mark([super::record::Key::Block(block)]);
        }
        let Ok(file) = container::open_read_only(&self.dir(claim.dir).path, block.container()) else {
            unpin();
            return None;
        };
        if !self.inner.index.lock().is_current(block.container(), claim.incarnation) {
            return None;
        }
        Some(Pin { store: self.clone(), block, claim, file: Arc::new(file) })
    }

    /// The container of `content` that `is_it` accepts, open for reading. Its bytes are the content's only where and as
    /// long as a [`Pin`] says so. Blocks.
    #[must_use]
    pub fn open_container(&self, content: ContentId, is_it: impl Fn(&File) -> bool) -> Option<File> {
        let container = content.container();
        let dirs = self.inner.index.lock().dirs_of(container);
        dirs.into_iter()
            .filter_map(|dir| container::open_read_only(&self.dir(dir).path, container).ok())
            .find(is_it)
    }

    /// Which of `pages` of a block of `generation` are not here.
    #[must_use]
    pub fn missing(&self, block: BlockId, generation: u64, pages: Range<u32>) -> Vec<u32> {
        self.inner.index.lock().missing(block, generation, pages)
    }

    /// Counts as a use of what is cached of these blocks of a content: others are evicted first.
    pub fn touch(&self, content: ContentId, generation: u64, blocks: Range<u64>) {
        let now = self.now_ms();
        self.inner.index.lock().touch(content.container(), generation, blocks, now);
    }

    /// Makes ready to fill block `index` of `content`. `None`: nothing can be evicted for it, or its place is being
    /// cleared, so its bytes must pass through uncached. Blocks.
    #[must_use]
    pub fn slot(&self, content: &Content, index: u64) -> Option<Arc<BlockSlot>> {
        let block = content.id.block(index);
        let first_page = content.block_len(index).min(PAGE);
        for _attempt in 0..2 {
            let dir = self.reserve(block, first_page)?;
            let claimed = self.inner.index.lock().claim_fill(content, index, dir, self.now_ms());
            self.unreserve(dir, first_page);
            match claimed {
                Ok(claim) => return self.open_slot(content, block, claim).map(Arc::new),
                Err(Refusal::Outdated) => {
                    self.truncated(content.id, content.generation).ok()?;
                }
                Err(Refusal::Busy | Refusal::Stale | Refusal::Offset(_)) => return None,
            }
        }
        None
    }

    fn open_slot(&self, content: &Content, block: BlockId, claim: Claim) -> Option<BlockSlot> {
        let opened = container::create(&self.dir(claim.dir).path, block.container()).and_then(|file| {
            if content.complete && file.metadata()?.len() != content.length {
                file.set_len(content.length)?;
            }
            Ok(file)
        });
        let file = match opened {
            Ok(file) => file,
            Err(cause) => {
                self.trouble(claim.dir, &Error::io("create a cached file", cause));
                self.unpin(block, claim, false);
                return None;
            }
        };
        Some(BlockSlot { store: self.clone(), block, claim, file })
    }

    pub(super) fn unpin(&self, block: BlockId, claim: Claim, wrote: bool) {
        let input = Input::Unpinned { block, incarnation: claim.incarnation, wrote };
        let effects = self.inner.index.lock().apply(input);
        let _taken_out_if_it_failed = self.carry_out(effects);
        self.inner.settled.notify_all();
    }
}

impl Pin {
    /// Bytes of the block when it was pinned.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.claim.length
    }

    /// Whether page `page` is here.
    #[must_use]
    pub fn has(&self, page: u32) -> bool {
        self.view(page).is_some()
    }

    /// How many bytes from `offset` of the block on, at most `limit`, are here and need no check, so that they can be
    /// sent from [`Pin::file`] as they are.
    #[must_use]
    pub fn ready(&self, offset: u64, limit: u64) -> u64 {
        self.store.inner.index.lock().ready(self.block, self.claim.incarnation, offset, limit)
    }

    /// The container. Its bytes are the block's only as long as this pin lives.
    #[must_use]
    pub fn file(&self) -> &Arc<File> {
        &self.file
    }

    /// Where the block starts in the container.
    #[must_use]
    pub fn start(&self) -> u64 {
        self.claim.start
    }

    /// Reads up to `length` bytes at `offset` of the block, no further than the end of the page that `offset` lies in.
    /// Fewer bytes than asked for means the end of the page, or of the block.
    pub fn read(&self, offset: u64, length: usize) -> Result<PageRead> {
        let page = (offset / PAGE) as u32;
        let Some(view) = self.view(page) else { return Ok(PageRead::Absent) };
        let within = offset % PAGE;
        let wanted = (length as u64).min(view.length.saturating_sub(within));
        let start = self.claim.start + u64::from(page) * PAGE;
        if view.verified {
            return match container::read_exact(&self.file, start + within, wanted as usize) {
                Ok(bytes) => Ok(PageRead::Bytes(bytes.into())),
                Err(cause) => self.bad(page, view, &cause.to_string()),
            };
        }
        let bytes = match container::read_exact(&self.file, start, view.length as usize) {
            Ok(bytes) if crc32c(&bytes) == view.crc => Bytes::from(bytes),
            Ok(_) => return self.bad(page, view, "its bytes do not match their checksum"),
            Err(cause) => return self.bad(page, view, &cause.to_string()),
        };
        let (block, incarnation, crc) = (self.block, self.claim.incarnation, view.crc);
        self.store.inner.index.lock().apply(Input::Verified { block, incarnation, page, crc });
        let within = within as usize;
        Ok(PageRead::Bytes(bytes.slice(within..within + wanted as usize)))
    }

    fn view(&self, page: u32) -> Option<PageView> {
        self.store.inner.index.lock().page(self.block, self.claim.incarnation, page)
    }

    fn bad(&self, page: u32, view: PageView, why: &str) -> Result<PageRead> {
        let (block, incarnation, crc) = (self.block, self.claim.incarnation, view.crc);
        if !self.store.inner.index.lock().is_current(block.container(), incarnation) {
            return Ok(PageRead::Absent);
        }
        Counts::add(&self.store.counts().bad_pages, 1);
        let effects = self.store.inner.index.lock().apply(Input::Bad { block, incarnation, page, crc });
        self.store.carry_out(effects)?;
        if view.held {
            let message = format!("page {page} of block {block}, an only copy, is damaged: {why}");
            return Err(Error::new(Code::Corrupt, message));
        }
        tracing::info!(%block, page, why, "a damaged cached page was dropped and will be fetched again");
        Ok(PageRead::Absent)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.unpin(self.block, self.claim, false);
    }
}

impl BlockSlot {
    /// The block.
    #[must_use]
    pub fn block(&self) -> BlockId {
        self.block
    }

    /// Reserves room for page `page`; `None` when nothing can be evicted for it. Blocks.
    #[must_use]
    pub fn reserve(self: &Arc<Self>, page: u32) -> Option<PageSlot> {
        debug_assert!(page < page_count(self.claim.length));
        let bytes = super::pages::disk_space(page_len(self.claim.length, page));
        let dir = self.store.reserve(self.block, bytes)?;
        if dir != self.claim.dir {
            // The content was dropped and came back elsewhere while this slot was being filled.
            self.store.unreserve(dir, bytes);
            return None;
        }
        Some(PageSlot { slot: self.clone(), page, reserved: bytes })
    }
}

impl Drop for BlockSlot {
    fn drop(&mut self) {
        self.store.unpin(self.block, self.claim, false);
        self.store.sync_later(self.block.container());
    }
}

impl PageSlot {
    /// Writes the page and enters it into the index. `pieces` are its bytes in order and `crc` is their crc32c, taken
    /// when they came in: it is cheap while they are in the processor's cache. Blocks.
    pub fn fill(self, pieces: &[Bytes], crc: u32) -> Result<()> {
        let BlockSlot { store, block, claim, file } = &*self.slot;
        let length: u64 = pieces.iter().map(|piece| piece.len() as u64).sum();
        if length != page_len(claim.length, self.page) {
            let message = format!("page {} of block {block} cannot have {length} bytes", self.page);
            return Err(Error::new(Code::Internal, message));
        }
        debug_assert_eq!(crc, pieces.iter().fold(0, |crc, piece| crc32c_append(crc, piece)));
        let start = claim.start + u64::from(self.page) * PAGE;
        if let Err(cause) = container::write_pieces(file, start, pieces) {
            let error = Error::io(format_args!("write page {} of block {block}", self.page), cause);
            store.trouble(claim.dir, &error);
            return Err(error);
        }
        let input = Input::Filled { block: *block, incarnation: claim.incarnation, page: self.page, crc };
        let effects = store.inner.index.lock().apply(input);
        Counts::add(&store.counts().pages_filled, 1);
        store.carry_out(effects)
    }
}

impl Drop for PageSlot {
    fn drop(&mut self) {
        self.slot.store.unreserve(self.slot.claim.dir, self.reserved);
    }
}
