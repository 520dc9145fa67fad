//! Unpacks requests, calls [`Fs`], replies. No meaning here.
//!
//! The threads that read requests only start the work and go on: nothing that waits runs on them. A request that is cut
//! off at shutdown is answered with EIO by the drop of its reply.

mod reply;

use crate::attr::Stat;
use crate::errno::errno;
use crate::fs::change::SetAttr;
use crate::fs::{Fs, Who};
use crate::interrupt::{InFlight, Signals};
use bytes::Bytes;
use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use nix::unistd::{Gid, Uid};
use reply::{Filling, file_attr, file_type, reply_attr, reply_create, reply_empty, reply_entry, reply_open};
use std::ffi::OsStr;
use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

/// Most bytes of one READ or WRITE.
const MAX_TRANSFER: u32 = 1 << 20;

/// Most bytes of a name.
const LONGEST_NAME: usize = 255;

/// Read-ahead and direct requests that the kernel may have under way.
const MAX_BACKGROUND: u16 = 64;

/// Names with these generations: node ids are never used twice.
const GENERATION: Generation = Generation(0);

/// A user's or group's number where the kernel names no caller.
const NOBODY_TOLD: u32 = u32::MAX;

/// The operations of one mount.
pub(crate) struct Ops {
    pub(crate) fs: Arc<Fs>,
    pub(crate) tasks: Tasks,
    pub(crate) runtime: tokio::runtime::Handle,
    pub(crate) in_flight: InFlight,
    /// Whether this process may register backing files.
    pub(crate) privileged: bool,
}

impl Ops {
    /// Runs `work` for a request and answers with what comes of it.
    fn run<T: Send + 'static>(
        &self,
        request: &Request,
        name: &'static str,
        signals: Signals,
        work: impl Future<Output = Result<T>> + Send + 'static,
        answer: impl FnOnce(Result<T, Errno>) + Send + 'static,
    ) {
        let Some(watched) = self.in_flight.begin(request.unique().0, request.pid(), signals) else {
            // The next process gets what is not answered, and dropping the answer would be one.
            std::mem::forget(answer);
            return;
        };
        let fs = self.fs.clone();
        let _context = self.runtime.enter();
        self.tasks.spawn(name, async move {
            let outcome = tokio::select! {
                biased;
                outcome = work => outcome,
                () = watched.interrupted() => {
                    fs.metrics().interrupted.inc();
                    Err(Error::new(Code::Cancelled, "interrupted"))
                }
            };
            answer(outcome.map_err(|error| report(&fs, name, &error)));
            drop(watched);
        });
    }
}

/// Counts an error, logs what a reader of the log should know, and says what the call answers.
fn report(fs: &Fs, name: &str, error: &Error) -> Errno {
    match error.code {
        Code::NotFound => {}
        Code::AlreadyExists
        | Code::NotDirectory
        | Code::IsDirectory
        | Code::NotEmpty
        | Code::InvalidArgument
        | Code::InvalidPath
        | Code::NameTooLong
        | Code::PermissionDenied
        | Code::ReadOnly
        | Code::Incomplete
        | Code::Stale
        | Code::Cancelled
        | Code::Unimplemented
        | Code::Busy
        | Code::CrossMount => {
            fs.metrics().errors.inc();
            tracing::debug!(op = name, %error, "answered with an error");
        }
        Code::Unauthenticated
        | Code::NotLeader
        | Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Corrupt
        | Code::Ufs
        | Code::WrongCluster
        | Code::Lost
        | Code::NoSpace
        | Code::Io
        | Code::Internal => {
            fs.metrics().errors.inc();
            tracing::warn!(op = name, %error, "answered with an error");
        }
    }
    Errno::from_i32(errno(error))
}

/// In the number of a request that the kernel makes again (`FUSE_UNIQUE_RESEND` in include/uapi/linux/fuse.h).
const AGAIN: u64 = 1 << 63;

/// Who calls. With idmapped mounts the kernel names callers only where something is created (`fuse_get_req` in
/// fs/fuse/dev.c); it has checked their permissions then, so the mount's own user asks the masters.
fn who(request: &Request) -> Who {
    let or_own = |number: u32, own: u32| if number == NOBODY_TOLD { own } else { number };
    Who {
        uid: or_own(request.uid(), Uid::effective().as_raw()),
        gid: or_own(request.gid(), Gid::effective().as_raw()),
        pid: request.pid(),
        request: request.unique().0 & !AGAIN,
    }
}

/// Who opens something: what an earlier process opened for this very request is closed.
fn opener(fs: &Fs, request: &Request) -> Who {
    let who = who(request);
    if request.unique().0 & AGAIN != 0 {
        fs.asked_again(who.request);
    }
    who
}

