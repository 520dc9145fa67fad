//! Pins and leases: who uses which block, and what that forbids.

use super::super::pages::{PAGE, Page, Pages, page_count, page_len};
use super::super::record::{HeldRecord, Key};
use super::{
    Block, Claim, Container, Content, DirId, DirSet, Effects, HandOutState, Incarnation, Index, Refusal,
    WriteClaim,
};
use crate::id::{BlockId, ContainerId};
use std::ops::Range;

/// How much later an access must be than the recorded one to be recorded.
const ACCESS_RECORDED_EVERY_MS: u64 = 60_000;

impl Index {
    /// Pins `block` for a reader, if any of it is here and of `generation` (when one is given). The second value says
    /// that the access should be recorded.
    pub fn pin(&mut self, block: BlockId, generation: Option<u64>, now_ms: u64) -> Option<(Claim, bool)> {
        let container = self.containers.get_mut(&block.container())?;
        if generation.is_some_and(|generation| generation != container.generation) {
            return None;
        }
        let (start, incarnation) = (block.index() * container.block_size, container.incarnation);
        let found = container.block_mut(block.index()).filter(|block| !block.pages.is_empty())?;
        found.pins += 1;
        found.last_access_ms = now_ms;
        let record = now_ms.saturating_sub(found.recorded_access_ms) > ACCESS_RECORDED_EVERY_MS;
        if record {
            found.recorded_access_ms = now_ms;
        }
        Some((Claim { dir: found.dir, incarnation, length: found.length, start }, record))
    }

    /// Counts as an access to what is here of these blocks of a content, if it is of `generation`.
    pub fn touch(&mut self, container: ContainerId, generation: u64, blocks: Range<u64>, now_ms: u64) {
        let found = self.containers.get_mut(&container).filter(|found| found.generation == generation);
        let all = found.into_iter().flat_map(|found| &mut found.blocks);
        for (_, block) in all.filter(|(index, _)| blocks.contains(&u64::from(*index))) {
            block.last_access_ms = now_ms;
        }
    }

    /// Pins block `index` of `content` for filling; `dir` is where it goes if nothing of it is here yet.
    pub fn claim_fill(
        &mut self,
        content: &Content,
        index: u64,
        dir: DirId,
        now_ms: u64,
    ) -> Result<Claim, Refusal> {
        let length = content.block_len(index);
        let (container, at) = self.claim(content, index, dir, length, now_ms)?;
        let incarnation = container.incarnation;
        let block = &mut container.blocks[at].1;
        if block.writing || block.length != length {
            return Err(Refusal::Busy);
        }
        block.pins += 1;
        Ok(Claim { dir: block.dir, incarnation, length, start: index * content.block_size })
    }

    /// Pins block `index` of `content` for its one writer, who goes on at `offset`. Starting again at 0 voids what was
    /// written.
    pub fn claim_write(
        &mut self,
        content: &Content,
        index: u64,
        dir: DirId,
        offset: u64,
        now_ms: u64,
    ) -> Result<WriteClaim, Refusal> {
        let id = content.id.container().block(index);
        if offset != 0 && self.dir_of(id).is_none() {
            return Err(Refusal::Offset(0));
        }
        let (container, at) = self.claim(content, index, dir, 0, now_ms)?;
        let (incarnation, block) = (container.incarnation, &container.blocks[at].1);
        let whole = block.pages.whole(block.length);
        let goes_on = whole && offset == block.length;
        if !goes_on && offset != 0 {
            return Err(Refusal::Offset(if whole { block.length } else { 0 }));
        }
        if block.writing || (!goes_on && (block.pins > 0 || container.handed_out.contains(block.dir))) {
            return Err(Refusal::Busy);
        }
        let effects = if goes_on { Effects::default() } else { self.void(id) };
        let Some(block) = self.block_of(id, incarnation) else { return Err(Refusal::Busy) };
        block.writing = true;
        block.pins += 1;
        let last = page_count(block.length).saturating_sub(1);
        let unfinished_crc = match block.pages.get(last) {
            Page::Present { crc, .. } if page_len(block.length, last) < PAGE => crc,
            Page::Present { .. } | Page::Absent => 0,
        };
        let (dir, length, start) = (block.dir, block.length, index * content.block_size);
        Ok(WriteClaim { claim: Claim { dir, incarnation, length, start }, unfinished_crc, effects })
    }

