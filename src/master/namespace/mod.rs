//! The replicated namespace: inodes, directories, mounts, sessions and running intents, as one plain struct.
//!
//! [`Namespace::apply`] is the only way to change it and is deterministic: the same entries in the same order give the
//! same bytes on every master. No I/O, no clock, no randomness inside. `proto/internal/journal.proto` says what every
//! command means; a command that fails changes nothing. Called by `master/journal`, which guards it by a lock; reads
//! are cheap and take `&self`. [`Namespace::freeze`] takes an image in constant time: pages of inodes and of directory
//! entries are shared with it and copied only when they are changed later.
//!
//! **Exactly once.** An entry with a `session_op` or `vendor_op` that was applied before gets its first answer. While
//! its intent runs the answer is `Applied { intent }` again. `Busy` is never remembered. An operation of a session that
//! is not open is refused as `Stale`: open a new one.
//!
//! **Intents.** Commands with an effect on the under-storage answer `Applied { intent }` (the id is the entry's index),
//! change nothing, and hold what they touch: conflicting commands answer `Busy` until `FinishIntent`, whose answer is
//! the command's.

mod outcome;
mod view;

pub use outcome::{Outcome, from_wire, to_wire};
pub use view::{
    Counts, Details, DirectoryState, MountPoint, RegisteredWorker, Resolved, SessionState, Unpersisted,
};

