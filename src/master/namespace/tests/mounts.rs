//! Mounting and unmounting.

use super::bed::*;
use goosefs_core::error::Code;
use goosefs_core::id::{InodeId, MountId};
use goosefs_core::proto::internal::WriteType;
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{DeclareLost, Unmount, UpdateMount};

fn unmount(path: &str) -> Command {
    Command::Unmount(Unmount { path: path.into(), keep: false })
}

#[test]
fn the_root_is_mount_one_and_others_follow() {
    let mut bed = Bed::default();
    assert_eq!(bed.ok(mount("/a/b", "s3://x", true)).mount, 2);
    assert_eq!(bed.ok(mount("/", "file:///data", false)).mount, 1);
    assert_eq!(bed.at("/a").unwrap().mount, 1);
    assert_eq!(bed.at("/a/b").unwrap().mount, 2);
    assert!(bed.at("/a/b").unwrap().read_only && !bed.at("/a").unwrap().read_only);
    assert_eq!(bed.fails(mount("/", "file:///other", false)), Code::AlreadyExists);
    assert_eq!(bed.fails(mount("/a/b", "file:///other", false)), Code::AlreadyExists);
    assert_eq!(bed.fails(mount("a", "file:///other", false)), Code::InvalidPath);
    assert_eq!(bed.fails(mount("/x", "", false)), Code::InvalidArgument);
    let b = bed.id("/a/b");
    bed.load(b, vec![found_directory("d")]);
    let d = InodeId(bed.id("/a/b/d"));
    assert_eq!(bed.namespace.ufs_location(d).unwrap(), (MountId(2), "d".to_owned()));
    assert_eq!(bed.namespace.ufs_location(InodeId(b)).unwrap(), (MountId(2), String::new()));
    assert_eq!(bed.namespace.mounts().len(), 2);
}

#[test]
fn a_mount_hides_what_is_below_and_unmounting_brings_it_back_by_a_listing() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_directory("d")]);
    let hidden = bed.id("/d");
    bed.load(hidden, vec![found_file("f", 1, 1)]);
    let f = bed.content("/d/f");
    let mounted = bed.ok(mount("/d", "https://mirror", true));
    assert_eq!(mounted.dropped_contents, [f]);
    assert!(bed.names("/d").is_empty());
    let d = bed.id("/d");
    assert_ne!(d, hidden);
    bed.load(d, vec![found_file("m", 1, 1)]);
    // Listings of the outer storage, with or without that name, do not touch the mount.
    bed.load(0, vec![found_directory("d")]);
    bed.load(0, vec![]);
    assert_eq!(bed.names("/d"), ["m"]);
    assert_eq!(bed.ok(unmount("/d")).dropped_contents.len(), 1);
    assert_eq!(bed.at("/d"), None);
    assert!(!bed.namespace.directory(InodeId::ROOT).unwrap().loaded);
    bed.load(0, vec![found_directory("d")]);
    assert!(bed.namespace.directory(InodeId(bed.id("/d"))).unwrap().needs_load(0, None));
}

#[test]
fn nothing_that_only_the_cache_has_is_hidden() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "d", false));
    let d = bed.id("/d");
    bed.write(d, "f", WriteType::MustCache, 1);
    assert_eq!(bed.fails(mount("/d", "s3://x", false)), Code::NotEmpty);
    assert_eq!(bed.fails(mount("/d/f", "s3://x", false)), Code::NotDirectory);
    assert_eq!(bed.fails(mount("/d/f/g", "s3://x", false)), Code::NotDirectory);
    bed.ok(mount("/d/deep/er", "s3://x", false));
    assert_eq!(bed.fails(mount("/d/deep", "s3://y", false)), Code::InvalidArgument);
}

