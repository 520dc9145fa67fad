//! One suite for every connector: what the trait promises, as far as the connector's capabilities go.
//!
//! A connector's test makes a storage over a [`Tree`], whose files can be changed behind the connector's back, and calls
//! [`run`]. Behind the feature `testing`; panics where a promise is broken.

use crate::testing::Tree;
use crate::{Attributes, Entry, Ufs, same_version};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

/// Checks everything. `tree` is what lies behind `ufs`; it is changed.
///
/// # Panics
/// Where the connector breaks a promise.
pub async fn run(ufs: &dyn Ufs, tree: &mut Tree) {
    everything_is_listed_and_reads_back(ufs, tree).await;
    what_is_not_there_is_said(ufs, tree).await;
    ranges_are_exact(ufs, tree).await;
    replaced_files_are_noticed(ufs, tree).await;
    a_replacement_in_the_middle_never_mixes(ufs, tree).await;
    if ufs.capabilities().writable {
        files_appear_whole(ufs).await;
        directories_and_removal(ufs).await;
        renames(ufs).await;
        if ufs.capabilities().attributes {
            attributes_are_kept(ufs).await;
        }
    } else {
        writing_is_refused(ufs).await;
    }
}

/// `ufs` is behind a fence that lets nothing through, and has a file `f` and a directory `d`.
///
/// # Panics
/// When a change is not refused. That nothing changed is for the caller to look at, past the fence.
pub async fn every_change_is_fenced(ufs: &dyn Ufs) {
    let none = Attributes::default();
    let refused = [
        ufs.make_directory("new/deep", &none).await,
        ufs.remove("d", NodeKind::Directory).await,
        ufs.remove("f", NodeKind::File).await,
        ufs.remove_all("d").await,
        ufs.rename("f", "g", true).await,
        ufs.rename("d", "e", false).await,
        ufs.create("f", &none).await.expect("begun").finish().await.map(drop),
    ];
    for (number, outcome) in refused.into_iter().enumerate() {
        assert_eq!(outcome.expect_err("deposed").code, Code::NotLeader, "change {number}");
    }
}

/// The entries of a directory by name.
///
/// # Errors
/// What the listing said.
///
/// # Panics
/// When a name comes twice.
pub async fn listed(ufs: &dyn Ufs, path: &str) -> Result<BTreeMap<String, Entry>> {
    let mut entries = BTreeMap::new();
    let mut stream = ufs.list(path).await?;
    while let Some(entry) = stream.next().await {
        let entry = entry?;
        let name = entry.name.clone();
        assert!(entries.insert(name.clone(), entry).is_none(), "\"{name}\" is listed twice in \"{path}\"");
    }
    Ok(entries)
}

/// The bytes of `range`.
///
/// # Errors
/// What the read said.
pub async fn bytes_of(
    ufs: &dyn Ufs,
    path: &str,
    range: Range<u64>,
    expected: &Fingerprint,
) -> Result<Vec<u8>> {
    let stream = ufs.read(path, range, expected).await?;
    let chunks: Vec<Bytes> = stream.try_collect().await?;
    Ok(chunks.concat())
}

async fn whole(ufs: &dyn Ufs, path: &str) -> Result<Vec<u8>> {
    let fingerprint = ufs.stat(path).await?.fingerprint;
    bytes_of(ufs, path, 0..fingerprint.length, &fingerprint).await
}

