//! One inode: a file, directory or symlink. Kept small, since there are millions; what few have is in [`Extra`].

use super::children::Children;
use super::few::Few;
use super::identity::IdentityId;
use super::name::Name;
use bytes::Bytes;
use goosefs_core::id::{ContainerId, ContentId, InodeId, MountId, WorkerId};
use goosefs_core::proto::internal::{Fingerprint, Persistence, WriteType};
use std::collections::BTreeSet;
use std::sync::Arc;

/// `ufs_mtime_ms` where the storage has none.
pub(super) const NO_MTIME: u64 = u64::MAX;

/// Whether the under-storage has an object (or directory) at the path of an inode.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum UfsObject {
    /// It does not, as far as we did not put one there.
    None,
    /// An upload or a creation began and may have left one.
    Maybe,
    /// It does.
    Present,
}

#[derive(Clone, Debug)]
pub(super) struct Inode {
    pub(super) parent: InodeId,
    pub(super) name: Name,
    pub(super) identity: IdentityId,
    /// 0 where nothing is mounted.
    pub(super) mount: MountNumber,
    pub(super) object: UfsObject,
    pub(super) pinned: bool,
    pub(super) mtime_ms: u64,
    pub(super) ctime_ms: u64,
    pub(super) atime_ms: u64,
    pub(super) created_ms: u64,
    pub(super) extra: Option<Box<Extra>>,
    pub(super) body: Body,
}

/// A [`MountId`] in 4 bytes; 0 is none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct MountNumber(pub(super) u32);

impl MountNumber {
    pub(super) const NONE: MountNumber = MountNumber(0);

    pub(super) fn id(self) -> Option<MountId> {
        (self.0 != 0).then_some(MountId(u64::from(self.0)))
    }
}

#[derive(Clone, Debug)]
pub(super) enum Body {
    File(File),
    Directory(Arc<Directory>),
    Symlink(Box<str>),
}

#[derive(Clone, Debug)]
pub(super) struct File {
    pub(super) container: ContainerId,
    pub(super) length: u64,
    pub(super) block_size: u64,
    /// When the under-storage's object was last looked at.
    pub(super) checked_ms: u64,
    /// Counts when persisted: the rest of the fingerprint, whose length is `length`.
    pub(super) ufs_mtime_ms: u64,
    pub(super) etag: Option<Box<str>>,
    pub(super) generation: u32,
    pub(super) write_type: WriteType,
    pub(super) persistence: Persistence,
    pub(super) completed: bool,
}

#[derive(Clone, Default)]
pub(super) struct Directory {
    pub(super) children: Children,
    pub(super) loaded: bool,
    pub(super) synced_ms: u64,
    /// Index of the last entry that changed what the under-storage holds here: a listing that began before it is stale.
    pub(super) changed: u64,
    pub(super) listing: Option<Box<Listing>>,
}

impl std::fmt::Debug for Directory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Directory")
            .field("children", &self.children.len())
            .field("loaded", &self.loaded)
            .finish()
    }
}

/// A listing whose last batch has not come yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Listing {
    pub(super) number: u64,
    /// There were entries before it, so those it does not name have to be looked for.
    pub(super) sweep: bool,
    /// Entries it named; only with `sweep`.
    pub(super) seen: BTreeSet<InodeId>,
    /// Names that we changed since its first batch: what it says of them is too old.
    pub(super) touched: BTreeSet<Name>,
}

/// What most inodes have for a while or never.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Extra {
    /// Unpersisted blocks by index.
    pub(super) blocks: Few<u64, Block>,
    /// Of a file that is being written: the session of its writer, 0 for none.
    pub(super) writer: u64,
    pub(super) rare: Option<Box<Rare>>,
}

/// What only few inodes have.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Rare {
    pub(super) ttl_ms: Option<i64>,
    pub(super) ttl_action: u32,
    pub(super) checksum: Option<(u32, i64)>,
    pub(super) xattr: Few<String, Bytes>,
    /// Of a file that is being written: somebody said when it was changed (`cp -p`, `tar x`), so its end does not.
    pub(super) mtime_set: bool,
}

/// One unpersisted block.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Block {
    pub(super) length: u64,
    /// Sorted, without repetition.
    pub(super) workers: Vec<WorkerId>,
}

impl Inode {
    pub(super) fn file(&self) -> Option<&File> {
        match &self.body {
            Body::File(file) => Some(file),
            Body::Directory(_) | Body::Symlink(_) => None,
        }
    }

    pub(super) fn file_mut(&mut self) -> Option<&mut File> {
        match &mut self.body {
            Body::File(file) => Some(file),
            Body::Directory(_) | Body::Symlink(_) => None,
        }
    }

    pub(super) fn directory(&self) -> Option<&Directory> {
        match &self.body {
            Body::Directory(directory) => Some(directory),
            Body::File(_) | Body::Symlink(_) => None,
        }
    }

    pub(super) fn directory_mut(&mut self) -> Option<&mut Directory> {
        match &mut self.body {
            Body::Directory(directory) => Some(Arc::make_mut(directory)),
            Body::File(_) | Body::Symlink(_) => None,
        }
    }

    pub(super) fn extra_mut(&mut self) -> &mut Extra {
        self.extra.get_or_insert_default()
    }

