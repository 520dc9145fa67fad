//! Commands on what lives in the cache only.

use super::bed::*;
use crate::namespace::Namespace;
use goosefs_core::error::Code;
use goosefs_core::id::{ContentId, InodeId, WorkerId};
use goosefs_core::proto::internal::{NodeKind, Persistence, SessionOp, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{
    CloseSessions, CommitBlock, CompleteFile, CreateFile, DeclareLost, MakeDirectory, MakeSymlink, Remove,
    SetAttributes, Truncate,
};

const CACHED: WriteType = WriteType::MustCache;

#[test]
fn a_file_is_visible_at_once_grows_and_is_completed() {
    let mut bed = Bed::mounted();
    let made = bed.ok(create(0, "f", CACHED)).attr.unwrap();
    assert!(!made.completed);
    assert_eq!((made.owner.as_str(), made.group.as_str(), made.mode), ("u", "g", 0o644));
    assert_eq!(ContentId(made.content).container(), InodeId(made.inode).container());
    bed.ok(commit(made.content, 0, BLOCK, 1));
    bed.ok(commit(made.content, 1, 7, 2));
    assert_eq!(bed.at("/f").unwrap().length, BLOCK + 7);
    assert_eq!(bed.fails(complete(made.content, 3 * BLOCK)), Code::Incomplete);
    let done = bed.ok(complete(made.content, BLOCK + 7)).attr.unwrap();
    assert!(done.completed);
    assert_eq!(done.persistence(), Persistence::NotPersisted);
    let version = bed.namespace.version(ContentId(made.content)).unwrap();
    assert_eq!(version.blocks.len(), 2);
    assert_eq!(version.blocks[1].workers, [2]);
    assert_eq!((version.blocks[1].length, version.generation), (7, 1));
    // A repeated completion changes nothing, another length is refused.
    bed.ok(complete(made.content, BLOCK + 7));
    assert_eq!(bed.fails(complete(made.content, 7)), Code::InvalidArgument);
    assert_eq!(bed.namespace.counts().bytes, BLOCK + 7);
}

#[test]
fn a_setgid_directory_passes_its_group_on() {
    let mut bed = Bed::mounted();
    let team = bed.ok(mkdir(0, "team", false)).attr.unwrap();
    let group = SetAttributes {
        inode: team.inode,
        group: Some("team".into()),
        mode: Some(0o2775),
        ..Default::default()
    };
    bed.ok(Command::SetAttributes(group));
    let file = bed.ok(create(team.inode, "f", CACHED)).attr.unwrap();
    assert_eq!((file.owner.as_str(), file.group.as_str(), file.mode), ("u", "team", 0o644));
    let below = bed.ok(mkdir(team.inode, "d", false)).attr.unwrap();
    assert_eq!((below.group.as_str(), below.mode), ("team", 0o2755));
    let file = bed.ok(create(below.inode, "f", CACHED)).attr.unwrap();
    assert_eq!(file.group, "team");
    assert_eq!(bed.ok(create(0, "f", CACHED)).attr.unwrap().group, "g");
}

#[test]
fn what_cannot_be_made_is_refused_and_changes_nothing() {
    let mut bed = Bed::mounted();
    bed.ok(create(0, "f", CACHED));
    let file = bed.id("/f");
    assert_eq!(bed.fails(create(0, "f", CACHED)), Code::AlreadyExists);
    assert_eq!(bed.fails(create(file, "x", CACHED)), Code::NotDirectory);
    assert_eq!(bed.fails(create(99 << 24, "x", CACHED)), Code::NotFound);
    assert_eq!(bed.fails(create(0, "a/b", CACHED)), Code::InvalidPath);
    assert_eq!(bed.fails(create(0, &"n".repeat(256), CACHED)), Code::NameTooLong);
    assert_eq!(bed.fails(mkdir(0, "f", false)), Code::AlreadyExists);
    let zero = CreateFile { name: "z".into(), ..Default::default() };
    assert_eq!(bed.fails(Command::CreateFile(zero)), Code::InvalidArgument);
    let below_file = CreateFile {
        missing: vec!["d".into(), "f".into()],
        name: "x".into(),
        block_size: 1,
        ..Default::default()
    };
    assert_eq!(bed.ok(Command::CreateFile(below_file.clone())).intent, 0);
    let below_file = CreateFile { missing: vec!["f".into()], ..below_file };
    assert_eq!(bed.fails(Command::CreateFile(below_file)), Code::NotDirectory);
    assert_eq!(
        bed.namespace.apply(1 << 40, &Default::default()).applied.error.unwrap().code,
        Code::InvalidArgument as u32
    );
}

#[test]
fn missing_directories_are_made_as_far_as_they_are_missing() {
    let mut bed = Bed::mounted();
    let a = bed.ok(mkdir(0, "a", false)).attr.unwrap();
    let deep = CreateFile {
        missing: vec!["a".into(), "b".into(), "c".into()],
        name: "f".into(),
        block_size: BLOCK,
        ..Default::default()
    };
    bed.ok(Command::CreateFile(deep));
    assert_eq!(bed.id("/a"), a.inode);
    assert_eq!(bed.at("/a/b/c/f").unwrap().kind(), NodeKind::File);
    assert_eq!(bed.namespace.counts().directories, 4);
    let again = MakeDirectory {
        missing: vec!["a".into(), "b".into()],
        name: "c".into(),
        allow_exists: true,
        ..Default::default()
    };
    let have = bed.ok(Command::MakeDirectory(again)).attr.unwrap();
    assert_eq!(have.inode, bed.id("/a/b/c"));
}

#[test]
fn symlinks_keep_their_target_and_end_a_path() {
    let mut bed = Bed::mounted();
    let link = MakeSymlink { parent: 0, name: "l".into(), target: "../x".into() };
    bed.ok(Command::MakeSymlink(link.clone()));
    assert_eq!(bed.at("/l").unwrap().target, "../x");
    let resolved = bed.namespace.resolve(&goosefs_core::path::NsPath::parse("/l/y/z").unwrap());
    assert_eq!(resolved.attr.kind(), NodeKind::Symlink);
    assert_eq!(resolved.missing, ["y", "z"]);
    assert_eq!(bed.fails(Command::MakeSymlink(link.clone())), Code::AlreadyExists);
    let empty = MakeSymlink { name: "m".into(), target: String::new(), ..link };
    assert_eq!(bed.fails(Command::MakeSymlink(empty)), Code::InvalidArgument);
    bed.ok(remove(0, "l"));
    assert_eq!(bed.at("/l"), None);
}

#[test]
fn removal_minds_kind_and_content() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "d", false));
    let d = bed.id("/d");
    let f = bed.write(d, "f", CACHED, 10);
    let expect = |parent, name: &str, kind: NodeKind| {
        Command::Remove(Remove { parent, name: name.into(), expect: kind.into(), ..Default::default() })
    };
    assert_eq!(bed.fails(expect(0, "d", NodeKind::File)), Code::IsDirectory);
    assert_eq!(bed.fails(expect(d, "f", NodeKind::Directory)), Code::NotDirectory);
    assert_eq!(bed.fails(remove(0, "d")), Code::NotEmpty);
    assert_eq!(bed.fails(remove(0, "x")), Code::NotFound);
    let gone = bed.run(remove_all(0, "d"));
    assert_eq!(gone.applied.dropped_contents, [f.content]);
    assert_eq!(gone.changes.len(), 1);
    assert_eq!(bed.namespace.counts().files, 0);
    assert_eq!(bed.namespace.attr(f.content).unwrap_err().code, Code::Stale);
    assert_eq!(bed.fails(commit(f.content, 0, 10, 1)), Code::Stale);
}

