//! Commands with an effect on the under-storage.

use super::bed::*;
use crate::namespace::Namespace;
use goosefs_core::error::Code;
use goosefs_core::id::{ContentId, InodeId, IntentId};
use goosefs_core::proto::internal::{Persistence, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{CreateFile, Remove, Truncate};

const CACHED: WriteType = WriteType::MustCache;
const THROUGH: WriteType = WriteType::CacheThrough;

/// `/d` with the persisted file `/d/f`.
fn persisted() -> Bed {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_directory("d")]);
    let d = bed.id("/d");
    bed.load(d, vec![found_file("f", 10, 1)]);
    bed
}

#[track_caller]
fn effect(bed: &Bed, intent: u64) -> Effect {
    bed.namespace.intent(IntentId(intent)).unwrap().effect.unwrap()
}

#[test]
fn removing_what_is_persisted_waits_for_the_storage() {
    let mut bed = persisted();
    let d = bed.id("/d");
    let f = bed.content("/d/f");
    let intent = bed.intent(remove(d, "f"));
    let Effect::Remove(removal) = effect(&bed, intent) else { panic!() };
    assert_eq!((removal.mount, removal.path.as_str(), removal.directory), (1, "d/f", false));
    // It is there until then, and held.
    assert!(bed.at("/d/f").is_some());
    assert_eq!(bed.namespace.busy(InodeId(bed.id("/d/f"))), Some(IntentId(intent)));
    for command in [remove(d, "f"), rename(d, "f", 0, "x", true), Command::Truncate(Truncate { content: f })]
    {
        assert_eq!(bed.fails(command), Code::Busy);
    }
    assert_eq!(bed.fails(remove_all(0, "d")), Code::Busy);
    assert_eq!(bed.fails(rename(0, "d", 0, "e", true)), Code::Busy);
    let done = bed.run(finish(intent));
    assert_eq!(done.applied.dropped_contents, [f]);
    assert_eq!(done.changes[0].name, "f");
    assert_eq!(bed.at("/d/f"), None);
    assert_eq!(bed.fails(finish(intent)), Code::NotFound);
}

#[test]
fn a_failed_effect_leaves_everything_as_it_was() {
    let mut bed = persisted();
    let d = bed.id("/d");
    let before = bed.at("/d/f").unwrap();
    for command in [remove(d, "f"), rename(d, "f", 0, "x", true), mkdir(d, "n", true), remove_all(0, "d")] {
        let intent = bed.intent(command.clone());
        let answer = bed.run(fail(intent, Code::Ufs));
        assert_eq!(error_of(&answer).unwrap().code, Code::Ufs);
        assert!(answer.changes.is_empty());
        assert_eq!(bed.at("/d/f").unwrap(), before, "{command:?}");
        assert_eq!(bed.names("/d"), ["f"]);
        assert!(bed.namespace.intents().is_empty());
        assert_eq!(bed.namespace.busy(InodeId(d)), None);
    }
}

#[test]
fn what_the_storage_does_not_have_needs_no_effect() {
    let mut bed = persisted();
    let d = bed.id("/d");
    bed.write(d, "c", CACHED, 5);
    assert_eq!(bed.ok(rename(d, "c", d, "e", false)).intent, 0);
    assert_eq!(bed.ok(remove(d, "e")).intent, 0);
    assert_eq!(bed.ok(mkdir(d, "m", false)).intent, 0);
    assert_eq!(bed.ok(remove(d, "m")).intent, 0);
    let cache_only = Remove { parent: d, name: "f".into(), cache_only: true, ..Default::default() };
    assert_eq!(bed.ok(Command::Remove(cache_only)).intent, 0);
    // It is in the storage still: the directory has to be listed again.
    assert!(!bed.namespace.directory(InodeId(d)).unwrap().loaded);
}

#[test]
fn a_rename_takes_place_in_both_or_in_neither() {
    let mut bed = persisted();
    let d = bed.id("/d");
    let f = bed.at("/d/f").unwrap();
    let intent = bed.intent(rename(d, "f", 0, "g", false));
    let Effect::Rename(moved) = effect(&bed, intent) else { panic!() };
    assert_eq!((moved.from.as_str(), moved.to.as_str(), moved.source_optional), ("d/f", "g", false));
    // The name it will have is taken.
    assert_eq!(bed.fails(create(0, "g", CACHED)), Code::Busy);
    assert_eq!(bed.fails(mkdir(0, "g", false)), Code::Busy);
    assert_eq!(bed.at("/g"), None);
    let attr = bed.ok(finish(intent)).attr.unwrap();
    assert_eq!((attr.inode, attr.content), (f.inode, f.content));
    assert_eq!(bed.at("/d/f"), None);
    assert_eq!(bed.namespace.version(ContentId(f.content)).unwrap().ufs_path, "g");
}

