//! A map for a handful of entries, in the memory that they need and no more: millions of inodes may have one.
//!
//! A B-tree's smallest node has room for eleven entries. This is a sorted vector without spare room while it is small;
//! finding is a binary search, a new entry moves those behind it.

/// How many entries may come one by one before room is made ahead.
const SMALL: usize = 8;

/// Entries sorted by key, each key once.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Few<K, V>(Vec<(K, V)>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Few<K, V> {
        Few(Vec::new())
    }
}

impl<K: Ord, V> Few<K, V> {
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The value of `key`; a default one is put there when there was none.
    pub(super) fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let at = match self.find(&key) {
            Ok(at) => at,
            Err(at) => self.put(at, key, V::default()),
        };
        &mut self.0[at].1
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        match self.find(&key) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => drop(self.put(at, key, value)),
        }
    }

    pub(super) fn remove<Q: Ord + ?Sized>(&mut self, key: &Q)
    where
        K: std::borrow::Borrow<Q>,
    {
        if let Ok(at) = self.0.binary_search_by(|(other, _)| other.borrow().cmp(key)) {
            self.0.remove(at);
            self.0.shrink_to_fit();
        }
    }

    /// Drops `from` and every key above.
    pub(super) fn cut(&mut self, from: &K) {
        self.0.truncate(self.0.partition_point(|(key, _)| key < from));
        self.0.shrink_to_fit();
    }

    /// Gives the memory back too.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    fn find(&self, key: &K) -> std::result::Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.cmp(key))
    }

    fn put(&mut self, at: usize, key: K, value: V) -> usize {
        if self.0.len() < SMALL {
            self.0.reserve_exact(1);
        }
        self.0.insert(at, (key, value));
        at
    }
}

impl<K: Ord, V> FromIterator<(K, V)> for Few<K, V> {
    /// Of equal keys the last one counts, as in the maps of the standard library.
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Few<K, V> {
        let mut few = Few::default();
        for (key, value) in entries {
            few.insert(key, value);
        }
        few.0.shrink_to_fit();
        few
    }
}

#[cfg(test)]
mod tests {
    use super::Few;
    use std::collections::BTreeMap;

    #[test]
    fn it_does_what_a_map_does() {
        // Every way to put eight keys that are not in order, some of them twice, and to take some out again.
        let keys = [5_u64, 1, 9, 5, 0, 3, 7, 1, 12, 4, 11, 10, 2];
        let (mut few, mut map) = (Few::default(), BTreeMap::new());
        for (value, key) in keys.into_iter().enumerate() {
            *few.entry(key) = value;
            map.insert(key, value);
            assert!(few.iter().eq(map.iter()), "after {key}");
        }
        few.insert(9, 100);
        map.insert(9, 100);
        few.remove(&5);
        map.remove(&5);
        few.remove(&6);
        assert!(few.iter().eq(map.iter()));
        assert_eq!(few, map.clone().into_iter().collect());
        few.cut(&9);
        drop(map.split_off(&9));
        assert!(few.iter().eq(map.iter()));
        few.clear();
        assert_eq!(few, Few::default());
    }
}