#[test]
fn rename_moves_replaces_and_refuses_as_posix_does() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "a", false));
    bed.ok(mkdir(0, "b", false));
    let (a, b) = (bed.id("/a"), bed.id("/b"));
    let f = bed.write(a, "f", CACHED, 10);
    let g = bed.write(b, "g", CACHED, 20);
    assert_eq!(bed.fails(rename(a, "f", b, "g", false)), Code::AlreadyExists);
    assert_eq!(bed.fails(rename(0, "a", a, "x", true)), Code::InvalidArgument);
    assert_eq!(bed.fails(rename(0, "a", b, "g", true)), Code::NotDirectory);
    assert_eq!(bed.fails(rename(a, "f", 0, "b", true)), Code::IsDirectory);
    assert_eq!(bed.fails(rename(0, "a", 0, "b", true)), Code::NotEmpty);
    assert_eq!(bed.fails(rename(0, "x", 0, "y", true)), Code::NotFound);
    let moved = bed.run(rename(a, "f", b, "g", true));
    assert_eq!(moved.applied.dropped_contents, [g.content]);
    assert_eq!(bed.at("/b/g").unwrap().inode, f.inode);
    assert!(moved.changes.iter().any(|change| change.node == g.content));
    bed.ok(rename(0, "b", a, "b", false));
    assert_eq!(bed.namespace.path_of(InodeId(f.inode)).unwrap().as_str(), "/a/b/g");
    bed.ok(rename(b, "g", b, "g", true));
    // An empty directory is replaced by another.
    bed.ok(mkdir(0, "e", false));
    bed.ok(mkdir(0, "h", false));
    bed.ok(rename(0, "e", 0, "h", true));
    assert_eq!(bed.names("/"), ["a", "h"]);
}

