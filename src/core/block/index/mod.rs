//! What is cached where, as plain data.
//!
//! Owns every fact about cached blocks and the quotas of the directories. [`Index::apply`] takes one [`Input`] and
//! answers with [`Effects`]: what must now be written to the mirror and the held log, and which bytes may leave the
//! disk after that. Nothing here touches a disk, waits or reads a clock; the store calls it under its lock.
//!
//! Whoever reads, fills or writes a block holds a *pin* on it, and knows its container by its *incarnation*: a
//! container that was removed and made again is another one, and what was promised to the old one is refused.

mod apply;
mod claim;
mod remove;
mod restore;
mod types;

pub use types::*;

use super::pages::{PAGE, Page, Pages, page_len};
use super::quota::Quota;
use crate::id::{BlockId, ContainerId, MountId};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// A set of directories.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct DirSet(u64);

impl DirSet {
    fn with(self, dir: DirId) -> DirSet {
        DirSet(self.0 | 1 << dir.0)
    }

    fn without(self, dir: DirId) -> DirSet {
        DirSet(self.0 & !(1 << dir.0))
    }

    fn contains(self, dir: DirId) -> bool {
        self.0 & 1 << dir.0 != 0
    }

    fn iter(self) -> impl Iterator<Item = DirId> {
        (0..MAX_DIRS as u8).map(DirId).filter(move |dir| self.contains(*dir))
    }
}

#[derive(Clone, Debug)]
struct Container {
    block_size: u64,
    generation: u64,
    length: u64,
    complete: bool,
    pinned: bool,
    mount: MountId,
    incarnation: Incarnation,
    leases: u32,
    /// Directories with a file of this container.
    files: DirSet,
    /// Directories whose file's descriptor left this process.
    handed_out: DirSet,
    /// Directories whose file was complete when it was flushed to the disk.
    synced: DirSet,
    last_open_ms: u64,
    /// Sorted by block index.
    blocks: Vec<(u32, Block)>,
}

#[derive(Clone, Debug)]
struct Block {
    dir: DirId,
    length: u64,
    /// The only copy: not in the under-storage yet.
    held: bool,
    writing: bool,
    pins: u32,
    last_access_ms: u64,
    recorded_access_ms: u64,
    pages: Pages,
}

impl Block {
    fn disk_space(&self) -> u64 {
        self.pages.disk_space(self.length)
    }

    fn evictable(&self) -> bool {
        !self.held && self.pins == 0 && !self.pages.is_empty()
    }
}

impl Container {
    fn block(&self, index: u64) -> Option<&Block> {
        let at = self.blocks.binary_search_by_key(&index, |(at, _)| u64::from(*at)).ok()?;
        Some(&self.blocks[at].1)
    }

    fn block_mut(&mut self, index: u64) -> Option<&mut Block> {
        let at = self.blocks.binary_search_by_key(&index, |(at, _)| u64::from(*at)).ok()?;
        Some(&mut self.blocks[at].1)
    }

    fn whole_in(&self, dir: DirId, length: u64) -> bool {
        let count = length.div_ceil(self.block_size);
        self.blocks.len() as u64 == count
            && self.blocks.iter().zip(0..).all(|((index, block), expected)| {
                let start = expected * self.block_size;
                u64::from(*index) == expected
                    && block.dir == dir
                    && !block.writing
                    && block.length == (length - start).min(self.block_size)
                    && block.pages.whole(block.length)
            })
    }

    fn evictable_whole(&self) -> bool {
        !self.pinned && self.leases == 0 && self.blocks.iter().all(|(_, block)| block.evictable())
    }

    fn disk_space_in(&self, dir: DirId) -> u64 {
        self.blocks.iter().filter(|(_, block)| block.dir == dir).map(|(_, block)| block.disk_space()).sum()
    }
}

/// The index.
#[derive(Debug)]
pub struct Index {
    containers: BTreeMap<ContainerId, Container>,
    quotas: Vec<Quota>,
    leaving_files: BTreeSet<(ContainerId, DirId)>,
    leaving_blocks: BTreeSet<BlockId>,
    by_mount: BTreeMap<MountId, u64>,
    held_bytes: u64,
    next_incarnation: u64,
}

impl Index {
    /// Nothing cached in directories with these quotas.
    #[must_use]
    pub fn new(quotas: Vec<Quota>) -> Index {
        Index {
            containers: BTreeMap::new(),
            quotas,
            leaving_files: BTreeSet::new(),
            leaving_blocks: BTreeSet::new(),
            by_mount: BTreeMap::new(),
            held_bytes: 0,
            next_incarnation: 1,
        }
    }

