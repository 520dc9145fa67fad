//! Files and directories in a flat set of keys.
//!
//! An object is a file; a prefix with anything below it, be it its marker object alone, is a directory. Where one name is
//! both, the file wins, in looks and listings alike.

use super::remote::Remote;
use crate::Entry;
use goosefs_core::path::check_name;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Result};
use std::sync::Arc;

/// The object in a directory that is being filled by a rename: who gave it is in it.
pub(super) const RENAME_MARK: &str = ".goosefs-rename";

/// What lies at a path.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Found {
    File(Fingerprint),
    Directory,
    Nothing,
}

/// Errors: `InvalidPath` and `NameTooLong` as `core::path::check_name` says.
pub(super) fn check(path: &str) -> Result<()> {
    if path.is_empty() { Ok(()) } else { path.split('/').try_for_each(check_name) }
}

/// As [`check`], for what is to be changed; `doing` is a verb.
///
/// Errors: `InvalidArgument` for the root.
pub(super) fn check_below_root(remote: &Remote, doing: &str, path: &str) -> Result<()> {
    if path.is_empty() {
        return Err(remote.error(
            Code::InvalidArgument,
            "",
            &format!("is the root of a mount: nobody can {doing} it"),
        ));
    }
    check(path)
}

/// The prefix of what lies below a directory.
pub(super) fn below(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!("{path}/") }
}

/// The directory that `path` lies in.
pub(super) fn parent(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}

/// The last name of `path`.
pub(super) fn name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// An entry as object storages have them: no mode, no owner.
pub(super) fn entry(name: &str, found: Found) -> Entry {
    let (kind, fingerprint) = match found {
        Found::File(fingerprint) => (NodeKind::File, fingerprint),
        Found::Directory | Found::Nothing => (NodeKind::Directory, Fingerprint::default()),
    };
    Entry { name: name.to_owned(), kind, fingerprint, mode: None, owner: String::new(), group: String::new() }
}

/// Looks at `path`.
pub(super) async fn look(remote: &Remote, path: &str) -> Result<Found> {
    if path.is_empty() {
        // The root is there when the bucket is, with or without anything in it.
        is_directory(remote, "").await?;
        return Ok(Found::Directory);
    }
    if name(path) == RENAME_MARK {
        return Ok(Found::Nothing);
    }
    if let Some(fingerprint) = remote.head(path).await? {
        return Ok(Found::File(fingerprint));
    }
    Ok(if is_directory(remote, path).await? { Found::Directory } else { Found::Nothing })
}

/// Whether anything lies below `path`, its own marker included.
pub(super) async fn is_directory(remote: &Remote, path: &str) -> Result<bool> {
    let prefix = below(path);
    let first = remote.list(&prefix, true, Some(1))?.next_dyn().await;
    first.map(|first| first.is_some()).map_err(|error| remote.list_failed(&prefix, &error))
}

/// The entry at `path`.
pub(super) async fn stat(remote: Arc<Remote>, path: String) -> Result<Entry> {
    check(&path)?;
    match look(&remote, &path).await? {
        Found::Nothing => Err(remote.error(Code::NotFound, &path, "does not exist")),
        found => Ok(entry(name(&path), found)),
    }
}

/// Makes the marker of `path` and of every directory above it that is not there.
///
/// Errors: `NotDirectory` when one of them is a file.
pub(super) async fn ensure_directory(remote: &Remote, path: &str) -> Result<()> {
    let mut missing = Vec::new();
    let mut next = path;
    while !next.is_empty() && !is_directory(remote, next).await? {
        if remote.head(next).await?.is_some() {
            return Err(remote.error(Code::NotDirectory, next, "is no directory"));
        }
        missing.push(next);
        next = parent(next);
    }
    for path in missing.into_iter().rev() {
        remote.put(&below(path), "").await?;
    }
    Ok(())
}

/// Gives the directory that `path` was removed from a marker if nothing holds it any more.
pub(super) async fn keep_parent(remote: &Remote, path: &str) -> Result<()> {
    let parent = parent(path);
    if parent.is_empty() || is_directory(remote, parent).await? {
        return Ok(());
    }
    remote.put(&below(parent), "").await
}
