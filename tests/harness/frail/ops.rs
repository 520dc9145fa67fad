//! What the kernel asks of a frail disk. Nothing is cached by the kernel: it asks for everything.

use super::Shared;
use super::tree::{Node, ROOT, Tree};
use fuser::{
    BsdFileFlags, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo, LockOwner,
    OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyEmpty, ReplyEntry,
    ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};
use nix::errno::Errno;
use std::ffi::OsStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const GENERATION: Generation = Generation(0);
const BLOCK: u32 = 4096;

/// The operations of one mount.
pub(super) struct Ops(pub(super) Arc<Shared>);

impl Ops {
    /// Does `work` on the disk, when it answers at all.
    fn on<T>(&self, work: impl FnOnce(&mut Tree) -> Result<T, Errno>) -> Result<T, fuser::Errno> {
        work(&mut self.0.answering().tree).map_err(code)
    }
}

fn code(error: Errno) -> fuser::Errno {
    fuser::Errno::from_i32(error as i32)
}

fn attr(tree: &Tree, id: u64) -> Result<FileAttr, Errno> {
    let (kind, perm, size) = match tree.node(id)? {
        Node::File { content, .. } => (FileType::RegularFile, 0o644, content.size()),
        Node::Folder { .. } => (FileType::Directory, 0o755, 0),
    };
    let (never, ino) = (UNIX_EPOCH, INodeNo(id));
    let (blocks, blksize) = (size.div_ceil(512), BLOCK);
    Ok(FileAttr {
        ino,
        size,
        blocks,
        atime: never,
        mtime: never,
        ctime: never,
        crtime: never,
        kind,
        perm,
        nlink: 1,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize,
        flags: 0,
    })
}

fn entry(reply: ReplyEntry, outcome: Result<FileAttr, fuser::Errno>) {
    match outcome {
        Ok(attr) => reply.entry(&Duration::ZERO, &attr, GENERATION),
        Err(error) => reply.error(error),
    }
}

fn empty(reply: ReplyEmpty, outcome: Result<(), fuser::Errno>) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Ops {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        entry(reply, self.on(|tree| attr(tree, tree.lookup(parent.0, name)?)));
    }

    fn getattr(&self, _: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.on(|tree| attr(tree, node.0)) {
            Ok(attr) => reply.attr(&Duration::ZERO, &attr),
            Err(error) => reply.error(error),
        }
    }

    /// Sizes are kept, modes, owners and times are not.
    fn setattr(
        &self,
        _: &Request,
        node: INodeNo,
        _: Option<u32>,
        _: Option<u32>,
        _: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        _: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let outcome = self.on(|tree| {
            size.map_or(Ok(()), |size| tree.resize(node.0, size))?;
            attr(tree, node.0)
        });
        match outcome {
            Ok(attr) => reply.attr(&Duration::ZERO, &attr),
            Err(error) => reply.error(error),
        }
    }

    fn mkdir(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, reply: ReplyEntry) {
        entry(
            reply,
            self.on(|tree| {
                let made = tree.make(parent.0, name, true)?;
                attr(tree, made)
            }),
        );
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.on(|tree| tree.remove(parent.0, name, false)));
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        empty(reply, self.on(|tree| tree.remove(parent.0, name, true)));
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        to: INodeNo,
        new: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let plain = if flags.is_empty() { Ok(()) } else { Err(Errno::EINVAL) };
        empty(reply, self.on(|tree| plain.and_then(|()| tree.rename((parent.0, name), (to.0, new)))));
    }

    fn create(&self, _: &Request, parent: INodeNo, name: &OsStr, _: u32, _: u32, _: i32, reply: ReplyCreate) {
        let outcome = self.on(|tree| {
            let made = tree.make(parent.0, name, false)?;
            tree.opened(made)?;
            attr(tree, made)
        });
        match outcome {
            Ok(attr) => {
                let flags = FopenFlags::FOPEN_DIRECT_IO;
                reply.created(&Duration::ZERO, &attr, GENERATION, FileHandle(0), flags);
            }
            Err(error) => reply.error(error),
        }
    }

    fn open(&self, _: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.on(|tree| tree.opened(node.0)) {
            Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        match self.on(|tree| Ok(tree.content(node.0)?.read(offset, size as usize))) {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        match self.on(|tree| tree.write(node.0, offset, data)) {
            Ok(written) => reply.written(written as u32),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        empty(reply, self.on(|_| Ok(())));
    }

    fn release(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let outcome = self.on(|tree| {
            tree.released(node.0);
            Ok(())
        });
        empty(reply, outcome);
    }

    fn fsync(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut disk = self.0.answering();
        let outcome = match disk.fsync_fails {
            true => disk.tree.sync_failed(node.0).and(Err(Errno::EIO)),
            false => disk.tree.sync(node.0),
        };
        empty(reply, outcome.map_err(code));
    }

    fn fsyncdir(&self, _: &Request, node: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        let mut disk = self.0.answering();
        let outcome = match disk.fsync_fails {
            true => Err(Errno::EIO),
            false => disk.tree.sync_names(node.0),
        };
        empty(reply, outcome.map_err(code));
    }

    fn readdir(&self, _: &Request, node: INodeNo, _: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let listed = self.on(|tree| {
            let mut listed =
                vec![(node.0, FileType::Directory, ".".into()), (ROOT, FileType::Directory, "..".into())];
            for (name, id) in tree.names(node.0)? {
                let folder = matches!(tree.node(*id)?, Node::Folder { .. });
                let kind = if folder { FileType::Directory } else { FileType::RegularFile };
                listed.push((*id, kind, name.clone()));
            }
            Ok(listed)
        });
        match listed {
            Ok(listed) => {
                let numbered = (1_u64..).zip(listed).skip(usize::try_from(offset).unwrap_or(usize::MAX));
                for (next, (id, kind, name)) in numbered {
                    if reply.add(INodeNo(id), next, kind, name) {
                        break;
                    }
                }
                reply.ok();
            }
            Err(error) => reply.error(error),
        }
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let disk = self.0.answering();
        let (all, free) = (disk.tree.room / u64::from(BLOCK), disk.tree.free() / u64::from(BLOCK));
        reply.statfs(all, free, free, 1 << 20, 1 << 20, BLOCK, 255, BLOCK);
    }

    fn fallocate(
        &self,
        _: &Request,
        node: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let outcome = self.on(|tree| {
            if mode != 0 {
                return Err(Errno::EOPNOTSUPP);
            }
            let size = tree.content(node.0)?.size();
            tree.resize(node.0, size.max(offset + length))
        });
        empty(reply, outcome);
    }
}
