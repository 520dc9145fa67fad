//! The answers of reads: what services see of the namespace.

use bytes::Bytes;
use goosefs_core::id::{ContentId, InodeId, MountId, WorkerId};
use goosefs_core::proto::internal;
use std::collections::BTreeMap;

/// A path, as far as the namespace knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolved {
    /// The deepest inode on the path that exists.
    pub node: InodeId,
    /// Its attributes. When names are missing and this is no directory, it is a symlink to follow or an error.
    pub attr: internal::Attr,
    /// The names below `node` that do not exist (or are not loaded yet); empty when the path exists.
    pub missing: Vec<String>,
    /// The directories from the root down to `node`, `node` included when it is one: what a load of metadata walks.
    pub directories: Vec<InodeId>,
}

impl Resolved {
    /// Whether the whole path exists.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.missing.is_empty()
    }
}

/// What is known of a directory's listing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DirectoryState {
    /// A listing came to its end: every entry of the under-storage was seen then.
    pub loaded: bool,
    /// When that was, milliseconds since 1970; 0 for never.
    pub synced_ms: u64,
    /// The directory is (or may be) in the under-storage, so it can be listed there. False for directories that live in
    /// the cache only, which have nothing to load.
    pub in_ufs: bool,
    /// How many entries it has.
    pub children: u64,
}

impl DirectoryState {
    /// Whether a listing of the under-storage is due for a reader who wants nothing older than `interval_ms`
    /// (`None`: what was loaded once stays; 0: always).
    #[must_use]
    pub fn needs_load(&self, now_ms: u64, interval_ms: Option<u64>) -> bool {
        if !self.in_ufs {
            return false;
        }
        !self.loaded || interval_ms.is_some_and(|age| now_ms.saturating_sub(self.synced_ms) >= age)
    }
}

/// Everything about one inode that [`internal::Attr`] does not say.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Details {
    /// The mount it lies in, `None` where nothing is mounted.
    pub mount: Option<MountId>,
    /// Path below the mount's URI, without a leading slash; empty for the mount's root.
    pub ufs_path: String,
    /// Which object of the under-storage counts; set when persisted.
    pub fingerprint: Option<internal::Fingerprint>,
    /// When that object was last looked at.
    pub checked_ms: u64,
    /// Raised by truncations, from 1.
    pub generation: u64,
    /// What a client of the GooseFS protocol gave with `CompleteFile`: type (`CrcType`) and value (`CrcValue`).
    pub checksum: Option<(u32, i64)>,
    /// Extended attributes by name.
    pub xattr: BTreeMap<String, Bytes>,
    /// Time to live from creation, milliseconds.
    pub ttl_ms: Option<i64>,
    /// `TtlAction` of the GooseFS protocol.
    pub ttl_action: u32,
    /// Who holds unpersisted blocks.
    pub blocks: Vec<internal::BlockHolders>,
}

/// A mounted under-storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MountPoint {
    /// Its id; 1 is the root's.
    pub id: MountId,
    /// The directory it is mounted on.
    pub root: InodeId,
    /// The path of that directory.
    pub path: String,
    /// URI of the under-storage.
    pub ufs: String,
    /// Takes no writes.
    pub read_only: bool,
    /// As `fs mount --shared` says.
    pub shared: bool,
    /// Options of the connector; those of a mount that a file wants are in the file alone (`desired`).
    pub options: BTreeMap<String, String>,
    /// Generation of the mounts file that wants it; 0 when a person made it.
    pub generation: u64,
}

/// A worker that was registered.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisteredWorker {
    /// Its id.
    pub id: WorkerId,
    /// Where it listens.
    pub address: internal::WorkerAddress,
    /// How many virtual nodes it has on the ring.
    pub virtual_nodes: u32,
}

/// An open client session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionState {
    /// Its id.
    pub session: u64,
    /// What the client said of itself.
    pub description: String,
    /// Replicated time of its last operation.
    pub last_ms: u64,
    /// Results that the client has not acknowledged yet.
    pub unacknowledged: usize,
}

/// How much there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Files.
    pub files: u64,
    /// Directories, the root included.
    pub directories: u64,
    /// Symlinks.
    pub symlinks: u64,
    /// Sum of all files' lengths.
    pub bytes: u64,
}

/// A content that has bytes which the under-storage does not have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unpersisted {
    /// The content.
    pub content: ContentId,
    /// Its file.
    pub inode: InodeId,
    /// `ToBePersisted`, `NotPersisted` or `Lost`.
    pub persistence: internal::Persistence,
    /// Whether the writer is done.
    pub completed: bool,
}
