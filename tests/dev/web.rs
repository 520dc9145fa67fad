//! Trees behind real web servers, through FUSE.

use super::{GOOSEFS, can_mount, turn};
use goosefs_harness::{DevCluster, Launch};
use goosefs_ufs::testing::{Page, Serving, Tree, or_skip};
use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// Every file below `root` by its relative path, as `look` sees it, and every empty folder as `None`.
fn walk<T>(root: &Path, look: impl Fn(&Path) -> T) -> BTreeMap<String, Option<T>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let entries: Vec<_> = fs::read_dir(root.join(&folder)).unwrap().map(Result::unwrap).collect();
        if entries.is_empty() {
            found.insert(folder.to_str().unwrap().to_owned(), None);
        }
        for entry in entries {
            let path = folder.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                folders.push(path);
            } else {
                found.insert(path.to_str().unwrap().to_owned(), Some(look(&entry.path())));
            }
        }
    }
    found
}

/// Reads a file whole and has the kernel forget it.
fn read(path: &Path) -> Vec<u8> {
    let bytes = fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let file = File::open(path).unwrap();
    posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_DONTNEED).unwrap();
    bytes
}

fn assert_same(tree: &Tree, point: &Path, when: &str) {
    let seen = walk(point, read);
    let expected = walk(tree.root(), |path| fs::read(path).unwrap());
    let names = |all: &BTreeMap<String, Option<Vec<u8>>>| all.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&seen), names(&expected), "{when}");
    for (path, bytes) in &expected {
        assert!(&seen[path] == bytes, "{when}: {path} differs");
    }
}

/// Requests for the bytes of files.
fn data_requests(serving: &Serving) -> Vec<String> {
    let is_data = |line: &String| {
        let mut words = line.split(' ');
        words.next() == Some("GET") && words.next().is_some_and(|path| !path.ends_with('/'))
    };
    serving.requests().into_iter().filter(is_data).collect()
}

#[test]
fn a_web_tree_reads_as_it_is_and_stays_warm_after_a_stop_and_after_kill_9_of_everything() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let mut tree = Tree::awkward(folder.path()).unwrap();
    tree.put("large/large.bin", &goosefs_harness::pattern(1, 70_000_000)).unwrap();
    let started = Serving::of(folder.path(), Page::Autoindex).start();
    let Some(serving) = or_skip("a_web_tree", started).filter(|_| can_mount()) else { return };
    let mut cluster = DevCluster::start(Launch {
        fuse: true,
        mounts: vec![format!("/hbase={}", serving.uri())],
        // What was written last when the kill came is cut off, and masters miss each other when they come back.
        allowed: ["raft_engine", "openraft"].map(str::to_owned).to_vec(),
        ..Launch::new(GOOSEFS)
    })
    .unwrap();
    let point = cluster.mount_point().join("hbase");
    assert_same(&tree, &point, "the first time");
    let cold = data_requests(&serving);
    assert!(cold.len() >= 50, "{cold:?}");

    assert_same(&tree, &point, "the second time");
    assert_eq!(data_requests(&serving)[cold.len()..], [""; 0], "the second time");

    cluster.stop_all().unwrap();
    cluster.start_dev().unwrap();
    assert_same(&tree, &point, "after a stop");
    assert_eq!(data_requests(&serving)[cold.len()..], [""; 0], "after a stop");

    cluster.kill_all().unwrap();
    cluster.start_dev().unwrap();
    assert_same(&tree, &point, "after kill -9 of everything");
    assert_eq!(data_requests(&serving)[cold.len()..], [""; 0], "after kill -9 of everything");
    cluster.finish().unwrap();
}

#[test]
fn every_kind_of_server_lists_the_same_names_and_sizes() {
    let _turn = turn();
    if !can_mount() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tree = Tree::awkward(folder.path()).unwrap();
    let start = |page| or_skip("every_kind_of_server", Serving::of(folder.path(), page).start());
    let servings: Vec<(Page, Serving)> =
        Page::ALL.into_iter().filter_map(|page| Some((page, start(page)?))).collect();
    let mounts =
        servings.iter().enumerate().map(|(number, (_, serving))| format!("/{number}={}", serving.uri()));
    let mounts = mounts.collect();
    let cluster = DevCluster::start(Launch { fuse: true, mounts, ..Launch::small(GOOSEFS) }).unwrap();
    let size = |path: &Path| fs::metadata(path).unwrap().len();
    let expected = walk(tree.root(), size);
    for (number, (page, _)) in servings.iter().enumerate() {
        assert_eq!(walk(&cluster.mount_point().join(number.to_string()), size), expected, "{page:?}");
    }
    cluster.finish().unwrap();
}
