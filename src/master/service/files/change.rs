//! Calls that change what is there: remove, rename, attributes.

use super::make::WRITE_TYPE_XATTR;
use super::{mode_bits, path_of};
use crate::find::{Found, does_not_exist};
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use crate::service::vendor_op;
use bytes::Bytes;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Caller, NodeKind};
use goosefs_core::proto::journal::{Remove, Rename, SetAttributes, entry::Command};
use goosefs_core::proto::public::file::{
    DeletePRequest, DeletePResponse, ReadPType, RenamePRequest, RenamePResponse, SetAttributePRequest,
    SetAttributePResponse, WritePType,
};
use goosefs_core::{Code, Error, Result};
use std::collections::HashMap;
use std::sync::Arc;

/// The extended attribute of a directory that says how files in it are read.
const READ_TYPE_XATTR: &str = "innerReadType";

pub(super) async fn remove(
    master: Arc<Master>,
    caller: Caller,
    request: DeletePRequest,
) -> Result<DeletePResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let op = vendor_op(options.common_options.as_ref());
    if master.journal.answered(op).await?.is_some() {
        return Ok(DeletePResponse {});
    }
    let found = master.finder.resolve(&path, Freshness::Loaded, false).await?;
    let (parent, name) = place_or_retry(&found, &path, op)?;
    let recursive = options.recursive.unwrap_or_default();
    let attr = &found.resolved.attr;
    let who = master.authority.of_caller(&caller).await;
    who.take(&*master.journal.read()?, parent, &name)?;
    if found.resolved.exists() && recursive && attr.kind() == NodeKind::Directory {
        who.empty(&master.journal, found.resolved.node).await?;
    }
    let expected = options.ttl_expect_mtime.unwrap_or_default();
    if expected != 0 && found.resolved.exists() && attr.mtime_ms != expected.cast_unsigned() {
        return Err(Error::new(Code::Stale, format!("\"{path}\" was changed after {expected}")));
    }
    if found.resolved.exists() && attr.kind() == NodeKind::Directory && !recursive {
        // What the under-storage holds in it counts, too.
        master.finder.listed(InodeId(attr.inode), Freshness::Loaded).await?;
    }
    let command = Command::Remove(Remove {
        parent: parent.0,
        name,
        recursive,
        cache_only: options.goosefs_only.unwrap_or_default(),
        expect: NodeKind::Unspecified as i32,
    });
    master.journal.propose(command, &caller, op).await?;
    Ok(DeletePResponse {})
}

pub(super) async fn rename(
    master: Arc<Master>,
    caller: Caller,
    request: RenamePRequest,
) -> Result<RenamePResponse> {
    let from = path_of(request.path.as_ref())?;
    let to = path_of(request.dst_path.as_ref())?;
    let op = vendor_op(request.options.and_then(|options| options.common_options).as_ref());
    if master.journal.answered(op).await?.is_some() {
        return Ok(RenamePResponse {});
    }
    let source = master.finder.resolve(&from, Freshness::Loaded, false).await?;
    let (parent, name) = place_or_retry(&source, &from, op)?;
    let target = master.finder.resolve(&to, Freshness::Loaded, false).await?;
    let (new_parent, missing, new_name) = target.place()?;
    if !missing.is_empty() {
        return Err(does_not_exist(&to.parent().unwrap_or_else(NsPath::root)));
    }
    let who = master.authority.of_caller(&caller).await;
    {
        let namespace = master.journal.read()?;
        who.take(&namespace, parent, &name)?;
        who.take(&namespace, new_parent, &new_name)?;
    }
    let command = Command::Rename(Rename {
        parent: parent.0,
        name,
        new_parent: new_parent.0,
        new_name,
        replace: false,
    });
    master.journal.propose(command, &caller, op).await?;
    Ok(RenamePResponse {})
}

/// Where the thing that a call takes away lies. When it is gone, a numbered call may be a retry that took it away
/// itself, so the log is asked; any other is refused.
fn place_or_retry(found: &Found, path: &NsPath, op: Op) -> Result<(InodeId, String)> {
    let (parent, missing, name) = found.place()?;
    let gone = !found.resolved.exists();
    if !missing.is_empty() || (gone && matches!(op, Op::Unnumbered)) {
        return Err(does_not_exist(path));
    }
    Ok((parent, name))
}

pub(super) async fn set_attribute(
    master: Arc<Master>,
    caller: Caller,
    request: SetAttributePRequest,
) -> Result<SetAttributePResponse> {
    let path = path_of(request.path.as_ref())?;
    let options = request.options.unwrap_or_default();
    let op = vendor_op(options.common_options.as_ref());
    if master.journal.answered(op).await?.is_some() {
        return Ok(SetAttributePResponse {});
    }
    let found = master.finder.existing(&path, Freshness::Loaded, false).await?;
    let mut set_xattr = HashMap::new();
    if let Some(policy) = options.write_p_type.and_then(|policy| WritePType::try_from(policy).ok()) {
        set_xattr.insert(WRITE_TYPE_XATTR.to_owned(), Bytes::from_static(policy.as_str_name().as_bytes()));
    }
    if let Some(policy) = options.read_p_type.and_then(|policy| ReadPType::try_from(policy).ok()) {
        set_xattr.insert(READ_TYPE_XATTR.to_owned(), Bytes::from_static(policy.as_str_name().as_bytes()));
    }
    let command = SetAttributes {
        inode: found.resolved.attr.inode,
        mode: options.mode.as_ref().map(mode_bits),
        owner: options.owner.filter(|owner| !owner.is_empty()),
        group: options.group.filter(|group| !group.is_empty()),
        set_xattr,
        recursive: options.recursive.unwrap_or_default(),
        ..SetAttributes::default()
    };
    master.authority.of_caller(&caller).await.change(&master.journal, &command).await?;
    let command = Command::SetAttributes(command);
    master.journal.propose(command, &caller, op).await?;
    Ok(SetAttributePResponse {})
}
