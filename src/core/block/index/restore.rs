//! The index as records: what the mirror and the held log say, and how it is taken back at the next start.

use super::super::pages::{PAGE, Page, Pages, disk_space, page_count, page_len};
use super::super::record::{BlockRecord, ContainerRecord, HeldBlock, HeldRecord, Key};
use super::{Block, Container, DirId, DirSet, Effects, Incarnation, Index};
use crate::id::{BlockId, ContainerId, MountId};
use std::ops::Range;

impl Index {
    /// What the mirror of `dir` should say under `key`; `None` is nothing.
    pub(in crate::block) fn record(&self, dir: DirId, key: Key) -> Option<Vec<u8>> {
        use prost::Message;
        match key {
            Key::Container(id) => {
                let container = self.containers.get(&id)?;
                let here =
                    container.blocks.iter().any(|(_, block)| block.dir == dir && !block.pages.is_empty());
                here.then(|| container_record(container, dir).encode_to_vec())
            }
            Key::Block(id) => {
                let block = self.containers.get(&id.container())?.block(id.index())?;
                let here = block.dir == dir && !block.pages.is_empty();
                here.then(|| block_record(block).encode_to_vec())
            }
        }
    }

    pub(super) fn held_record(&self, id: BlockId) -> Option<HeldRecord> {
        let container = self.containers.get(&id.container())?;
        let block = container.block(id.index()).filter(|block| block.held)?;
        let held =
            HeldBlock { container: container_record(container, block.dir), block: block_record(block) };
        Some(HeldRecord { block: id.0, held: Some(held) })
    }

    /// Every only copy in `dir`, as the held log says it.
    pub(in crate::block) fn held_records(&self, dir: DirId) -> Vec<HeldRecord> {
        let blocks = self.containers.iter().flat_map(|(id, container)| {
            let here = container.blocks.iter().filter(|(_, block)| block.held && block.dir == dir);
            here.map(move |(index, _)| id.block(u64::from(*index)))
        });
        blocks.filter_map(|block| self.held_record(block)).collect()
    }

    /// Every only copy of one container in `dir`.
    pub(in crate::block) fn held_records_of(&self, dir: DirId, id: ContainerId) -> Vec<HeldRecord> {
        let here = self.held_blocks(id).into_iter().filter(|block| self.dir_of(*block) == Some(dir));
        here.filter_map(|block| self.held_record(block)).collect()
    }

    /// Blocks in `dir` whose last access is not recorded.
    pub(in crate::block) fn unrecorded_accesses(&self, dir: DirId) -> Vec<BlockId> {
        let blocks = self.containers.iter().flat_map(|(id, container)| {
            let stale = |block: &Block| block.dir == dir && block.last_access_ms != block.recorded_access_ms;
            let here = container.blocks.iter().filter(move |(_, block)| stale(block));
            here.map(move |(index, _)| id.block(u64::from(*index)))
        });
        blocks.collect()
    }

    /// Takes back what a record said. With `clean`, the store was stopped in order and its files flushed, so they are
    /// trusted. Answers whether the block (or container) was taken in.
    pub(in crate::block) fn restore_container(
        &mut self,
        dir: DirId,
        id: ContainerId,
        record: &ContainerRecord,
        clean: bool,
    ) {
        if let Some(known) = self.containers.get(&id) {
            if known.generation > record.generation {
                return;
            }
            if known.generation < record.generation {
                self.remove_container(id, false, &mut Effects::default());
                self.leaving_files.clear();
                self.quotas.iter_mut().for_each(|quota| quota.leaving = 0);
            }
        }
        let incarnation = Incarnation(self.next_incarnation);
        self.next_incarnation += 1;
        let container = self.containers.entry(id).or_insert_with(|| Container {
            block_size: record.block_size.max(1),
            generation: record.generation,
            length: record.length,
            complete: record.complete,
            pinned: record.pinned,
            mount: MountId(record.mount),
            incarnation,
            leases: 0,
            files: DirSet::default(),
            handed_out: DirSet::default(),
            synced: DirSet::default(),
            last_open_ms: 0,
            blocks: Vec::new(),
        });
        container.files = container.files.with(dir);
        if record.handed_out {
            container.handed_out = container.handed_out.with(dir);
        }
        if clean || record.synced {
            container.synced = container.synced.with(dir);
        }
    }