/// Names are text of at most 255 bytes in this file system (the kernel lets longer ones come here); others cannot be
/// there.
fn text(name: &OsStr) -> Result<String> {
    if name.len() > LONGEST_NAME {
        return Err(Error::new(Code::NameTooLong, format!("a name of {} bytes", name.len())));
    }
    target(name)
}

fn target(text: &OsStr) -> Result<String> {
    let utf8 = text.to_str().map(str::to_owned);
    utf8.ok_or_else(|| Error::new(Code::InvalidPath, format!("{} is not UTF-8", text.display())))
}

fn time(time: TimeOrNow) -> SystemTime {
    match time {
        TimeOrNow::SpecificTime(time) => time,
        TimeOrNow::Now => SystemTime::now(),
    }
}

impl Filesystem for Ops {
    fn init(&mut self, _: &Request, config: &mut KernelConfig) -> io::Result<()> {
        let wanted = [
            InitFlags::FUSE_PARALLEL_DIROPS,
            InitFlags::FUSE_DO_READDIRPLUS,
            InitFlags::FUSE_READDIRPLUS_AUTO,
            InitFlags::FUSE_CACHE_SYMLINKS,
            InitFlags::FUSE_AUTO_INVAL_DATA,
            InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            InitFlags::FUSE_NO_EXPORT_SUPPORT,
            InitFlags::FUSE_ASYNC_DIO,
        ];
        for flag in wanted {
            if let Err(missing) = config.add_capabilities(flag) {
                tracing::debug!(?missing, "the kernel lacks a capability");
            }
        }
        // The kernel names its limits in the error; these are settings of speed, not of meaning.
        let _ = config.set_max_write(MAX_TRANSFER).or_else(|most| config.set_max_write(most));
        let _ = config.set_max_readahead(MAX_TRANSFER).or_else(|most| config.set_max_readahead(most));
        let _ = config.set_max_background(MAX_BACKGROUND);
        let settings = self.fs.config();
        if settings.idmapped && config.add_capabilities(InitFlags::FUSE_ALLOW_IDMAP).is_err() {
            tracing::info!("this kernel has no idmapped FUSE mounts (6.12 and later do)");
        }
        if settings.passthrough && self.privileged {
            let depth = if settings.stacked { 2 } else { 1 };
            let granted = config.add_capabilities(InitFlags::FUSE_PASSTHROUGH).is_ok()
                && config.set_max_stack_depth(depth).is_ok();
            if granted {
                self.fs.allow_passthrough();
            } else {
                tracing::info!(
                    "this kernel has no FUSE passthrough (6.9 and later do): reads come to the daemon"
                );
            }
        }
        Ok(())
    }

    fn lookup(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let (fs, who, name) = (self.fs.clone(), who(request), text(name));
        let answer = self.fs.clone();
        // A name that is not text is not there.
        let work = async move {
            match name {
                Ok(name) => fs.lookup(who, parent.0, &name).await,
                Err(error) if error.code == Code::InvalidPath => Err(Error { code: Code::NotFound, ..error }),
                Err(error) => Err(error),
            }
        };
        self.run(request, "lookup", Signals::Interrupting, work, move |outcome| {
            reply_entry(reply, &answer, outcome);
        });
    }

    fn forget(&self, _: &Request, _: INodeNo, _: u64) {}

    fn getattr(&self, request: &Request, node: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        let (fs, answer, who) = (self.fs.clone(), self.fs.clone(), who(request));
        let work = async move { fs.getattr(who, node.0).await };
        self.run(request, "getattr", Signals::Interrupting, work, move |outcome| {
            reply_attr(reply, &answer, outcome);
        });
    }

    fn setattr(
        &self,
        request: &Request,
        node: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let (fs, answer, who) = (self.fs.clone(), self.fs.clone(), who(request));
        let set = SetAttr { mode, uid, gid, size, atime: atime.map(time), mtime: mtime.map(time) };
        let work = async move { fs.setattr(who, node.0, set).await };
        self.run(request, "setattr", Signals::Fatal, work, move |outcome| {
            reply_attr(reply, &answer, outcome);
        });
    }

    fn readlink(&self, request: &Request, node: INodeNo, reply: ReplyData) {
        let fs = self.fs.clone();
        let work = async move { fs.readlink(node.0).await };
        self.run(request, "readlink", Signals::Interrupting, work, move |outcome| match outcome {
            Ok(target) => reply.data(target.as_bytes()),
            Err(error) => reply.error(error),
        });
    }

