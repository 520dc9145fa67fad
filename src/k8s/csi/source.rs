//! Waits for a runtime's mount.

use super::probe::{Probes, is_dead};
use super::volume::Volume;
use super::watch::Watch;
use goosefs_core::mountinfo::{self, Mount};
use goosefs_core::{Code, Error, Result};
use nix::errno::Errno;
use tokio::time::Instant;

/// The mount of `volume`, once it is there and answers.
///
/// # Errors
/// `Unavailable` when it is not there, or does not answer, at `deadline`.
pub(super) async fn living(volume: &Volume, probes: &Probes, deadline: Instant) -> Result<Mount> {
    let watch = Watch::new()?;
    loop {
        let found = mount_of(volume);
        let asked = async {
            match &found {
                Some(mount) => probes.ask(mount).await,
                None => std::future::pending().await,
            }
        };
        let mut lack = match &found {
            Some(_) => "does not answer",
            None => "is not there",
        };
        tokio::select! {
            answer = asked => match (answer?, found) {
                (Err(errno), _) if is_dead(errno) => lack = "has lost its daemon",
                (_, Some(mount)) => return Ok(mount),
                (_, None) => {}
            },
            changed = watch.changed() => { changed?; continue }
            () = tokio::time::sleep_until(deadline) => return Err(missing(volume, lack)),
        }
        // Dead: only another mount in its place helps.
        tokio::select! {
            changed = watch.changed() => changed?,
            () = tokio::time::sleep_until(deadline) => return Err(missing(volume, lack)),
        }
    }
}

/// The mount of `volume`, dead or alive.
pub(super) fn mount_of(volume: &Volume) -> Option<Mount> {
    mountinfo::at(&volume.path).filter(|mount| mount.fstype == volume.fstype)
}

fn missing(volume: &Volume, lack: &str) -> Error {
    let text = format!("the mount of {} at {} on this node {lack}", volume.runtime, volume.path.display());
    let (namespace, name) = volume.runtime.split_once('/').unwrap_or_default();
    Error::new(Code::Unavailable, text).hint(format!(
        "look at its FUSE pod: kubectl -n {namespace} get pods -o wide -l release={name},role=goosefs-fuse"
    ))
}

/// A mount that answered with an error, which it names.
pub(super) fn told(mount: &Mount, errno: Errno) -> Error {
    let text = format!("{} answers {errno}", mount.mount_point.display());
    Error::new(if is_dead(errno) { Code::Unavailable } else { Code::Io }, text)
}
