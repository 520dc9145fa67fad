//! Files that are open when their name goes.

use crate::cluster::{Mount, blocking};
use crate::mounted::can_mount;
use goosefs_harness::{InProcess, Options, pattern};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

fn small() -> Options {
    Options { masters: 1, workers: 1, ..Options::default() }
}

/// Replaces a file as editors do.
fn save(path: &Path, number: usize, bytes: &[u8]) -> std::io::Result<()> {
    let aside = path.with_extension(format!("tmp-{number}"));
    fs::write(&aside, bytes)?;
    fs::rename(&aside, path)
}

fn old() -> Vec<u8> {
    pattern(1, (3 << 20) + 7)
}

/// Opens, replaces or removes, and reads: cached or not, written here or found in the storage.
fn old_bytes_stay(point: &Path, round: &str) {
    let old = old();
    for (how, cold) in [("written", false), ("cold", true)] {
        for removal in [false, true] {
            let name = format!("{round}-{how}-{removal}");
            let path = point.join(&name);
            if !cold {
                fs::write(&path, &old).expect("written");
            }
            let mut open = File::open(&path).unwrap_or_else(|error| panic!("open {name}: {error}"));
            match removal {
                true => fs::remove_file(&path).expect("unlink"),
                false => save(&path, 0, b"new").expect("replaced"),
            }
            // By then the workers have heard of it.
            std::thread::sleep(Duration::from_millis(1500));
            let mut read = Vec::new();
            assert_eq!(open.metadata().expect("stat").len(), old.len() as u64, "{name}");
            open.read_to_end(&mut read).unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(read == old, "{name}: other bytes");
            assert_eq!(fs::read(&path).ok(), (!removal).then(|| b"new".to_vec()), "{name}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_open_file_that_is_replaced_or_removed_gives_its_old_bytes() {
    if !can_mount() {
        return;
    }
    let cluster = InProcess::start(small()).await.expect("a cluster");
    let rounds = [("kernel", true, true), ("daemon", false, true), ("remote", false, false)];
    for (round, removal) in rounds.iter().flat_map(|(round, ..)| [(round, false), (round, true)]) {
        fs::write(cluster.ufs().join(format!("{round}-cold-{removal}")), old())
            .expect("the storage takes it");
    }
    for (round, passthrough, descriptors) in rounds {
        let mount = Mount::with(&cluster, |client, fuse| {
            fuse.passthrough = passthrough;
            client.short_circuit = descriptors;
        })
        .await;
        let point = mount.path("");
        blocking(move || old_bytes_stay(&point, round)).await;
        mount.end().await;
    }
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_without_a_name_is_written_and_read_like_any() {
    if !can_mount() {
        return;
    }
    let cluster = InProcess::start(small()).await.expect("a cluster");
    let mount = Mount::of(&cluster).await;
    let (path, point, ufs) = (mount.path("temporary"), mount.path(""), cluster.ufs());
    blocking(move || {
        let open = || OpenOptions::new().read(true).write(true).create_new(true).open(&path).expect("create");
        // As tempfile does, and with bytes that went to the cluster before.
        for before in [0, 2 << 20] {
            let mut file = open();
            file.write_all(&pattern(1, before)).expect("write");
            fs::remove_file(&path).expect("unlink");
            file.write_all(b"more").expect("write without a name");
            file.sync_all().expect("fsync");
            file.write_all_at(b"MO", before as u64).expect("even in place");
            file.seek(SeekFrom::Start(0)).expect("seek");
            let mut read = Vec::new();
            file.read_to_end(&mut read).expect("read");
            assert!(read == [pattern(1, before).as_slice(), b"MOre"].concat());
            file.set_len(1).expect("cut");
            assert_eq!(file.metadata().expect("stat").len(), 1);
            drop(file);
            assert_eq!(fs::read_dir(&point).expect("list").count(), 0);
            assert!(!ufs.join("temporary").exists());
        }
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_beside_writers_that_rename_never_fail() {
    if !can_mount() {
        return;
    }
    let cluster = InProcess::start(small()).await.expect("a cluster");
    let mount = Mount::of(&cluster).await;
    let path = mount.path("file");
    blocking(move || {
        let length = 300_000;
        save(&path, 9, &pattern(0, length)).expect("the first version");
        let stop: Arc<AtomicBool> = Arc::default();
        let saved: Arc<AtomicUsize> = Arc::default();
        let writers: Vec<_> = (0..3)
            .map(|number| {
                let (path, stop, saved) = (path.clone(), stop.clone(), saved.clone());
                std::thread::spawn(move || {
                    while !stop.load(Ordering::SeqCst) {
                        let seed = saved.fetch_add(1, Ordering::SeqCst) as u64 % 64;
                        save(&path, number, &pattern(seed, length)).expect("no error reaches a writer");
                    }
                })
            })
            .collect();
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let path = path.clone();
                std::thread::spawn(move || {
                    let versions: Vec<Vec<u8>> = (0..64).map(|seed| pattern(seed, length)).collect();
                    for n in 0..200 {
                        let mut file = File::open(&path).unwrap_or_else(|error| panic!("open {n}: {error}"));
                        let mut read = Vec::new();
                        file.read_to_end(&mut read).unwrap_or_else(|error| panic!("read {n}: {error}"));
                        assert!(versions.contains(&read), "read {n} is no version: {} bytes", read.len());
                    }
                })
            })
            .collect();
        let outcomes: Vec<_> = readers.into_iter().map(|reader| reader.join()).collect();
        stop.store(true, Ordering::SeqCst);
        writers.into_iter().for_each(|writer| writer.join().expect("a writer"));
        outcomes.into_iter().for_each(|outcome| outcome.expect("a reader"));
        assert!(saved.load(Ordering::SeqCst) > 3, "nothing was replaced");
    })
    .await;
    mount.end().await;
    cluster.shutdown().await;
}