    /// Takes back a block of a container that was taken back before.
    pub(in crate::block) fn restore_block(&mut self, dir: DirId, id: BlockId, record: &BlockRecord) {
        let Some(container) = self.containers.get_mut(&id.container()) else { return };
        let Ok(number) = u32::try_from(id.index()) else { return };
        let mut block = Block {
            dir,
            length: record.length,
            held: record.held,
            writing: false,
            pins: 0,
            last_access_ms: record.last_access_ms,
            recorded_access_ms: record.last_access_ms,
            pages: Pages::default(),
        };
        for (page, crc) in record.pages().filter(|(page, _)| *page < page_count(record.length)) {
            block.pages.set(page, Page::Present { crc, verified: false });
        }
        let (space, held) = (block.disk_space(), block.held);
        let replaced = match container.blocks.binary_search_by_key(&number, |(at, _)| *at) {
            Ok(at) => Some(std::mem::replace(&mut container.blocks[at].1, block)),
            Err(at) => {
                container.blocks.insert(at, (number, block));
                None
            }
        };
        let mount = container.mount;
        if let Some(old) = replaced {
            self.uncount(old.dir, mount, old.disk_space());
            self.held_bytes -= if old.held { old.disk_space() } else { 0 };
        }
        self.count(dir, id.container(), space);
        self.held_bytes += if held { space } else { 0 };
    }

    /// Takes back what the held log says of a block; it knows better than the mirror.
    pub(in crate::block) fn restore_held(&mut self, dir: DirId, id: BlockId, held: &HeldBlock) {
        self.restore_container(dir, id.container(), &held.container, false);
        let same = self
            .containers
            .get(&id.container())
            .is_some_and(|container| container.generation == held.container.generation);
        if same {
            self.restore_block(dir, id, &held.block);
        }
    }

    /// Where the pages of a container in `dir` lie in its file, in order, as much as they take on the disk. None when its
    /// file must be left as it is, because its descriptor left this process.
    pub(in crate::block) fn known_bytes(&self, id: ContainerId, dir: DirId) -> Option<Vec<Range<u64>>> {
        let container = self.containers.get(&id).filter(|container| !container.handed_out.contains(dir))?;
        let here = container.blocks.iter().filter(|(_, block)| block.dir == dir);
        let ranges = here.flat_map(|(index, block)| {
            let start = u64::from(*index) * container.block_size;
            block.pages.present().map(move |(page, _)| {
                let at = start + u64::from(page) * PAGE;
                at..at + disk_space(page_len(block.length, page))
            })
        });
        Some(ranges.collect())
    }

    /// Forgets what a record promised of a file that is not there. Answers with the only copies that are lost by it.
    pub(in crate::block) fn forget_file(&mut self, dir: DirId, id: ContainerId) -> Vec<BlockId> {
        let Some(container) = self.containers.get(&id) else { return Vec::new() };
        let here = container.blocks.iter().filter(|(_, block)| block.dir == dir);
        let indices: Vec<u64> = here.map(|(index, _)| u64::from(*index)).collect();
        let lost =
            self.held_blocks(id).into_iter().filter(|block| indices.contains(&block.index())).collect();
        let mut effects = Effects::default();
        self.remove_blocks(id, &indices, &mut effects);
        for removal in effects.removals {
            self.removed(&removal, false);
        }
        if let Some(container) = self.containers.get_mut(&id) {
            container.files = container.files.without(dir);
            if container.blocks.is_empty() {
                self.containers.remove(&id);
            }
        }
        lost
    }
}

fn container_record(container: &Container, dir: DirId) -> ContainerRecord {
    ContainerRecord {
        block_size: container.block_size,
        generation: container.generation,
        length: container.length,
        complete: container.complete,
        mount: container.mount.0,
        handed_out: container.handed_out.contains(dir),
        synced: container.synced.contains(dir),
        pinned: container.pinned,
    }
}

fn block_record(block: &Block) -> BlockRecord {
    let mut record = BlockRecord {
        length: block.length,
        last_access_ms: block.last_access_ms,
        held: block.held,
        ..BlockRecord::default()
    };
    record.set_pages(block.pages.present());
    record
}
