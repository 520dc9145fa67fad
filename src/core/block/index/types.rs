//! The words the index and the store speak: inputs, effects, claims, refusals.
//!
//! Plain data without behaviour; `mod.rs` says what they mean together.

use super::super::evict::Unit;
use super::super::record::{HeldRecord, Key};
use crate::id::{BlockId, ContainerId, ContentId, MountId};
use std::ops::Range;

/// A directory of the store, counted through all tiers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct DirId(pub u8);

/// Directories a store can have.
pub const MAX_DIRS: usize = 64;

/// One life of a container in the index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Incarnation(pub(super) u64);

/// What the store must know of a content before it caches any of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Content {
    /// Which content.
    pub id: ContentId,
    /// Bytes of every block but the last.
    pub block_size: u64,
    /// Raised by every truncation.
    pub generation: u64,
    /// Bytes in all; what is known so far while the file is being written.
    pub length: u64,
    /// Nobody writes it any more.
    pub complete: bool,
    /// Where its under-storage is mounted.
    pub mount: MountId,
    /// Must stay cached.
    pub pinned: bool,
}

impl Content {
    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        self.length.div_ceil(self.block_size)
    }

    /// Bytes of block `index`.
    #[must_use]
    pub fn block_len(&self, index: u64) -> u64 {
        self.length.saturating_sub(index * self.block_size).min(self.block_size)
    }
}

/// Something happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// A page's bytes are in the file. The block is pinned by whoever fills it.
    Filled {
        /// Whose page.
        block: BlockId,
        /// Of which life of the container.
        incarnation: Incarnation,
        /// Which page.
        page: u32,
        /// crc32c of its bytes.
        crc: u32,
    },
    /// A writer's bytes are in the file up to `length`; from now on they are an only copy.
    Written {
        /// Which block.
        block: BlockId,
        /// Of which life of the container.
        incarnation: Incarnation,
        /// Bytes of the block.
        length: u64,
        /// Checksums of the pages that are new or have grown.
        pages: Vec<(u32, u32)>,
    },
    /// A reader, filler or writer is done.
    Unpinned {
        /// Which block.
        block: BlockId,
        /// Of which life of the container.
        incarnation: Incarnation,
        /// It was the writer.
        wrote: bool,
    },
    /// A page's bytes were seen to match their checksum.
    Verified {
        /// Whose page.
        block: BlockId,
        /// Of which life of the container.
        incarnation: Incarnation,
        /// Which page.
        page: u32,
        /// The checksum that matched.
        crc: u32,
    },
    /// A page's bytes do not match their checksum or cannot be read.
    Bad {
        /// Whose page.
        block: BlockId,
        /// Of which life of the container.
        incarnation: Incarnation,
        /// Which page.
        page: u32,
        /// The checksum that did not match.
        crc: u32,
    },
    /// A descriptor that was handed out is not used any more.
    LeaseEnded {
        /// Whose.
        container: ContainerId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Now.
        now_ms: u64,
    },
    /// The file was flushed to the disk.
    Synced {
        /// Whose file.
        container: ContainerId,
        /// Which life of it.
        incarnation: Incarnation,
        /// Where.
        dir: DirId,
    },
    /// The under-storage has the content: its blocks are copies now.
    Persisted {
        /// Which content.
        container: ContainerId,
        /// Of which generation.
        generation: u64,
    },
    /// Room is needed.
    Evict {
        /// What goes, if it still may.
        units: Vec<Unit>,
    },
    /// The content is void.
    Drop {
        /// Which content.
        container: ContainerId,
        /// Only if its generation is below this one.
        older_than: Option<u64>,
        /// Only copies too.
        unpersisted_too: bool,
        /// Whoever has it open shall see it empty, not as it was.
        truncate: bool,
    },
    /// A removal was carried out.
    Removed {
        /// Which.
        removal: Removal,
        /// Somebody still has the unlinked file open.
        still_open: bool,
    },
    /// The last holder of an unlinked file is gone.
    Closed {
        /// Where the file was.
        dir: DirId,
        /// Disk space it gave back.
        bytes: u64,
    },
}

/// Bytes that may leave the disk once the records are flushed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Removal {
    /// Punch a block's bytes.
    Punch {
        /// Where.
        dir: DirId,
        /// Which block.
        block: BlockId,
        /// Its bytes in the container.
        range: Range<u64>,
        /// Disk space it gives back.
        bytes: u64,
    },
    /// Unlink the file.
    Unlink {
        /// Where.
        dir: DirId,
        /// Whose file.
        container: ContainerId,
        /// Cut it to nothing first.
        truncate: bool,
        /// Disk space it gives back.
        bytes: u64,
    },
}

/// What must be done about an input.
#[derive(Debug, Default)]
pub struct Effects {
    /// Records of the mirror that are out of date.
    pub(in crate::block) records: Vec<(DirId, Key)>,
    /// What the held log must say before anybody is answered.
    pub(in crate::block) held: Vec<(DirId, HeldRecord)>,
    /// Only after the records and the held log are flushed.
    pub removals: Vec<Removal>,
    /// Disk space that the removals give back.
    pub freed: u64,
    /// Only copies that are gone.
    pub lost: Vec<BlockId>,
    /// The input spoke of something that is not there any more.
    pub refused: bool,
}

impl Effects {
    pub(super) fn refused() -> Effects {
        Effects { refused: true, ..Effects::default() }
    }
}

/// A pin on a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claim {
    /// Where the block lies.
    pub dir: DirId,
    /// Of which life of the container.
    pub incarnation: Incarnation,
    /// Bytes of the block.
    pub length: u64,
    /// Where the block starts in the container.
    pub start: u64,
}

/// The pin of a block's one writer.
#[derive(Debug)]
pub struct WriteClaim {
    /// The pin; its length is where the writer goes on.
    pub claim: Claim,
    /// Checksum of the last page if that is not full, else 0.
    pub unfinished_crc: u32,
    /// To be carried out before anything is written. Not empty when older bytes were voided.
    pub effects: Effects,
}

/// Why a claim was not granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// The bytes in its place are being removed, or somebody writes the block.
    Busy,
    /// The container is of a newer generation.
    Stale,
    /// The container is of an older generation, which must be dropped first.
    Outdated,
    /// A writer must go on at this offset of the block, or at 0.
    Offset(u64),
}

/// A page as a reader needs it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PageView {
    /// crc32c of its bytes.
    pub crc: u32,
    /// No need to check it again.
    pub verified: bool,
    /// Its bytes.
    pub length: u64,
    /// It is an only copy.
    pub held: bool,
}

/// Whether a container's descriptor may leave.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HandOutState {
    /// Not wholly here.
    Absent,
    /// Wholly here, but not verified since an unclean stop.
    Untrusted,
    /// It may leave; the lease is counted.
    Granted {
        /// Where the file is.
        dir: DirId,
        /// Which life of the container.
        incarnation: Incarnation,
        /// The record must be flushed before the descriptor leaves.
        first: bool,
    },
}