#[test]
fn mount_points_stay_where_they_are() {
    let mut bed = Bed::mounted();
    bed.ok(mount("/a/m", "s3://x", false));
    let (a, m) = (bed.id("/a"), bed.id("/a/m"));
    for command in
        [remove(a, "m"), remove_all(0, "a"), rename(a, "m", 0, "n", false), rename(0, "a", 0, "b", false)]
    {
        assert_eq!(bed.fails(command), Code::InvalidArgument);
    }
    bed.ok(mkdir(0, "e", false));
    assert_eq!(bed.fails(rename(0, "e", a, "m", true)), Code::InvalidArgument);
    bed.write(m, "f", WriteType::MustCache, 1);
    assert_eq!(bed.fails(rename(m, "f", 0, "f", true)), Code::CrossMount);
    assert_eq!(bed.fails(unmount("/")), Code::InvalidArgument);
    assert_eq!(bed.fails(unmount("/nowhere")), Code::NotFound);
}

#[test]
fn a_prune_stops_at_mounts() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_directory("d")]);
    bed.ok(mount("/d/m", "s3://x", false));
    let m = bed.id("/d/m");
    bed.load(m, vec![found_file("f", 1, 1)]);
    bed.load(0, vec![]);
    assert_eq!(bed.names("/d/m"), ["f"]);
    bed.ok(unmount("/d/m"));
    assert!(bed.names("/d").is_empty());
}

#[test]
fn a_running_intent_keeps_its_mount() {
    let mut bed = Bed::mounted();
    bed.ok(mount("/m", "file:///x", false));
    let m = bed.id("/m");
    bed.load(m, vec![found_file("f", 1, 1)]);
    let intent = bed.intent(remove(m, "f"));
    assert_eq!(bed.fails(unmount("/m")), Code::Busy);
    // Turned read-only meanwhile: what was begun is carried through.
    bed.ok(Command::UpdateMount(UpdateMount { path: "/m".into(), read_only: true, ..Default::default() }));
    assert_eq!(bed.fails(create(m, "x", WriteType::MustCache)), Code::ReadOnly);
    bed.ok(finish(intent));
    assert!(bed.names("/m").is_empty());
    bed.ok(unmount("/m"));
}

#[test]
fn what_lies_in_no_storage_is_cached_only() {
    let mut bed = Bed::default();
    let f = bed.write(0, "f", WriteType::CacheThrough, 5);
    assert_eq!(bed.fails(persist(f.content, 5)), Code::InvalidArgument);
    assert_eq!(bed.ok(mkdir(0, "d", true)).intent, 0);
    assert_eq!(bed.ok(remove(0, "f")).intent, 0);
    assert_eq!(bed.fails(batch(0, vec![], 1, true, true)), Code::InvalidArgument);
}

#[test]
fn an_unmount_that_is_to_keep_names_what_only_the_cache_has() {
    let mut bed = Bed::mounted();
    bed.ok(mount("/m", "file:///other", false));
    let root = bed.id("/m");
    let keep = || Command::Unmount(Unmount { path: "/m".into(), keep: true });
    let safe = bed.write(root, "safe", WriteType::CacheThrough, 10);
    bed.persist(safe.content, 10);
    let (one, two) =
        (bed.write(root, "b", WriteType::MustCache, 10), bed.write(root, "c", WriteType::MustCache, 10));
    let refused = error_of(&bed.run(keep())).unwrap();
    assert_eq!(refused.code, Code::NotEmpty);
    assert!(refused.message.contains("2 files") && refused.message.contains("/m/b"), "{refused}");
    assert!(refused.hint.contains("persist /m") && refused.hint.contains("--force /m"), "{refused}");
    assert!(bed.at("/m/b").is_some());

    bed.persist(one.content, 10);
    bed.ok(Command::DeclareLost(DeclareLost { contents: vec![two.content] }));
    bed.ok(keep());
    assert!(bed.at("/m").is_none());

    // As logs of earlier versions have it, and as a user says who knows.
    bed.ok(mount("/m", "file:///other", false));
    let root = bed.id("/m");
    bed.write(root, "b", WriteType::MustCache, 10);
    bed.ok(unmount("/m"));
    assert!(bed.at("/m").is_none());
}
