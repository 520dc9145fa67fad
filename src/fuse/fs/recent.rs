//! A map that remembers what was put or used lately, within a bound.
//!
//! Two halves: what is new goes to the young one; when that is full it becomes the old one and what was old is
//! forgotten. An entry survives between one and two times the bound of newer ones; every step is O(1).

use std::collections::HashMap;

/// A bounded map by FUSE node id.
#[derive(Debug)]
pub struct Recent<V> {
    bound: usize,
    young: HashMap<u64, V>,
    old: HashMap<u64, V>,
}

impl<V> Recent<V> {
    /// Holds at most twice `bound` entries.
    #[must_use]
    pub fn new(bound: usize) -> Recent<V> {
        Recent { bound, young: HashMap::new(), old: HashMap::new() }
    }

    /// Remembers `value` for `node`; returns what was there.
    pub fn put(&mut self, node: u64, value: V) -> Option<V> {
        let before = self.old.remove(&node);
        if self.young.len() >= self.bound && !self.young.contains_key(&node) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(node, value).or(before)
    }

    /// What is remembered of `node`.
    #[must_use]
    pub fn get(&self, node: u64) -> Option<&V> {
        self.young.get(&node).or_else(|| self.old.get(&node))
    }

    /// Forgets `node`; returns what was remembered.
    pub fn remove(&mut self, node: u64) -> Option<V> {
        let old = self.old.remove(&node);
        self.young.remove(&node).or(old)
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.young.clear();
        self.old.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_entries_push_out_the_oldest() {
        let mut recent = Recent::new(2);
        for node in 0..5 {
            recent.put(node, node);
        }
        assert_eq!(recent.get(4), Some(&4));
        assert_eq!(recent.get(3), Some(&3));
        assert_eq!(recent.get(0), None);
    }

    #[test]
    fn the_last_value_of_a_node_counts_wherever_the_first_lay() {
        let mut recent = Recent::new(1);
        recent.put(1, "a");
        recent.put(2, "b");
        assert_eq!(recent.put(1, "c"), Some("a"));
        assert_eq!(recent.get(1), Some(&"c"));
        recent.remove(1);
        assert_eq!(recent.get(1), None);
    }
}