use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{ContentId, InodeId, IntentId, MountId, WorkerId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::{internal, journal};
use goosefs_core::raft::{ClusterMark, Frozen};
use std::io::Read;

fn unfinished() -> Error {
    Error::new(Code::Unimplemented, "the namespace is being built")
}

/// The namespace of one cluster.
#[derive(Default)]
pub struct Namespace {}

impl Namespace {
    /// An empty namespace: a root directory that nothing is mounted on.
    #[must_use]
    pub fn new() -> Namespace {
        Namespace {}
    }

    /// Applies the entry with log index `index`. Never panics on what an entry holds; what is wrong is answered in
    /// `applied.error`.
    pub fn apply(&mut self, index: u64, entry: &journal::Entry) -> Outcome {
        let _ = (index, entry);
        Outcome::failed(unfinished())
    }

    /// A point-in-time image, in (nearly) constant time. Written in bounded memory; the same state gives the same bytes.
    #[must_use]
    pub fn freeze(&self) -> Box<dyn Frozen> {
        struct Nothing;
        impl Frozen for Nothing {
            fn write(&self, _: &mut dyn std::io::Write) -> std::io::Result<()> {
                Err(std::io::Error::other("the namespace is being built"))
            }
        }
        Box::new(Nothing)
    }

    /// Reads an image that [`Namespace::freeze`] wrote. Its checksum was verified by the caller.
    ///
    /// # Errors
    /// `Corrupt` when it is no image or ends early, `Unimplemented` when a newer version wrote it.
    pub fn restore(image: &mut dyn Read) -> Result<Namespace> {
        let _ = image;
        Err(unfinished())
    }

    // ---- reads: nodes

    /// Attributes of an inode or content id (`node`).
    ///
    /// # Errors
    /// `NotFound`; `Stale` for a content that was replaced or removed.
    pub fn attr(&self, node: u64) -> Result<internal::Attr> {
        let _ = node;
        Err(unfinished())
    }

    /// The inode behind an inode or content id.
    ///
    /// # Errors
    /// As [`Namespace::attr`].
    pub fn inode_of(&self, node: u64) -> Result<InodeId> {
        let _ = node;
        Err(unfinished())
    }

    /// Attributes of the entry `name` of a directory.
    ///
    /// # Errors
    /// `NotFound` for either, `NotDirectory`.
    pub fn lookup(&self, parent: InodeId, name: &str) -> Result<internal::Attr> {
        let _ = (parent, name);
        Err(unfinished())
    }

    /// Follows `path` from the root as far as it exists. Symlinks are not followed.
    #[must_use]
    pub fn resolve(&self, path: &NsPath) -> Resolved {
        let _ = path;
        Resolved {
            node: InodeId::ROOT,
            attr: internal::Attr::default(),
            missing: path.components().map(str::to_owned).collect(),
            directories: vec![InodeId::ROOT],
        }
    }

    /// The path of an inode.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn path_of(&self, inode: InodeId) -> Result<NsPath> {
        let _ = inode;
        Err(unfinished())
    }

    /// At most `limit` entries of a directory behind the name `after` (empty: from the start), sorted by the bytes of
    /// their names, and whether there are more.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`.
    pub fn children(
        &self,
        directory: InodeId,
        after: &str,
        limit: usize,
    ) -> Result<(Vec<internal::DirEntry>, bool)> {
        let _ = (directory, after, limit);
        Err(unfinished())
    }

    /// What is known of a directory's listing.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`.
    pub fn directory(&self, directory: InodeId) -> Result<DirectoryState> {
        let _ = directory;
        Err(unfinished())
    }

    /// Everything about an inode that its attributes do not say.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn details(&self, inode: InodeId) -> Result<Details> {
        let _ = inode;
        Err(unfinished())
    }

    /// What a worker or client needs to serve a content.
    ///
    /// # Errors
    /// `NotFound` for what never was a content, `Stale` for one that was replaced or removed.
    pub fn version(&self, content: ContentId) -> Result<internal::VersionResponse> {
        let _ = content;
        Err(unfinished())
    }

    /// The mount an inode lies in and its path below the mount's URI (no leading slash).
    ///
    /// # Errors
    /// `NotFound` for the inode, or when nothing is mounted there.
    pub fn ufs_location(&self, inode: InodeId) -> Result<(MountId, String)> {
        let _ = inode;
        Err(unfinished())
    }

    /// The intent that holds an inode or something above it.
    #[must_use]
    pub fn busy(&self, inode: InodeId) -> Option<IntentId> {
        let _ = inode;
        None
    }

    // ---- reads: the cluster

    /// What `Found` said last.
    #[must_use]
    pub fn mark(&self) -> Option<ClusterMark> {
        None
    }

    /// Replicated time: the largest `now_ms` of all entries.
    #[must_use]
    pub fn now_ms(&self) -> u64 {
        0
    }

    /// Index of the last applied entry: goes into `LoadChildren::since`.
    #[must_use]
    pub fn last_index(&self) -> u64 {
        0
    }

    /// All mounts by id.
    #[must_use]
    pub fn mounts(&self) -> Vec<MountPoint> {
        Vec::new()
    }

    /// One mount.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn mount(&self, id: MountId) -> Result<MountPoint> {
        let _ = id;
        Err(unfinished())
    }

    /// All registered workers by id.
    #[must_use]
    pub fn workers(&self) -> Vec<RegisteredWorker> {
        Vec::new()
    }

    /// All running intents by id.
    #[must_use]
    pub fn intents(&self) -> Vec<journal::Intent> {
        Vec::new()
    }

    /// One running intent; `None` when it was finished.
    #[must_use]
    pub fn intent(&self, id: IntentId) -> Option<journal::Intent> {
        let _ = id;
        None
    }

    /// Open sessions by id.
    #[must_use]
    pub fn sessions(&self) -> Vec<SessionState> {
        Vec::new()
    }

    /// Whether a session is open.
    #[must_use]
    pub fn has_session(&self, session: u64) -> bool {
        let _ = session;
        false
    }

    /// How much there is.
    #[must_use]
    pub fn counts(&self) -> Counts {
        Counts::default()
    }

    /// Files with bytes that the under-storage does not have, lost ones included: at most `limit` behind `after`, by
    /// content id.
    #[must_use]
    pub fn unpersisted(&self, after: ContentId, limit: usize) -> Vec<Unpersisted> {
        let _ = (after, limit);
        Vec::new()
    }

    /// Unpersisted contents that have a block on `worker` and nowhere else.
    #[must_use]
    pub fn only_copies(&self, worker: WorkerId) -> Vec<ContentId> {
        let _ = worker;
        Vec::new()
    }

    /// Files that nobody has completed and that were last written before `before_ms`.
    #[must_use]
    pub fn incomplete(&self, before_ms: u64) -> Vec<ContentId> {
        let _ = before_ms;
        Vec::new()
    }

    /// Inodes whose time to live has passed at `now_ms`, with their `TtlAction`.
    #[must_use]
    pub fn expired(&self, now_ms: u64, limit: usize) -> Vec<(InodeId, u32)> {
        let _ = (now_ms, limit);
        Vec::new()
    }

    /// Pinned inodes.
    #[must_use]
    pub fn pinned(&self) -> Vec<InodeId> {
        Vec::new()
    }
}