#[test]
fn truncation_keeps_the_content_and_voids_its_blocks() {
    let mut bed = Bed::mounted();
    let f = bed.write(0, "f", CACHED, 2 * BLOCK);
    let cut = bed.run(Command::Truncate(Truncate { content: f.content }));
    assert_eq!(cut.applied.dropped_contents, [f.content]);
    let now = bed.at("/f").unwrap();
    assert_eq!((now.content, now.length, now.completed, now.generation), (f.content, 0, false, 2));
    let late = CommitBlock { block: ContentId(f.content).block(0).0, worker: 1, length: 5, generation: 1 };
    assert_eq!(bed.fails(Command::CommitBlock(late)), Code::Stale);
    bed.ok(Command::CommitBlock(CommitBlock { generation: 2, ..late }));
    bed.ok(complete(f.content, 5));
}

#[test]
fn a_time_that_was_set_while_a_file_is_written_outlasts_the_end_of_writing() {
    let mut bed = Bed::mounted();
    let f = bed.ok(create(0, "f", CACHED)).attr.unwrap();
    let set = SetAttributes { inode: f.inode, mtime_ms: Some(5), ..SetAttributes::default() };
    bed.ok(Command::SetAttributes(set.clone()));
    // What was written before it may be committed behind it.
    bed.commit(f.content, BLOCK, 1);
    let image = image_of(&bed.namespace);
    bed.namespace = crate::namespace::Namespace::restore(&mut &image[..]).unwrap();
    assert_eq!(bed.ok(complete(f.content, BLOCK)).attr.unwrap().mtime_ms, 5);
    // The next who writes it changes it again.
    bed.ok(Command::Truncate(Truncate { content: f.content }));
    assert!(bed.ok(complete(f.content, 0)).attr.unwrap().mtime_ms > 1000);
}

#[test]
fn a_block_grows_and_a_late_retry_does_not_shrink_it() {
    let mut bed = Bed::mounted();
    let f = bed.ok(create(0, "f", CACHED)).attr.unwrap().content;
    bed.ok(commit(f, 0, 10, 1));
    bed.ok(commit(f, 0, 20, 2));
    bed.ok(commit(f, 0, 10, 1));
    let blocks = bed.namespace.version(ContentId(f)).unwrap().blocks;
    assert_eq!((blocks[0].length, &blocks[0].workers[..]), (20, &[2][..]));
    assert_eq!(bed.fails(commit(f, 0, BLOCK + 1, 1)), Code::InvalidArgument);
    assert_eq!(bed.fails(commit(f, 1, 0, 1)), Code::InvalidArgument);
    assert_eq!(bed.fails(commit(f, 1, 1, 0)), Code::InvalidArgument);
    // A hole is no content.
    bed.ok(commit(f, 2, BLOCK, 1));
    assert_eq!(bed.fails(complete(f, 3 * BLOCK)), Code::Incomplete);
}

#[test]
fn a_lost_file_says_so_until_its_blocks_come_back() {
    let mut bed = Bed::mounted();
    let f = bed.write(0, "f", CACHED, BLOCK + 1);
    assert_eq!(bed.namespace.only_copies(WorkerId(1)), [ContentId(f.content)]);
    bed.ok(Command::DeclareLost(DeclareLost { contents: vec![f.content, 77 << 24 | 0xFF_FFFF] }));
    assert_eq!(bed.at("/f").unwrap().persistence(), Persistence::Lost);
    assert_eq!(bed.fails(persist(f.content, BLOCK + 1)), Code::Lost);
    bed.ok(commit(f.content, 0, BLOCK, 1));
    assert_eq!(bed.at("/f").unwrap().persistence(), Persistence::Lost);
    bed.ok(commit(f.content, 1, 1, 1));
    assert_eq!(bed.at("/f").unwrap().persistence(), Persistence::NotPersisted);
}

