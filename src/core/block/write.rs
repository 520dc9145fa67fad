//! Writing a block: bytes go straight into the container, and count as an only copy once they are committed.
//!
//! A [`BlockWriter`] is the one writer of its block. What it took since the last commit is void when it is dropped,
//! and its space is given back. Checksums are computed while the bytes pass. Every call blocks.

use super::container;
use super::index::{Claim, Content, Input, Refusal};
use super::pages::{PAGE, disk_space, page_count};
use super::store::Store;
use crate::checksum::crc32c_append;
use crate::id::BlockId;
use crate::{Code, Error, Result};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// How long a writer waits for the place of its block to be cleared, or for another writer to go.
const WAIT: Duration = Duration::from_secs(5);

/// The one writer of a block.
#[derive(Debug)]
pub struct BlockWriter {
    store: Store,
    block: BlockId,
    block_size: u64,
    claim: Claim,
    file: File,
    /// Bytes in the file.
    taken: u64,
    /// Bytes that the index knows.
    committed: u64,
    /// Checksum of the page that is not full yet.
    unfinished_crc: u32,
    /// Full pages since the last commit.
    finished: Vec<(u32, u32)>,
    reserved: u64,
}

impl Store {
    /// Opens block `index` of `content` for writing at `offset`: where it ends now, or 0 to begin anew.
    pub fn write_block(&self, content: &Content, index: u64, offset: u64) -> Result<BlockWriter> {
        let block = content.id.block(index);
        let deadline = Instant::now() + WAIT;
        loop {
            let dir = self.reserve(block, PAGE).ok_or_else(|| no_room(block))?;
            let claimed = self.inner.index.lock().claim_write(content, index, dir, offset, self.now_ms());
            match claimed {
                Ok(claimed) if claimed.claim.dir == dir => {
                    let anew = !claimed.effects.records.is_empty();
                    let mut writer =
                        self.open_writer(content, block, claimed.claim, claimed.unfinished_crc)?;
                    writer.reserved = PAGE;
                    self.carry_out(claimed.effects)?;
                    if anew {
                        writer.clear()?;
                    }
                    return Ok(writer);
                }
                Ok(claimed) => {
                    self.unreserve(dir, PAGE);
                    self.unpin(block, claimed.claim, true);
                }
                Err(refusal) => {
                    self.unreserve(dir, PAGE);
                    self.clear_way(content, block, refusal, deadline)?;
                }
            }
        }
    }

    fn clear_way(
        &self,
        content: &Content,
        block: BlockId,
        refusal: Refusal,
        deadline: Instant,
    ) -> Result<()> {
        match refusal {
            Refusal::Outdated => self.truncated(content.id, content.generation).map(drop),
            Refusal::Stale => Err(Error::new(
                Code::Stale,
                format!("block {block} was truncated: generation {} is void", content.generation),
            )),
            Refusal::Offset(end) => Err(Error::new(
                Code::InvalidArgument,
                format!("block {block} is written from its end at {end}, or from 0 to begin anew"),
            )),
            Refusal::Busy => {
                let mut index = self.inner.index.lock();
                if self.inner.settled.wait_until(&mut index, deadline).timed_out() {
                    return Err(Error::new(Code::Busy, format!("block {block} is being written or read")));
                }
                Ok(())
            }
        }
    }

    fn open_writer(
        &self,
        content: &Content,
        block: BlockId,
        claim: Claim,
        unfinished_crc: u32,
    ) -> Result<BlockWriter> {
        let file = container::create(&self.dir(claim.dir).path, block.container()).map_err(|cause| {
            let error = Error::io(format_args!("create the file of block {block}"), cause);
            self.trouble(claim.dir, &error);
            self.unreserve(claim.dir, PAGE);
            self.unpin(block, claim, true);
            error
        })?;
        Ok(BlockWriter {
            store: self.clone(),
            block,
            block_size: content.block_size,
            claim,
            file,
            taken: claim.length,
            committed: claim.length,
            unfinished_crc,
            finished: Vec::new(),
            reserved: 0,
        })
    }
}

