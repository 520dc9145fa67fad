//! What must be so before mounting, each with a message that says what to do.

use crate::config::Config;
use goosefs_core::mountinfo::{self, FSTYPE};
use goosefs_core::{Code, Error, Result};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::unistd::Uid;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a mount that lies there already has to say that it lives.
const PROBE: Duration = Duration::from_secs(2);

/// Checks device and rights; returns the mount point without symlinks. What lies there is not looked at.
pub(crate) fn place(config: &Config) -> Result<PathBuf> {
    check_device()?;
    if !Uid::effective().is_root() {
        check_fusermount()?;
    }
    raise_descriptor_limit();
    absolute(&config.mount_point)
}

/// Checks that a mount can be made at `point`. A dead mount of ours that a killed process left there is cleared away.
pub(crate) async fn check(point: &Path) -> Result<()> {
    clear_dead_mount(point).await?;
    check_directory(point)
}

fn check_device() -> Result<()> {
    let Err(error) = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse") else {
        return Ok(());
    };
    let remedy = match error.kind() {
        std::io::ErrorKind::PermissionDenied => "run as root, or let everybody use it: `chmod 666 /dev/fuse`",
        _ => {
            "load the kernel's module with `modprobe fuse`, and in a container pass the device in \
             (`--device /dev/fuse --cap-add SYS_ADMIN`)"
        }
    };
    Err(Error::io("open /dev/fuse", error).hint(remedy))
}

fn check_fusermount() -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join("fusermount3").is_file());
    if found {
        return Ok(());
    }
    Err(Error::new(Code::NotFound, "fusermount3 is not on the PATH, and only root can mount without it")
        .hint("install the package fuse3, or run as root"))
}

/// The mount point without symlinks. The last component is not followed or looked at: a dead mount may lie there.
fn absolute(point: &Path) -> Result<PathBuf> {
    let told = std::path::absolute(point)
        .map_err(|error| Error::io(format!("mount point {}", point.display()), error))?;
    let (Some(parent), Some(name)) = (told.parent(), told.file_name()) else {
        return Err(Error::new(Code::InvalidArgument, "the root directory cannot be a mount point"));
    };
    let parent = parent
        .canonicalize()
        .map_err(|error| Error::io(format!("mount point {}", point.display()), error))?;
    let point = parent.join(name);
    // A symlink is followed here, which is safe when no mount lies on it.
    if mountinfo::at(&point).is_none() && point.is_symlink() {
        return point
            .canonicalize()
            .map_err(|error| Error::io(format!("mount point {}", point.display()), error));
    }
    Ok(point)
}

async fn clear_dead_mount(point: &Path) -> Result<()> {
    while mountinfo::at(point).is_some_and(|mount| mount.fstype == FSTYPE) {
        let probed = point.to_owned();
        // statfs is never answered from the kernel's memory. A parked mount does not answer at all.
        let probe = tokio::task::spawn_blocking(move || nix::sys::statfs::statfs(&probed).map(drop));
        match tokio::time::timeout(PROBE, probe).await {
            Ok(Ok(Err(nix::errno::Errno::ENOTCONN | nix::errno::Errno::ECONNABORTED))) => {
                tracing::info!(mount_point = %point.display(), "clearing away a mount whose process is gone");
                detach(point)?;
            }
            Ok(_) => {
                return Err(Error::new(
                    Code::Busy,
                    format!("{} has a GooseFS mount already", point.display()),
                )
                .hint("unmount it first, or choose another mount point"));
            }
            Err(_) => {
                return Err(Error::new(
                    Code::Busy,
                    format!("{} has a GooseFS mount that does not answer", point.display()),
                )
                .hint(format!(
                    "end it with `umount -f {point}; umount -l {point}`",
                    point = point.display()
                )));
            }
        }
    }
    Ok(())
}

/// Takes a mount out of the tree whether or not it is in use.
pub(crate) fn detach(point: &Path) -> Result<()> {
    let detached = nix::mount::umount2(point, nix::mount::MntFlags::MNT_DETACH);
    if detached == Err(nix::errno::Errno::EPERM) {
        let command =
            std::process::Command::new("fusermount3").args(["-u", "-q", "-z", "--"]).arg(point).output();
        return match command {
            Ok(output) if output.status.success() => Ok(()),
            Ok(output) => {
                let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
                Err(Error::new(Code::Io, format!("unmount {}: {said}", point.display())))
            }
            Err(error) => Err(Error::io("run fusermount3", error)),
        };
    }
    detached.map_err(|error| Error::io(format!("unmount {}", point.display()), error.into()))
}

fn check_directory(point: &Path) -> Result<()> {
    let name = point.display();
    let found = std::fs::metadata(point).map_err(|error| {
        Error::io(format!("mount point {name}"), error).hint(format!("make it with `mkdir -p {name}`"))
    })?;
    if !found.is_dir() {
        return Err(Error::new(Code::NotDirectory, format!("mount point {name} is not a directory")));
    }
    let mut entries =
        std::fs::read_dir(point).map_err(|error| Error::io(format!("mount point {name}"), error))?;
    if entries.next().is_some() {
        tracing::warn!(mount_point = %name, "the mount point has entries: they are hidden while it is mounted");
    }
    Ok(())
}

/// Descriptors of cached files are in flight many at a time.
fn raise_descriptor_limit() {
    let raised = getrlimit(Resource::RLIMIT_NOFILE)
        .and_then(|(_, hard)| setrlimit(Resource::RLIMIT_NOFILE, hard, hard));
    if let Err(error) = raised {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_mount_point_that_is_no_directory_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let file = dir.path().join("file");
        std::fs::write(&file, "x").expect("a file");
        let error = check_directory(&file).expect_err("a file");
        assert_eq!(error.code, Code::NotDirectory);
        assert!(error.to_string().contains("file is not a directory"), "{error}");
        let error = check_directory(&dir.path().join("absent")).expect_err("nothing there");
        assert_eq!(error.code, Code::NotFound);
        assert!(error.hint.starts_with("make it with"), "{error}");
    }

    #[test]
    fn the_root_is_refused_and_a_missing_parent_is_named() {
        assert_eq!(absolute(Path::new("/")).expect_err("root").code, Code::InvalidArgument);
        let error = absolute(Path::new("/no/such/place")).expect_err("no parent");
        assert!(error.to_string().contains("/no/such/place"), "{error}");
    }
}
