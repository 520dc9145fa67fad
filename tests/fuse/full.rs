//! Writing through a mount into a cache that is full.

use crate::cluster::{Mount, blocking};
use crate::mounted::can_mount;
use goosefs_harness::{InProcess, Options, pattern};
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

fn small() -> Options {
    Options { masters: 1, workers: 1, quota: 20 << 20, ..Options::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_larger_than_the_cache_is_refused_and_gives_its_room_back() {
    if !can_mount() {
        return;
    }
    let cluster = InProcess::start(small()).await.expect("a cluster");
    let mount = Mount::of(&cluster).await;
    let (big, point, ufs) = (mount.path("big"), mount.path(""), cluster.ufs());
    blocking(move || {
        let mut file = File::create(&big).expect("create");
        let refused = (0..60).find_map(|n| file.write_all(&pattern(n, MIB)).err()).expect("no room");
        assert_eq!(refused.raw_os_error(), Some(libc::ENOSPC), "{refused}");
        assert_eq!(file.sync_all().expect_err("it says so again").raw_os_error(), Some(libc::ENOSPC));
        drop(file);
        let until = Instant::now() + Duration::from_secs(60);
        // Nothing of it is left in the cache: there is room at once, and as much as before.
        for n in 0..6 {
            let (path, bytes) = (point.join(format!("small-{n}")), pattern(n, 15 * MIB));
            fs::write(&path, &bytes).unwrap_or_else(|error| panic!("small-{n}: {error}"));
            assert!(fs::read(&path).expect("read") == bytes);
            assert!(fs::read(ufs.join(format!("small-{n}"))).expect("uploaded") == bytes);
        }
        while fs::metadata(&big).is_ok_and(|found| found.len() > 0) {
            assert!(Instant::now() < until, "the file keeps bytes");
            std::thread::sleep(Duration::from_millis(50));
        }
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}
