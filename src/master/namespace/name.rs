//! Names of entries in 24 bytes: short ones inline, longer ones on the heap.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

/// Longest name that needs no allocation.
const INLINE: usize = 22;

/// The name of an entry. Ordered by its bytes.
#[derive(Clone)]
pub(super) enum Name {
    /// Its first `length` bytes.
    Inline { length: u8, bytes: [u8; INLINE] },
    /// More than fits inline; the inode and its directory share it.
    Heap(Arc<str>),
}

impl Name {
    pub(super) fn new(text: &str) -> Name {
        if text.len() > INLINE {
            return Name::Heap(text.into());
        }
        let mut bytes = [0; INLINE];
        bytes[..text.len()].copy_from_slice(text.as_bytes());
        Name::Inline { length: text.len() as u8, bytes }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Name::Inline { length, bytes } => &bytes[..usize::from(*length)],
            Name::Heap(text) => text.as_bytes(),
        }
    }

    pub(super) fn as_str(&self) -> &str {
        match self {
            // Made from a str, so it is UTF-8.
            Name::Inline { length, bytes } => {
                std::str::from_utf8(&bytes[..usize::from(*length)]).unwrap_or_default()
            }
            Name::Heap(text) => text,
        }
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Name) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Name) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_every_length_come_back_and_sort_by_bytes() {
        for length in 0..60 {
            let text = "é".repeat(length / 2) + &"x".repeat(length % 2);
            assert_eq!(Name::new(&text).as_str(), text);
            assert_eq!(Name::new(&text).as_bytes(), text.as_bytes());
        }
        assert!(Name::new(&"a".repeat(40)) < Name::new("b"));
        assert!(Name::new("a") < Name::new("aa"));
        assert_eq!(size_of::<Name>(), 24);
    }
}
