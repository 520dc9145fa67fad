//! Leaders and workers die while a reader reads and a writer creates.

use super::{launch, serve};
use goosefs_harness::{DevCluster, Launch, pattern};
use goosefs_ufs::testing::Page;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: usize = 10;

/// A create that takes longer than this is a failure even on a busy machine with a build that is not optimised;
/// `make bench` and the figures in the notes say what it takes otherwise.
const PATIENCE: Duration = Duration::from_secs(5);

/// Reads `files` again and again until told to stop; panics at the first error or wrong byte. Returns the passes.
fn read_on(files: &[(std::path::PathBuf, Vec<u8>)], stop: &AtomicBool) -> u64 {
    let mut passes = 0;
    while !stop.load(Ordering::Acquire) {
        for (path, expected) in files {
            let bytes = fs::read(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert!(bytes == *expected, "{} differs", path.display());
        }
        passes += 1;
    }
    passes
}

/// Creates files until told to stop. Returns the acknowledged names and how long the slowest took.
fn create_on(folder: &Path, made: &AtomicU64, stop: &AtomicBool) -> (BTreeSet<String>, Duration) {
    let (mut names, mut slowest) = (BTreeSet::new(), Duration::ZERO);
    while !stop.load(Ordering::Acquire) {
        let name = format!("f{}", names.len());
        let begun = Instant::now();
        File::create_new(folder.join(&name)).unwrap_or_else(|e| panic!("create {name}: {e}"));
        slowest = slowest.max(begun.elapsed());
        names.insert(name);
        made.fetch_add(1, Ordering::AcqRel);
    }
    (names, slowest)
}

#[test]
fn leaders_die_and_nobody_minds() {
    let Some(launch) = launch("leaders_die_and_nobody_minds") else { return };
    let mut cluster = DevCluster::start(Launch {
        args: vec!["-Dgoosefs.user.file.writetype.default=MUST_CACHE".to_owned()],
        ..launch.losing_leaders()
    })
    .unwrap();
    let mount = cluster.mount_point();
    let files: Vec<_> = (0..8)
        .map(|number: u64| {
            let (path, bytes) = (mount.join(format!("r{number}")), pattern(number, 300_000));
            fs::write(&path, &bytes).unwrap();
            (path, bytes)
        })
        .collect();
    let folder = mount.join("made");
    fs::create_dir(&folder).unwrap();
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    let (names, slowest, gaps, passes) = std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_on(&files, &stop));
        let writer = scope.spawn(|| create_on(&folder, &made, &stop));
        let mut gaps = Vec::new();
        for _ in 0..ROUNDS {
            let victim = format!("master-{}", cluster.leader());
            cluster.kill(&victim).unwrap();
            let killed = Instant::now();
            // The one that was under way may have been acknowledged before; the one after it was not.
            let before = made.load(Ordering::Acquire);
            while made.load(Ordering::Acquire) < before + 2 && !writer.is_finished() {
                std::thread::yield_now();
                assert!(killed.elapsed() < Duration::from_secs(60), "creates do not resume");
            }
            gaps.push(killed.elapsed());
            cluster.restart(&victim).unwrap();
        }
        stop.store(true, Ordering::Release);
        let (names, slowest) = writer.join().unwrap();
        (names, slowest, gaps, reader.join().unwrap())
    });
    eprintln!(
        "{} creates, slowest {slowest:?}; resumed after {gaps:?}; {passes} passes of the reader",
        names.len()
    );
    let listed =
        fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let listed: Vec<String> = listed.collect();
    let unique: BTreeSet<String> = listed.iter().cloned().collect();
    assert_eq!(unique.len(), listed.len(), "a name stands twice");
    assert_eq!(unique, names, "what was acknowledged is there, and nothing else");
    for master in cluster.masters() {
        let said =
            cluster.goosefs(&["fs", "ls", "/made", &format!("-Dgoosefs.master.rpc.addresses={master}")]);
        assert_eq!(said.stdout.lines().count(), names.len(), "on {master}'s word");
    }
    assert!(slowest < PATIENCE, "a create took {slowest:?}");
    cluster.finish().unwrap();
}

#[test]
fn a_worker_dies_while_persisted_files_are_read() {
    let test = "a_worker_dies_while_persisted_files_are_read";
    let folder = tempfile::tempdir().unwrap();
    let Some(launch) = launch(test) else { return };
    let files: Vec<(String, Vec<u8>)> =
        (0..6).map(|n: u64| (format!("f{n}"), pattern(n, 9_000_000))).collect();
    for (name, bytes) in &files {
        fs::write(folder.path().join(name), bytes).unwrap();
    }
    let Some(server) = serve(test, folder.path(), Page::Autoindex) else { return };
    let mounts = vec![format!("/web={}", server.uri())];
    let allowed = ["worker", "Worker"].map(str::to_owned).to_vec();
    let mut cluster = DevCluster::start(Launch { mounts, allowed, ..launch }).unwrap();
    let web = cluster.mount_point().join("web");
    let files: Vec<_> = files.into_iter().map(|(name, bytes)| (web.join(name), bytes)).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| read_on(&files, &stop));
        for victim in ["worker-1", "worker-2"] {
            cluster.kill(victim).unwrap();
            cluster.restart(victim).unwrap();
        }
        stop.store(true, Ordering::Release);
        reader.join().unwrap();
    });
    cluster.finish().unwrap();
}