    fn mknod(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(Errno::EPERM);
        }
        let (fs, answer, who, name) = (self.fs.clone(), self.fs.clone(), who(request), text(name));
        let work = async move {
            let (stat, opened) = fs.create(who, parent.0, &name?, mode, libc::O_EXCL).await?;
            fs.release(opened.handle).await?;
            Ok(stat)
        };
        self.run(request, "mknod", Signals::Fatal, work, move |outcome| reply_entry(reply, &answer, outcome));
    }

    fn mkdir(&self, request: &Request, parent: INodeNo, name: &OsStr, mode: u32, _: u32, reply: ReplyEntry) {
        let (fs, answer, who, name) = (self.fs.clone(), self.fs.clone(), who(request), text(name));
        let work = async move { fs.mkdir(who, parent.0, &name?, mode).await };
        self.run(request, "mkdir", Signals::Fatal, work, move |outcome| reply_entry(reply, &answer, outcome));
    }

    fn unlink(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (fs, who, name) = (self.fs.clone(), who(request), text(name));
        let work = async move { fs.remove(who, parent.0, &name?, false).await };
        self.run(request, "unlink", Signals::Fatal, work, move |outcome| reply_empty(reply, outcome));
    }

    fn rmdir(&self, request: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        let (fs, who, name) = (self.fs.clone(), who(request), text(name));
        let work = async move { fs.remove(who, parent.0, &name?, true).await };
        self.run(request, "rmdir", Signals::Fatal, work, move |outcome| reply_empty(reply, outcome));
    }

    fn symlink(&self, request: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (fs, answer, who) = (self.fs.clone(), self.fs.clone(), who(request));
        let (name, target) = (text(name), self::target(target.as_os_str()));
        let work = async move { fs.symlink(who, parent.0, &name?, &target?).await };
        self.run(request, "symlink", Signals::Fatal, work, move |outcome| {
            reply_entry(reply, &answer, outcome);
        });
    }

    fn rename(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let (fs, who, name, newname) = (self.fs.clone(), who(request), text(name), text(newname));
        let work =
            async move { fs.rename(who, (parent.0, &name?), (newparent.0, &newname?), flags.bits()).await };
        self.run(request, "rename", Signals::Fatal, work, move |outcome| reply_empty(reply, outcome));
    }

    fn link(&self, _: &Request, _: INodeNo, _: INodeNo, _: &OsStr, reply: ReplyEntry) {
        reply.error(Errno::EPERM);
    }

    fn create(
        &self,
        request: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        _: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let (fs, answer, name) = (self.fs.clone(), self.fs.clone(), text(name));
        let who = opener(&fs, request);
        let work = async move { fs.create(who, parent.0, &name?, mode, flags).await };
        self.run(request, "create", Signals::Fatal, work, move |outcome| match outcome {
            Ok((stat, opened)) => reply_create(reply, &answer, &stat, &opened),
            Err(error) => reply.error(error),
        });
    }

    fn open(&self, request: &Request, node: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        let (fs, who) = (self.fs.clone(), opener(&self.fs, request));
        if let Some(opened) = fs.open_at_once(who, node.0, flags.0) {
            return reply_open(reply, &opened);
        }
        let work = async move { fs.open(who, node.0, flags.0).await };
        self.run(request, "open", Signals::Interrupting, work, move |outcome| match outcome {
            Ok(opened) => reply_open(reply, &opened),
            Err(error) => reply.error(error),
        });
    }

    fn read(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let fs = self.fs.clone();
        let work = async move { fs.read(handle.0, offset, size).await };
        self.run(request, "read", Signals::Interrupting, work, move |outcome| match outcome {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        });
    }

    fn write(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let (fs, data) = (self.fs.clone(), Bytes::copy_from_slice(data));
        let work = async move { fs.write(handle.0, offset, data).await };
        self.run(request, "write", Signals::Fatal, work, move |outcome| match outcome {
            Ok(taken) => reply.written(taken),
            Err(error) => reply.error(error),
        });
    }

    fn flush(&self, request: &Request, _: INodeNo, handle: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        let fs = self.fs.clone();
        let work = async move { fs.flush(handle.0).await };
        self.run(request, "flush", Signals::Interrupting, work, move |outcome| reply_empty(reply, outcome));
    }

    fn release(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        _: OpenFlags,
        _: Option<LockOwner>,
        _: bool,
        reply: ReplyEmpty,
    ) {
        let fs = self.fs.clone();
        let work = async move { fs.release(handle.0).await };
        self.run(request, "release", Signals::Fatal, work, move |outcome| reply_empty(reply, outcome));
    }

    fn fsync(&self, request: &Request, _: INodeNo, handle: FileHandle, _: bool, reply: ReplyEmpty) {
        let fs = self.fs.clone();
        let work = async move { fs.flush(handle.0).await };
        self.run(request, "fsync", Signals::Interrupting, work, move |outcome| reply_empty(reply, outcome));
    }

    fn opendir(&self, request: &Request, node: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.fs.opendir(opener(&self.fs, request), node.0) {
            Ok(handle) => reply.opened(FileHandle(handle), FopenFlags::empty()),
            Err(error) => reply.error(report(&self.fs, "opendir", &error)),
        }
    }

    fn readdir(&self, request: &Request, _: INodeNo, handle: FileHandle, offset: u64, reply: ReplyDirectory) {
        let fs = self.fs.clone();
        let filled = Filling::new(reply);
        let filling = filled.clone();
        let work = async move {
            let emit = |next: u64, name: &str, stat: &Stat| {
                filling.add(|reply| reply.add(INodeNo(stat.node), next, file_type(stat.kind), name))
            };
            fs.readdir(handle.0, offset, emit).await
        };
        self.run(request, "readdir", Signals::Interrupting, work, move |outcome| match filled.take() {
            (Some(reply), any) if any || outcome.is_ok() => reply.ok(),
            (Some(reply), _) => reply.error(outcome.err().unwrap_or(Errno::EIO)),
            (None, _) => {}
        });
    }

    fn readdirplus(
        &self,
        request: &Request,
        _: INodeNo,
        handle: FileHandle,
        offset: u64,
        reply: ReplyDirectoryPlus,
    ) {
        let fs = self.fs.clone();
        let filled = Filling::new(reply);
        let filling = filled.clone();
        let ttl = self.fs.config().entry_ttl.min(self.fs.config().attr_ttl);
        let work = async move {
            let emit = |next: u64, name: &str, stat: &Stat| {
                filling.add(|reply| {
                    reply.add(INodeNo(stat.node), next, name, &ttl, &file_attr(stat), GENERATION)
                })
            };
            fs.readdir(handle.0, offset, emit).await
        };
        self.run(request, "readdirplus", Signals::Interrupting, work, move |outcome| match filled.take() {
            (Some(reply), any) if any || outcome.is_ok() => reply.ok(),
            (Some(reply), _) => reply.error(outcome.err().unwrap_or(Errno::EIO)),
            (None, _) => {}
        });
    }

    fn releasedir(&self, _: &Request, _: INodeNo, handle: FileHandle, _: OpenFlags, reply: ReplyEmpty) {
        self.fs.releasedir(handle.0);
        reply.ok();
    }

    fn fsyncdir(&self, _: &Request, _: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        // Every change of the namespace was acknowledged by a quorum before its call returned.
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        const BLOCK: u32 = 4096;
        let now = self.fs.statfs();
        let blocks = now.capacity / u64::from(BLOCK);
        let free = now.capacity.saturating_sub(now.used) / u64::from(BLOCK);
        let free_files = u64::from(u32::MAX);
        reply.statfs(blocks, free, free, now.files + free_files, free_files, BLOCK, 255, BLOCK);
    }

    // ENOSYS once makes the kernel answer these by itself from then on: "not supported" for attributes and allocation,
    // its own way for seeking and copying.

    fn setxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: &[u8], _: i32, _: u32, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn getxattr(&self, _: &Request, _: INodeNo, _: &OsStr, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn listxattr(&self, _: &Request, _: INodeNo, _: u32, reply: ReplyXattr) {
        reply.error(Errno::ENOSYS);
    }

    fn removexattr(&self, _: &Request, _: INodeNo, _: &OsStr, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(&self, _: &Request, _: INodeNo, _: FileHandle, _: u64, _: u64, _: i32, reply: ReplyEmpty) {
        reply.error(Errno::ENOSYS);
    }

    fn lseek(&self, _: &Request, _: INodeNo, _: FileHandle, _: i64, _: i32, reply: ReplyLseek) {
        reply.error(Errno::ENOSYS);
    }

    fn copy_file_range(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: INodeNo,
        _: FileHandle,
        _: u64,
        _: u64,
        _: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn ioctl(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: IoctlFlags,
        _: u32,
        _: &[u8],
        _: u32,
        reply: ReplyIoctl,
    ) {
        reply.error(Errno::ENOTTY);
    }

    fn poll(
        &self,
        _: &Request,
        _: INodeNo,
        _: FileHandle,
        _: PollNotifier,
        _: PollEvents,
        _: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }
}
