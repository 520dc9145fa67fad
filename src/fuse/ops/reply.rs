//! Answers in the kernel's form.

use super::{GENERATION, MAX_TRANSFER};
use crate::attr::{Kind, Stat};
use crate::fs::Fs;
use crate::fs::open::Opened;
use crate::handle::modes::Way;
use fuser::{
    Errno, FileAttr, FileHandle, FileType, FopenFlags, INodeNo, ReplyAttr, ReplyCreate, ReplyEmpty,
    ReplyEntry, ReplyOpen,
};
use parking_lot::Mutex;
use std::sync::Arc;

pub(super) fn file_attr(stat: &Stat) -> FileAttr {
    FileAttr {
        ino: INodeNo(stat.node),
        size: stat.size,
        blocks: stat.size.div_ceil(512),
        atime: stat.atime,
        mtime: stat.mtime,
        ctime: stat.ctime,
        crtime: stat.mtime,
        kind: file_type(stat.kind),
        perm: stat.perm,
        nlink: stat.links,
        uid: stat.uid,
        gid: stat.gid,
        rdev: 0,
        blksize: MAX_TRANSFER,
        flags: 0,
    }
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
    }
}

/// The flags that tell the kernel which way an open goes, beside the backing id.
fn open_flags(opened: &Opened) -> FopenFlags {
    let way = match &opened.way {
        Way::Passthrough(_) => FopenFlags::empty(),
        Way::Through(_) | Way::Direct => FopenFlags::FOPEN_DIRECT_IO,
        Way::Cached if opened.keep_cache => FopenFlags::FOPEN_KEEP_CACHE,
        Way::Cached => FopenFlags::empty(),
    };
    if opened.read_only { way | FopenFlags::FOPEN_NOFLUSH } else { way }
}

pub(super) fn reply_open(reply: ReplyOpen, opened: &Opened) {
    let flags = open_flags(opened);
    let handle = FileHandle(opened.handle);
    match &opened.way {
        Way::Passthrough(backing) | Way::Through(backing) => {
            // SAFETY: the id is open and of this session, and `backing`, which lives longer, closes it.
            #[allow(unsafe_code)]
            let id = unsafe { reply.wrap_backing(backing.id()) };
            reply.opened_passthrough(handle, flags, &id);
            id.into_raw();
        }
        Way::Cached | Way::Direct => reply.opened(handle, flags),
    }
}

pub(super) fn reply_create(reply: ReplyCreate, fs: &Fs, stat: &Stat, opened: &Opened) {
    let flags = open_flags(opened);
    let handle = FileHandle(opened.handle);
    let ttl = fs.config().attr_ttl;
    let attr = file_attr(stat);
    match &opened.way {
        Way::Passthrough(backing) | Way::Through(backing) => {
            // SAFETY: the id is open and of this session, and `backing`, which lives longer, closes it.
            #[allow(unsafe_code)]
            let id = unsafe { reply.wrap_backing(backing.id()) };
            reply.created_passthrough(&ttl, &attr, GENERATION, handle, flags, &id);
            id.into_raw();
        }
        Way::Cached | Way::Direct => reply.created(&ttl, &attr, GENERATION, handle, flags),
    }
}

pub(super) fn reply_entry(reply: ReplyEntry, fs: &Fs, outcome: Result<Stat, Errno>) {
    match outcome {
        Ok(stat) => {
            let config = fs.config();
            reply.entry_with_ttls(&config.attr_ttl, &config.entry_ttl, &file_attr(&stat), GENERATION);
        }
        Err(error) => reply.error(error),
    }
}

pub(super) fn reply_attr(reply: ReplyAttr, fs: &Fs, outcome: Result<Stat, Errno>) {
    match outcome {
        Ok(stat) => reply.attr(&fs.config().attr_ttl, &file_attr(&stat)),
        Err(error) => reply.error(error),
    }
}

pub(super) fn reply_empty(reply: ReplyEmpty, outcome: Result<(), Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

/// A directory reply that is being filled. Entries that were added before an error are sent, the error comes with the
/// next call.
pub(super) struct Filling<R>(Arc<Mutex<(Option<R>, bool)>>);

impl<R> Clone for Filling<R> {
    fn clone(&self) -> Filling<R> {
        Filling(self.0.clone())
    }
}

impl<R> Filling<R> {
    pub(super) fn new(reply: R) -> Filling<R> {
        Filling(Arc::new(Mutex::new((Some(reply), false))))
    }

    /// Adds an entry; true when it did not fit any more.
    pub(super) fn add(&self, add: impl FnOnce(&mut R) -> bool) -> bool {
        let mut filling = self.0.lock();
        let Some(reply) = &mut filling.0 else { return true };
        let full = add(reply);
        filling.1 |= !full;
        full
    }

    /// The reply, and whether it has entries.
    pub(super) fn take(&self) -> (Option<R>, bool) {
        let mut filling = self.0.lock();
        (filling.0.take(), filling.1)
    }
}