async fn everything_is_listed_and_reads_back(ufs: &dyn Ufs, tree: &Tree) {
    let mut found = BTreeSet::new();
    let mut directories = vec![String::new()];
    let mut seen_directories = BTreeSet::new();
    while let Some(directory) = directories.pop() {
        for (name, entry) in listed(ufs, &directory).await.expect("list") {
            let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
            let looked = ufs.stat(&path).await.unwrap_or_else(|e| panic!("stat {path}: {e}"));
            assert_eq!((&looked.name, looked.kind), (&entry.name, entry.kind), "{path}");
            assert!(same_version(&looked.fingerprint, &entry.fingerprint), "{path}: {looked:?} {entry:?}");
            if entry.kind == NodeKind::Directory {
                seen_directories.insert(path.clone());
                directories.push(path);
                continue;
            }
            let bytes = tree.files().get(&path).unwrap_or_else(|| panic!("{path} was never put"));
            assert_eq!(entry.fingerprint.length, bytes.len() as u64, "{path}");
            assert!(entry.fingerprint == looked.fingerprint, "{path}: {looked:?} {entry:?}");
            let read = bytes_of(ufs, &path, 0..entry.fingerprint.length, &entry.fingerprint).await;
            assert!(read.unwrap_or_else(|e| panic!("read {path}: {e}")) == *bytes, "{path}");
            found.insert(path);
        }
    }
    let expected: BTreeSet<String> = tree.files().keys().cloned().collect();
    assert_eq!(found, expected);
    assert!(seen_directories.contains("empty folder"), "{seen_directories:?}");
    let root = ufs.stat("").await.expect("stat the root");
    assert_eq!((root.name.as_str(), root.kind), ("", NodeKind::Directory));
}

async fn what_is_not_there_is_said(ufs: &dyn Ufs, tree: &Tree) {
    let some = tree.files().keys().find(|path| !path.contains('/')).expect("a file").clone();
    for path in ["missing", "missing/too", &format!("{some}/below")] {
        assert_eq!(ufs.stat(path).await.expect_err(path).code, Code::NotFound, "stat {path}");
    }
    assert_eq!(listed(ufs, "missing").await.expect_err("list").code, Code::NotFound);
    assert_eq!(listed(ufs, &some).await.expect_err("list").code, Code::NotDirectory);
    let version = Fingerprint { length: 3, ..Fingerprint::default() };
    assert_eq!(bytes_of(ufs, "missing", 0..3, &version).await.expect_err("read").code, Code::NotFound);
    for path in ["..", "../etc/passwd", "a/../../etc", "/etc", "a//b", ".", "a\0b"] {
        assert_eq!(ufs.stat(path).await.expect_err(path).code, Code::InvalidPath, "stat {path}");
        assert_eq!(listed(ufs, path).await.expect_err(path).code, Code::InvalidPath, "list {path}");
    }
    let long = "x".repeat(256);
    assert_eq!(ufs.stat(&long).await.expect_err("long").code, Code::NameTooLong);
}

async fn ranges_are_exact(ufs: &dyn Ufs, tree: &mut Tree) {
    let bytes = crate::testing::pattern(42, 3_000_000);
    tree.put("ranges", &bytes).expect("put");
    let version = ufs.stat("ranges").await.expect("stat").fingerprint;
    for range in [0..3_000_000, 0..1, 1..2, 2_999_999..3_000_000, 1_048_575..2_097_153, 5..5] {
        let read = bytes_of(ufs, "ranges", range.clone(), &version).await.expect("read");
        let (start, end) = (range.start as usize, range.end as usize);
        assert!(read == bytes[start..end], "{range:?}");
    }
    for range in [0..3_000_001, 3_000_000..3_000_001] {
        let error = bytes_of(ufs, "ranges", range, &version).await.expect_err("beyond the end");
        assert_eq!(error.code, Code::InvalidArgument);
    }
}

async fn replaced_files_are_noticed(ufs: &dyn Ufs, tree: &mut Tree) {
    tree.put("replaced", b"old bytes").expect("put");
    let old = ufs.stat("replaced").await.expect("stat").fingerprint;
    tree.put("replaced", b"new bytes").expect("put");
    let new = ufs.stat("replaced").await.expect("stat").fingerprint;
    assert!(!same_version(&old, &new), "{old:?} {new:?}");
    for range in [0..9, 4..5, 3..3] {
        let error = bytes_of(ufs, "replaced", range, &old).await.expect_err("the old version is gone");
        assert_eq!(error.code, Code::Stale);
    }
    assert_eq!(bytes_of(ufs, "replaced", 0..9, &new).await.expect("read"), b"new bytes");
    tree.put("replaced", b"now longer").expect("put");
    assert_eq!(bytes_of(ufs, "replaced", 0..9, &new).await.expect_err("longer").code, Code::Stale);
    tree.put("replaced", b"short").expect("put");
    assert_eq!(bytes_of(ufs, "replaced", 7..9, &new).await.expect_err("shorter").code, Code::Stale);
    tree.remove("replaced").expect("remove");
    assert_eq!(bytes_of(ufs, "replaced", 0..9, &new).await.expect_err("gone").code, Code::NotFound);
}

