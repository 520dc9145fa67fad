//! What happens to pages, blocks and containers, one input after the other.

use super::super::pages::{Page, disk_space, page_count, page_len};
use super::super::record::{HeldRecord, Key};
use super::{DirId, Effects, Incarnation, Index, Input};
use crate::id::{BlockId, ContainerId};

impl Index {
    /// Takes one input in.
    pub fn apply(&mut self, input: Input) -> Effects {
        match input {
            Input::Filled { block, incarnation, page, crc } => self.filled(block, incarnation, page, crc),
            Input::Written { block, incarnation, length, pages } => {
                self.written(block, incarnation, length, &pages)
            }
            Input::Unpinned { block, incarnation, wrote } => self.unpinned(block, incarnation, wrote),
            Input::Verified { block, incarnation, page, crc } => {
                if let Some(found) = self.block_of(block, incarnation)
                    && matches!(found.pages.get(page), Page::Present { crc: now, .. } if now == crc)
                {
                    found.pages.set(page, Page::Present { crc, verified: true });
                }
                Effects::default()
            }
            Input::Bad { block, incarnation, page, crc } => self.bad(block, incarnation, page, crc),
            Input::LeaseEnded { container, incarnation, now_ms } => {
                if let Some(found) = self.container_of(container, incarnation) {
                    found.leases = found.leases.saturating_sub(1);
                    found.last_open_ms = now_ms;
                }
                Effects::default()
            }
            Input::Synced { container, incarnation, dir } => self.synced(container, incarnation, dir),
            Input::Persisted { container, generation } => self.persisted(container, generation),
            Input::Evict { units } => self.evict(units),
            Input::Drop { container, older_than, unpersisted_too, truncate } => {
                self.drop_content(container, older_than, unpersisted_too, truncate)
            }
            Input::Removed { removal, still_open } => self.removed(&removal, still_open),
            Input::Closed { dir, bytes } => {
                let quota = self.quota_mut(dir);
                quota.unlinked = quota.unlinked.saturating_sub(bytes);
                Effects::default()
            }
        }
    }

    fn filled(&mut self, block: BlockId, incarnation: Incarnation, page: u32, crc: u32) -> Effects {
        let Some(found) = self.block_of(block, incarnation) else { return Effects::refused() };
        if found.pages.get(page) != Page::Absent || page >= page_count(found.length) {
            return Effects::default();
        }
        found.pages.set(page, Page::Present { crc, verified: true });
        let (dir, space) = (found.dir, disk_space(page_len(found.length, page)));
        self.count(dir, block.container(), space);
        Effects {
            records: vec![(dir, Key::Container(block.container())), (dir, Key::Block(block))],
            ..Effects::default()
        }
    }

    fn written(
        &mut self,
        block: BlockId,
        incarnation: Incarnation,
        length: u64,
        pages: &[(u32, u32)],
    ) -> Effects {
        let Some(found) = self.block_of(block, incarnation) else { return Effects::refused() };
        let (dir, before, was_held) = (found.dir, found.disk_space(), found.held);
        found.length = length;
        found.held = true;
        for (page, crc) in pages {
            found.pages.set(*page, Page::Present { crc: *crc, verified: true });
        }
        let after = found.disk_space();
        self.uncount_in(dir, block.container(), before);
        self.count(dir, block.container(), after);
        self.held_bytes = self.held_bytes - if was_held { before } else { 0 } + after;
        if let Some(container) = self.container_of(block.container(), incarnation) {
            let end = block.index() * container.block_size + length;
            container.length = container.length.max(end);
        }
        let id = block.container();
        let mut effects = Effects {
            records: vec![(dir, Key::Container(id)), (dir, Key::Block(block))],
            ..Effects::default()
        };
        effects.held.extend(self.held_record(block).map(|record| (dir, record)));
        effects
    }

    fn unpinned(&mut self, block: BlockId, incarnation: Incarnation, wrote: bool) -> Effects {
        let Some(found) = self.block_of(block, incarnation) else { return Effects::default() };
        found.pins = found.pins.saturating_sub(1);
        if wrote {
            found.writing = false;
        }
        if found.pins > 0 || !found.pages.is_empty() {
            return Effects::default();
        }
        let mut effects = Effects::default();
        self.remove_blocks(block.container(), &[block.index()], &mut effects);
        effects
    }

    fn bad(&mut self, block: BlockId, incarnation: Incarnation, page: u32, crc: u32) -> Effects {
        let Some(container) = self.container_of(block.container(), incarnation) else {
            return Effects::default();
        };
        let handed_out = container.handed_out;
        let Some(found) = container.block_mut(block.index()) else { return Effects::default() };
        let still = matches!(found.pages.get(page), Page::Present { crc: now, .. } if now == crc);
        if !still {
            return Effects::default();
        }
        if found.held {
            return Effects { lost: vec![block], ..Effects::default() };
        }
        if handed_out.contains(found.dir) {
            return self.drop_content(block.container(), None, false, false);
        }
        found.pages.set(page, Page::Absent);
        let (dir, space) = (found.dir, disk_space(page_len(found.length, page)));
        container.synced = container.synced.without(dir);
        self.uncount_in(dir, block.container(), space);
        Effects {
            records: vec![(dir, Key::Container(block.container())), (dir, Key::Block(block))],
            ..Effects::default()
        }
    }

    fn synced(&mut self, container: ContainerId, incarnation: Incarnation, dir: DirId) -> Effects {
        let Some(found) = self.container_of(container, incarnation) else { return Effects::refused() };
        if !found.complete || !found.whole_in(dir, found.length) {
            return Effects::refused();
        }
        found.synced = found.synced.with(dir);
        Effects { records: vec![(dir, Key::Container(container))], ..Effects::default() }
    }

    fn persisted(&mut self, container: ContainerId, generation: u64) -> Effects {
        let mut effects = Effects::default();
        let Some(found) = self.containers.get_mut(&container).filter(|found| found.generation == generation)
        else {
            return Effects::refused();
        };
        for (index, block) in found.blocks.iter_mut().filter(|(_, block)| block.held) {
            let id = container.block(u64::from(*index));
            block.held = false;
            self.held_bytes -= block.disk_space();
            effects.held.push((block.dir, HeldRecord { block: id.0, held: None }));
            effects.records.push((block.dir, Key::Block(id)));
        }
        effects
    }
}
