//! Attributes as a file system call shows them: numbers for owners, FUSE node ids for inodes.

use crate::fs::node;
use goosefs_core::proto::internal::{Attr, NodeKind};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What kind of node it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symlink.
    Symlink,
}

/// What `stat` shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stat {
    /// FUSE node id.
    pub node: u64,
    /// File, directory or symlink.
    pub kind: Kind,
    /// Bytes.
    pub size: u64,
    /// The 12 low bits of st_mode.
    pub perm: u16,
    /// Number of the owner.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Names of this inode.
    pub links: u32,
    /// Last access.
    pub atime: SystemTime,
    /// Last change of the bytes.
    pub mtime: SystemTime,
    /// Last change of anything.
    pub ctime: SystemTime,
}

impl Stat {
    /// From what masters say, with the owner's and group's numbers.
    #[must_use]
    pub fn of(attr: &Attr, uid: u32, gid: u32) -> Stat {
        let kind = kind(attr);
        let size = match kind {
            Kind::File => attr.length,
            Kind::Directory => 4096,
            Kind::Symlink => attr.target.len() as u64,
        };
        let mtime = time(attr.mtime_ms);
        Stat {
            node: node::of(attr),
            kind,
            size,
            perm: u16::try_from(attr.mode & 0o7777).unwrap_or(0),
            uid,
            gid,
            links: if kind == Kind::Directory { 2 } else { attr.links.max(1) },
            atime: if attr.atime_ms == 0 { mtime } else { time(attr.atime_ms) },
            mtime,
            ctime: if attr.ctime_ms == 0 { mtime } else { time(attr.ctime_ms) },
        }
    }
}

/// The kind of node that `attr` describes.
#[must_use]
pub fn kind(attr: &Attr) -> Kind {
    match attr.kind() {
        NodeKind::File => Kind::File,
        NodeKind::Symlink => Kind::Symlink,
        NodeKind::Directory | NodeKind::Unspecified => Kind::Directory,
    }
}

fn time(ms: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(ms)
}

/// Milliseconds since 1970; times before that are 1970.
#[must_use]
pub fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
