//! The sorted entries of one directory, in leaves that are shared with a running image until they change.

use super::name::Name;
use goosefs_core::id::InodeId;
use std::sync::Arc;

/// Entries of a full leaf.
const LEAF: usize = 128;

type Leaf = Vec<(Name, InodeId)>;

/// Entries by name.
#[derive(Clone, Default)]
pub(super) struct Children {
    /// None is empty; the names of each lie before those of the next.
    leaves: Vec<Arc<Leaf>>,
    length: u64,
}

impl Children {
    pub(super) fn len(&self) -> u64 {
        self.length
    }

    pub(super) fn is_empty(&self) -> bool {
        self.length == 0
    }

    pub(super) fn get(&self, name: &str) -> Option<InodeId> {
        let leaf = self.leaves.get(self.leaf_of(name.as_bytes()))?;
        let at = leaf.binary_search_by(|(have, _)| have.as_bytes().cmp(name.as_bytes())).ok()?;
        Some(leaf[at].1)
    }

    /// Adds an entry; its name must not be there yet.
    pub(super) fn insert(&mut self, name: Name, id: InodeId) {
        self.length += 1;
        if self.leaves.is_empty() {
            self.leaves.push(Arc::new(vec![(name, id)]));
            return;
        }
        let index = self.leaf_of(name.as_bytes());
        let last = index + 1 == self.leaves.len();
        let leaf = Arc::make_mut(&mut self.leaves[index]);
        let at = leaf.partition_point(|(have, _)| *have < name);
        if leaf.len() < LEAF {
            leaf.insert(at, (name, id));
            return;
        }
        // Names often come in order: a leaf that is appended to stays full, others are halved.
        let mut right = if at == LEAF && last { Vec::new() } else { leaf.split_off(LEAF / 2) };
        if at > leaf.len() || right.is_empty() {
            right.insert(at - leaf.len(), (name, id));
        } else {
            leaf.insert(at, (name, id));
        }
        leaf.shrink_to_fit();
        self.leaves.insert(index + 1, Arc::new(right));
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<InodeId> {
        let index = self.leaf_of(name.as_bytes());
        let leaf = self.leaves.get_mut(index)?;
        let at = leaf.binary_search_by(|(have, _)| have.as_bytes().cmp(name.as_bytes())).ok()?;
        self.length -= 1;
        let leaf = Arc::make_mut(leaf);
        let (_, id) = leaf.remove(at);
        if leaf.is_empty() {
            self.leaves.remove(index);
        } else if leaf.len() < LEAF / 4 {
            self.merge(index);
        }
        Some(id)
    }

    /// All entries in the order of their names.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Name, InodeId)> {
        self.leaves.iter().flat_map(|leaf| leaf.iter().map(|(name, id)| (name, *id)))
    }

    /// The entries behind `after`.
    pub(super) fn iter_after<'a>(&'a self, after: &str) -> impl Iterator<Item = (&'a Name, InodeId)> {
        let index = self.leaf_of(after.as_bytes());
        let skip = self.leaves.get(index).map_or(0, |leaf| {
            if after.is_empty() {
                0
            } else {
                leaf.partition_point(|(have, _)| have.as_bytes() <= after.as_bytes())
            }
        });
        self.leaves.iter().skip(index).flat_map(|leaf| leaf.iter()).skip(skip).map(|(name, id)| (name, *id))
    }

    /// The leaf that has or would take `name`.
    fn leaf_of(&self, name: &[u8]) -> usize {
        let behind = self
            .leaves
            .partition_point(|leaf| leaf.first().is_some_and(|(first, _)| first.as_bytes() <= name));
        behind.saturating_sub(1)
    }

    /// Puts a small leaf together with a neighbour when both fit one leaf.
    fn merge(&mut self, index: usize) {
        let left = if index + 1 < self.leaves.len() { index } else { index.saturating_sub(1) };
        let Some(right) = self.leaves.get(left + 1) else { return };
        if self.leaves[left].len() + right.len() > LEAF * 3 / 4 {
            return;
        }
        let right = self.leaves.remove(left + 1);
        Arc::make_mut(&mut self.leaves[left]).extend(right.iter().cloned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn behaves_like_a_sorted_map() {
        let mut random = 88_172_645_463_325_252_u64;
        let mut next = |bound: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % bound
        };
        let (mut children, mut model) = (Children::default(), BTreeMap::new());
        for step in 0..60_000_u64 {
            let grow = step % 20_000 < 12_000;
            let name = format!("n{}", next(4000));
            if next(10) < if grow { 8 } else { 2 } {
                if children.get(&name).is_none() {
                    children.insert(Name::new(&name), InodeId(step));
                    model.insert(name, InodeId(step));
                }
            } else {
                assert_eq!(children.remove(&name), model.remove(&name));
            }
            assert_eq!(children.len(), model.len() as u64);
            if step % 500 == 0 {
                let after = format!("n{}", next(4000));
                let have: Vec<_> =
                    children.iter_after(&after).map(|(n, id)| (n.as_str().to_owned(), id)).collect();
                let want: Vec<_> =
                    model.iter().filter(|(name, _)| **name > after).map(|(n, id)| (n.clone(), *id)).collect();
                assert_eq!(have, want);
                let have: Vec<_> =
                    children.iter_after("").map(|(n, id)| (n.as_str().to_owned(), id)).collect();
                assert_eq!(have, model.clone().into_iter().collect::<Vec<_>>());
                assert!(model.iter().all(|(name, id)| children.get(name) == Some(*id)));
            }
        }
    }

    #[test]
    fn names_in_order_fill_their_leaves() {
        let mut children = Children::default();
        for i in 0..10_000_u64 {
            children.insert(Name::new(&format!("{i:08}")), InodeId(i));
        }
        assert_eq!(children.leaves.len(), 10_000_usize.div_ceil(LEAF));
    }
}
