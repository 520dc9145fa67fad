//! What the index and the held log say on disk. Wire format: fields are only ever added.

use crate::id::{BlockId, ContainerId};

/// Names one record of one directory's mirror.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(super) enum Key {
    Container(ContainerId),
    Block(BlockId),
}

impl Key {
    pub(super) fn to_bytes(self) -> [u8; 9] {
        let (tag, number) = match self {
            Key::Container(id) => (b'c', id.0),
            Key::Block(id) => (b'b', id.0),
        };
        let mut bytes = [tag; 9];
        bytes[1..].copy_from_slice(&number.to_be_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Key> {
        let number = u64::from_be_bytes(bytes.get(1..)?.try_into().ok()?);
        match bytes[0] {
            b'c' => Some(Key::Container(ContainerId(number))),
            b'b' => Some(Key::Block(BlockId(number))),
            _ => None,
        }
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct ContainerRecord {
    #[prost(uint64, tag = "1")]
    pub(super) block_size: u64,
    #[prost(uint64, tag = "2")]
    pub(super) generation: u64,
    #[prost(uint64, tag = "3")]
    pub(super) length: u64,
    #[prost(bool, tag = "4")]
    pub(super) complete: bool,
    #[prost(uint64, tag = "5")]
    pub(super) mount: u64,
    /// A descriptor of the file left this process once.
    #[prost(bool, tag = "6")]
    pub(super) handed_out: bool,
    /// The file was complete when it was flushed to the disk.
    #[prost(bool, tag = "7")]
    pub(super) synced: bool,
    #[prost(bool, tag = "8")]
    pub(super) pinned: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct BlockRecord {
    #[prost(uint64, tag = "1")]
    pub(super) length: u64,
    #[prost(uint64, tag = "2")]
    pub(super) last_access_ms: u64,
    /// Bit `i % 8` of byte `i / 8`: page `i` is present.
    #[prost(bytes = "vec", tag = "3")]
    pub(super) present: Vec<u8>,
    /// Of the present pages, in order.
    #[prost(fixed32, repeated, tag = "4")]
    pub(super) crcs: Vec<u32>,
    #[prost(bool, tag = "5")]
    pub(super) held: bool,
}

impl BlockRecord {
    /// The present pages with their checksums.
    pub(super) fn pages(&self) -> impl Iterator<Item = (u32, u32)> + '_ {
        let numbers = (0..self.present.len() as u32 * 8)
            .filter(|page| self.present[*page as usize / 8] & (1 << (page % 8)) != 0);
        numbers.zip(self.crcs.iter().copied())
    }

    pub(super) fn set_pages(&mut self, pages: impl Iterator<Item = (u32, u32)>) {
        for (page, crc) in pages {
            let byte = page as usize / 8;
            if self.present.len() <= byte {
                self.present.resize(byte + 1, 0);
            }
            self.present[byte] |= 1 << (page % 8);
            self.crcs.push(crc);
        }
    }
}

/// One entry of the held log. With `held` it says what the block is now; without, that the block is not held any more.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeldRecord {
    #[prost(uint64, tag = "1")]
    pub(super) block: u64,
    #[prost(message, optional, tag = "2")]
    pub(super) held: Option<HeldBlock>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct HeldBlock {
    #[prost(message, required, tag = "1")]
    pub(super) container: ContainerRecord,
    #[prost(message, required, tag = "2")]
    pub(super) block: BlockRecord,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_pages_read_back() {
        for key in [Key::Container(ContainerId(7)), Key::Block(ContainerId(7).block(3))] {
            assert_eq!(Key::from_bytes(&key.to_bytes()), Some(key));
        }
        assert_eq!(Key::from_bytes(b"boot"), None);
        let mut record = BlockRecord::default();
        let pages = [(0, 5), (1, 6), (9, 7), (64, 8)];
        record.set_pages(pages.into_iter());
        assert_eq!(record.pages().collect::<Vec<_>>(), pages);
    }
}
