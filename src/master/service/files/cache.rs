//! Calls about where bytes are: free, blocks of writers that gave up, persisting.

use super::path_of;
use crate::authority::READ;
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use crate::workers::drop_everywhere;
use goosefs_core::id::{BlockId, ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, Caller, DirEntry, NodeKind, Persistence};
use goosefs_core::proto::journal::{Truncate, entry::Command};
use goosefs_core::proto::public::file::{
    FreePRequest, FreePResponse, RemoveBlocksPRequest, RemoveBlocksPResponse,
    ScheduleAsyncPersistencePRequest, ScheduleAsyncPersistencePResponse,
};
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Contents that workers are told to drop at once.
const DROP_BATCH: usize = 10_000;

/// Entries looked at under one lock.
const WALK_BATCH: usize = 1000;

pub(super) async fn free(
    master: Arc<Master>,
    caller: Caller,
    request: FreePRequest,
) -> Result<FreePResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let found = master.finder.existing(&path, Freshness::Loaded, true).await?;
    let who = master.authority.of_caller(&caller).await;
    who.open(&*master.journal.read()?, found.resolved.node, READ)?;
    let attr = found.resolved.attr;
    let forced = options.forced.unwrap_or_default();
    let mut left = FreePResponse::default();
    match attr.kind() {
        NodeKind::Directory => {
            let empty = attr.children == 0;
            if !options.recursive.unwrap_or_default() && !empty {
                return Err(Error::new(Code::NotEmpty, format!("Directory \"{path}\" is not empty"))
                    .hint("free it with recursive set"));
            }
            left = free_tree(&master, (InodeId(attr.inode), found.path), forced).await?;
        }
        _ if attr.pinned && !forced => {
            return Err(Error::new(Code::InvalidArgument, format!("File \"{path}\" is pinned"))
                .hint("unpin it, or free it with force"));
        }
        _ if attr.persistence() != Persistence::Persisted => {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("File \"{path}\" is not persisted, its only copy is in the cache"),
            ));
        }
        _ => drop_everywhere(&master, &[attr.content]).await?,
    }
    Ok(left)
}

/// Frees what is persisted below a directory, and says what stayed. Symlinks have nothing cached.
async fn free_tree(master: &Master, root: (InodeId, NsPath), forced: bool) -> Result<FreePResponse> {
    let mut directories = vec![(root, String::new())];
    let mut contents = Vec::new();
    let mut left = FreePResponse::default();
    while let Some(((directory, path), after)) = directories.pop() {
        let page = master.journal.read()?.children(directory, &after, WALK_BATCH);
        let (entries, more) = match page {
            Ok(page) => page,
            // Removed meanwhile.
            Err(error) if error.code == Code::NotFound => continue,
            Err(error) => return Err(error),
        };
        if let Some(last) = entries.last().filter(|_| more) {
            directories.push(((directory, path.clone()), last.name.clone()));
        }
        for DirEntry { name, attr } in entries {
            let Some(attr) = attr else { continue };
            match attr.kind() {
                NodeKind::Directory => {
                    directories.push(((InodeId(attr.inode), path.join(&name)?), String::new()));
                }
                NodeKind::File if stays(&attr, forced) => note(&mut left, &attr, &path.join(&name)?),
                NodeKind::File => contents.push(attr.content),
                NodeKind::Symlink | NodeKind::Unspecified => {}
            }
        }
        if contents.len() >= DROP_BATCH {
            drop_everywhere(master, &std::mem::take(&mut contents)).await?;
        }
    }
    if !contents.is_empty() {
        drop_everywhere(master, &contents).await?;
    }
    Ok(left)
}

fn stays(attr: &Attr, forced: bool) -> bool {
    attr.persistence() != Persistence::Persisted || (attr.pinned && !forced)
}

fn note(left: &mut FreePResponse, attr: &Attr, path: &NsPath) {
    let (count, first) = match attr.persistence() {
        Persistence::Persisted => (&mut left.pinned, &mut left.first_pinned),
        _ => (&mut left.unpersisted, &mut left.first_unpersisted),
    };
    *count = Some(count.unwrap_or_default() + 1);
    first.get_or_insert_with(|| path.to_string());
}

pub(super) async fn remove_blocks(
    master: Arc<Master>,
    caller: Caller,
    request: RemoveBlocksPRequest,
) -> Result<RemoveBlocksPResponse> {
    let contents: BTreeSet<ContentId> =
        request.block_ids.iter().map(|block| BlockId(block.cast_unsigned()).content()).collect();
    let who = master.authority.of_caller(&caller).await;
    let mut persisted = Vec::new();
    for content in contents {
        let attr = match master.journal.read()?.attr(content.0) {
            Ok(attr) => attr,
            // Gone, and its blocks with it.
            Err(error) if matches!(error.code, Code::NotFound | Code::Stale) => continue,
            Err(error) => return Err(error),
        };
        who.write(&*master.journal.read()?, InodeId(attr.inode))?;
        if !attr.completed {
            // A writer that gives up: what it wrote is void.
            let command = Command::Truncate(Truncate { content: content.0 });
            master.journal.propose(command, &caller, Op::Unnumbered).await?;
        } else if attr.persistence() == Persistence::Persisted {
            persisted.push(content.0);
        } else {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("blocks of file {content} are its only copy and stay"),
            ));
        }
    }
    if !persisted.is_empty() {
        drop_everywhere(&master, &persisted).await?;
    }
    Ok(RemoveBlocksPResponse {})
}

pub(super) async fn schedule_async_persistence(
    master: Arc<Master>,
    caller: Caller,
    request: ScheduleAsyncPersistencePRequest,
) -> Result<ScheduleAsyncPersistencePResponse> {
    let path = path_of(request.path.as_ref())?;
    let found = master.finder.existing(&path, Freshness::Loaded, true).await?;
    let who = master.authority.of_caller(&caller).await;
    who.write(&*master.journal.read()?, found.resolved.node)?;
    let attr = found.resolved.attr;
    if attr.kind() != NodeKind::File {
        return Err(Error::new(Code::IsDirectory, format!("Is a directory: \"{path}\"")));
    }
    if !attr.completed {
        return Err(Error::new(Code::Incomplete, format!("File \"{path}\" is incomplete")));
    }
    if attr.persistence() != Persistence::Persisted {
        use goosefs_core::proto::journal::PersistFile;
        let command =
            Command::PersistFile(PersistFile { content: attr.content, length: attr.length, once: false });
        match master.journal.begin(command, &caller, Op::Unnumbered).await {
            // An upload of it is under way already.
            Err(error) if error.code == Code::Busy => {}
            outcome => drop(outcome?),
        }
    }
    Ok(ScheduleAsyncPersistencePResponse {})
}