    /// Forgets the bytes of a block that is written anew; they stay in the file until they are written over.
    fn void(&mut self, id: BlockId) -> Effects {
        let mut effects = Effects::default();
        let Some(container) = self.containers.get_mut(&id.container()) else { return effects };
        let Some(block) = container.block_mut(id.index()) else { return effects };
        let (dir, space) = (block.dir, block.disk_space());
        if std::mem::take(&mut block.held) {
            effects.held.push((dir, HeldRecord { block: id.0, held: None }));
        }
        block.pages = Pages::default();
        block.length = 0;
        container.synced = container.synced.without(dir);
        let mount = container.mount;
        self.held_bytes -= if effects.held.is_empty() { 0 } else { space };
        self.uncount(dir, mount, space);
        effects.records.extend([(dir, Key::Container(id.container())), (dir, Key::Block(id))]);
        effects
    }

    /// Finds or makes the block; nothing is pinned yet.
    fn claim(
        &mut self,
        content: &Content,
        index: u64,
        dir: DirId,
        length: u64,
        now_ms: u64,
    ) -> Result<(&mut Container, usize), Refusal> {
        let id = content.id.container();
        let dir = self.dir_of(id.block(index)).unwrap_or(dir);
        if self.leaving_files.contains(&(id, dir)) || self.leaving_blocks.contains(&id.block(index)) {
            return Err(Refusal::Busy);
        }
        let next = Incarnation(self.next_incarnation);
        let container = self.containers.entry(id).or_insert_with(|| Container {
            block_size: content.block_size,
            generation: content.generation,
            length: content.length,
            complete: content.complete,
            pinned: content.pinned,
            mount: content.mount,
            incarnation: next,
            leases: 0,
            files: DirSet::default(),
            handed_out: DirSet::default(),
            synced: DirSet::default(),
            last_open_ms: now_ms,
            blocks: Vec::new(),
        });
        if container.incarnation == next {
            self.next_incarnation += 1;
        }
        if container.generation != content.generation || container.block_size != content.block_size {
            let newer = content.generation > container.generation;
            return Err(if newer { Refusal::Outdated } else { Refusal::Stale });
        }
        if content.complete {
            container.complete = true;
            container.length = content.length;
        }
        container.pinned = content.pinned;
        container.files = container.files.with(dir);
        let number = u32::try_from(index).map_err(|_| Refusal::Busy)?;
        let at = match container.blocks.binary_search_by_key(&number, |(at, _)| *at) {
            Ok(at) => at,
            Err(at) => {
                let block = Block {
                    dir,
                    length,
                    held: false,
                    writing: false,
                    pins: 0,
                    last_access_ms: now_ms,
                    recorded_access_ms: now_ms,
                    pages: Pages::default(),
                };
                container.blocks.insert(at, (number, block));
                at
            }
        };
        container.blocks[at].1.last_access_ms = now_ms;
        Ok((container, at))
    }

    /// Counts a lease on a content that is wholly in one directory and trusted. With `first` the record must be
    /// flushed before the descriptor leaves.
    pub fn hand_out(
        &mut self,
        container: ContainerId,
        generation: u64,
        length: u64,
        now_ms: u64,
    ) -> HandOutState {
        let Some(found) = self.containers.get_mut(&container).filter(|found| found.generation == generation)
        else {
            return HandOutState::Absent;
        };
        let Some(dir) = found.blocks.first().map(|(_, block)| block.dir) else { return HandOutState::Absent };
        if length == 0 || !found.whole_in(dir, length) {
            return HandOutState::Absent;
        }
        let verified = |block: &Block| block.pages.unverified().next().is_none();
        if !found.synced.contains(dir) && !found.blocks.iter().all(|(_, block)| verified(block)) {
            return HandOutState::Untrusted;
        }
        found.complete = true;
        found.length = length;
        found.leases += 1;
        found.last_open_ms = now_ms;
        let first = !found.handed_out.contains(dir);
        found.handed_out = found.handed_out.with(dir);
        HandOutState::Granted { dir, incarnation: found.incarnation, first }
    }
}