#[test]
fn attributes_are_set_alone_or_with_all_below() {
    let mut bed = Bed::mounted();
    bed.ok(mkdir(0, "d", false));
    let d = bed.id("/d");
    let f = bed.write(d, "f", CACHED, 10);
    let all = SetAttributes {
        inode: d,
        owner: Some("o".into()),
        mode: Some(0o700),
        ttl_ms: Some(5000),
        ttl_action: Some(2),
        pinned: Some(true),
        recursive: true,
        ..Default::default()
    };
    bed.ok(Command::SetAttributes(all.clone()));
    let attr = bed.namespace.attr(f.content).unwrap();
    assert_eq!((attr.owner.as_str(), attr.group.as_str(), attr.mode, attr.pinned), ("o", "g", 0o700, true));
    assert_eq!(bed.namespace.pinned().len(), 2);
    assert_eq!(bed.namespace.expired(attr.created_ms + 5000, 10).len(), 2);
    assert!(bed.namespace.expired(attr.created_ms, 10).is_empty());
    bed.ok(Command::SetAttributes(SetAttributes { ttl_ms: Some(-1), pinned: Some(false), ..all.clone() }));
    assert!(bed.namespace.pinned().is_empty() && bed.namespace.expired(u64::MAX, 10).is_empty());
    assert_eq!(
        bed.fails(Command::SetAttributes(SetAttributes { mode: Some(0o10_000), ..all })),
        Code::InvalidArgument
    );

    let xattr = SetAttributes {
        inode: f.content,
        set_xattr: [("a".to_owned(), "1".into()), ("b".to_owned(), "2".into())].into(),
        ..Default::default()
    };
    bed.ok(Command::SetAttributes(xattr.clone()));
    bed.ok(Command::SetAttributes(SetAttributes {
        set_xattr: [].into(),
        remove_xattr: vec!["a".into()],
        ..xattr.clone()
    }));
    let details = bed.namespace.details(InodeId(f.inode)).unwrap();
    assert_eq!(details.xattr.into_iter().collect::<Vec<_>>(), [("b".to_owned(), "2".into())]);
    let huge = SetAttributes { set_xattr: [("a".to_owned(), vec![0; 70_000].into())].into(), ..xattr };
    assert_eq!(bed.fails(Command::SetAttributes(huge)), Code::InvalidArgument);
}

#[test]
fn a_checksum_of_the_client_is_kept_until_the_bytes_change() {
    let mut bed = Bed::mounted();
    let f = bed.ok(create(0, "f", CACHED)).attr.unwrap();
    let done =
        CompleteFile { content: f.content, checksum_type: Some(2), checksum: Some(-9), ..Default::default() };
    bed.ok(Command::CompleteFile(done));
    assert_eq!(bed.namespace.details(InodeId(f.inode)).unwrap().checksum, Some((2, -9)));
    bed.ok(Command::Truncate(Truncate { content: f.content }));
    assert_eq!(bed.namespace.details(InodeId(f.inode)).unwrap().checksum, None);
}

#[test]
fn directories_are_paged_in_the_order_of_bytes() {
    let mut bed = Bed::mounted();
    for i in 0..300 {
        bed.ok(create(0, &format!("f{i}"), CACHED));
    }
    let (mut after, mut all) = (String::new(), Vec::new());
    loop {
        let (page, more) = bed.namespace.children(InodeId::ROOT, &after, 7).unwrap();
        after = page.last().unwrap().name.clone();
        all.extend(page.into_iter().map(|entry| entry.name));
        if !more {
            break;
        }
    }
    let mut want: Vec<_> = (0..300).map(|i| format!("f{i}")).collect();
    want.sort();
    assert_eq!(all, want);
}

#[test]
fn what_nobody_completed_is_found_by_age() {
    let mut bed = Bed::mounted();
    let old = bed.ok(create(0, "old", CACHED)).attr.unwrap().content;
    let between = bed.now_ms + 1;
    bed.now_ms += 100;
    bed.ok(create(0, "new", CACHED));
    assert_eq!(bed.namespace.incomplete(between), [ContentId(old)]);
    bed.ok(complete(old, 0));
    assert!(bed.namespace.incomplete(between).is_empty());
}

#[test]
fn a_file_is_abandoned_when_its_writer_is_gone_and_nobody_writes_it() {
    let mut bed = Bed::mounted();
    bed.ok(open_session(7));
    let op = |sequence| SessionOp { session: 7, sequence, acknowledged: 0 };
    let made = bed.in_session(op(1), create(0, "named", WriteType::MustCache)).applied;
    let named = ContentId(made.attr.unwrap().content);
    let unnamed = ContentId(bed.ok(create(0, "unnamed", WriteType::MustCache)).attr.unwrap().content);
    let always = u64::MAX;
    assert_eq!(bed.namespace.abandoned(always, always, 9), [(unnamed, true)], "the session is open");
    assert_eq!(bed.namespace.abandoned(always, 1, 9), [], "it was written lately");
    bed.ok(Command::CloseSessions(CloseSessions { sessions: vec![7] }));
    assert_eq!(bed.namespace.abandoned(always, 1, 9), [(named, false)]);
    assert_eq!(bed.namespace.abandoned(1, 1, 9), []);
    let image = bed.image();
    let restored = Namespace::restore(&mut &image[..]).unwrap();
    assert_eq!(restored.abandoned(always, 1, 9), [(named, false)], "images keep who writes");
    bed.ok(complete(named.0, 0));
    bed.ok(complete(unnamed.0, 0));
    assert_eq!(bed.namespace.abandoned(always, always, 9), []);
}
