//! The namespace by inode.

use crate::session::Session;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{
    Attr, AttrResponse, Caller, CompleteRequest, CreateRequest, Empty, Fingerprint, GetAttrRequest,
    LookupRequest, MakeDirRequest, MountEntry, MountsRequest, MountsResponse, NodeKind, PersistRequest,
    PersistResponse, ReadDirRequest, ReadDirResponse, RemoveRequest, RenameRequest, ResolveRequest,
    SetAttrRequest, StatFsRequest, StatFsResponse, SymlinkRequest, TruncateRequest, VersionRequest,
    VersionResponse, WriteType,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;

/// The namespace by inode. Cheap to clone.
///
/// Every call goes to the leader and is retried across a change of leader until the deadline; those that change
/// something take effect once. Errors are the leader's, or `Unavailable`/`DeadlineExceeded` when none answered.
#[derive(Clone, Debug)]
pub struct Inodes {
    masters: Masters,
    session: Arc<Session>,
    /// How old what is known of the storage may be; see `Config`.
    sync_interval_ms: Option<i64>,
}

/// How the data of a new file is kept.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CreateOptions {
    /// Bytes a block.
    pub block_size: u64,
    /// Where the data goes.
    pub write_type: WriteType,
}

/// Attributes to set; `None` leaves one as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Changes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner's name.
    pub owner: Option<String>,
    /// Group's name.
    pub group: Option<String>,
    /// Modification time, milliseconds since 1970.
    pub mtime_ms: Option<u64>,
    /// Access time, milliseconds since 1970.
    pub atime_ms: Option<u64>,
}

/// Reading, as in a mode.
const READ: u32 = 4;

impl Inodes {
    pub(crate) fn new(masters: Masters, session: Arc<Session>, sync_interval_ms: Option<i64>) -> Inodes {
        Inodes { masters, session, sync_interval_ms }
    }

    /// The entry `name` of a directory. Loads the directory from its under-storage when it is not known yet.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `PermissionDenied`; `Ufs` when it cannot be loaded.
    pub async fn lookup(&self, parent: InodeId, name: &str, caller: &Caller) -> Result<Attr> {
        let request = LookupRequest {
            parent: parent.0,
            name: name.to_owned(),
            caller: Some(caller.clone()),
            sync_interval_ms: self.sync_interval_ms,
        };
        attr(self.masters.call(method::LOOKUP, &request).await?)
    }

    /// The attributes of an inode id or content id.
    ///
    /// # Errors
    /// `NotFound` when it is gone, `Stale` when its content was replaced.
    pub async fn attr(&self, node: u64) -> Result<Attr> {
        attr(self.masters.call(method::GET_ATTR, &GetAttrRequest { node }).await?)
    }

    /// What a path names; the last component is not followed when it is a symlink.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`; `Ufs` when a directory on the way cannot be loaded.
    pub async fn resolve(&self, path: &NsPath) -> Result<Attr> {
        self.resolve_to(path, 0).await
    }

    /// As [`Inodes::resolve`], of something that is to be read.
    ///
    /// # Errors
    /// As [`Inodes::resolve`], and `PermissionDenied` when the client's own user may not read it.
    pub async fn resolve_to_read(&self, path: &NsPath) -> Result<Attr> {
        self.resolve_to(path, READ).await
    }

    async fn resolve_to(&self, path: &NsPath, access: u32) -> Result<Attr> {
        let (path, sync_interval_ms) = (path.as_str().to_owned(), self.sync_interval_ms);
        let request = ResolveRequest { path, sync_interval_ms, access };
        attr(self.masters.call(method::RESOLVE, &request).await?)
    }

    /// A page of a directory's entries in the order of their names: those after `after` (empty for the start), at most
    /// `limit` (0 for the master's choice). `more` says whether another page follows.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`; `Ufs` when it cannot be loaded.
    pub async fn read_dir(&self, directory: InodeId, after: &str, limit: u32) -> Result<ReadDirResponse> {
        let request = ReadDirRequest {
            directory: directory.0,
            after: after.to_owned(),
            limit,
            sync_interval_ms: self.sync_interval_ms,
        };
        self.masters.call(method::READ_DIR, &request).await
    }

    /// Makes an empty, incomplete file, visible at once.
    ///
    /// # Errors
    /// `AlreadyExists`, `NotFound`, `ReadOnly`, `PermissionDenied`, `NameTooLong`.
    pub async fn create(
        &self,
        parent: InodeId,
        name: &str,
        mode: u32,
        options: CreateOptions,
        caller: &Caller,
    ) -> Result<Attr> {
        let request = |op| CreateRequest {
            op: Some(op),
            caller: Some(caller.clone()),
            parent: parent.0,
            name: name.to_owned(),
            mode,
            block_size: options.block_size,
            write_type: options.write_type.into(),
        };
        attr(self.session.call(method::CREATE, request).await?)
    }

    /// Makes a directory.
    ///
    /// # Errors
    /// As [`Inodes::create`].
    pub async fn make_dir(&self, parent: InodeId, name: &str, mode: u32, caller: &Caller) -> Result<Attr> {
        let request = |op| MakeDirRequest {
            op: Some(op),
            caller: Some(caller.clone()),
            parent: parent.0,
            name: name.to_owned(),
            mode,
        };
        attr(self.session.call(method::MAKE_DIR, request).await?)
    }

