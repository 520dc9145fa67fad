//! Binds a runtime's mount to a pod's folder, and takes it away again. mountinfo is asked before anything is made or
//! looked at.

use super::volume::{Usage, flag};
use goosefs_core::mountinfo::{self, Mount};
use goosefs_core::{Code, Error, Result};
use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, open, openat2};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::stat::Mode;
use std::fs;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// An unmount that takes longer has left the tree and waits for a daemon that is away.
const UNMOUNT: Duration = Duration::from_secs(5);

/// Whether `target` shows `source` already, as `usage` asks.
///
/// # Errors
/// `AlreadyExists` when it does otherwise, or shows something of another kind.
pub(super) fn is_shown(target: &Path, source: &Mount, usage: Usage) -> Result<bool> {
    let Some(found) = mountinfo::at(target) else { return Ok(false) };
    let shown = target.display();
    if found.device == source.device {
        if found.has("ro") && !usage.read_only {
            let text = format!("{shown} is published already, read-only");
            return Err(Error::new(Code::AlreadyExists, text));
        }
        return Ok(found.has("ro") || !usage.read_only);
    }
    if found.fstype == source.fstype {
        return Ok(false);
    }
    Err(Error::new(Code::AlreadyExists, format!("{shown} is a mount of type {}", found.fstype)))
}

/// Shows `source` at `target`, which is made. What a dead predecessor of `source` left there goes, and what an earlier
/// call left half-done is completed.
///
/// # Errors
/// As [`is_shown`], else the kernel's.
pub(super) fn bind(source: &Mount, target: &Path, usage: Usage) -> Result<()> {
    let failed = |what: &str, error: Errno| Error::io(format!("{what} {}", target.display()), error.into());
    loop {
        match mountinfo::at(target) {
            _ if is_shown(target, source, usage)? => return Ok(()),
            Some(found) if found.device == source.device => break,
            Some(_) => detach(target)?,
            None => {
                make(target)?;
                let nothing = None::<&str>;
                mount(Some(&source.mount_point), target, nothing, MsFlags::MS_BIND, nothing)
                    .map_err(|error| failed("bind the volume to", error))?;
                break;
            }
        }
    }
    let outcome = restrict(target, usage);
    if outcome.is_err() {
        // A volume that may be written where it must not is none.
        detach(target)?;
    }
    outcome
}

/// Makes the mount at `target` read-only and the like; what it has of this already stays.
fn restrict(target: &Path, usage: Usage) -> Result<()> {
    if !usage.read_only && usage.flags.is_empty() {
        return Ok(());
    }
    let options = mountinfo::at(target).map(|mount| mount.options).unwrap_or_default();
    let kept = options.split(',').filter_map(flag).fold(MsFlags::empty(), |all, one| all | one);
    let mut flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | kept | usage.flags;
    flags.set(MsFlags::MS_RDONLY, usage.read_only);
    let nothing = None::<&str>;
    mount(nothing, target, nothing, flags, nothing)
        .map_err(|error| Error::io(format!("restrict the mount at {}", target.display()), error.into()))
}

fn make(target: &Path) -> Result<()> {
    match fs::create_dir(target) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(Error::io(format!("make {}", target.display()), error)),
    }
}

/// Takes away whatever is mounted at `target`, and the folder; neither need be there.
///
/// # Errors
/// The kernel's; `Unavailable` when the mount does not go.
pub(super) async fn take_away(target: &Path) -> Result<()> {
    while mountinfo::at(target).is_some() {
        let place = target.to_owned();
        let unmounted = tokio::task::spawn_blocking(move || unmount(&place));
        match tokio::time::timeout(UNMOUNT, unmounted).await {
            Ok(outcome) => outcome
                .map_err(|error| Error::new(Code::Internal, format!("unmounting ended early: {error}")))??,
            Err(_) if mountinfo::at(target).is_none() => {
                tracing::info!(target = %target.display(), "unmounted; its daemon does not answer");
            }
            Err(_) => {
                let text = format!("{} is not unmounted after {UNMOUNT:?}", target.display());
                return Err(Error::new(Code::Unavailable, text));
            }
        }
    }
    match fs::remove_dir(target) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Error::io(format!("remove {}", target.display()), error)),
    }
}

/// Unmounts properly where possible; one that is in use or dead is detached.
fn unmount(target: &Path) -> Result<()> {
    let Err(error) = umount2(target, MntFlags::UMOUNT_NOFOLLOW) else { return Ok(()) };
    if mountinfo::at(target).is_none() {
        return Ok(());
    }
    tracing::info!(target = %target.display(), %error, "detaching a volume that cannot be unmounted");
    detach(target)
}

/// Lays the mount of `source` over `dead`, the part of it that `dead` shows, as restricted as that is.
///
/// # Errors
/// The kernel's; `NotFound` when `source` has no such part.
pub(super) fn lay_over(source: &Mount, dead: &Mount) -> Result<()> {
    let target = &dead.mount_point;
    let failed = |what: &str, error: Errno| Error::io(format!("{what} {}", target.display()), error.into());
    let part = dead.root.strip_prefix("/").unwrap_or(&dead.root);
    let whole = open(&source.mount_point, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
        .map_err(|error| failed("open the mount for", error))?;
    let shown = if part.as_os_str().is_empty() {
        whole
    } else {
        // What the part's path was made of may have been replaced by symlinks, which must not lead elsewhere.
        let how = OpenHow::new()
            .flags(OFlag::O_PATH | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
        openat2(&whole, part, how).map_err(|error| failed("open the part that is shown at", error))?
    };
    let flags = dead.options.split(',').filter_map(flag).fold(MsFlags::empty(), |all, one| all | one);
    let usage = Usage { read_only: dead.has("ro"), flags };
    // Pods receive what is mounted as it is at that moment: it must be restricted before, at a place of our own.
    let staging = std::env::temp_dir().join(format!("goosefs-csi-{}", uuid::Uuid::new_v4()));
    fs::create_dir(&staging).map_err(|error| Error::io(format!("make {}", staging.display()), error))?;
    let nothing = None::<&str>;
    let bind = |from: &Path, to: &Path| mount(Some(from), to, nothing, MsFlags::MS_BIND, nothing);
    let path = PathBuf::from(format!("/proc/self/fd/{}", shown.as_raw_fd()));
    let outcome = bind(&path, &staging)
        .map_err(|error| failed("bind the new mount for", error))
        .and_then(|()| restrict(&staging, usage))
        .and_then(|()| bind(&staging, target).map_err(|error| failed("lay the new mount over", error)));
    if mountinfo::at(&staging).is_some() {
        detach(&staging)?;
    }
    fs::remove_dir(&staging).map_err(|error| Error::io(format!("remove {}", staging.display()), error))?;
    outcome
}

pub(super) fn detach(target: &Path) -> Result<()> {
    match umount2(target, MntFlags::UMOUNT_NOFOLLOW | MntFlags::MNT_DETACH) {
        Err(error) if mountinfo::at(target).is_some() => {
            Err(Error::io(format!("unmount {}", target.display()), error.into()))
        }
        _ => Ok(()),
    }
}
