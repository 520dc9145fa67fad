//! What the file system needs from below: a namespace, bytes, and descriptors of what is cached here.
//!
//! [`crate::cluster`] answers it from a cluster; `testing` from a directory, so that mounts are tested without
//! one. Node numbers are those of the masters: an inode id for a directory or symlink, a content id for a file.

use crate::handle::Lease;
use async_trait::async_trait;
use bytes::Bytes;
pub use goosefs_client::Event;
use goosefs_core::Result;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{Attr, Caller, ClusterMark, ReadDirResponse, StatFsResponse};
use std::fs::File;
use std::sync::Arc;

/// A change of attributes; what is `None` stays.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AttrChange {
    /// The 12 low bits of st_mode.
    pub mode: Option<u32>,
    /// User name.
    pub owner: Option<String>,
    /// Group name.
    pub group: Option<String>,
    /// Milliseconds since 1970.
    pub mtime_ms: Option<u64>,
    /// Milliseconds since 1970.
    pub atime_ms: Option<u64>,
}

/// A file that is wholly cached on this machine.
pub struct LocalFile {
    /// The file, as the worker handed it over.
    pub file: Arc<File>,
    /// Its true length.
    pub length: u64,
    /// What keeps it from being evicted.
    pub lease: Box<dyn Lease>,
}

/// The cluster as a mount sees it. Calls may be dropped at any time (interrupts, deadlines); a mutation that was dropped
/// takes effect once or not at all.
#[async_trait]
pub trait Backend: Send + Sync + 'static {
    /// The cluster, with its epoch, whose node numbers these are; none when it was not met yet.
    fn cluster(&self) -> Option<ClusterMark>;

    /// The attributes of `name` in `parent`.
    async fn lookup(&self, caller: Caller, parent: InodeId, name: &str) -> Result<Attr>;

    /// The attributes of an inode or content.
    async fn attr(&self, node: u64) -> Result<Attr>;

    /// Up to `limit` entries after the name `after`, in the order of names.
    async fn read_dir(&self, directory: InodeId, after: &str, limit: u32) -> Result<ReadDirResponse>;

    /// Makes an incomplete file; `AlreadyExists` when the name is taken.
    async fn create(&self, caller: Caller, parent: InodeId, name: &str, mode: u32) -> Result<Attr>;

    /// Makes a directory.
    async fn make_dir(&self, caller: Caller, parent: InodeId, name: &str, mode: u32) -> Result<Attr>;

    /// Makes a symlink.
    async fn symlink(&self, caller: Caller, parent: InodeId, name: &str, target: &str) -> Result<Attr>;

    /// Removes a file or symlink, or an empty directory when `directory`.
    async fn remove(&self, caller: Caller, parent: InodeId, name: &str, directory: bool) -> Result<()>;

    /// Renames, replacing what has the new name unless `no_replace`.
    async fn rename(
        &self,
        caller: Caller,
        from: (InodeId, &str),
        to: (InodeId, &str),
        no_replace: bool,
    ) -> Result<()>;

    /// Changes attributes of an inode or content.
    async fn set_attr(&self, caller: Caller, node: u64, change: AttrChange) -> Result<Attr>;

    /// Cuts a file to nothing: a new, incomplete generation of its content.
    async fn truncate(&self, caller: Caller, content: ContentId) -> Result<Attr>;

    /// Ends the writing of a content at `length` bytes that workers have taken, when its sink cannot.
    async fn finish(&self, caller: Caller, content: ContentId, length: u64) -> Result<Attr>;

    /// Capacity and use.
    async fn stat_fs(&self) -> Result<StatFsResponse>;

    /// What changes in the namespace from now on.
    fn changes(&self) -> Box<dyn Feed>;

    /// The file behind a complete content when all of it is cached here, else `None`.
    async fn local_file(&self, attr: &Attr) -> Result<Option<LocalFile>>;

    /// Reads the content that `attr` describes.
    fn source(&self, attr: &Attr) -> Arc<dyn Source>;

    /// Writes the incomplete content that `attr` describes, from its start.
    async fn sink(&self, caller: Caller, attr: &Attr) -> Result<Box<dyn Sink>>;
}

/// Reads one content. Knows from its calls whether they are sequential.
#[async_trait]
pub trait Source: Send + Sync + 'static {
    /// Bytes from `offset`: `length` of them, fewer only at the end of the file.
    async fn read(&self, offset: u64, length: u32) -> Result<Bytes>;
}

/// What changes in the namespace, whoever changes it.
#[async_trait]
pub trait Feed: Send + 'static {
    /// The next change; `None` when the backend has ended.
    async fn next(&mut self) -> Option<Event>;
}

/// Writes one content in order. A write that failed makes every later call fail; what failed otherwise may be repeated.
#[async_trait]
pub trait Sink: Send + 'static {
    /// Adds bytes at the end.
    async fn write(&mut self, data: Bytes) -> Result<()>;

    /// Returns when workers have taken what was written and masters know where it is: it can be read.
    async fn commit(&mut self) -> Result<()>;

    /// [`Sink::commit`], and what was written so far is in the under-storage if the write type asks for that.
    async fn persist(&mut self) -> Result<()>;

    /// [`Sink::persist`], and the file is complete.
    async fn complete(&mut self) -> Result<Attr>;
}