#[test]
fn a_persisted_target_goes_even_when_the_source_is_not_persisted() {
    let mut bed = persisted();
    let old = bed.content("/d/f");
    let d = bed.id("/d");
    let c = bed.write(0, "c", CACHED, 5);
    let intent = bed.intent(rename(0, "c", d, "f", true));
    assert!(matches!(effect(&bed, intent), Effect::Remove(removal) if removal.path == "d/f"));
    let done = bed.ok(finish(intent));
    assert_eq!(done.dropped_contents, [old]);
    assert_eq!(bed.content("/d/f"), c.content);
    assert_eq!(bed.at("/c"), None);
}

#[test]
fn directories_below_cached_ones_are_made_from_the_top() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "a", false));
    let a = bed.id("/a");
    let intent = bed.intent(mkdir(a, "b", true));
    let Effect::MakeDirectory(made) = effect(&bed, intent) else { panic!() };
    assert_eq!(made.paths, ["a", "a/b"]);
    assert_eq!(bed.fails(mkdir(a, "b", false)), Code::Busy);
    assert_eq!(bed.at("/a/b"), None);
    bed.ok(finish(intent));
    assert_eq!(bed.at("/a").unwrap().persistence(), Persistence::Persisted);
    assert_eq!(bed.at("/a/b").unwrap().persistence(), Persistence::Persisted);
    // Nothing is unknown of a directory that was just made.
    assert!(bed.namespace.directory(InodeId(bed.id("/a/b"))).unwrap().loaded);
}

#[test]
fn a_file_is_persisted_when_its_object_was_verified_and_not_before() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "a", false));
    let a = bed.id("/a");
    let f = bed.write(a, "f", THROUGH, BLOCK + 5);
    assert_eq!(f.persistence(), Persistence::ToBePersisted);
    let intent = bed.intent(persist(f.content, BLOCK + 5));
    assert_eq!(bed.ok(persist(f.content, BLOCK + 5)).intent, intent, "the same upload is not begun twice");
    let short = bed.run(finish_persist(intent, fingerprint(BLOCK, 5)));
    assert_eq!(error_of(&short).unwrap().code, Code::Ufs);
    let version = bed.namespace.version(ContentId(f.content)).unwrap();
    assert_eq!((version.persistence(), version.blocks.len()), (Persistence::ToBePersisted, 2));

    let done = bed.persist(f.content, BLOCK + 5).attr.unwrap();
    assert_eq!((done.content, done.persistence()), (f.content, Persistence::Persisted));
    let version = bed.namespace.version(ContentId(f.content)).unwrap();
    assert_eq!((version.mount, version.ufs_path.as_str()), (1, "a/f"));
    assert_eq!(version.fingerprint, Some(fingerprint(BLOCK + 5, 5)));
    assert!(version.blocks.is_empty(), "nobody needs the locations any more");
    assert!(bed.namespace.unpersisted(ContentId(0), 10).is_empty());
    assert_eq!(bed.at("/a").unwrap().persistence(), Persistence::Persisted);
    assert_eq!(bed.ok(persist(f.content, BLOCK + 5)).intent, 0);
}

#[test]
fn an_open_file_is_persisted_piece_by_piece() {
    let mut bed = Bed::mounted();
    let f = bed.ok(create(0, "f", THROUGH)).attr.unwrap().content;
    bed.ok(commit(f, 0, 10, 1));
    let intent = bed.intent(persist(f, 10));
    // Writing goes on during the upload.
    bed.ok(commit(f, 0, 20, 1));
    assert_eq!(bed.fails(persist(f, 10)), Code::Busy, "all there is by now is more than what is on its way");
    bed.ok(finish_persist(intent, fingerprint(10, 1)));
    let version = bed.namespace.version(ContentId(f)).unwrap();
    assert_eq!((version.length, version.persistence()), (20, Persistence::NotPersisted));
    let intent = bed.intent(persist(f, 10));
    bed.ok(finish_persist(intent, fingerprint(20, 2)));
    let version = bed.namespace.version(ContentId(f)).unwrap();
    assert_eq!(
        (version.persistence(), version.completed, version.blocks.len()),
        (Persistence::Persisted, false, 1)
    );
    bed.ok(complete(f, 20));
    let version = bed.namespace.version(ContentId(f)).unwrap();
    assert_eq!(
        (version.persistence(), version.completed, version.blocks.len()),
        (Persistence::Persisted, true, 0)
    );
}

#[test]
fn a_truncated_object_is_still_an_object() {
    let mut bed = persisted();
    let d = bed.id("/d");
    let f = bed.content("/d/f");
    bed.ok(Command::Truncate(Truncate { content: f }));
    assert_eq!(bed.content("/d/f"), f);
    bed.intent(remove(d, "f"));
}