impl BlockWriter {
    /// Bytes of the block so far.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Bytes of the block that are committed.
    #[must_use]
    pub fn committed(&self) -> u64 {
        self.committed
    }

    /// Bytes that still fit into the block.
    #[must_use]
    pub fn room(&self) -> u64 {
        self.block_size - self.taken
    }

    /// Appends `bytes`; NoSpace when nothing can be evicted for them.
    pub fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        if bytes.len() as u64 > self.room() {
            let message = format!("block {} ends after {} bytes", self.block, self.block_size);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        self.reserve_for(bytes.len() as u64)?;
        self.file.write_all_at(bytes, self.claim.start + self.taken).map_err(|cause| {
            let error = Error::io(format_args!("write block {}", self.block), cause);
            self.store.trouble(self.claim.dir, &error);
            error
        })?;
        while !bytes.is_empty() {
            let left_in_page = PAGE - self.taken % PAGE;
            let (piece, rest) = bytes.split_at(bytes.len().min(left_in_page as usize));
            self.unfinished_crc = crc32c_append(self.unfinished_crc, piece);
            self.taken += piece.len() as u64;
            if self.taken.is_multiple_of(PAGE) {
                let page = (self.taken / PAGE - 1) as u32;
                self.finished.push((page, std::mem::take(&mut self.unfinished_crc)));
            }
            bytes = rest;
        }
        Ok(())
    }

    fn reserve_for(&mut self, more: u64) -> Result<()> {
        let needed = disk_space(self.taken + more) - disk_space(self.committed);
        if needed <= self.reserved {
            return Ok(());
        }
        let step = (needed - self.reserved).max(PAGE.min(self.room()));
        let dir = self.store.reserve(self.block, step).ok_or_else(|| no_room(self.block))?;
        if dir != self.claim.dir {
            self.store.unreserve(dir, step);
            return Err(gone(self.block));
        }
        self.reserved += step;
        Ok(())
    }

    /// Makes what was taken so far an only copy that outlives this process. Answers with the bytes of the block.
    pub fn commit(&mut self) -> Result<u64> {
        if self.taken == self.committed {
            return Ok(self.committed);
        }
        let mut pages = std::mem::take(&mut self.finished);
        if !self.taken.is_multiple_of(PAGE) {
            pages.push((page_count(self.taken) - 1, self.unfinished_crc));
        }
        let (block, incarnation, length) = (self.block, self.claim.incarnation, self.taken);
        let effects = {
            let mut index = self.store.inner.index.lock();
            let effects = index.apply(Input::Written { block, incarnation, length, pages });
            index.quota_mut(self.claim.dir).unreserve(std::mem::take(&mut self.reserved));
            effects
        };
        if effects.refused {
            return Err(gone(block));
        }
        self.store.carry_out(effects)?;
        self.committed = self.taken;
        Ok(self.committed)
    }

    /// Gives back the space of what was here before.
    fn clear(&self) -> Result<()> {
        let range = self.claim.start..self.claim.start + self.block_size;
        container::punch(&self.file, range)
            .map_err(|cause| Error::io(format_args!("clear block {}", self.block), cause))
    }
}

impl Drop for BlockWriter {
    fn drop(&mut self) {
        if self.taken > self.committed {
            let void = self.claim.start + self.committed..self.claim.start + self.taken;
            let _space_returns_with_the_file = container::punch(&self.file, void);
        }
        self.store.unreserve(self.claim.dir, self.reserved);
        self.store.unpin(self.block, self.claim, true);
        self.store.sync_later(self.block.container());
    }
}

fn no_room(block: BlockId) -> Error {
    Error::new(
        Code::NoSpace,
        format!("no room for block {block}: the cache is full and nothing may be evicted"),
    )
    .hint("raise goosefs.worker.tieredstore.level0.dirs.quota, add workers, or wait until data is persisted")
}

fn gone(block: BlockId) -> Error {
    Error::new(Code::Stale, format!("block {block} was removed or truncated while it was written"))
}