    /// Makes a symlink.
    ///
    /// # Errors
    /// As [`Inodes::create`].
    pub async fn symlink(&self, parent: InodeId, name: &str, target: &str, caller: &Caller) -> Result<Attr> {
        let request = |op| SymlinkRequest {
            op: Some(op),
            caller: Some(caller.clone()),
            parent: parent.0,
            name: name.to_owned(),
            target: target.to_owned(),
        };
        attr(self.session.call(method::SYMLINK, request).await?)
    }

    /// Removes a file or symlink.
    ///
    /// # Errors
    /// `NotFound`, `IsDirectory`, `ReadOnly`, `PermissionDenied`.
    pub async fn unlink(&self, parent: InodeId, name: &str, caller: &Caller) -> Result<()> {
        self.remove(parent, name, NodeKind::File, caller).await
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, `NotEmpty`, `ReadOnly`, `PermissionDenied`.
    pub async fn remove_dir(&self, parent: InodeId, name: &str, caller: &Caller) -> Result<()> {
        self.remove(parent, name, NodeKind::Directory, caller).await
    }

    async fn remove(&self, parent: InodeId, name: &str, expect: NodeKind, caller: &Caller) -> Result<()> {
        let request = |op| RemoveRequest {
            op: Some(op),
            caller: Some(caller.clone()),
            parent: parent.0,
            name: name.to_owned(),
            expect: expect.into(),
        };
        let _: Empty = self.session.call(method::REMOVE, request).await?;
        Ok(())
    }

    /// Moves an entry; what has the new name is replaced unless `no_replace`.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists`, `NotEmpty`, `IsDirectory`, `NotDirectory`, `CrossMount`, `ReadOnly`,
    /// `InvalidArgument` when a directory would move below itself.
    pub async fn rename(
        &self,
        from: (InodeId, &str),
        to: (InodeId, &str),
        no_replace: bool,
        caller: &Caller,
    ) -> Result<Attr> {
        let request = |op| RenameRequest {
            op: Some(op),
            caller: Some(caller.clone()),
            parent: from.0.0,
            name: from.1.to_owned(),
            new_parent: to.0.0,
            new_name: to.1.to_owned(),
            no_replace,
        };
        attr(self.session.call(method::RENAME, request).await?)
    }

    /// Sets attributes of an inode id or content id.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `ReadOnly`, `PermissionDenied`.
    pub async fn set_attr(&self, node: u64, changes: &Changes, caller: &Caller) -> Result<Attr> {
        let request = |op| SetAttrRequest {
            op: Some(op),
            caller: Some(caller.clone()),
            node,
            mode: changes.mode,
            owner: changes.owner.clone(),
            group: changes.group.clone(),
            mtime_ms: changes.mtime_ms,
            atime_ms: changes.atime_ms,
        };
        attr(self.session.call(method::SET_ATTR, request).await?)
    }

    /// Cuts a file to zero bytes. The content id stays, its generation rises, and it is incomplete until
    /// [`Inodes::complete`].
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `ReadOnly`, `PermissionDenied`.
    pub async fn truncate(&self, content: ContentId, caller: &Caller) -> Result<Attr> {
        let request = |op| TruncateRequest { op: Some(op), caller: Some(caller.clone()), content: content.0 };
        attr(self.session.call(method::TRUNCATE, request).await?)
    }

    /// Ends a file's first writing at `length` bytes; answers after the under-storage has it when the write type asks
    /// for that. [`crate::Writer::close`] does this.
    ///
    /// # Errors
    /// `NotFound`, `Stale`, `Lost` when blocks are missing, `Ufs` and `NoSpace` when it cannot be uploaded.
    pub async fn complete(&self, content: ContentId, length: u64, caller: &Caller) -> Result<Attr> {
        let request =
            |op| CompleteRequest { op: Some(op), caller: Some(caller.clone()), content: content.0, length };
        attr(self.session.call(method::COMPLETE, request).await?)
    }

    /// Uploads the first `length` bytes of a file that stays open for writing. May be repeated.
    ///
    /// # Errors
    /// As [`Inodes::complete`].
    pub async fn persist(&self, content: ContentId, length: u64, caller: &Caller) -> Result<Fingerprint> {
        let request =
            |op| PersistRequest { op: Some(op), caller: Some(caller.clone()), content: content.0, length };
        let answer: PersistResponse = self.session.call(method::PERSIST, request).await?;
        Ok(answer.fingerprint.unwrap_or_default())
    }

    /// Capacity and use of the cache in bytes, and the number of files.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn stat_fs(&self) -> Result<StatFsResponse> {
        self.masters.call(method::STAT_FS, &StatFsRequest {}).await
    }

    /// What a worker or reader needs to serve a content; names the holders of unpersisted blocks.
    ///
    /// # Errors
    /// `NotFound` when there is no such content any more.
    pub async fn version(&self, content: ContentId) -> Result<VersionResponse> {
        self.masters.call(method::VERSION, &VersionRequest { content: content.0, suspect: None }).await
    }

    /// The mount table. Options come as the master shows them, secrets masked.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn mounts(&self) -> Result<Vec<MountEntry>> {
        let answer: MountsResponse = self.masters.call(method::MOUNTS, &MountsRequest {}).await?;
        Ok(answer.mounts)
    }
}

fn attr(answer: AttrResponse) -> Result<Attr> {
    answer.attr.ok_or_else(|| Error::new(Code::Internal, "a master answered without attributes"))
}