async fn a_replacement_in_the_middle_never_mixes(ufs: &dyn Ufs, tree: &mut Tree) {
    const LENGTH: usize = 24 << 20;
    let old = vec![b'o'; LENGTH];
    tree.put("middle", &old).expect("put");
    let version = ufs.stat("middle").await.expect("stat").fingerprint;
    let mut stream = ufs.read("middle", 0..LENGTH as u64, &version).await.expect("read");
    let mut read = stream.next().await.expect("a chunk").expect("bytes").len();
    tree.put("middle", &vec![b'n'; LENGTH]).expect("put");
    loop {
        match stream.next().await {
            Some(Ok(chunk)) => {
                assert!(chunk.iter().all(|byte| *byte == b'o'), "new bytes in a read of the old version");
                read += chunk.len();
            }
            Some(Err(error)) => break assert_eq!(error.code, Code::Stale, "{error}"),
            None => break assert_eq!(read, LENGTH),
        }
    }
    tree.remove("middle").expect("remove");
}

async fn files_appear_whole(ufs: &dyn Ufs) {
    let plain = Attributes::default();
    let mut writer = ufs.create("made/by us/file", &plain).await.expect("create");
    writer.write(Bytes::from_static(b"one ")).await.expect("write");
    assert_eq!(ufs.stat("made/by us/file").await.expect_err("not yet").code, Code::NotFound);
    assert!(listed(ufs, "made/by us").await.expect("list").is_empty(), "a half-written file is listed");
    writer.write(Bytes::from_static(b"two")).await.expect("write");
    let version = writer.finish().await.expect("finish");
    assert_eq!(ufs.stat("made/by us/file").await.expect("stat").fingerprint, version);
    assert_eq!(whole(ufs, "made/by us/file").await.expect("read"), b"one two");

    let mut writer = ufs.create("made/by us/file", &plain).await.expect("create");
    writer.write(Bytes::from_static(b"other")).await.expect("write");
    writer.abort().await;
    let mut dropped = ufs.create("made/by us/dropped", &plain).await.expect("create");
    dropped.write(Bytes::from_static(b"other")).await.expect("write");
    drop(dropped);
    assert_eq!(ufs.stat("made/by us/file").await.expect("stat").fingerprint, version);

    let mut writer = ufs.create("made/by us/file", &plain).await.expect("create");
    writer.write(Bytes::from_static(b"ONE TWO")).await.expect("write");
    let replaced = writer.finish().await.expect("finish");
    assert!(!same_version(&version, &replaced), "{version:?} {replaced:?}");
    let empty = ufs.create("made/empty", &plain).await.expect("create").finish().await.expect("finish");
    assert_eq!(empty.length, 0);
    let names: Vec<String> = listed(ufs, "made/by us").await.expect("list").into_keys().collect();
    assert_eq!(names, ["file"]);
    assert_eq!(ufs.create("made", &plain).await.err().expect("a directory").code, Code::IsDirectory);
}

async fn directories_and_removal(ufs: &dyn Ufs) {
    let plain = Attributes::default();
    for _ in 0..2 {
        ufs.make_directory("dir/in/side", &plain).await.expect("make directory");
    }
    put(ufs, "dir/file", b"x").await;
    let error = ufs.make_directory("dir/file/no", &plain).await.expect_err("a file is in the way");
    assert_eq!(error.code, Code::NotDirectory);
    assert_eq!(ufs.remove("dir", NodeKind::Directory).await.expect_err("not empty").code, Code::NotEmpty);
    assert_eq!(ufs.remove("dir/in", NodeKind::File).await.expect_err("no file").code, Code::IsDirectory);
    for _ in 0..2 {
        ufs.remove("dir/file", NodeKind::File).await.expect("remove");
        ufs.remove("dir/in/side", NodeKind::Directory).await.expect("remove");
    }
    put(ufs, "dir/again/file", b"x").await;
    for _ in 0..2 {
        ufs.remove_all("dir").await.expect("remove all");
    }
    assert_eq!(ufs.stat("dir").await.expect_err("gone").code, Code::NotFound);
    for refused in [ufs.remove("", NodeKind::Directory).await, ufs.remove_all("").await] {
        assert_eq!(refused.expect_err("the root").code, Code::InvalidArgument);
    }
}

