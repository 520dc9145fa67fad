//! Which missing pages are asked for together, and how far ahead of a reader.

use super::{Fill, PageKey, Table, Want};
use crate::versions::Version;
use goosefs_core::block::PAGE;
use std::ops::Range;

/// Neighbouring pages of one block that one range request brings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Run {
    /// Index of the block.
    pub(super) block: u64,
    /// Its pages.
    pub(super) pages: Range<u32>,
}

impl Fill {
    /// The runs to begin for a reader that wants a page. A run never crosses a multiple of the largest run in its
    /// block, so that a reader that moves on page by page asks for whole runs and not for single pages.
    pub(super) fn plan(&self, table: &Table, version: &Version, want: Want, key: PageKey) -> Vec<Run> {
        let limits = self.inner.limits;
        let content = version.content();
        let active = table.runs.get(&version.content).copied().unwrap_or_default();
        let wanted = !table.flights.contains_key(&key)
            && !self.inner.store.missing(key.block, key.generation, key.page..key.page + 1).is_empty();
        let mut budget = limits.parallel.saturating_sub(active).max(usize::from(wanted));
        let start = want.block * content.block_size + u64::from(want.page) * PAGE;
        let end = if want.sequential {
            start.next_multiple_of(limits.range).saturating_add(limits.range * limits.parallel as u64)
        } else {
            want.until
        };
        let end = end.min(version.length);
        let mut runs = Vec::new();
        let mut at = start;
        while at < end && budget > 0 {
            let index = at / content.block_size;
            let block_start = index * content.block_size;
            let block_end = block_start + content.block_len(index);
            let pages =
                page_at(at - block_start)..page_at((end.min(block_end) - block_start).next_multiple_of(PAGE));
            let found = self.missing_runs(table, version, index, pages);
            let taken = found.into_iter().take(budget);
            let before = runs.len();
            runs.extend(taken);
            budget -= runs.len() - before;
            at = block_end;
        }
        runs
    }

    fn missing_runs(&self, table: &Table, version: &Version, index: u64, pages: Range<u32>) -> Vec<Run> {
        let block = version.content.block(index);
        let missing = self.inner.store.missing(block, version.generation, pages);
        let not_on_the_way = missing.into_iter().filter(|page| {
            !table.flights.contains_key(&PageKey { block, page: *page, generation: version.generation })
        });
        group(not_on_the_way, page_at(self.inner.limits.range))
            .map(|pages| Run { block: index, pages })
            .collect()
    }
}

fn page_at(offset: u64) -> u32 {
    u32::try_from(offset / PAGE).unwrap_or(u32::MAX)
}

/// Joins neighbours, but not across multiples of `most`.
fn group(pages: impl Iterator<Item = u32>, most: u32) -> impl Iterator<Item = Range<u32>> {
    let mut groups: Vec<Range<u32>> = Vec::new();
    for page in pages {
        match groups.last_mut() {
            Some(last) if last.end == page && !page.is_multiple_of(most.max(1)) => last.end += 1,
            _ => groups.push(page..page + 1),
        }
    }
    groups.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_are_fetched_together_up_to_the_boundary_of_a_run() {
        let groups: Vec<Range<u32>> = group([0, 1, 2, 3, 4, 6, 7, 8, 9].into_iter(), 4).collect();
        assert_eq!(groups, [0..4, 4..5, 6..8, 8..10]);
    }
}
