//! Mounting and unmounting.

use crate::mounted::{Mounted, can_mount, errno};
use goosefs_core::Code;
use goosefs_core::mountinfo;
use goosefs_fuse::testing::TestCluster;
use goosefs_fuse::{Config, Deps, start};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn the_mount_shows_its_type_and_is_gone_after_shutdown() {
    let Some(mut mount) = Mounted::new() else { return };
    let point = mount.point().to_owned();
    let shown = mountinfo::at(&point).expect("a mount");
    assert_eq!(shown.fstype, "fuse.goosefs-fuse");
    let ahead = fs::read_to_string(format!("/sys/class/bdi/{}/read_ahead_kb", shown.device)).expect("bdi");
    assert_eq!(ahead.trim(), "4096");
    mount.shutdown();
    assert_eq!(mountinfo::at(&point), None);
}

#[test]
fn a_mount_in_use_is_detached_at_shutdown() {
    let Some(mut mount) = Mounted::new() else { return };
    mount.cluster.put("file", b"bytes").expect("a file");
    let file = File::open(mount.path("file")).expect("open");
    let point = mount.point().to_owned();
    let begun = Instant::now();
    mount.shutdown();
    assert!(begun.elapsed() < Duration::from_secs(30), "took {:?}", begun.elapsed());
    assert_eq!(mountinfo::at(&point), None);
    assert_eq!(fs::read_dir(&point).expect("the folder below").count(), 0);
    let mut buffer = [0; 5];
    // Passthrough reads go on without the daemon, for as long as the file stays open.
    file.read_exact_at(&mut buffer, 0).expect("read");
    assert_eq!(&buffer, b"bytes");
}

#[test]
fn unmounting_from_outside_ends_the_role() {
    let Some(mount) = Mounted::new() else { return };
    nix::mount::umount2(mount.point(), nix::mount::MntFlags::empty()).expect("umount");
    mount.block_on(async {
        tokio::time::timeout(Duration::from_secs(30), mount.running().join()).await.expect("it ends");
    });
    assert!(!mount.running().ready());
}

#[test]
fn a_dead_mount_is_cleared_away_and_a_living_one_is_not() {
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.put("file", b"bytes").expect("a file");
    let again = |mount: &Mounted| {
        let deps = Deps::new(Arc::new(mount.cluster.clone()));
        mount.block_on(start(Config::new(mount.point()), deps))
    };
    let error = again(&mount).expect_err("a living mount lies there");
    assert_eq!(error.code, Code::Busy);
    assert!(error.to_string().contains("has a GooseFS mount already"), "{error}");
    mount.kill();
    mount.wait("it is dead", || {
        nix::sys::statfs::statfs(mount.point()).err() == Some(nix::errno::Errno::ENOTCONN)
    });
    let second = again(&mount).expect("mounted over the remains");
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"bytes");
    mount.block_on(second.shutdown(Duration::from_secs(5)));
    assert_eq!(mountinfo::at(mount.point()), None);
}

#[test]
fn a_mount_point_that_cannot_be_is_named() {
    if !can_mount() {
        return;
    }
    let dir = tempfile::tempdir().expect("a folder");
    fs::write(dir.path().join("file"), b"x").expect("a file");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let mount = |name: &str| {
        let deps = Deps::new(Arc::new(TestCluster::new(dir.path())));
        runtime.block_on(start(Config::new(dir.path().join(name)), deps)).expect_err("it cannot be")
    };
    let error = mount("file");
    assert!(error.to_string().contains("file is not a directory"), "{error}");
    let error = mount("absent");
    assert!(error.to_string().contains("absent"), "{error}");
    assert_eq!(error.code, Code::NotFound);
}

#[test]
fn without_passthrough_everything_else_works() {
    let Some(mount) = Mounted::with(|config| config.passthrough = false) else { return };
    mount.cluster.put("file", b"bytes").expect("a file");
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"bytes");
    assert_eq!(mount.opens("cached"), 1);
    fs::write(mount.path("new"), b"new").expect("write");
    assert_eq!(fs::read(mount.path("new")).expect("read"), b"new");
    assert_eq!(errno(fs::metadata(mount.path("none"))), libc::ENOENT);
}
