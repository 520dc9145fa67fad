//! Volumes of one node: shown, taken away, again and again, with the runtime's mount alive, absent, dead and silent.

use crate::plugin::{Ground, PATIENCE, Plugin, can_mount, publish, stage, stats, unpublish};
use goosefs_core::mountinfo;
use goosefs_harness::wait_for;
use goosefs_k8s::csi::wire::csi::volume_capability::access_mode::Mode;
use goosefs_k8s::csi::wire::csi::volume_usage::Unit;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::Signal;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::{Duration, Instant};
use tonic::{Code, Status};

const READ: Mode = Mode::MultiNodeReaderOnly;
const WRITE: Mode = Mode::MultiNodeMultiWriter;

/// For calls that shall fail.
const SHORT: Duration = Duration::from_secs(1);

type Call = tokio::task::JoinHandle<Result<(), Status>>;

/// The one of two calls that ends first, and the other, which is at work.
fn first_to_end([a, b]: [Call; 2]) -> (Call, Call) {
    wait_for("one of two calls is sent away", || a.is_finished() || b.is_finished());
    if a.is_finished() { (a, b) } else { (b, a) }
}

fn mounts_at(place: &Path) -> usize {
    mountinfo::all().iter().filter(|mount| mount.mount_point == place).count()
}

#[test]
fn a_volume_is_shown_once_and_taken_away_however_often_kubelet_asks() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let _runtime = ground.mount();
    let plugin = Plugin::start(&ground);
    let target = ground.target("a");
    let show = || publish(plugin.client(), ground.source(), target.clone(), READ, PATIENCE);
    for _ in 0..2 {
        ground.block_on(stage(plugin.client(), ground.source(), PATIENCE)).unwrap();
    }
    for _ in 0..2 {
        ground.block_on(show()).unwrap();
        assert_eq!(mounts_at(&target), 1);
    }
    assert_eq!(fs::read_to_string(target.join("hello")).unwrap(), "hello");
    let refused = fs::write(target.join("hello"), "x").unwrap_err();
    assert_eq!(refused.raw_os_error(), Some(libc::EROFS));
    let shown = mountinfo::at(&target).unwrap();
    assert!(shown.has("ro") && shown.has("nosuid") && shown.has("nodev"), "{shown:?}");
    assert!(!mountinfo::at(&ground.source()).unwrap().has("ro"), "the source itself is not restricted");
    let usage = ground.block_on(stats(plugin.client(), target.clone())).unwrap();
    let units: Vec<Unit> = usage.iter().map(|one| one.unit()).collect();
    assert_eq!(units, [Unit::Bytes, Unit::Inodes]);
    assert!(usage[0].total > 0 && usage[0].total >= usage[0].used, "{usage:?}");
    for _ in 0..2 {
        ground.block_on(unpublish(plugin.client(), target.clone())).unwrap();
        assert_eq!(mounts_at(&target), 0);
        assert!(!target.exists());
    }
    let gone = ground.block_on(stats(plugin.client(), target)).unwrap_err();
    assert_eq!(gone.code(), Code::NotFound);
}

#[test]
fn a_killed_plugin_forgets_nothing() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let _runtime = ground.mount();
    let (a, b) = (ground.target("a"), ground.target("b"));
    let first = Plugin::start(&ground);
    for target in [&a, &b] {
        let shown = publish(first.client(), ground.source(), target.clone(), WRITE, PATIENCE);
        ground.block_on(shown).unwrap();
    }
    drop(first);
    let second = Plugin::start(&ground);
    ground.block_on(publish(second.client(), ground.source(), a.clone(), WRITE, PATIENCE)).unwrap();
    assert_eq!((mounts_at(&a), mounts_at(&b)), (1, 1));
    let other = publish(second.client(), ground.source(), a.clone(), READ, PATIENCE);
    ground.block_on(other).unwrap();
    assert!(mountinfo::at(&a).unwrap().has("ro"), "what was shown for writing is restricted");
    let wider = ground.block_on(publish(second.client(), ground.source(), a.clone(), WRITE, PATIENCE));
    assert_eq!(wider.unwrap_err().code(), Code::AlreadyExists);
    ground.block_on(unpublish(second.client(), a.clone())).unwrap();
    assert_eq!((mounts_at(&a), mounts_at(&b)), (0, 1));
}

#[test]
fn sigterm_ends_it_and_its_socket_while_a_call_waits() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let mut plugin = Plugin::start(&ground);
    let calls = [0, 1].map(|_| ground.beside(stage(plugin.client(), ground.source(), PATIENCE)));
    let (aborted, waiting) = first_to_end(calls);
    assert_eq!(ground.block_on(aborted).unwrap().unwrap_err().code(), Code::Aborted);
    plugin.process.signal(Signal::SIGTERM);
    assert!(plugin.process.wait().success(), "{}", plugin.process.said());
    assert_eq!(ground.block_on(waiting).unwrap().unwrap_err().code(), Code::Unavailable);
    assert!(!ground.socket().exists());
}

#[test]
fn nothing_outside_the_mount_root_is_shown() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let plugin = Plugin::start(&ground);
    let target = ground.target("a");
    for path in [Path::new("/etc"), &ground.root(), &ground.root().join("../pods"), Path::new("")] {
        let shown = publish(plugin.client(), path.to_owned(), target.clone(), READ, SHORT);
        let error = ground.block_on(shown).unwrap_err();
        assert_eq!(error.code(), Code::InvalidArgument, "{}", path.display());
        assert!(error.message().contains("fluid_path"), "{error}");
        let staged = ground.block_on(stage(plugin.client(), path.to_owned(), SHORT)).unwrap_err();
        assert_eq!(staged.code(), Code::InvalidArgument);
        assert!(!target.exists());
    }
}