async fn renames(ufs: &dyn Ufs) {
    put(ufs, "ren/a", b"a").await;
    put(ufs, "ren/b", b"b").await;
    assert_eq!(ufs.rename("ren/a", "ren/b", false).await.expect_err("taken").code, Code::AlreadyExists);
    assert_eq!(whole(ufs, "ren/b").await.expect("read"), b"b");
    let before = ufs.stat("ren/a").await.expect("stat").fingerprint;
    for _ in 0..2 {
        ufs.rename("ren/a", "ren/b", true).await.expect("rename");
    }
    let after = ufs.stat("ren/b").await.expect("stat").fingerprint;
    assert!(same_version(&before, &after), "a rename changes no bytes: {before:?} {after:?}");
    assert_eq!(whole(ufs, "ren/b").await.expect("read"), b"a");
    assert_eq!(ufs.stat("ren/a").await.expect_err("gone").code, Code::NotFound);
    ufs.make_directory("ren/dir/sub", &Attributes::default()).await.expect("make directory");
    ufs.rename("ren/dir", "ren/moved", false).await.expect("rename a directory");
    assert_eq!(ufs.stat("ren/moved/sub").await.expect("stat").kind, NodeKind::Directory);
    assert_eq!(ufs.rename("ren/no", "ren/nowhere", true).await.expect_err("no").code, Code::NotFound);
    ufs.remove_all("ren").await.expect("remove all");
}

async fn attributes_are_kept(ufs: &dyn Ufs) {
    let first = Attributes { mode: Some(0o640), mtime_ms: Some(1_700_000_000_123), ..Attributes::default() };
    let mut writer = ufs.create("attributes", &first).await.expect("create");
    writer.write(Bytes::from_static(b"x")).await.expect("write");
    let version = writer.finish().await.expect("finish");
    let entry = ufs.stat("attributes").await.expect("stat");
    assert_eq!((entry.mode, entry.fingerprint.mtime_ms), (Some(0o640), Some(1_700_000_000_123)));
    assert!(!entry.owner.is_empty() && !entry.group.is_empty(), "{entry:?}");
    let change = Attributes { mode: Some(0o604), ..Attributes::default() };
    ufs.set_attributes("attributes", &change).await.expect("set attributes");
    let entry = ufs.stat("attributes").await.expect("stat");
    assert_eq!(entry.mode, Some(0o604));
    assert!(same_version(&entry.fingerprint, &version), "a change of mode changes no bytes");
    let error = ufs.set_attributes("missing", &change).await.expect_err("missing");
    assert_eq!(error.code, Code::NotFound);
    ufs.remove("attributes", NodeKind::File).await.expect("remove");
}

async fn writing_is_refused(ufs: &dyn Ufs) {
    let plain = Attributes::default();
    let refused = [
        ufs.create("x", &plain).await.map(drop),
        ufs.make_directory("x", &plain).await,
        ufs.remove("x", NodeKind::File).await,
        ufs.remove_all("x").await,
        ufs.rename("x", "y", true).await,
        ufs.set_attributes("x", &plain).await,
    ];
    for outcome in refused {
        assert_eq!(outcome.expect_err("read only").code, Code::ReadOnly);
    }
}

async fn put(ufs: &dyn Ufs, path: &str, bytes: &'static [u8]) {
    let mut writer = ufs.create(path, &Attributes::default()).await.expect("create");
    writer.write(Bytes::from_static(bytes)).await.expect("write");
    writer.finish().await.expect("finish");
}
