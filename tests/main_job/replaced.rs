//! A file that is replaced on the web server while it is read.

use super::{launch, serve};
use goosefs_harness::{DevCluster, Launch, wait_for};
use goosefs_ufs::testing::Page;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

const LENGTH: usize = 64 << 20;

#[test]
fn an_open_handle_gets_old_bytes_or_an_error_and_a_new_open_the_new_file() {
    let test = "an_open_handle_gets_old_bytes_or_an_error_and_a_new_open_the_new_file";
    let folder = tempfile::tempdir().unwrap();
    let served = folder.path().join("f");
    let (old, new) = (vec![b'o'; LENGTH], vec![b'n'; LENGTH]);
    fs::write(&served, &old).unwrap();
    let Some(launch) = launch(test) else { return };
    let Some(server) = serve(test, folder.path(), Page::Autoindex) else { return };
    let cluster = DevCluster::start(Launch {
        mounts: vec![format!("/web={}", server.uri())],
        args: vec!["-Dgoosefs.user.file.metadata.sync.interval=1s".to_owned()],
        // The worker tells of a file that moved on while it was filled.
        allowed: vec!["Stale".to_owned(), "stale".to_owned(), "another version".to_owned()],
        ..launch
    })
    .unwrap();
    let path = cluster.mount_point().join("web/f");
    let handle = File::open(&path).unwrap();
    let mut piece = vec![0; 4096];
    handle.read_exact_at(&mut piece, 0).unwrap();
    assert!(piece.iter().all(|byte| *byte == b'o'));

    let aside = folder.path().join("g");
    fs::write(&aside, &new).unwrap();
    fs::rename(&aside, &served).unwrap();

    let mut errors = 0;
    for offset in (0..LENGTH as u64).step_by(1 << 20) {
        match handle.read_exact_at(&mut piece, offset) {
            Ok(()) => {
                assert!(piece.iter().all(|byte| *byte == b'o'), "the handle reads the new file at {offset}")
            }
            Err(_) => errors += 1,
        }
    }
    eprintln!("{errors} of 64 reads of the old handle failed");
    wait_for("a new open to read the new file", || {
        fs::read(&path).is_ok_and(|bytes| {
            let news = bytes.iter().filter(|byte| **byte == b'n').count();
            assert!(news == 0 || news == LENGTH, "a mix: {news} of {LENGTH} bytes are new");
            news == LENGTH
        })
    });
    drop(handle);
    cluster.finish().unwrap();
}