#[test]
fn who_writes_through_may_have_left_an_object() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "a", false));
    let a = bed.id("/a");
    bed.ok(create(a, "f", THROUGH));
    let intent = bed.intent(rename(a, "f", 0, "g", false));
    assert!(matches!(effect(&bed, intent), Effect::Rename(moved) if moved.source_optional));
    bed.ok(finish(intent));
    bed.through(remove(0, "g"));
    let intent = bed.intent(remove(0, "a"));
    assert!(matches!(effect(&bed, intent), Effect::Remove(gone) if gone.directory && !gone.recursive));
}

#[test]
fn a_removed_tree_takes_its_cached_files_along() {
    let mut bed = persisted();
    let d = bed.id("/d");
    let c = bed.write(d, "c", CACHED, 5);
    let f = bed.content("/d/f");
    let intent = bed.intent(remove_all(0, "d"));
    assert!(matches!(effect(&bed, intent), Effect::Remove(gone) if gone.directory && gone.recursive));
    assert_eq!(bed.fails(create(d, "n", CACHED)), Code::Busy);
    assert_eq!(bed.fails(batch(d, vec![], 1, true, true)), Code::Busy);
    let mut dropped = bed.ok(finish(intent)).dropped_contents;
    dropped.sort_unstable();
    let mut want = vec![c.content, f];
    want.sort_unstable();
    assert_eq!(dropped, want);
    assert!(bed.names("/").is_empty());
}

#[test]
fn a_read_only_mount_takes_nothing_but_what_is_the_caches_own() {
    let mut bed = Bed { now_ms: 1, ..Bed::default() };
    bed.ok(mount("/", "https://mirror", true));
    bed.load(0, vec![found_file("f", 10, 1), found_directory("d")]);
    let f = bed.at("/f").unwrap();
    assert!(f.read_only);
    for command in [
        create(0, "n", CACHED),
        Command::CreateFile(CreateFile {
            missing: vec!["x".into()],
            name: "n".into(),
            block_size: 1,
            ..Default::default()
        }),
        mkdir(0, "n", false),
        mkdir(0, "n", true),
        remove(0, "f"),
        remove_all(0, "d"),
        rename(0, "f", 0, "g", true),
        Command::Truncate(Truncate { content: f.content }),
        Command::SetAttributes(goosefs_core::proto::journal::SetAttributes {
            inode: f.inode,
            mode: Some(0),
            ..Default::default()
        }),
    ] {
        assert_eq!(bed.fails(command), Code::ReadOnly);
    }
    bed.ok(Command::SetAttributes(goosefs_core::proto::journal::SetAttributes {
        inode: f.inode,
        pinned: Some(true),
        ..Default::default()
    }));
    let cache_only = Remove { parent: 0, name: "f".into(), cache_only: true, ..Default::default() };
    assert_eq!(bed.ok(Command::Remove(cache_only)).intent, 0);
}

/// A leader may die between any two steps: the next one finds the intent in the image or the log and finishes it.
#[test]
fn an_intent_survives_the_leader_at_every_step() {
    let commands: [fn(&Bed) -> Command; 5] = [
        |bed| remove(bed.id("/d"), "f"),
        |bed| rename(bed.id("/d"), "f", 0, "g", false),
        |bed| mkdir(bed.id("/d"), "n", true),
        |bed| remove_all(bed.id("/"), "d"),
        |bed| persist(bed.content("/c"), 5),
    ];
    for command in commands {
        for succeed in [true, false] {
            let mut bed = persisted();
            bed.write(0, "c", THROUGH, 5);
            let intent = bed.intent(command(&bed));
            let end = match (succeed, effect(&bed, intent)) {
                (false, _) => fail(intent, Code::Ufs),
                (true, Effect::Persist(_)) => finish_persist(intent, fingerprint(5, 1)),
                (true, _) => finish(intent),
            };
            // By its image...
            let mut other = Bed { log: bed.log.clone(), now_ms: bed.now_ms, ..Bed::default() };
            other.namespace = Namespace::restore(&mut &bed.image()[..]).unwrap();
            assert_eq!(other.namespace.intents(), bed.namespace.intents());
            // ...or by its log.
            let mut third = Bed { now_ms: bed.now_ms, ..Bed::default() };
            for (index, entry) in bed.log.clone() {
                third.namespace.apply(index, &entry);
                third.log.push((index, entry));
            }
            let answers = [&mut bed, &mut other, &mut third].map(|bed| bed.run(end.clone()));
            assert_eq!(answers[0], answers[1]);
            assert_eq!(answers[0], answers[2]);
            assert!(bed.image() == other.image() && bed.image() == third.image());
            assert!(other.namespace.intents().is_empty());
        }
    }
}