    pub(super) fn rare(&self) -> Option<&Rare> {
        self.extra.as_ref()?.rare.as_deref()
    }

    pub(super) fn rare_mut(&mut self) -> &mut Rare {
        self.extra_mut().rare.get_or_insert_default()
    }

    /// Gives the memory of an extra back that says nothing any more.
    pub(super) fn trim_extra(&mut self) {
        if let Some(extra) = &mut self.extra
            && extra.rare.as_deref().is_some_and(|rare| *rare == Rare::default())
        {
            extra.rare = None;
        }
        if self.extra.as_deref().is_some_and(|extra| *extra == Extra::default()) {
            self.extra = None;
        }
    }

    /// The unpersisted blocks.
    pub(super) fn blocks(&self) -> impl Iterator<Item = (u64, &Block)> {
        self.extra.iter().flat_map(|extra| extra.blocks.iter().map(|(index, block)| (*index, block)))
    }

    pub(super) fn drop_blocks(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.blocks.clear();
        }
        self.trim_extra();
    }

    /// Its bytes are no longer those that a client gave a checksum of.
    pub(super) fn forget_checksum(&mut self) {
        if let Some(rare) = self.extra.as_mut().and_then(|extra| extra.rare.as_mut()) {
            rare.checksum = None;
        }
        self.trim_extra();
    }

    /// Bytes of it came, or their end.
    pub(super) fn written(&mut self, now_ms: u64) {
        if !self.rare().is_some_and(|rare| rare.mtime_set) {
            self.mtime_ms = now_ms;
        }
        self.ctime_ms = now_ms;
    }

    /// Somebody says when it was changed.
    pub(super) fn set_mtime(&mut self, mtime_ms: u64) {
        self.mtime_ms = mtime_ms;
        if self.file().is_some_and(|file| !file.completed) {
            self.rare_mut().mtime_set = true;
        }
    }

    /// What is written from now on counts again.
    pub(super) fn forget_mtime_set(&mut self) {
        if let Some(rare) = self.extra.as_mut().and_then(|extra| extra.rare.as_mut()) {
            rare.mtime_set = false;
        }
        self.trim_extra();
    }

    /// Nobody is writing it any more.
    pub(super) fn forget_writer(&mut self) {
        if let Some(extra) = &mut self.extra {
            extra.writer = 0;
        }
        self.trim_extra();
    }

    /// When its time to live ends, milliseconds since 1970.
    pub(super) fn expires_ms(&self) -> Option<u64> {
        let ttl = self.rare()?.ttl_ms?;
        Some(self.created_ms.saturating_add(u64::try_from(ttl).ok()?))
    }
}

impl File {
    pub(super) fn content(&self) -> ContentId {
        self.container.content()
    }

    pub(super) fn persisted(&self) -> bool {
        self.persistence == Persistence::Persisted
    }

    /// Which object of the under-storage holds these bytes; `None` unless persisted.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        self.persisted().then(|| Fingerprint {
            length: self.length,
            mtime_ms: (self.ufs_mtime_ms != NO_MTIME).then_some(self.ufs_mtime_ms),
            etag: self.etag.as_deref().unwrap_or_default().to_owned(),
        })
    }

    /// Its bytes are the object with this fingerprint.
    pub(super) fn set_persisted(&mut self, fingerprint: &Fingerprint, now_ms: u64) {
        self.length = fingerprint.length;
        self.ufs_mtime_ms = fingerprint.mtime_ms.unwrap_or(NO_MTIME);
        self.etag = (!fingerprint.etag.is_empty()).then(|| fingerprint.etag.as_str().into());
        self.persistence = Persistence::Persisted;
        self.checked_ms = now_ms;
    }

    /// Its bytes are not (or not wholly) in the under-storage.
    pub(super) fn set_unpersisted(&mut self, persistence: Persistence) {
        self.ufs_mtime_ms = NO_MTIME;
        self.etag = None;
        self.persistence = persistence;
    }

    /// Whether a finished file of this write type is to reach the under-storage.
    pub(super) fn goes_through(&self) -> bool {
        goes_through(self.write_type)
    }

    /// The state of bytes that are in the cache only.
    pub(super) fn waiting_state(&self) -> Persistence {
        if self.completed && self.goes_through() {
            Persistence::ToBePersisted
        } else {
            Persistence::NotPersisted
        }
    }

    /// Blocks of a content of this length.
    pub(super) fn block_count(&self) -> u64 {
        if self.block_size == 0 { 0 } else { self.length.div_ceil(self.block_size) }
    }
}

/// Whether files of this write type are to reach the under-storage.
pub(super) fn goes_through(write_type: WriteType) -> bool {
    match write_type {
        WriteType::CacheThrough | WriteType::Through | WriteType::AsyncThrough => true,
        WriteType::Unspecified | WriteType::MustCache | WriteType::TryCache | WriteType::None => false,
    }
}

/// Whether the writer itself (or a worker for it) puts the object there while the file is written.
pub(super) fn writes_through(write_type: WriteType) -> bool {
    matches!(write_type, WriteType::CacheThrough | WriteType::Through)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_inode_is_small() {
        assert!(size_of::<Inode>() <= 168, "{}", size_of::<Inode>());
    }
}
