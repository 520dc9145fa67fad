//! Volumes whose mount has ended, shown again once the runtime has another.
//!
//! A mount that was given up, or whose process and holders died at once, leaves a dead mount in every pod. The next FUSE
//! process mounts anew at the runtime's place; here that mount is laid over the dead ones in pods' folders. Over, not in
//! their stead: a pod's own copy receives what is mounted on top of the dead one (mount propagation HostToContainer),
//! and nothing that is mounted beside it. Files that were open stay dead.
//!
//! Which mount comes after which is told by their source in mountinfo, `goosefs.fuse.fs.name`.

use super::mounts;
use super::probe::{Probes, is_dead};
use super::report::{Report, runtime_at};
use super::watch::Watch;
use goosefs_core::mountinfo::{self, FSTYPE, Mount};
use goosefs_core::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

/// What could not be done yet is tried again so soon.
const AGAIN: Duration = Duration::from_secs(1);

/// A dead mount says so at once; one that says nothing is parked, and may live again.
const PATIENCE: Duration = Duration::from_millis(500);

/// A volume in a pod's folder that shows a mount which its runtime does not have any more.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Stale {
    target: Mount,
    source: Mount,
    /// Mounts at the target.
    depth: usize,
}

/// Recovers volumes below `kubelet`, which show mounts below `root`, until the watch fails.
///
/// # Errors
/// When the table of mounts cannot be watched.
pub(super) async fn recover(root: &Path, kubelet: &Path, probes: Probes, report: Report) -> Result<()> {
    let watch = Watch::new()?;
    loop {
        let mut waits = false;
        for stale in stale(&mountinfo::all(), root, kubelet) {
            let Ok(answer) = tokio::time::timeout(PATIENCE, probes.ask(&stale.target)).await else {
                waits = true;
                continue;
            };
            if !answer?.is_err_and(is_dead) {
                continue;
            }
            let target = stale.target.mount_point.clone();
            let runtime = runtime_at(&stale.source.mount_point, root);
            let outcome = tokio::task::spawn_blocking(move || replace(&stale)).await;
            let outcome = outcome.unwrap_or_else(|error| Err(Error::io("recover a volume", error.into())));
            waits |= outcome.is_err();
            report.recovered(&runtime, &target, outcome.err()).await;
        }
        let again =
            async { if waits { tokio::time::sleep(AGAIN).await } else { std::future::pending().await } };
        tokio::select! {
            changed = watch.changed() => changed?,
            () = again => {}
        }
    }
}

/// What is stale among all mounts: the top at its place, of our type, below `kubelet`, and of another device than the one
/// mount below `root` that has the same source. What lies elsewhere is somebody else's.
fn stale(all: &[Mount], root: &Path, kubelet: &Path) -> Vec<Stale> {
    let tops = mountinfo::tops(all);
    let ours = || tops.values().filter(|(mount, _)| mount.fstype == FSTYPE);
    let mut sources: BTreeMap<&str, Vec<&Mount>> = BTreeMap::new();
    for (mount, _) in ours().filter(|(mount, _)| mount.mount_point.starts_with(root)) {
        sources.entry(&mount.source).or_default().push(mount);
    }
    let stale = |(target, depth): &(&Mount, usize)| match sources.get(target.source.as_str())?.as_slice() {
        [source] if source.device != target.device => {
            Some(Stale { target: (*target).clone(), source: (*source).clone(), depth: *depth })
        }
        // Several runtimes with one name: nobody can tell which.
        _ => None,
    };
    ours().filter(|(mount, _)| mount.mount_point.starts_with(kubelet)).filter_map(stale).collect()
}

/// Lays the source over what is dead. What was laid there before, over something that was dead already, goes first.
fn replace(stale: &Stale) -> Result<()> {
    let target = &stale.target.mount_point;
    if stale.depth > 1 {
        mounts::detach(target)?;
    }
    mounts::lay_over(&stale.source, &stale.target)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mount(device: &str, source: &str, point: &str) -> Mount {
        Mount {
            minor: 1,
            device: device.to_owned(),
            root: "/".into(),
            mount_point: point.into(),
            fstype: FSTYPE.to_owned(),
            options: "ro".to_owned(),
            source: source.to_owned(),
        }
    }

    fn stale_points(all: &[Mount]) -> Vec<(String, usize)> {
        let found = stale(all, Path::new("/runtime-mnt"), Path::new("/pods"));
        found.iter().map(|one| (one.target.mount_point.display().to_string(), one.depth)).collect()
    }

    #[test]
    fn a_volume_is_stale_when_its_runtime_has_another_mount() {
        let new = mount("0:9", "goosefs:default/a", "/runtime-mnt/a");
        let old = mount("0:7", "goosefs:default/a", "/pods/1");
        let fine = mount("0:9", "goosefs:default/a", "/pods/2");
        let other = mount("0:7", "goosefs:default/b", "/pods/3");
        let elsewhere = mount("0:7", "goosefs:default/a", "/home/1");
        let all = [new.clone(), old.clone(), fine.clone(), other, elsewhere];
        assert_eq!(stale_points(&all), [("/pods/1".to_owned(), 1)]);
        let over = mount("0:9", "goosefs:default/a", "/pods/1");
        assert_eq!(stale_points(&[new.clone(), old.clone(), over]), [], "it was recovered");
        let again = mount("0:8", "goosefs:default/a", "/pods/1");
        assert_eq!(stale_points(&[new, old, again]), [("/pods/1".to_owned(), 2)]);
    }

    #[test]
    fn what_a_runtime_shows_now_is_the_top_at_its_place() {
        let all = [
            mount("0:7", "goosefs:default/a", "/runtime-mnt/a"),
            mount("0:9", "goosefs:default/a", "/runtime-mnt/a"),
            mount("0:7", "goosefs:default/a", "/pods/1"),
        ];
        assert_eq!(stale_points(&all), [("/pods/1".to_owned(), 1)]);
        assert_eq!(stale_points(&all[2..]), [], "there is no other mount yet");
    }

    #[test]
    fn runtimes_that_cannot_be_told_apart_are_left_alone() {
        let all = [
            mount("0:8", "goosefs", "/runtime-mnt/a"),
            mount("0:9", "goosefs", "/runtime-mnt/b"),
            mount("0:7", "goosefs", "/pods/1"),
        ];
        assert_eq!(stale_points(&all), []);
    }
}
