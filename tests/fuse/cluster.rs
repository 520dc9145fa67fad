//! A mount over a real cluster: masters, workers and a storage within this process.

use crate::mounted::can_mount;
use goosefs_core::metrics::Metrics;
use goosefs_core::mountinfo;
use goosefs_fuse::{Cluster, Config, Deps, Running, start};
use goosefs_harness::{InProcess, LONG, Options, pattern};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

pub(crate) struct Mount {
    running: Running,
    backend: Cluster,
    place: tempfile::TempDir,
}

impl Mount {
    pub(crate) async fn of(cluster: &InProcess) -> Mount {
        Mount::with(cluster, |_, _| {}).await
    }

    /// A mount whose client and daemon have settings of their own.
    pub(crate) async fn with(
        cluster: &InProcess,
        change: impl FnOnce(&mut goosefs_client::Config, &mut Config),
    ) -> Mount {
        let mut config = goosefs_client::Config::new(cluster.rpc_addresses());
        config.caller.user = "root".to_owned();
        let place = tempfile::tempdir().expect("a folder to mount at");
        let mut settings = Config::new(place.path());
        change(&mut config, &mut settings);
        let backend = Cluster::new(config, &Metrics::new());
        let deps = Deps::new(Arc::new(backend.clone()));
        let running = start(settings, deps).await.expect("the mount");
        guard(running.mount_point());
        Mount { running, backend, place }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.running.mount_point().join(name)
    }

    fn reads(&self) -> u64 {
        self.running.counters().reads.get()
    }

    pub(crate) async fn end(self) {
        self.running.shutdown(Duration::from_secs(10)).await;
        self.backend.client().shutdown(LONG).await;
        if mountinfo::at(self.running.mount_point()).is_some() {
            // Never walk into a mount that stayed.
            let kept = self.place.keep();
            panic!("{} is still mounted", kept.display());
        }
    }
}

/// Calls on a mount of this very process hang for ever when its daemon does.
fn guard(point: &Path) {
    let point = point.to_owned();
    std::thread::spawn(move || {
        std::thread::sleep(Duration::from_secs(300));
        if let Some(mount) = mountinfo::at(&point).filter(|mount| mount.fstype == "fuse.goosefs-fuse") {
            eprintln!("the guard aborts {}", point.display());
            drop(mount.abort());
        }
    });
}

