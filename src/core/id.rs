//! Identifiers, each a type of its own so that one is never taken for another.
//!
//! Every inode owns a *container number*, drawn once from a replicated counter that starts at 1 and stays below
//! 2^39. The three ids below are derived from container numbers and share one number space without meeting:
//!
//! | id | value | low 24 bits |
//! |---|---|---|
//! | [`InodeId`] | `container << 24` | all zero |
//! | [`BlockId`] | `container << 24 \| index` | the block's index |
//! | [`ContentId`] | `container << 24 \| 0xFFFFFF` | all one |
//!
//! Clients of the GooseFS protocol compute block ids as `(file id >> 24) << 24 | index` (seen in `goosefs-sdk` 0.1.9
//! and 0.2.2), so two files must never share a container number.

use std::fmt;

/// Bits of a block id that hold the index of the block within its container.
pub const BLOCK_INDEX_BITS: u32 = 24;

/// Low bits of a content id: the largest value of a block index, so no block has it.
pub const CONTENT_MARK: u64 = (1 << BLOCK_INDEX_BITS) - 1;

/// Container numbers are below this, so that ids stay positive in the protocol's signed 64 bits.
pub const MAX_CONTAINER: u64 = 1 << 39;

macro_rules! newtype {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0)
            }
        }

        impl From<$name> for u64 {
            fn from(id: $name) -> u64 {
                id.0
            }
        }
    };
}

newtype!(
    /// Number of a container: the blocks of one content of one file, and the name of its file on a worker's disk.
    ContainerId
);
newtype!(
    /// An inode: a name's owner, mode, times, pin, TTL. The root is `InodeId(0)`.
    InodeId
);
newtype!(
    /// One content of a file (which bytes). It is `FileInfo.fileId` in the GooseFS protocol and the FUSE node id of a
    /// file. A file that is replaced in its under-storage gets a new one; writing or truncating through us keeps it.
    ContentId
);
newtype!(
    /// One block of a content.
    BlockId
);
newtype!(
    /// A mounted under-storage. The root mount is `MountId(1)`.
    MountId
);
newtype!(
    /// A worker, named by the identity file in its first tier folder and not by its address. Below 2^63, never 0.
    WorkerId
);
newtype!(
    /// One life of a master's data directory. Raft knows masters by this, never by their `--id`, because Raft must not
    /// see a node id come back without its log.
    NodeId
);
newtype!(
    /// A UFS side effect that is under way: the Raft log index of the entry that announced it.
    IntentId
);
newtype!(
    /// A client session whose operations are numbered, so that each takes effect once.
    SessionId
);
newtype!(
    /// Raised by restore and by `--force-new-cluster`: what was handed out in an earlier epoch is void.
    Epoch
);

impl ContainerId {
    /// Block `index` of this container.
    ///
    /// # Panics
    /// If `index` is not below 2^24 - 1; lengths are checked against [`max_file_len`] where they enter.
    #[must_use]
    pub fn block(self, index: u64) -> BlockId {
        assert!(index < CONTENT_MARK, "block index {index} does not fit a block id");
        BlockId(self.0 << BLOCK_INDEX_BITS | index)
    }

    /// The content id of this container.
    #[must_use]
    pub fn content(self) -> ContentId {
        ContentId(self.0 << BLOCK_INDEX_BITS | CONTENT_MARK)
    }

    /// The inode id of this container number.
    #[must_use]
    pub fn inode(self) -> InodeId {
        InodeId(self.0 << BLOCK_INDEX_BITS)
    }
}

impl InodeId {
    /// The root directory.
    pub const ROOT: InodeId = InodeId(0);

    /// The container number this inode was made with.
    #[must_use]
    pub fn container(self) -> ContainerId {
        ContainerId(self.0 >> BLOCK_INDEX_BITS)
    }
}

impl ContentId {
    /// The container that holds this content's blocks.
    #[must_use]
    pub fn container(self) -> ContainerId {
        ContainerId(self.0 >> BLOCK_INDEX_BITS)
    }

    /// Block `index` of this content.
    #[must_use]
    pub fn block(self, index: u64) -> BlockId {
        self.container().block(index)
    }

    /// `Some` when `raw` has the form of a content id, `None` for inode and block ids.
    #[must_use]
    pub fn from_raw(raw: u64) -> Option<ContentId> {
        (raw & CONTENT_MARK == CONTENT_MARK && raw >> BLOCK_INDEX_BITS < MAX_CONTAINER)
            .then_some(ContentId(raw))
    }
}

impl BlockId {
    /// The container this block lies in.
    #[must_use]
    pub fn container(self) -> ContainerId {
        ContainerId(self.0 >> BLOCK_INDEX_BITS)
    }

    /// The content this block is part of.
    #[must_use]
    pub fn content(self) -> ContentId {
        self.container().content()
    }

    /// The index of this block within its container.
    #[must_use]
    pub fn index(self) -> u64 {
        self.0 & CONTENT_MARK
    }
}

/// The longest file that blocks of `block_size` bytes can hold.
#[must_use]
pub fn max_file_len(block_size: u64) -> u64 {
    block_size.saturating_mul(CONTENT_MARK).min(i64::MAX as u64)
}

/// A cluster: made at the first start of its masters, carried by every data directory, handshake and lease.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ClusterId(pub uuid::Uuid);

impl fmt::Display for ClusterId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_of_one_container_differ_and_lead_back_to_it() {
        let container = ContainerId(77);
        assert_eq!(container.content().0, 77 << 24 | 0xFF_FFFF);
        assert_eq!(container.block(3).container(), container);
        assert_eq!(container.block(3).index(), 3);
        assert_eq!(container.block(3).content(), container.content());
        assert_eq!(container.inode().container(), container);
        assert_eq!(ContentId::from_raw(container.inode().0), None);
        assert_eq!(ContentId::from_raw(container.content().0), Some(container.content()));
    }

    #[test]
    fn ids_stay_positive_in_signed_64_bits() {
        assert!(i64::try_from(ContainerId(MAX_CONTAINER - 1).content().0).is_ok());
    }
}