    /// The quota of `dir`.
    #[must_use]
    pub fn quota(&self, dir: DirId) -> &Quota {
        &self.quotas[usize::from(dir.0)]
    }

    /// The quota of `dir`, to reserve from.
    pub fn quota_mut(&mut self, dir: DirId) -> &mut Quota {
        &mut self.quotas[usize::from(dir.0)]
    }

    /// Disk space of only copies.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Cached disk space by mount.
    #[must_use]
    pub fn by_mount(&self) -> &BTreeMap<MountId, u64> {
        &self.by_mount
    }

    /// Number of containers.
    #[must_use]
    pub fn containers(&self) -> usize {
        self.containers.len()
    }

    /// Where block `block` lies, if any of it is here.
    #[must_use]
    pub fn dir_of(&self, block: BlockId) -> Option<DirId> {
        Some(self.containers.get(&block.container())?.block(block.index())?.dir)
    }

    /// Whether `dir` has a file of `container`.
    #[must_use]
    pub fn holds(&self, container: ContainerId, dir: DirId) -> bool {
        self.containers.get(&container).is_some_and(|container| container.files.contains(dir))
    }

    /// Whether bytes of `container` are being removed.
    #[must_use]
    pub fn leaving(&self, container: ContainerId) -> bool {
        let files = (container, DirId(0))..=(container, DirId(u8::MAX));
        let blocks = container.block(0)..=BlockId(container.content().0);
        self.leaving_files.range(files).next().is_some() || self.leaving_blocks.range(blocks).next().is_some()
    }

    /// What is known of a content that is cached here, of whatever generation.
    #[must_use]
    pub fn content(&self, container: ContainerId) -> Option<Content> {
        let found = self.containers.get(&container)?;
        Some(Content {
            id: container.content(),
            block_size: found.block_size,
            generation: found.generation,
            length: found.length,
            complete: found.complete,
            mount: found.mount,
            pinned: found.pinned,
        })
    }

    /// Cached bytes of a block.
    #[must_use]
    pub fn block_bytes(&self, block: BlockId) -> u64 {
        let found =
            self.containers.get(&block.container()).and_then(|container| container.block(block.index()));
        found.map_or(0, |block| block.pages.bytes(block.length))
    }

    /// Cached bytes of a content.
    #[must_use]
    pub fn content_bytes(&self, container: ContainerId) -> u64 {
        let blocks = self.containers.get(&container).map(|container| container.blocks.as_slice());
        blocks.unwrap_or_default().iter().map(|(_, block)| block.pages.bytes(block.length)).sum()
    }

    /// Contents with only copies here, after `after`, at most `limit`; with their generations.
    #[must_use]
    pub fn held_contents(&self, after: ContainerId, limit: usize) -> Vec<(ContainerId, u64)> {
        let later = self.containers.range((std::ops::Bound::Excluded(after), std::ops::Bound::Unbounded));
        let held = later.filter(|(_, container)| container.blocks.iter().any(|(_, block)| block.held));
        held.map(|(id, container)| (*id, container.generation)).take(limit).collect()
    }

    /// Whether anything but `container` is here only because somebody uses it, or is being removed.
    #[must_use]
    pub fn may_let_go(&self, container: ContainerId) -> bool {
        let used = |found: &Container| {
            found.leases > 0 || found.blocks.iter().any(|(_, block)| block.pins > 0 && !block.held)
        };
        self.quotas.iter().any(|quota| quota.leaving + quota.unlinked > 0)
            || self.containers.iter().any(|(id, found)| *id != container && used(found))
    }

    /// Blocks of one content that are only copies.
    #[must_use]
    pub fn held_blocks(&self, container: ContainerId) -> Vec<BlockId> {
        let blocks = self.containers.get(&container).map(|container| container.blocks.as_slice());
        let held = blocks.unwrap_or_default().iter().filter(|(_, block)| block.held);
        held.map(|(index, _)| container.block(u64::from(*index))).collect()
    }

    /// Whether a lease on `container` is out.
    #[must_use]
    pub fn leased(&self, container: ContainerId) -> bool {
        self.containers.get(&container).is_some_and(|container| container.leases > 0)
    }

    /// Whether `container` still lives the life that `incarnation` names.
    #[must_use]
    pub fn is_current(&self, container: ContainerId, incarnation: Incarnation) -> bool {
        self.containers.get(&container).is_some_and(|found| found.incarnation == incarnation)
    }