/// Runs what blocks where it may.
pub(crate) async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    tokio::task::spawn_blocking(work).await.expect("no panic")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_of_the_storage_is_read_and_then_needs_neither_storage_nor_daemon() {
    if !can_mount() {
        return;
    }
    let cluster = InProcess::start(Options::default()).await.expect("a cluster");
    let files = [("a b", 0), ("中文 100%", 1), ("sub/c#d", 4096), ("sub/big", (9 << 20) + 17)];
    fs::create_dir_all(cluster.ufs().join("sub")).expect("a folder");
    fs::create_dir_all(cluster.ufs().join("empty")).expect("a folder");
    for (seed, (name, length)) in files.iter().enumerate() {
        fs::write(cluster.ufs().join(name), pattern(seed as u64, *length)).expect("a file");
    }
    let mount = Mount::of(&cluster).await;
    let point = mount.running.mount_point().to_owned();
    let read_all = move || {
        for (seed, (name, length)) in files.iter().enumerate() {
            let read = fs::read(point.join(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(read == pattern(seed as u64, *length), "{name}");
        }
        assert_eq!(fs::read_dir(point.join("empty")).expect("list").count(), 0);
        assert_eq!(fs::read_dir(&point).expect("list").count(), 4);
    };
    blocking(read_all.clone()).await;
    for (name, _) in files {
        fs::remove_file(cluster.ufs().join(name)).expect("the storage loses it");
    }
    // The first pass may have left fills under way, which the next opens wait for or read through.
    let until = Instant::now() + LONG;
    loop {
        let before = mount.reads();
        blocking(read_all.clone()).await;
        if mount.reads() == before {
            break;
        }
        assert!(Instant::now() < until, "reads still reach the daemon");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    mount.end().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_written_moved_and_removed_reaches_the_storage() {
    if !can_mount() {
        return;
    }
    let cluster = InProcess::start(Options::default()).await.expect("a cluster");
    let mount = Mount::of(&cluster).await;
    let (path, moved, ufs) = (mount.path("d/file"), mount.path("d/moved"), cluster.ufs());
    let folder = mount.path("d");
    blocking(move || {
        let bytes = pattern(3, (5 << 20) + 3);
        fs::create_dir(&folder).expect("mkdir");
        let mut file = File::create(&path).expect("create");
        file.write_all(&bytes[..1 << 20]).expect("write");
        file.sync_all().expect("fsync");
        assert_eq!(fs::metadata(ufs.join("d/file")).expect("uploaded").len(), 1 << 20);
        file.write_all(&bytes[1 << 20..]).expect("write");
        drop(file);
        assert!(fs::read(ufs.join("d/file")).expect("uploaded at close") == bytes);
        assert!(fs::read(&path).expect("read") == bytes);
        fs::rename(&path, &moved).expect("rename");
        assert!(fs::read(ufs.join("d/moved")).expect("moved there too") == bytes);
        fs::write(&moved, b"short").expect("rewritten");
        assert_eq!(fs::read(&moved).expect("read"), b"short");
        assert_eq!(fs::read(ufs.join("d/moved")).expect("uploaded"), b"short");
        fs::remove_file(&moved).expect("unlink");
        fs::remove_dir(&folder).expect("rmdir");
        assert!(!ufs.join("d").exists());
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_leader_and_a_worker_that_die_are_not_noticed_by_programs() {
    if !can_mount() {
        return;
    }
    let mut cluster = InProcess::start(Options::default()).await.expect("a cluster");
    let bytes = pattern(9, 20 << 20);
    fs::write(cluster.ufs().join("file"), &bytes).expect("a file");
    let mount = Mount::of(&cluster).await;
    let stop: Arc<AtomicBool> = Arc::default();
    let (file, told) = (mount.path("file"), stop.clone());
    let reader = tokio::task::spawn_blocking(move || {
        let mut passes = 0;
        while !told.load(Ordering::SeqCst) || passes == 0 {
            assert!(fs::read(&file).expect("no error reaches a reader") == bytes);
            passes += 1;
        }
    });
    let (point, told) = (mount.running.mount_point().to_owned(), stop.clone());
    let writer = tokio::task::spawn_blocking(move || {
        let mut made = 0;
        while !told.load(Ordering::SeqCst) || made == 0 {
            fs::write(point.join(format!("new-{made}")), format!("{made}"))
                .expect("no error reaches a writer");
            made += 1;
        }
        made
    });
    let leader = cluster.leader().await.expect("a leader");
    cluster.stop_master(leader, false).await;
    cluster.leader().await.expect("another leader");
    cluster.start_master(leader).await.expect("back again");
    stop.store(true, Ordering::SeqCst);
    let made = writer.await.expect("the writer");
    reader.await.expect("the reader");
    // Only copies would be lost with a worker; what was written through is in the storage.
    cluster.stop_worker(0, false).await;
    let point = mount.running.mount_point().to_owned();
    blocking(move || {
        for n in 0..made {
            assert_eq!(fs::read_to_string(point.join(format!("new-{n}"))).expect("read"), n.to_string());
        }
        assert_eq!(fs::read_dir(&point).expect("list").count(), made + 1);
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_mount_with_a_sync_interval_of_zero_sees_what_changes_in_the_storage() {
    if !can_mount() {
        return;
    }
    let cluster =
        InProcess::start(Options { masters: 1, workers: 1, ..Options::default() }).await.expect("a cluster");
    let mount = Mount::with(&cluster, |client, fuse| {
        client.sync_interval_ms = Some(0);
        fuse.entry_ttl = Duration::ZERO;
    })
    .await;
    let (point, ufs) = (mount.path(""), cluster.ufs());
    blocking(move || {
        fs::write(ufs.join("file"), b"first").expect("the storage takes it");
        assert_eq!(fs::read_dir(&point).expect("list").count(), 1);
        assert_eq!(fs::read(point.join("file")).expect("read"), b"first");
        fs::write(ufs.join("new"), b"new").expect("the storage takes it");
        fs::write(ufs.join("file"), b"second version").expect("the storage takes it");
        assert_eq!(fs::read(point.join("new")).expect("found by its name"), b"new");
        assert_eq!(fs::read(point.join("file")).expect("read"), b"second version");
        fs::write(ufs.join("third"), b"third").expect("the storage takes it");
        assert_eq!(fs::read_dir(&point).expect("list").count(), 3);
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_path_too_long_for_the_storage_fails_at_once() {
    if !can_mount() {
        return;
    }
    let cluster =
        InProcess::start(Options { masters: 1, workers: 1, ..Options::default() }).await.expect("a cluster");
    let mount = Mount::of(&cluster).await;
    let point = mount.path("");
    blocking(move || {
        // The mount's own path is short enough, and relative names are taken one by one.
        let mut folder = nix::fcntl::open(
            &point,
            nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_RDONLY,
            nix::sys::stat::Mode::empty(),
        )
        .expect("the mount");
        let name = "d".repeat(250);
        let begun = Instant::now();
        let mut refused = None;
        for _ in 0..17 {
            let made = nix::sys::stat::mkdirat(&folder, name.as_str(), nix::sys::stat::Mode::S_IRWXU);
            if let Err(error) = made {
                refused = Some(error);
                break;
            }
            folder = nix::fcntl::openat(
                &folder,
                name.as_str(),
                nix::fcntl::OFlag::O_DIRECTORY | nix::fcntl::OFlag::O_RDONLY,
                nix::sys::stat::Mode::empty(),
            )
            .expect("the folder");
        }
        assert_eq!(refused, Some(nix::errno::Errno::ENAMETOOLONG));
        assert!(begun.elapsed() < Duration::from_secs(60), "it was tried again and again");
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}
