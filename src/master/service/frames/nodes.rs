//! The inode service: the namespace by inode and content id, for FUSE and our own clients.

use super::{acting, answered, caller, numbered, session_op};
use crate::authority::{READ, SEARCH, WRITE, Who};
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use crate::namespace::Namespace;
use crate::writing::Written;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{
    Attr, AttrResponse, CompleteRequest, CreateRequest, Empty, GetAttrRequest, LookupRequest, MakeDirRequest,
    NodeKind, OpenSessionRequest, OpenSessionResponse, PersistRequest, PersistResponse, ReadDirRequest,
    ReadDirResponse, RemoveRequest, RenameRequest, ResolveRequest, SetAttrRequest, SymlinkRequest,
    TruncateRequest,
};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{
    Applied, CreateFile, MakeDirectory, MakeSymlink, OpenSession, Remove, Rename, SetAttributes, Truncate,
};
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;

/// Entries of a directory in one answer, when the caller does not say.
const DEFAULT_PAGE: usize = 1000;

/// The most entries of a directory in one answer.
const LARGEST_PAGE: usize = 10_000;

pub(super) async fn open_session(
    master: Arc<Master>,
    request: OpenSessionRequest,
) -> Result<OpenSessionResponse> {
    if request.session == 0 {
        return Err(Error::new(Code::InvalidArgument, "a session's number is not 0"));
    }
    let command =
        Command::OpenSession(OpenSession { session: request.session, description: request.description });
    master.journal.propose(command, &caller(None), Op::Unnumbered).await?;
    Ok(OpenSessionResponse { cluster: master.journal.node().mark().map(Into::into) })
}

pub(super) async fn lookup(master: Arc<Master>, who: Who, request: LookupRequest) -> Result<AttrResponse> {
    let parent = InodeId(request.parent);
    who.open(&*master.journal.read()?, parent, SEARCH)?;
    let freshness = Freshness::of_age(request.sync_interval_ms, master.freshness());
    let attr = master.finder.child(parent, &request.name, freshness).await?;
    Ok(AttrResponse { attr: Some(attr) })
}

/// As [`lookup`], if what is known is fresh enough.
pub(super) fn known_entry(
    master: &Master,
    namespace: &Namespace,
    who: &Who,
    request: &LookupRequest,
) -> Option<Result<AttrResponse>> {
    let parent = InodeId(request.parent);
    if let Err(error) = who.open(namespace, parent, SEARCH) {
        return Some(Err(error));
    }
    let freshness = Freshness::of_age(request.sync_interval_ms, master.freshness());
    let attr = master.finder.known_child(namespace, parent, &request.name, freshness)?;
    Some(Ok(AttrResponse { attr: Some(attr) }))
}

pub(super) async fn get_attr(master: Arc<Master>, who: Who, request: GetAttrRequest) -> Result<AttrResponse> {
    attr(&*master.journal.read()?, &who, &request)
}

pub(super) fn attr(namespace: &Namespace, who: &Who, request: &GetAttrRequest) -> Result<AttrResponse> {
    let attr = namespace.attr(request.node)?;
    who.reach(namespace, InodeId(attr.inode))?;
    Ok(AttrResponse { attr: Some(attr) })
}

pub(super) async fn resolve(master: Arc<Master>, who: Who, request: ResolveRequest) -> Result<AttrResponse> {
    let path = NsPath::parse(&request.path)?;
    let freshness = Freshness::of_age(request.sync_interval_ms, master.freshness());
    let found = master.finder.existing(&path, freshness, false).await?;
    who.open(&*master.journal.read()?, found.resolved.node, request.access & 7)?;
    Ok(AttrResponse { attr: Some(found.resolved.attr) })
}

