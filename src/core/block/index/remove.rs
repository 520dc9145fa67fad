//! How cached bytes go: what may, in which pieces, and in which order on the disk.

use super::super::evict::{Candidate, Unit};
use super::super::pages::disk_space;
use super::super::record::{HeldRecord, Key};
use super::{Container, DirId, Effects, Index, Removal};
use crate::id::{BlockId, ContainerId};

impl Index {
    pub(super) fn evict(&mut self, units: Vec<Unit>) -> Effects {
        let mut effects = Effects::default();
        for unit in units {
            match unit {
                Unit::Block(block) => self.evict_block(block, &mut effects),
                Unit::Container(id) => {
                    if self.containers.get(&id).is_some_and(Container::evictable_whole) {
                        self.remove_container(id, false, &mut effects);
                    }
                }
            }
        }
        effects
    }

    fn evict_block(&mut self, block: BlockId, effects: &mut Effects) {
        let Some(container) = self.containers.get(&block.container()) else { return };
        let Some(found) = container.block(block.index()) else { return };
        if container.pinned || container.leases > 0 || !found.evictable() {
            return;
        }
        if container.handed_out.contains(found.dir) {
            if container.evictable_whole() {
                self.remove_container(block.container(), false, effects);
            }
            return;
        }
        self.remove_blocks(block.container(), &[block.index()], effects);
    }

    pub(super) fn drop_content(
        &mut self,
        id: ContainerId,
        older_than: Option<u64>,
        unpersisted_too: bool,
        truncate: bool,
    ) -> Effects {
        let mut effects = Effects::default();
        let Some(container) = self.containers.get(&id) else { return effects };
        if older_than.is_some_and(|generation| container.generation >= generation) {
            return effects;
        }
        let held = container.blocks.iter().any(|(_, block)| block.held || block.writing);
        if unpersisted_too || !held {
            self.remove_container(id, truncate, &mut effects);
            return effects;
        }
        let removable = container.blocks.iter().filter(|(_, block)| {
            block.evictable() && !container.handed_out.contains(block.dir) && container.leases == 0
        });
        let indices: Vec<u64> = removable.map(|(index, _)| u64::from(*index)).collect();
        self.remove_blocks(id, &indices, &mut effects);
        effects
    }

    pub(super) fn removed(&mut self, removal: &Removal, still_open: bool) -> Effects {
        let (dir, bytes) = match removal {
            Removal::Punch { dir, block, bytes, .. } => {
                self.leaving_blocks.remove(block);
                (*dir, *bytes)
            }
            Removal::Unlink { dir, container, bytes, .. } => {
                self.leaving_files.remove(&(*container, *dir));
                (*dir, *bytes)
            }
        };
        let quota = self.quota_mut(dir);
        quota.leaving = quota.leaving.saturating_sub(bytes);
        if still_open {
            quota.unlinked += bytes;
        }
        Effects::default()
    }

    /// Takes blocks out and says what leaves the disk: their bytes, or the whole file with the last of them.
    pub(super) fn remove_blocks(&mut self, id: ContainerId, indices: &[u64], effects: &mut Effects) {
        for index in indices {
            let Some(container) = self.containers.get_mut(&id) else { return };
            let Ok(at) = container.blocks.binary_search_by_key(index, |(at, _)| u64::from(*at)) else {
                continue;
            };
            let (_, block) = container.blocks.remove(at);
            let (dir, bytes, mount) = (block.dir, block.disk_space(), container.mount);
            let start = index * container.block_size;
            let range = start..start + punched(block.length, container.block_size);
            container.synced = container.synced.without(dir);
            let last_here = !container.blocks.iter().any(|(_, other)| other.dir == dir);
            if last_here {
                container.files = container.files.without(dir);
                container.handed_out = container.handed_out.without(dir);
            }
            let last = container.blocks.is_empty();
            self.uncount(dir, mount, bytes);
            if block.held {
                self.held_bytes -= bytes;
                effects.held.push((dir, HeldRecord { block: id.block(*index).0, held: None }));
            }
            effects.records.extend([(dir, Key::Container(id)), (dir, Key::Block(id.block(*index)))]);
            if last_here {
                self.leave(Removal::Unlink { dir, container: id, truncate: false, bytes }, effects);
            } else if bytes > 0 {
                self.leave(Removal::Punch { dir, block: id.block(*index), range, bytes }, effects);
            }
            if last {
                self.containers.remove(&id);
            }
        }
    }

    /// Takes a whole container out; its files are unlinked, so that whoever has one open keeps its bytes.
    pub(super) fn remove_container(&mut self, id: ContainerId, truncate: bool, effects: &mut Effects) {
        let Some(container) = self.containers.remove(&id) else { return };
        for dir in container.files.iter() {
            let bytes = container.disk_space_in(dir);
            self.uncount(dir, container.mount, bytes);
            effects.records.push((dir, Key::Container(id)));
            self.leave(Removal::Unlink { dir, container: id, truncate, bytes }, effects);
        }
        for (index, block) in &container.blocks {
            let block_id = id.block(u64::from(*index));
            effects.records.push((block.dir, Key::Block(block_id)));
            if block.held {
                self.held_bytes -= block.disk_space();
                effects.held.push((block.dir, HeldRecord { block: block_id.0, held: None }));
            }
        }
    }

    fn leave(&mut self, removal: Removal, effects: &mut Effects) {
        let (dir, bytes) = match &removal {
            Removal::Punch { dir, block, bytes, .. } => {
                self.leaving_blocks.insert(*block);
                (*dir, *bytes)
            }
            Removal::Unlink { dir, container, bytes, .. } => {
                self.leaving_files.insert((*container, *dir));
                (*dir, *bytes)
            }
        };
        self.quota_mut(dir).leaving += bytes;
        effects.freed += bytes;
        effects.removals.push(removal);
    }

    /// What may be evicted from `dir`, from `from` on, looking at no more than `limit` containers. The last value is
    /// where to go on.
    #[must_use]
    pub fn candidates(
        &self,
        dir: DirId,
        from: ContainerId,
        limit: usize,
    ) -> (Vec<Candidate>, Option<ContainerId>) {
        let mut found = Vec::new();
        for (looked, (id, container)) in self.containers.range(from..).enumerate() {
            if looked == limit {
                return (found, Some(*id));
            }
            if container.pinned || container.leases > 0 || !container.files.contains(dir) {
                continue;
            }
            if container.handed_out.contains(dir) {
                if container.evictable_whole() {
                    let used = container.blocks.iter().map(|(_, block)| block.last_access_ms).max();
                    found.push(Candidate {
                        unit: Unit::Container(*id),
                        bytes: container.disk_space_in(dir),
                        last_access_ms: used.unwrap_or_default().max(container.last_open_ms),
                    });
                }
                continue;
            }
            let here = container.blocks.iter().filter(|(_, block)| block.dir == dir && block.evictable());
            found.extend(here.map(|(index, block)| Candidate {
                unit: Unit::Block(id.block(u64::from(*index))),
                bytes: block.disk_space(),
                last_access_ms: block.last_access_ms,
            }));
        }
        (found, None)
    }
}

/// Bytes to punch for a block of `length` bytes: whole pages of memory where they are the block's own. A part of a page
/// is zeroed in place, which a socket that still sends it would show; a whole one is only let go of.
fn punched(length: u64, block_size: u64) -> u64 {
    let whole = disk_space(length);
    if disk_space(block_size) == block_size { whole } else { length }
}