#[test]
fn staging_waits_until_the_mount_is_there() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let plugin = Plugin::start(&ground);
    let early = ground.block_on(stage(plugin.client(), ground.source(), SHORT)).unwrap_err();
    assert_eq!(early.code(), Code::Unavailable);
    assert!(early.message().contains("default/hbase") && early.message().contains("is not there"), "{early}");
    let waiting = ground.beside(stage(plugin.client(), ground.source(), PATIENCE));
    let begun = Instant::now();
    let _runtime = ground.mount();
    ground.block_on(waiting).unwrap().unwrap();
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "a change of the mounts wakes it: {:?}",
        begun.elapsed()
    );
}

#[test]
fn a_second_call_at_the_same_place_is_aborted() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let plugin = Plugin::start(&ground);
    let (a, b) = (ground.target("a"), ground.target("b"));
    let show = || publish(plugin.client(), ground.source(), a.clone(), READ, PATIENCE);
    let (aborted, waiting) = first_to_end([ground.beside(show()), ground.beside(show())]);
    assert_eq!(ground.block_on(aborted).unwrap().unwrap_err().code(), Code::Aborted);
    let taken = ground.block_on(unpublish(plugin.client(), a.clone())).unwrap_err();
    assert_eq!(taken.code(), Code::Aborted);
    let elsewhere = ground.beside(publish(plugin.client(), ground.source(), b.clone(), READ, PATIENCE));
    let _runtime = ground.mount();
    ground.block_on(waiting).unwrap().unwrap();
    ground.block_on(elsewhere).unwrap().unwrap();
    assert_eq!((mounts_at(&a), mounts_at(&b)), (1, 1));
}

#[test]
fn a_dead_mount_is_not_shown_and_its_successor_is() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let plugin = Plugin::start(&ground);
    let (a, b) = (ground.target("a"), ground.target("b"));
    let dead = ground.mount();
    ground.block_on(publish(plugin.client(), ground.source(), a.clone(), READ, PATIENCE)).unwrap();
    dead.die();
    let refused = publish(plugin.client(), ground.source(), b.clone(), READ, SHORT);
    let error = ground.block_on(refused).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("has lost its daemon"), "{error}");
    assert!(!b.exists());
    let waiting = ground.beside(publish(plugin.client(), ground.source(), b.clone(), READ, PATIENCE));
    umount2(&ground.source(), MntFlags::MNT_DETACH).unwrap();
    let _runtime = ground.mount();
    ground.block_on(waiting).unwrap().unwrap();
    assert_eq!(fs::read_to_string(b.join("hello")).unwrap(), "hello");
    // What was shown before shows the successor too, laid over the dead one, and kubelet may ask for it again.
    wait_for("the first volume to show the successor", || fs::read(a.join("hello")).is_ok());
    ground.block_on(publish(plugin.client(), ground.source(), a.clone(), READ, PATIENCE)).unwrap();
    assert_eq!((mounts_at(&a), fs::read_to_string(a.join("hello")).unwrap().as_str()), (2, "hello"));
    ground.block_on(unpublish(plugin.client(), a.clone())).unwrap();
    assert_eq!(mounts_at(&a), 0);
}

#[test]
fn a_dead_volume_is_taken_away() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let plugin = Plugin::start(&ground);
    let target = ground.target("a");
    let dead = ground.mount();
    ground.block_on(publish(plugin.client(), ground.source(), target.clone(), READ, PATIENCE)).unwrap();
    let open = fs::File::open(target.join("hello")).unwrap();
    dead.die();
    let error = ground.block_on(stats(plugin.client(), target.clone())).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    // Somebody still has a file of it open: detached all the same.
    ground.block_on(unpublish(plugin.client(), target.clone())).unwrap();
    assert!(mounts_at(&target) == 0 && !target.exists());
    drop(open);
}

#[test]
fn a_silent_mount_holds_nobody_up() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let plugin = Plugin::start(&ground);
    let target = ground.target("a");
    // A mount whose daemon never answers, not even the kernel's first request.
    let device = fs::OpenOptions::new().read(true).write(true).open("/dev/fuse").unwrap();
    let data = format!(
        "fd={},rootmode=40000,user_id=0,group_id=0,allow_other,subtype=goosefs-fuse",
        device.as_raw_fd()
    );
    mount(Some("goosefs"), &ground.source(), Some("fuse"), MsFlags::empty(), Some(data.as_str())).unwrap();
    let refused = publish(plugin.client(), ground.source(), target.clone(), READ, SHORT);
    let error = ground.block_on(refused).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    assert!(error.message().contains("does not answer"), "{error}");
    assert!(!target.exists());
    fs::create_dir(&target).unwrap();
    let nothing = None::<&str>;
    mount(Some(&ground.source()), &target, nothing, MsFlags::MS_BIND, nothing).unwrap();
    let error = ground.block_on(stats(plugin.client(), target.clone())).unwrap_err();
    assert_eq!(error.code(), Code::Unavailable);
    ground.block_on(unpublish(plugin.client(), target.clone())).unwrap();
    assert!(mounts_at(&target) == 0 && !target.exists());
    umount2(&ground.source(), MntFlags::MNT_DETACH).unwrap();
    drop(device);
}