    /// Every container, in order.
    pub fn ids(&self) -> impl Iterator<Item = ContainerId> + '_ {
        self.containers.keys().copied()
    }

    /// Page `page` of `block`, if it is here.
    #[must_use]
    pub fn page(&self, block: BlockId, incarnation: Incarnation, page: u32) -> Option<PageView> {
        let found =
            self.containers.get(&block.container()).filter(|found| found.incarnation == incarnation)?;
        let found = found.block(block.index())?;
        match found.pages.get(page) {
            Page::Absent => None,
            Page::Present { crc, verified } => {
                Some(PageView { crc, verified, length: page_len(found.length, page), held: found.held })
            }
        }
    }

    /// Bytes of `block` from `offset` on, at most `limit`, whose pages are here and verified.
    #[must_use]
    pub fn ready(&self, block: BlockId, incarnation: Incarnation, offset: u64, limit: u64) -> u64 {
        let current =
            self.containers.get(&block.container()).filter(|found| found.incarnation == incarnation);
        let Some(found) = current.and_then(|found| found.block(block.index())) else { return 0 };
        let end = offset.saturating_add(limit).min(found.length);
        let mut at = offset;
        while at < end {
            let number = u32::try_from(at / PAGE).unwrap_or(u32::MAX);
            if !matches!(found.pages.get(number), Page::Present { verified: true, .. }) {
                break;
            }
            at = (u64::from(number) + 1) * PAGE;
        }
        at.min(end).saturating_sub(offset)
    }

    /// Which of `pages` of a block of `generation` are not here.
    #[must_use]
    pub fn missing(&self, block: BlockId, generation: u64, pages: Range<u32>) -> Vec<u32> {
        let current = self.containers.get(&block.container()).filter(|found| found.generation == generation);
        let found = current.and_then(|found| found.block(block.index()));
        let absent = |page: &u32| found.is_none_or(|block| block.pages.get(*page) == Page::Absent);
        pages.filter(absent).collect()
    }

    /// Pages of `container` that were not verified since the store was opened.
    #[must_use]
    pub fn unverified(&self, container: ContainerId) -> Vec<(BlockId, u32)> {
        let blocks = self.containers.get(&container).map(|container| container.blocks.as_slice());
        let pages = blocks.unwrap_or_default().iter().flat_map(|(index, block)| {
            block.pages.unverified().map(move |(page, _)| (container.block(u64::from(*index)), page))
        });
        pages.collect()
    }

    /// Complete containers in `dir` whose file was not flushed to the disk since it was complete.
    #[must_use]
    pub fn whole_unsynced(&self, container: ContainerId) -> Option<(DirId, Incarnation)> {
        let found = self.containers.get(&container)?;
        let dir = found.blocks.first()?.1.dir;
        let wanted = found.complete && !found.synced.contains(dir) && found.whole_in(dir, found.length);
        wanted.then_some((dir, found.incarnation))
    }

    /// Directories that should have a file of `container`.
    #[must_use]
    pub fn dirs_of(&self, container: ContainerId) -> Vec<DirId> {
        self.containers.get(&container).map(|container| container.files.iter().collect()).unwrap_or_default()
    }

    fn count(&mut self, dir: DirId, container: ContainerId, space: u64) {
        self.quota_mut(dir).cached += space;
        if let Some(container) = self.containers.get(&container) {
            *self.by_mount.entry(container.mount).or_default() += space;
        }
    }

    fn uncount_in(&mut self, dir: DirId, container: ContainerId, space: u64) {
        if let Some(mount) = self.containers.get(&container).map(|container| container.mount) {
            self.uncount(dir, mount, space);
        }
    }

    fn uncount(&mut self, dir: DirId, mount: MountId, space: u64) {
        let quota = self.quota_mut(dir);
        quota.cached = quota.cached.saturating_sub(space);
        if let Some(bytes) = self.by_mount.get_mut(&mount) {
            *bytes = bytes.saturating_sub(space);
            if *bytes == 0 {
                self.by_mount.remove(&mount);
            }
        }
    }

    fn container_of(&mut self, id: ContainerId, incarnation: Incarnation) -> Option<&mut Container> {
        self.containers.get_mut(&id).filter(|container| container.incarnation == incarnation)
    }

    fn block_of(&mut self, block: BlockId, incarnation: Incarnation) -> Option<&mut Block> {
        self.container_of(block.container(), incarnation)?.block_mut(block.index())
    }
}
