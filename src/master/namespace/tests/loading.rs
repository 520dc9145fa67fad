//! What listings of the under-storage do.

use super::bed::*;
use goosefs_core::error::Code;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{Fingerprint, NodeKind, Persistence, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{LoadChildren, ReviseFile, SetAttributes, UfsEntry};

const CACHED: WriteType = WriteType::MustCache;

#[test]
fn a_listing_in_batches_makes_the_directory_known_with_the_last() {
    let mut bed = Bed::mounted();
    bed.ok(batch(0, vec![found_file("a", 1, 1)], 7, true, false));
    let state = bed.namespace.directory(InodeId::ROOT).unwrap();
    assert!(!state.loaded && state.in_ufs && state.needs_load(0, None));
    bed.ok(batch(0, vec![found_directory("d"), found_file("b", 2, 1)], 7, false, true));
    let state = bed.namespace.directory(InodeId::ROOT).unwrap();
    assert!(state.loaded && !state.needs_load(state.synced_ms, None));
    assert!(state.needs_load(state.synced_ms, Some(0)));
    assert!(
        state.needs_load(state.synced_ms + 5, Some(5)) && !state.needs_load(state.synced_ms + 4, Some(5))
    );
    assert_eq!(bed.names("/"), ["a", "b", "d"]);
    let b = bed.at("/b").unwrap();
    assert_eq!((b.length, b.mtime_ms, b.mode, b.persistence()), (2, 1, 0o644, Persistence::Persisted));
    assert_eq!(b.write_type(), WriteType::CacheThrough);
    let version = bed.namespace.version(ContentId(b.content)).unwrap();
    assert_eq!((version.ufs_path.as_str(), version.fingerprint), ("b", Some(fingerprint(2, 1))));
    assert!(bed.namespace.directory(InodeId(bed.id("/d"))).unwrap().needs_load(0, None));
}

#[test]
fn a_listing_that_failed_half_way_hides_nothing() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("a", 1, 1), found_file("b", 1, 1)]);
    bed.ok(batch(0, vec![found_file("a", 1, 1)], 100, true, false));
    assert_eq!(bed.names("/"), ["a", "b"]);
    // The next one has its own count.
    bed.ok(batch(0, vec![found_file("b", 1, 1)], 101, true, true));
    assert_eq!(bed.names("/"), ["b"]);
    assert_eq!(bed.fails(batch(0, vec![], 100, false, true)), Code::Stale);
}

#[test]
fn what_a_listing_does_not_name_goes_unless_only_the_cache_has_it() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("gone", 1, 1), found_directory("d"), found_directory("e")]);
    let (d, e) = (bed.id("/d"), bed.id("/e"));
    bed.load(d, vec![found_file("x", 1, 1), found_directory("s")]);
    bed.load(e, vec![found_file("y", 1, 1)]);
    let s = bed.id("/d/s");
    let kept = bed.write(s, "kept", CACHED, 3);
    bed.write(0, "mine", CACHED, 3);
    bed.ok(create(0, "open", WriteType::CacheThrough));
    bed.ok(mkdir(0, "empty", false));
    let gone = bed.content("/gone");
    let outcome = bed.load(0, vec![]);
    assert!(outcome.applied.dropped_contents.contains(&gone));
    assert!(outcome.changes.iter().any(|change| change.node == gone && change.name == "gone"));
    assert_eq!(bed.names("/"), ["d", "empty", "mine", "open"]);
    assert_eq!(bed.names("/d"), ["s"]);
    assert_eq!(bed.content("/d/s/kept"), kept.content);
    // What stays is in the cache only now: removing it asks nothing of the storage.
    assert_eq!(bed.at("/d").unwrap().persistence(), Persistence::NotPersisted);
    assert_eq!(bed.ok(remove_all(0, "d")).intent, 0);
    let counts = bed.namespace.counts();
    assert_eq!((counts.files, counts.directories), (2, 2));
}

#[test]
fn another_version_is_another_content_of_the_same_inode() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("f", 1, 1)]);
    let before = bed.at("/f").unwrap();
    let pin = SetAttributes { inode: before.inode, pinned: Some(true), ..Default::default() };
    bed.ok(Command::SetAttributes(pin));
    assert!(bed.load(0, vec![found_file("f", 1, 1)]).applied.dropped_contents.is_empty());
    let outcome = bed.load(0, vec![found_file("f", 5, 2)]);
    assert_eq!(outcome.applied.dropped_contents, [before.content]);
    assert_eq!(outcome.changes.len(), 1);
    assert_eq!(outcome.changes[0].node, before.content);
    let after = bed.at("/f").unwrap();
    assert_eq!((after.inode, after.pinned, after.length, after.mtime_ms), (before.inode, true, 5, 2));
    assert_ne!(after.content, before.content);
    assert_eq!(bed.namespace.version(ContentId(before.content)).unwrap_err().code, Code::Stale);
    assert_eq!(bed.namespace.attr(after.content).unwrap().inode, before.inode);
}

#[test]
fn fingerprints_are_compared_in_what_both_have() {
    let mut bed = Bed::mounted();
    let entry = |etag: &str, mtime_ms: Option<u64>| UfsEntry {
        name: "f".into(),
        kind: NodeKind::File.into(),
        fingerprint: Some(Fingerprint { length: 1, mtime_ms, etag: etag.into() }),
        ..Default::default()
    };
    bed.load(0, vec![entry("\"a\"", Some(5))]);
    let content = bed.content("/f");
    bed.load(0, vec![entry("", Some(5))]);
    bed.load(0, vec![entry("\"a\"", None)]);
    assert_eq!(bed.content("/f"), content);
    bed.load(0, vec![entry("\"b\"", Some(5))]);
    assert_ne!(bed.content("/f"), content);
}