pub(super) async fn read_dir(
    master: Arc<Master>,
    who: Who,
    request: ReadDirRequest,
) -> Result<ReadDirResponse> {
    let directory = InodeId(request.directory);
    who.open(&*master.journal.read()?, directory, READ)?;
    if request.after.is_empty() {
        // Later pages belong to the listing that the first one began.
        let freshness = Freshness::of_age(request.sync_interval_ms, master.freshness());
        master.finder.listed(directory, freshness).await?;
    }
    let limit = match request.limit {
        0 => DEFAULT_PAGE,
        given => (given as usize).min(LARGEST_PAGE),
    };
    let (entries, more) = master.journal.read()?.children(directory, &request.after, limit)?;
    Ok(ReadDirResponse { entries, more })
}

pub(super) async fn create(master: Arc<Master>, who: Who, request: CreateRequest) -> Result<AttrResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return attr_of(applied);
    }
    let parent = known_directory(&master, request.parent, &request.name).await?;
    who.fill(&*master.journal.read()?, InodeId(parent))?;
    let command = Command::CreateFile(CreateFile {
        parent,
        missing: Vec::new(),
        name: request.name,
        mode: request.mode,
        block_size: if request.block_size == 0 { master.config.block_size } else { request.block_size },
        write_type: request.write_type,
    });
    attr_of(numbered(&master, command, acting(&who, request.caller)?, request.op).await?)
}

pub(super) async fn make_dir(master: Arc<Master>, who: Who, request: MakeDirRequest) -> Result<AttrResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return attr_of(applied);
    }
    let parent = known_directory(&master, request.parent, &request.name).await?;
    who.fill(&*master.journal.read()?, InodeId(parent))?;
    let through = in_writable_mount(&*master.journal.read()?, parent)?;
    let command = Command::MakeDirectory(MakeDirectory {
        parent,
        missing: Vec::new(),
        name: request.name,
        mode: request.mode,
        allow_exists: false,
        through,
    });
    attr_of(numbered(&master, command, acting(&who, request.caller)?, request.op).await?)
}

pub(super) async fn symlink(master: Arc<Master>, who: Who, request: SymlinkRequest) -> Result<AttrResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return attr_of(applied);
    }
    let parent = known_directory(&master, request.parent, &request.name).await?;
    who.fill(&*master.journal.read()?, InodeId(parent))?;
    let command = Command::MakeSymlink(MakeSymlink { parent, name: request.name, target: request.target });
    attr_of(numbered(&master, command, acting(&who, request.caller)?, request.op).await?)
}

pub(super) async fn remove(master: Arc<Master>, who: Who, request: RemoveRequest) -> Result<Empty> {
    if answered(&master, request.op).await?.is_some() {
        return Ok(Empty {});
    }
    let parent = known_directory(&master, request.parent, &request.name).await?;
    who.take(&*master.journal.read()?, InodeId(parent), &request.name)?;
    let known = master.journal.read()?.lookup(InodeId(parent), &request.name);
    if let Ok(attr) = known
        && attr.kind() == NodeKind::Directory
    {
        // What the under-storage holds in it counts, too.
        master.finder.listed(InodeId(attr.inode), crate::mounts::Freshness::Loaded).await?;
    }
    let command = Command::Remove(Remove {
        parent,
        name: request.name,
        recursive: false,
        cache_only: false,
        expect: request.expect,
    });
    numbered(&master, command, acting(&who, request.caller)?, request.op).await?;
    Ok(Empty {})
}

pub(super) async fn rename(master: Arc<Master>, who: Who, request: RenameRequest) -> Result<AttrResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return attr_of(applied);
    }
    let parent = known_directory(&master, request.parent, &request.name).await?;
    let new_parent = known_directory(&master, request.new_parent, &request.new_name).await?;
    {
        let namespace = master.journal.read()?;
        who.take(&namespace, InodeId(parent), &request.name)?;
        who.take(&namespace, InodeId(new_parent), &request.new_name)?;
    }
    let replaced = master.journal.read()?.lookup(InodeId(new_parent), &request.new_name);
    if let Ok(attr) = replaced
        && attr.kind() == NodeKind::Directory
    {
        master.finder.listed(InodeId(attr.inode), crate::mounts::Freshness::Loaded).await?;
    }
    let command = Command::Rename(Rename {
        parent,
        name: request.name,
        new_parent,
        new_name: request.new_name,
        replace: !request.no_replace,
    });
    attr_of(numbered(&master, command, acting(&who, request.caller)?, request.op).await?)
}

