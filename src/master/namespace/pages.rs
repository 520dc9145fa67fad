//! The inode table: pages of 64 container numbers, copied only where an image still shares them.
//!
//! Two levels: chunks of 256 pages, pages of the inodes that exist. A page without inodes is given up, and so is a chunk
//! without pages, so that numbers that were used once and are gone cost next to nothing.

use super::inode::Inode;
use goosefs_core::id::{ContainerId, InodeId};
use std::sync::Arc;

/// Container numbers of a page, the bits of its bitmap.
const PAGE: u64 = 64;

/// Pages of a chunk.
const CHUNK: usize = 256;

/// The inodes of 64 container numbers that exist, in order.
#[derive(Clone, Default)]
struct Page {
    /// Bit `n` is set when the page's n-th number has an inode.
    present: u64,
    inodes: Vec<Inode>,
}

impl Page {
    fn position(&self, bit: u64) -> usize {
        (self.present & ((1 << bit) - 1)).count_ones() as usize
    }
}

#[derive(Clone, Default)]
struct Chunk {
    pages: Vec<Option<Arc<Page>>>,
    used: usize,
}

/// All inodes by id. Cloning it takes an image.
#[derive(Clone, Default)]
pub(super) struct Table {
    chunks: Vec<Option<Arc<Chunk>>>,
    length: u64,
}

fn place(id: InodeId) -> (usize, usize, u64) {
    let number = id.container().0;
    let page = number / PAGE;
    ((page / CHUNK as u64) as usize, (page % CHUNK as u64) as usize, number % PAGE)
}

impl Table {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn get(&self, id: InodeId) -> Option<&Inode> {
        let (chunk, page, bit) = place(id);
        let page = self.chunks.get(chunk)?.as_ref()?.pages.get(page)?.as_ref()?;
        (page.present >> bit & 1 == 1).then(|| &page.inodes[page.position(bit)])
    }

    pub(super) fn get_mut(&mut self, id: InodeId) -> Option<&mut Inode> {
        self.get(id)?;
        let (chunk, page, bit) = place(id);
        let chunk = Arc::make_mut(self.chunks.get_mut(chunk)?.as_mut()?);
        let page = Arc::make_mut(chunk.pages.get_mut(page)?.as_mut()?);
        let at = page.position(bit);
        page.inodes.get_mut(at)
    }

    /// Adds an inode; its id must be free.
    pub(super) fn insert(&mut self, id: InodeId, inode: Inode) {
        let (chunk, page, bit) = place(id);
        if self.chunks.len() <= chunk {
            self.chunks.resize(chunk + 1, None);
        }
        let chunk = Arc::make_mut(self.chunks[chunk].get_or_insert_default());
        if chunk.pages.len() <= page {
            chunk.pages.resize(page + 1, None);
        }
        let slot = &mut chunk.pages[page];
        chunk.used += usize::from(slot.is_none());
        let page = Arc::make_mut(slot.get_or_insert_default());
        let at = page.position(bit);
        page.present |= 1 << bit;
        page.inodes.insert(at, inode);
        self.length += 1;
    }

    pub(super) fn remove(&mut self, id: InodeId) -> Option<Inode> {
        self.get(id)?;
        let (chunk_index, page_index, bit) = place(id);
        let chunk_slot = self.chunks.get_mut(chunk_index)?;
        let chunk = Arc::make_mut(chunk_slot.as_mut()?);
        let page_slot = chunk.pages.get_mut(page_index)?;
        let page = Arc::make_mut(page_slot.as_mut()?);
        let at = page.position(bit);
        page.present &= !(1 << bit);
        let inode = page.inodes.remove(at);
        if page.present == 0 {
            *page_slot = None;
            chunk.used -= 1;
        } else if page.inodes.capacity() > 2 * page.inodes.len() + 8 {
            page.inodes.shrink_to_fit();
        }
        if chunk.used == 0 {
            *chunk_slot = None;
        }
        self.length -= 1;
        Some(inode)
    }

    /// All inodes in the order of their ids.
    pub(super) fn iter(&self) -> impl Iterator<Item = (InodeId, &Inode)> {
        let chunks = self.chunks.iter().enumerate().filter_map(|(i, chunk)| Some((i, chunk.as_ref()?)));
        let pages = chunks.flat_map(|(i, chunk)| {
            chunk.pages.iter().enumerate().filter_map(move |(j, page)| Some((i * CHUNK + j, page.as_ref()?)))
        });
        pages.flat_map(|(index, page)| {
            let bits = (0..PAGE).filter(|bit| page.present >> bit & 1 == 1);
            bits.zip(&page.inodes)
                .map(move |(bit, inode)| (ContainerId(index as u64 * PAGE + bit).inode(), inode))
        })
    }
}
