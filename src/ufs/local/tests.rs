//! The suite and what only a local directory has: symlinks, names that are not UTF-8, changes within one clock tick.

use super::*;
use crate::suite::{self, bytes_of, listed};
use crate::testing::Tree;
use futures::StreamExt;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use tempfile::TempDir;

fn storage() -> (TempDir, LocalUfs) {
    let folder = TempDir::new().unwrap();
    let ufs = LocalUfs::new(folder.path().to_path_buf(), Fence::open());
    (folder, ufs)
}

#[tokio::test]
async fn passes_the_suite() {
    let (folder, ufs) = storage();
    let mut tree = Tree::awkward(folder.path()).unwrap();
    tree.put(".dot", b"x").unwrap();
    tree.put("..two/...three", b"x").unwrap();
    suite::run(&ufs, &mut tree).await;
}

#[tokio::test]
async fn a_root_that_is_not_there_is_named_and_never_made() {
    let ufs = LocalUfs::new("/nowhere/at all".into(), Fence::open());
    let error = ufs.stat("").await.unwrap_err();
    assert_eq!(error.code, Code::NotFound);
    assert!(error.message.contains("/nowhere/at all"), "{error}");
    let created = ufs.create("x", &Attributes::default()).await;
    assert_eq!(created.err().unwrap().code, Code::NotFound);
}

#[tokio::test]
async fn symlinks_show_as_what_they_lead_to_and_never_lead_out_or_round() {
    let (folder, ufs) = storage();
    let outside = TempDir::new().unwrap();
    fs::write(outside.path().join("secret"), "s").unwrap();
    let root = folder.path();
    fs::create_dir_all(root.join("dir/sub")).unwrap();
    fs::write(root.join("dir/file"), "bytes").unwrap();
    symlink("dir/file", root.join("to file")).unwrap();
    symlink("dir", root.join("to dir")).unwrap();
    symlink(root.join("dir"), root.join("absolute")).unwrap();
    symlink("nothing", root.join("dangling")).unwrap();
    symlink(outside.path(), root.join("out")).unwrap();
    symlink("..", root.join("dir/up")).unwrap();
    symlink("../../to dir", root.join("dir/sub/round")).unwrap();

    let names: Vec<String> = listed(&ufs, "").await.unwrap().into_keys().collect();
    assert_eq!(names, ["absolute", "dir", "to dir", "to file"]);
    assert_eq!(listed(&ufs, "to dir").await.unwrap().into_keys().collect::<Vec<_>>(), ["file", "sub"]);
    assert_eq!(listed(&ufs, "to dir/sub").await.unwrap().len(), 0);
    let file = ufs.stat("to dir/file").await.unwrap();
    assert_eq!((file.kind, file.fingerprint.length), (NodeKind::File, 5));
    assert_eq!(bytes_of(&ufs, "to file", 0..5, &file.fingerprint).await.unwrap(), b"bytes");
    for path in ["out", "out/secret", "dangling", "dir/up", "dir/up/dir", "dir/sub/round/file"] {
        assert_eq!(ufs.stat(path).await.unwrap_err().code, Code::NotFound, "{path}");
    }
    let created = ufs.create("out/new", &Attributes::default()).await;
    assert_eq!(created.err().unwrap().code, Code::NotFound);
    assert!(!outside.path().join("new").exists());

    ufs.remove("to dir", NodeKind::Directory).await.unwrap();
    ufs.remove_all("absolute").await.unwrap();
    assert!(root.join("dir/file").exists(), "removing a link must leave what it leads to");
}

#[tokio::test]
async fn names_that_are_not_utf8_and_sockets_are_left_out() {
    let (folder, ufs) = storage();
    fs::write(folder.path().join(OsStr::from_bytes(b"bad\xff")), "x").unwrap();
    fs::write(folder.path().join("good"), "x").unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.path().join("socket")).unwrap();
    assert_eq!(listed(&ufs, "").await.unwrap().into_keys().collect::<Vec<_>>(), ["good"]);
    assert_eq!(ufs.stat("socket").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn a_change_in_place_within_one_clock_tick_is_seen() {
    let (folder, ufs) = storage();
    let file = folder.path().join("file");
    for round in 0..50 {
        fs::write(&file, vec![b'a'; 2 << 20]).unwrap();
        let version = ufs.stat("file").await.unwrap().fingerprint;
        let mut stream = ufs.read("file", 0..2 << 20, &version).await.unwrap();
        let first = stream.next().await.unwrap().unwrap();
        assert!(first.iter().all(|byte| *byte == b'a'));
        let in_place = fs::OpenOptions::new().write(true).open(&file).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&in_place, &vec![b'b'; 2 << 20], 0).unwrap();
        let error = stream.next().await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::Stale, "round {round}");
    }
}

#[tokio::test]
async fn a_file_that_is_cut_short_during_a_read_is_stale() {
    let (folder, ufs) = storage();
    let file = folder.path().join("file");
    fs::write(&file, vec![b'a'; 3 << 20]).unwrap();
    let version = ufs.stat("file").await.unwrap().fingerprint;
    let mut stream = ufs.read("file", 0..3 << 20, &version).await.unwrap();
    stream.next().await.unwrap().unwrap();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(10).unwrap();
    assert_eq!(stream.next().await.unwrap().unwrap_err().code, Code::Stale);
}

#[tokio::test]
async fn what_a_dead_writer_left_is_hidden_and_does_not_keep_a_directory() {
    let (folder, ufs) = storage();
    let hidden = folder.path().join("dir").join(format!("{}dead", place::HIDDEN_PREFIX));
    fs::create_dir(folder.path().join("dir")).unwrap();
    fs::write(&hidden, "x").unwrap();
    let hidden_path = format!("dir/{}dead", place::HIDDEN_PREFIX);
    assert_eq!(ufs.stat(&hidden_path).await.unwrap_err().code, Code::NotFound);
    assert_eq!(listed(&ufs, "dir").await.unwrap().len(), 0);
    // Perhaps its writer lives.
    assert_eq!(ufs.remove("dir", NodeKind::Directory).await.unwrap_err().code, Code::NotEmpty);
    let two_days_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(2 * 86_400);
    fs::File::options().append(true).open(&hidden).unwrap().set_modified(two_days_ago).unwrap();
    ufs.remove("dir", NodeKind::Directory).await.unwrap();
}

#[tokio::test]
async fn nothing_is_changed_against_the_fence() {
    let folder = TempDir::new().unwrap();
    fs::create_dir(folder.path().join("d")).unwrap();
    fs::write(folder.path().join("f"), "old").unwrap();
    let fence = Fence::new(|| Err(Error::not_leader("")));
    let ufs = LocalUfs::new(folder.path().to_path_buf(), fence);
    suite::every_change_is_fenced(&ufs).await;
    let mut there: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    there.sort();
    assert_eq!(there, ["d", "f"]);
    assert_eq!(fs::read(folder.path().join("f")).unwrap(), b"old");
}