pub(super) async fn set_attr(master: Arc<Master>, who: Who, request: SetAttrRequest) -> Result<AttrResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return attr_of(applied);
    }
    let inode = master.journal.read()?.inode_of(request.node)?;
    let command = SetAttributes {
        inode: inode.0,
        mode: request.mode,
        owner: request.owner,
        group: request.group,
        mtime_ms: request.mtime_ms,
        atime_ms: request.atime_ms,
        ..SetAttributes::default()
    };
    who.change(&master.journal, &command).await?;
    let command = Command::SetAttributes(command);
    attr_of(numbered(&master, command, acting(&who, request.caller)?, request.op).await?)
}

pub(super) async fn truncate(
    master: Arc<Master>,
    who: Who,
    request: TruncateRequest,
) -> Result<AttrResponse> {
    {
        let namespace = master.journal.read()?;
        who.open(&namespace, namespace.inode_of(request.content)?, WRITE)?;
    }
    let command = Command::Truncate(Truncate { content: request.content });
    attr_of(numbered(&master, command, acting(&who, request.caller)?, request.op).await?)
}

pub(super) async fn complete(
    master: Arc<Master>,
    who: Who,
    request: CompleteRequest,
) -> Result<AttrResponse> {
    if let Some(applied) = answered(&master, request.op).await? {
        return attr_of(applied);
    }
    let written = Written {
        content: ContentId(request.content),
        length: request.length,
        checksum: None,
        maybe_in_ufs: false,
    };
    let (op, acting) = (session_op(request.op), acting(&who, request.caller)?);
    may_write(&master, &who, written.content)?;
    Ok(AttrResponse { attr: Some(master.complete(&written, &acting, op).await?) })
}

pub(super) async fn persist(
    master: Arc<Master>,
    who: Who,
    request: PersistRequest,
) -> Result<PersistResponse> {
    let content = ContentId(request.content);
    let acting = acting(&who, request.caller)?;
    may_write(&master, &who, content)?;
    let fingerprint = master.persist(content, request.length, &acting).await?;
    Ok(PersistResponse { fingerprint: Some(fingerprint) })
}

/// Whether the caller may end or persist what is written of a content. What does not exist the call itself names.
fn may_write(master: &Master, who: &Who, content: ContentId) -> Result<()> {
    let namespace = master.journal.read()?;
    namespace.inode_of(content.0).map_or(Ok(()), |inode| who.write(&namespace, inode))
}

/// A directory in which `name` is to be made, removed or replaced: whether the under-storage has that name must be known.
async fn known_directory(master: &Master, parent: u64, name: &str) -> Result<u64> {
    match master.finder.child(InodeId(parent), name, Freshness::Loaded).await {
        Err(error) if error.code != Code::NotFound => Err(error),
        Ok(_) | Err(_) => Ok(parent),
    }
}

/// New directories are made in the under-storage too, where there is one that takes them.
fn in_writable_mount(namespace: &Namespace, inode: u64) -> Result<bool> {
    match namespace.ufs_location(InodeId(inode)) {
        Ok((mount, _)) => Ok(!namespace.mount(mount)?.read_only),
        Err(error) if error.code == Code::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn attr_of(applied: Applied) -> Result<AttrResponse> {
    let attr: Option<Attr> = applied.attr;
    match attr {
        Some(attr) => Ok(AttrResponse { attr: Some(attr) }),
        None => Err(Error::new(Code::Internal, "a change was answered without attributes")),
    }
}
