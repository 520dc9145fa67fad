//! A sorted set of contents in little memory: most of them have neighbouring numbers.

use goosefs_core::id::{ContainerId, ContentId};
use std::collections::BTreeMap;

/// Contents by container number, 64 to a word.
#[derive(Default)]
pub(super) struct Contents {
    words: BTreeMap<u64, u64>,
}

impl Contents {
    pub(super) fn insert(&mut self, content: ContentId) {
        let number = content.container().0;
        *self.words.entry(number / 64).or_default() |= 1 << (number % 64);
    }

    pub(super) fn remove(&mut self, content: ContentId) {
        let number = content.container().0;
        if let Some(word) = self.words.get_mut(&(number / 64)) {
            *word &= !(1 << (number % 64));
            if *word == 0 {
                self.words.remove(&(number / 64));
            }
        }
    }

    /// All that are behind `after`, in order.
    pub(super) fn behind(&self, after: ContentId) -> impl Iterator<Item = ContentId> {
        let first = after.container().0 / 64;
        self.words
            .range(first..)
            .flat_map(|(high, word)| set_bits(*high, *word))
            .filter(move |found| *found > after)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ContentId> {
        self.words.iter().flat_map(|(high, word)| set_bits(*high, *word))
    }
}

fn set_bits(high: u64, word: u64) -> impl Iterator<Item = ContentId> {
    let bits = (0..64).filter(move |bit| word >> bit & 1 == 1);
    bits.map(move |bit| ContainerId(high * 64 + bit).content())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_like_a_set() {
        let (mut contents, mut model) = (Contents::default(), BTreeSet::new());
        let mut random = 7_u64;
        for _ in 0..5000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let content = ContainerId(1 + (random >> 33) % 300).content();
            if random >> 63 == 0 {
                contents.insert(content);
                model.insert(content);
            } else {
                contents.remove(content);
                model.remove(&content);
            }
            assert!(contents.iter().eq(model.iter().copied()));
            assert!(contents.behind(content).eq(model.iter().copied().filter(|have| *have > content)));
        }
    }
}
