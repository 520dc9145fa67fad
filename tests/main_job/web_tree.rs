//! A tree behind a web server, through the mount.

use super::{data_requests, drop_kernel_caches, launch, serve};
use goosefs_harness::{DevCluster, Launch};
use goosefs_ufs::testing::{Page, Tree};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::Path;

/// The largest file.
const LARGE: usize = 400_000_000;

/// Path below a root to length; directories have none.
fn listing(root: &Path) -> BTreeMap<String, Option<u64>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            let metadata = fs::metadata(&path).unwrap();
            let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
            found.insert(name, metadata.is_file().then(|| metadata.len()));
            if metadata.is_dir() {
                folders.push(path);
            }
        }
    }
    found
}

fn same_bytes(ours: &Path, theirs: &Path) {
    let (mut a, mut b) = (File::open(ours).unwrap(), File::open(theirs).unwrap());
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut at = 0;
    loop {
        let count = a.read(&mut left).unwrap_or_else(|e| panic!("{} at {at}: {e}", ours.display()));
        b.read_exact(&mut right[..count]).unwrap_or_else(|e| panic!("{} is too long: {e}", ours.display()));
        assert!(
            left[..count] == right[..count],
            "{} differs between {at} and {}",
            ours.display(),
            at + count
        );
        at += count;
        if count == 0 {
            assert_eq!(b.read(&mut right).unwrap(), 0, "{} ends early at {at}", ours.display());
            return;
        }
    }
}

/// Everything below `mounted` is as below `source`.
fn same_tree(mounted: &Path, source: &Path) {
    let expected = listing(source);
    assert_eq!(listing(mounted), expected);
    for (name, _) in expected.iter().filter(|(_, length)| length.is_some()) {
        same_bytes(&mounted.join(name), &source.join(name));
    }
}

fn tree(root: &Path) {
    let tree = Tree::awkward(root).unwrap();
    assert!(tree.files().len() >= 50, "{} files", tree.files().len());
    let piece = goosefs_harness::pattern(7, 1_000_003);
    let mut large = File::create(root.join("large.bin")).unwrap();
    let mut left = LARGE;
    while left > 0 {
        let count = left.min(piece.len());
        large.write_all(&piece[..count]).unwrap();
        left -= count;
    }
    for length in [1, 4095, 4096, 4097, 1 << 20, (1 << 20) + 1, (64 << 20) + 1] {
        fs::write(root.join(format!("{length} bytes")), goosefs_harness::pattern(length as u64, length))
            .unwrap();
    }
}

#[test]
fn a_tree_reads_whole_and_stays_cached_through_stop_and_kill() {
    let test = "a_tree_reads_whole_and_stays_cached_through_stop_and_kill";
    let folder = tempfile::tempdir().unwrap();
    tree(folder.path());
    let Some(launch) = launch(test) else { return };
    let Some(server) = serve(test, folder.path(), Page::Autoindex) else { return };
    let mounts = vec![format!("/hbase={}", server.uri())];
    // Masters that come back meet peers that are not there yet, and logs that end in the middle of a record.
    let allowed = ["waiting for", "not closed well", "Truncating log file"].map(str::to_owned).to_vec();
    let mut cluster = DevCluster::start(Launch { mounts, allowed, ..launch }).unwrap();
    let mounted = cluster.mount_point().join("hbase");

    same_tree(&mounted, folder.path());

    let first_pass = data_requests(&server).len();
    let nothing_more = |phase: &str| {
        drop_kernel_caches();
        same_tree(&mounted, folder.path());
        let asked = data_requests(&server);
        assert!(asked.len() == first_pass, "{phase}: {:#?}", &asked[first_pass..]);
    };
    nothing_more("second pass");

    cluster.stop_all().unwrap();
    cluster.start_dev().unwrap();
    nothing_more("after a stop");

    cluster.kill_all().unwrap();
    cluster.start_dev().unwrap();
    nothing_more("after kill -9 of everything");

    cluster.finish().unwrap();
}

#[test]
fn every_server_lists_the_same_names_and_sizes() {
    let test = "every_server_lists_the_same_names_and_sizes";
    let folder = tempfile::tempdir().unwrap();
    Tree::awkward(folder.path()).unwrap();
    let Some(launch) = launch(test) else { return };
    let cluster = DevCluster::start(Launch { masters: 1, workers: 1, ..launch }).unwrap();
    for (name, page) in
        [("/fancy", Page::Fancyindex), ("/python", Page::Python), ("/rounded", Page::AutoindexRounded)]
    {
        let Some(server) = serve(test, folder.path(), page) else { continue };
        let said = cluster.goosefs(&["fs", "mount", name, &server.uri()]);
        assert_eq!(said.code, Some(0), "{}", said.stdout);
        same_tree(&cluster.mount_point().join(&name[1..]), folder.path());
    }
    cluster.finish().unwrap();
}