#[test]
fn bytes_that_only_the_cache_has_are_never_replaced() {
    let mut bed = Bed::mounted();
    let f = bed.write(0, "f", CACHED, 3);
    bed.load(0, vec![found_file("f", 9, 9)]);
    assert_eq!(bed.at("/f").unwrap().content, f.content);
    let d = bed.ok(mkdir(0, "d", false)).attr.unwrap();
    bed.load(0, vec![found_directory("d"), found_file("f", 9, 9)]);
    assert_eq!(bed.id("/d"), d.inode);
    // The storage has that directory too, with entries that nobody has seen yet.
    assert!(bed.namespace.directory(InodeId(d.inode)).unwrap().needs_load(0, None));
}

#[test]
fn a_file_that_became_a_directory_is_replaced() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("x", 1, 1), found_directory("y")]);
    let old = bed.content("/x");
    let outcome = bed.load(0, vec![found_directory("x"), found_file("y", 2, 2)]);
    assert_eq!(outcome.applied.dropped_contents, [old]);
    assert_eq!(bed.at("/x").unwrap().kind(), NodeKind::Directory);
    assert_eq!(bed.at("/y").unwrap().length, 2);
}

#[test]
fn a_listing_does_not_bring_back_what_was_removed_meanwhile() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("a", 1, 1), found_file("b", 1, 1)]);
    // Removed before its first batch was logged: the whole listing is too old.
    let since = bed.namespace.last_index();
    bed.through(remove(0, "a"));
    let first = LoadChildren { listing: 50, first: true, last: true, since, ..Default::default() };
    let old = LoadChildren { entries: vec![found_file("a", 1, 1), found_file("b", 1, 1)], ..first };
    assert_eq!(bed.fails(Command::LoadChildren(old)), Code::Stale);
    // Removed between its batches: that name is not believed.
    bed.ok(batch(0, vec![], 51, true, false));
    bed.through(remove(0, "b"));
    bed.ok(batch(0, vec![found_file("b", 1, 1), found_file("c", 1, 1)], 51, false, true));
    assert_eq!(bed.names("/"), ["c"]);
}

#[test]
fn a_listing_does_not_undo_what_was_persisted_meanwhile() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("old", 1, 1)]);
    bed.ok(batch(0, vec![found_file("old", 1, 1)], 60, true, false));
    let f = bed.write(0, "new", WriteType::CacheThrough, 4);
    bed.persist(f.content, 4);
    bed.through(rename(0, "old", 0, "moved", false));
    bed.through(mkdir(0, "made", true));
    bed.ok(batch(0, vec![found_file("old", 1, 1), found_file("new", 3, 3)], 60, false, true));
    assert_eq!(bed.names("/"), ["made", "moved", "new"]);
    assert_eq!(bed.at("/new").unwrap().content, f.content);
}

#[test]
fn a_listing_leaves_what_a_running_intent_holds() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("a", 1, 1), found_directory("d")]);
    let removal = bed.intent(remove(0, "a"));
    let making = bed.intent(mkdir(0, "n", true));
    // The storage has done both already.
    bed.load(0, vec![found_directory("d"), found_directory("n")]);
    assert_eq!(bed.names("/"), ["a", "d"]);
    bed.ok(finish(removal));
    bed.ok(finish(making));
    assert_eq!(bed.names("/"), ["d", "n"]);
}

#[test]
fn one_file_is_looked_at_again() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("f", 1, 1)]);
    let f = bed.at("/f").unwrap();
    let look = |fingerprint| Command::ReviseFile(ReviseFile { inode: f.inode, fingerprint });
    bed.ok(look(Some(fingerprint(1, 1))));
    assert_eq!(bed.content("/f"), f.content);
    assert_eq!(bed.namespace.details(InodeId(f.inode)).unwrap().checked_ms, bed.now_ms);
    let revised = bed.ok(look(Some(fingerprint(2, 2))));
    assert_eq!(revised.dropped_contents, [f.content]);
    assert_ne!(revised.attr.unwrap().content, f.content);
    assert_eq!(bed.ok(look(None)).attr, None);
    assert_eq!(bed.at("/f"), None);
    let mine = bed.write(0, "mine", CACHED, 1);
    bed.ok(Command::ReviseFile(ReviseFile { inode: mine.inode, fingerprint: None }));
    bed.ok(Command::ReviseFile(ReviseFile { inode: mine.inode, fingerprint: Some(fingerprint(9, 9)) }));
    assert_eq!(bed.content("/mine"), mine.content);
}

#[test]
fn listings_of_nonsense_are_refused_whole() {
    let mut bed = Bed::mounted();
    for name in ["..", "a/b", "", &"x".repeat(300)] {
        bed.fails(batch(0, vec![found_file("ok", 1, 1), found_file(name, 1, 1)], 1, true, true));
    }
    let bare = UfsEntry { name: "f".into(), kind: NodeKind::File.into(), ..Default::default() };
    assert_eq!(bed.fails(batch(0, vec![bare], 1, true, true)), Code::InvalidArgument);
    bed.load(0, vec![found_file("f", 1, 1)]);
    let f = bed.id("/f");
    assert_eq!(bed.fails(batch(f, vec![], 2, true, true)), Code::NotDirectory);
    assert!(bed.namespace.directory(InodeId::ROOT).unwrap().loaded);
}
