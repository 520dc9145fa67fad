//! Making room: reservations, watermarks, eviction.

use super::super::container;
use super::super::evict::{Selection, Unit};
use super::super::index::{DirId, Input};
use super::super::place::{self, Room};
use super::{Counts, Dir, Store};
use crate::Result;
use crate::id::{BlockId, ContainerId};

/// Containers looked at under one hold of the index lock.
const LOOK_AT: usize = 1024;

/// Units evicted by one flush of the mirror.
const EVICT_AT_ONCE: usize = 256;

impl Store {
    /// Reserves `bytes` for `block` in the directory that suits it best, evicting what must go. `None`: nothing more
    /// can be evicted. Blocks.
    pub(in crate::block) fn reserve(&self, block: BlockId, bytes: u64) -> Option<DirId> {
        let order = self.dirs_for(block);
        let reserved = order.iter().copied().find(|dir| self.reserve_in(*dir, bytes)).or_else(|| {
            order.into_iter().find(|dir| {
                // Others may take the room as it is made, so one more try is worth it and many are not.
                (0..2).any(|_| self.make_room(*dir, bytes) && self.reserve_in(*dir, bytes))
            })
        });
        if reserved.is_none() {
            Counts::add(&self.inner.counts.no_room, 1);
        }
        reserved
    }

    pub(in crate::block) fn unreserve(&self, dir: DirId, bytes: u64) {
        self.inner.index.lock().quota_mut(dir).unreserve(bytes);
    }

    fn reserve_in(&self, dir: DirId, bytes: u64) -> bool {
        let mut index = self.inner.index.lock();
        let reserved = index.quota_mut(dir).reserve(bytes);
        let pressure = index.quota(dir).above(self.dir(dir).high) > 0;
        drop(index);
        if pressure && let Some(hook) = self.inner.pressure.get() {
            hook();
        }
        reserved
    }

    /// The directories that may take `block`, best first; only one when part of it is here.
    fn dirs_for(&self, block: BlockId) -> Vec<DirId> {
        let index = self.inner.index.lock();
        let usable = self.inner.dirs.iter().filter(|dir| !dir.is_failed());
        if let Some(here) = index.dir_of(block) {
            return usable.map(|dir| dir.id).filter(|dir| *dir == here).collect();
        }
        let rooms = usable.map(|dir| Room {
            dir: dir.id,
            tier: dir.tier,
            free: index.quota(dir.id).free(),
            holds_container: index.holds(block.container(), dir.id),
        });
        place::order(rooms.collect())
    }

    /// Evicts until `bytes` fit into `dir`.
    fn make_room(&self, dir: DirId, bytes: u64) -> bool {
        let _one_at_a_time = self.inner.evicting.lock();
        self.forget_closed(self.dir(dir));
        loop {
            let missing = bytes.saturating_sub(self.inner.index.lock().quota(dir).free());
            if missing == 0 {
                return true;
            }
            if !self.evict_from(self.dir(dir), missing).is_ok_and(|evicted| evicted > 0) {
                return false;
            }
        }
    }

    /// Brings every directory that is above its high watermark down to the low one. Answers with the bytes freed.
    /// Blocks.
    pub fn evict(&self) -> Result<u64> {
        let _one_at_a_time = self.inner.evicting.lock();
        let mut freed = 0;
        for dir in self.inner.dirs.iter().filter(|dir| !dir.is_failed()) {
            let (above_high, above_low) = {
                let index = self.inner.index.lock();
                (index.quota(dir.id).above(dir.high), index.quota(dir.id).above(dir.low))
            };
            if above_high > 0 {
                freed += self.evict_from(dir, above_low)?;
            }
        }
        Ok(freed)
    }

    /// Brings directories that hold more than their quota down to the low watermark.
    pub(super) fn trim(&self) -> Result<u64> {
        let mut freed = 0;
        for dir in &self.inner.dirs {
            let (full, above_low) = {
                let index = self.inner.index.lock();
                let quota = index.quota(dir.id);
                (quota.total() > quota.limit, quota.above(dir.low))
            };
            if full {
                freed += self.evict_from(dir, above_low)?;
            }
        }
        Ok(freed)
    }

    /// Evicts what was used longest ago, as much as gives `need` bytes. Answers with the bytes freed.
    fn evict_from(&self, dir: &Dir, need: u64) -> Result<u64> {
        let mut selection = Selection::new(need);
        let mut from = Some(ContainerId(0));
        while let Some(start) = from {
            let (candidates, next) = self.inner.index.lock().candidates(dir.id, start, LOOK_AT);
            for candidate in candidates {
                if selection.wants(&*self.inner.policy, &candidate) && !in_use(dir, candidate.unit) {
                    selection.offer(&*self.inner.policy, candidate);
                }
            }
            from = next;
        }
        let mut freed = 0;
        for units in selection.finish().chunks(EVICT_AT_ONCE) {
            let effects = self.inner.index.lock().apply(Input::Evict { units: units.to_vec() });
            let bytes = effects.freed;
            self.carry_out(effects)?;
            freed += bytes;
        }
        Counts::add(&self.inner.counts.evicted_bytes, freed);
        Ok(freed)
    }
}

/// Whether somebody has it open though no lease says so: a program that was given the file by a FUSE process or worker that
/// has been replaced since. It is in use, and would give its room back only when it is closed.
fn in_use(dir: &Dir, unit: Unit) -> bool {
    match unit {
        Unit::Block(_) => false,
        Unit::Container(id) => {
            container::open(&dir.path, id).is_ok_and(|file| container::open_elsewhere(&file))
        }
    }
}
