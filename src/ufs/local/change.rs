//! Changes to a local tree, each of which may be repeated and is durable when it returns. Everything here blocks.

use super::place::{Place, is_hidden};
use crate::Attributes;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Code, Error, Result};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use nix::unistd::{Group, User};
use std::fs::{File, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A hidden file of that age belongs to nobody any more: its writer died.
const ABANDONED: Duration = Duration::from_secs(24 * 3600);

pub(super) fn make_directory(place: &Place, path: &str, attributes: &Attributes) -> Result<()> {
    let existed = place.existing(path).is_ok();
    let full = place.directory_made(path)?;
    if existed { Ok(()) } else { apply_attributes_on_create(&full, attributes) }
}

pub(super) fn remove(place: &Place, path: &str, kind: NodeKind) -> Result<()> {
    let (parent, name) = match place.parent_and_name(path) {
        Err(error) if error.code == Code::NotFound => return Ok(()),
        other => other?,
    };
    let full = parent.join(name);
    let Ok(metadata) = full.symlink_metadata() else { return Ok(()) };
    place.may_change()?;
    // A symlink to a directory is shown as a directory; removing it takes the link.
    let removed = match kind {
        NodeKind::Directory if metadata.is_symlink() => std::fs::remove_file(&full),
        NodeKind::Directory => {
            sweep(&full);
            place.may_change()?;
            std::fs::remove_dir(&full)
        }
        _ if metadata.is_dir() => {
            return Err(Error::new(Code::IsDirectory, format!("{} is a directory", place.show(path))));
        }
        _ => std::fs::remove_file(&full),
    };
    gone_is_done(removed).map_err(|e| Error::io(format!("remove {}", place.show(path)), e))?;
    sync_directory(&parent)
}

pub(super) fn remove_all(place: &Place, path: &str) -> Result<()> {
    let (parent, name) = match place.parent_and_name(path) {
        Err(error) if error.code == Code::NotFound => return Ok(()),
        other => other?,
    };
    let full = parent.join(name);
    let Ok(metadata) = full.symlink_metadata() else { return Ok(()) };
    place.may_change()?;
    // `remove_dir_all` does not follow symlinks within.
    let removed =
        if metadata.is_dir() { std::fs::remove_dir_all(&full) } else { std::fs::remove_file(&full) };
    gone_is_done(removed).map_err(|e| Error::io(format!("remove {}", place.show(path)), e))?;
    sync_directory(&parent)
}

pub(super) fn rename(place: &Place, from: &str, to: &str, replace: bool) -> Result<()> {
    let (to_parent, to_name) = place.parent_and_name(to)?;
    let target = to_parent.join(to_name);
    let context = || format!("rename {} to {}", place.show(from), place.show(to));
    let source = place.parent_and_name(from).map(|(parent, name)| (parent.join(name), parent));
    let gone = match &source {
        Ok((full, _)) => full.symlink_metadata().is_err_and(|e| e.kind() == ErrorKind::NotFound),
        Err(error) => error.code == Code::NotFound,
    };
    if gone {
        // Done before, if something is at the other end.
        return if target.symlink_metadata().is_ok() { Ok(()) } else { Err(place.not_found(from)) };
    }
    let (source, from_parent) = source?;
    place.may_change()?;
    let renamed = if replace { std::fs::rename(&source, &target) } else { rename_to_free(&source, &target) };
    renamed.map_err(|e| Error::io(context(), e))?;
    sync_directory(&to_parent)?;
    if from_parent == to_parent { Ok(()) } else { sync_directory(&from_parent) }
}

fn rename_to_free(source: &Path, target: &Path) -> std::io::Result<()> {
    match renameat2(AT_FDCWD, source, AT_FDCWD, target, RenameFlags::RENAME_NOREPLACE) {
        Ok(()) => Ok(()),
        // Network file systems know no such rename: look first, which is as good as it gets there.
        Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOSYS) => {
            if target.symlink_metadata().is_ok() {
                return Err(ErrorKind::AlreadyExists.into());
            }
            std::fs::rename(source, target)
        }
        Err(errno) => Err(errno.into()),
    }
}

/// Sets what `attributes` names, in an order that leaves set-user-id bits as asked (chown clears them).
pub(super) fn apply_attributes(full: &Path, attributes: &Attributes) -> Result<()> {
    set_owner(full, attributes)?;
    set_mode_and_time(full, attributes)
}

/// As [`apply_attributes`] for what was just made: the owner is kept only as far as this process may give files away,
/// since the namespace keeps it as well.
pub(super) fn apply_attributes_on_create(full: &Path, attributes: &Attributes) -> Result<()> {
    match set_owner(full, attributes) {
        Err(error) if !matches!(error.code, Code::PermissionDenied | Code::InvalidArgument) => {
            return Err(error);
        }
        Ok(()) | Err(_) => {}
    }
    set_mode_and_time(full, attributes)
}

fn set_owner(full: &Path, attributes: &Attributes) -> Result<()> {
    let user = attributes.owner.as_deref().filter(|name| !name.is_empty()).map(user_id).transpose()?;
    let group = attributes.group.as_deref().filter(|name| !name.is_empty()).map(group_id).transpose()?;
    if user.is_none() && group.is_none() {
        return Ok(());
    }
    chown(full, user, group).map_err(|e| Error::io(format!("change the owner of {}", full.display()), e))
}

fn set_mode_and_time(full: &Path, attributes: &Attributes) -> Result<()> {
    if let Some(mode) = attributes.mode {
        std::fs::set_permissions(full, Permissions::from_mode(mode & 0o7777))
            .map_err(|e| Error::io(format!("change the mode of {}", full.display()), e))?;
    }
    if let Some(mtime_ms) = attributes.mtime_ms {
        let time = UNIX_EPOCH + Duration::from_millis(mtime_ms);
        File::open(full)
            .and_then(|file| file.set_modified(time))
            .map_err(|e| Error::io(format!("change the time of {}", full.display()), e))?;
    }
    Ok(())
}

fn user_id(name: &str) -> Result<u32> {
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid.as_raw()),
        _ => name.parse().map_err(|_| unknown("user", name)),
    }
}

fn group_id(name: &str) -> Result<u32> {
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid.as_raw()),
        _ => name.parse().map_err(|_| unknown("group", name)),
    }
}

fn unknown(what: &str, name: &str) -> Error {
    Error::new(Code::InvalidArgument, format!("this machine knows no {what} \"{name}\""))
        .hint("give a name that it knows, or a number")
}

/// Makes entries of `directory` durable.
pub(super) fn sync_directory(directory: &Path) -> Result<()> {
    File::open(directory)
        .and_then(|file| file.sync_all())
        .map_err(|e| Error::io(format!("sync directory {}", directory.display()), e))
}

/// Removes hidden files that a dead writer left, which would keep an empty-looking directory from being removed.
fn sweep(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    for entry in entries.flatten().filter(|entry| is_hidden(&entry.file_name().to_string_lossy())) {
        let age = entry
            .metadata()
            .and_then(|m| m.modified())
            .ok()
            .and_then(|at| SystemTime::now().duration_since(at).ok());
        if age.is_some_and(|age| age > ABANDONED) {
            // What cannot be removed shows as "not empty" right after.
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

fn gone_is_done(outcome: std::io::Result<()>) -> std::io::Result<()> {
    match outcome {
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
