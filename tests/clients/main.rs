//! The vendor's Python client, `pip install goosefs`, against a cluster of real processes.
//!
//! The script beside this file does the client's part, one step at a time. The virtual environment is kept in the
//! target folder, so a second run needs no network. Without Python or the package the tests say so and pass, unless
//! `GOOSEFS_TEST_REQUIRE_ALL` is set.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod python;

use goosefs_harness::{DevCluster, Launch};
use python::Python;
use sha2::{Digest, Sha256};
use std::fs;
use std::path::Path;

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the namespace can be mounted here; says when it cannot.
fn can_mount() -> bool {
    let can = nix::unistd::Uid::effective().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("SKIPPED: reading through FUSE needs root and /dev/fuse");
    }
    can
}

#[test]
fn files_written_by_the_python_client_read_back_everywhere_and_survive_a_joining_worker() {
    let Some(python) = Python::prepare("clients") else { return };
    let mut cluster = DevCluster::start(Launch { fuse: can_mount(), ..Launch::new(GOOSEFS) }).unwrap();
    let masters = cluster.masters().join(",");
    let step = |name: &str, extra: &[&str]| python.step(name, &masters, extra);

    step("round_trip", &[]);
    assert_eq!(fs::read(cluster.ufs().join("through/kept")).unwrap().len(), 3_000_000);

    // What the client wrote, through FUSE and from the storage, and the other way round.
    let written = step("write_for_fuse", &[]);
    if cluster.record().fuse.is_some() {
        let mount = cluster.mount_point();
        for line in written.lines() {
            let (sum, path) = line.split_once(' ').unwrap();
            let seen = fs::read(mount.join(path.trim_start_matches('/'))).unwrap();
            assert_eq!(sha256(&seen), sum, "{path} through FUSE");
        }
        fs::create_dir(mount.join("from-fuse")).unwrap();
        for (name, length) in [("empty", 0), ("small", 10), ("large", 5_000_001)] {
            let bytes = goosefs_harness::pattern(length as u64, length);
            let path = format!("/from-fuse/{name}");
            fs::write(mount.join(path.trim_start_matches('/')), &bytes).unwrap();
            step("check", &[&path, &sha256(&bytes)]);
        }
    }

    step("write_many", &[]);
    step("check_many", &[]);

    // A third worker joins: the ring changes, what only the other two have must still be found.
    let mut args = cluster.record().workers[1].args.clone();
    for arg in &mut args {
        *arg = arg.replace("127.0.0.2", "127.0.0.3").replace("worker-2", "worker-3");
    }
    cluster.start_process("worker-3", &args).unwrap();
    goosefs_harness::wait_for("the third worker is known", || {
        cluster.goosefs(&["fsadmin", "report"]).stdout.contains("Live Workers: 3")
    });
    step("check_many", &[]);
    let location = cluster.goosefs(&["fs", "ls", "/many"]);
    assert_eq!(location.lines().len(), 1000, "{:?}", location.code);
    assert!(
        location.lines().iter().all(|line| line.contains(" NOT_PERSISTED ")),
        "MUST_CACHE stays in the cache"
    );
    cluster.finish().unwrap();
}

/// A vendor client tries its masters in turn and pauses between rounds, which is its own affair; a program that repeats what
/// failed must get on in this time on a busy machine. README says what was measured.
const PATIENCE_SECONDS: f64 = 15.0;

#[test]
fn the_python_client_gets_on_when_the_leader_is_killed() {
    let Some(python) = Python::prepare("leader killed") else { return };
    let mut cluster = DevCluster::start(Launch::new(GOOSEFS).losing_leaders()).unwrap();
    let masters = cluster.masters().join(",");
    let said = std::thread::scope(|scope| {
        let working = scope.spawn(|| python.step("work_on", &masters, &["/work", "/stop"]));
        let mut enough = 0;
        for _ in 0..3 {
            enough += 50;
            goosefs_harness::wait_for("the client works", || {
                assert!(!working.is_finished(), "the client has ended");
                cluster.goosefs(&["fs", "ls", "/work"]).stdout.lines().count() > enough
            });
            let victim = format!("master-{}", cluster.leader());
            cluster.kill(&victim).unwrap();
            enough = cluster.goosefs(&["fs", "ls", "/work"]).stdout.lines().count();
            cluster.restart(&victim).unwrap();
        }
        assert_eq!(cluster.goosefs(&["fs", "mkdir", "/stop"]).code, Some(0));
        working.join().unwrap()
    });
    println!("three leaders were killed: {}", said.trim());
    let said: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(said["longest_s"].as_f64().unwrap() < PATIENCE_SECONDS, "{said}");
    cluster.finish().unwrap();
}
