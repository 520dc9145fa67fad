//! What `dev` says and leaves behind.

use super::{GOOSEFS, can_mount, turn};
use goosefs_harness::{DevCluster, Launch, free_ports, wait_for};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

#[test]
fn dev_goes_on_when_nobody_reads_what_it_prints() {
    let _turn = turn();
    let folder = tempfile::tempdir().unwrap();
    let port = free_ports(1, 1).unwrap();
    let dir = folder.path().join("dev");
    let mut dev = Command::new(GOOSEFS)
        .args(["dev", "--masters=1", "--workers=1", "--no-fuse"])
        .arg(format!("--port-base={port}"))
        .arg(format!("--dir={}", dir.display()))
        .env("HOME", folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    // As `goosefs dev | head` does: reads for a while and goes away.
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line == "Ctrl-C stops everything."));
    drop(lines);
    let record: serde_json::Value = serde_json::from_slice(&fs::read(dir.join("dev.json")).unwrap()).unwrap();
    let pid = |value: &serde_json::Value| Pid::from_raw(value["pid"].as_i64().unwrap() as i32);
    let (master, worker) = (pid(&record["masters"][0]), pid(&record["workers"][0]));
    kill(worker, Signal::SIGKILL).unwrap();
    wait_for("dev has noticed the death", || kill(worker, None).is_err());
    let asked = Command::new(GOOSEFS)
        .args(["fs", "masterInfo", &format!("-Dgoosefs.master.rpc.addresses=127.0.0.1:{port}")])
        .output()
        .unwrap();
    assert!(asked.status.success(), "{asked:?}");
    assert!(dev.try_wait().unwrap().is_none(), "it goes on");
    kill(Pid::from_raw(dev.id() as i32), Signal::SIGTERM).unwrap();
    let status = dev.wait().unwrap();
    assert!(status.success(), "{status}");
    assert!(kill(master, None).is_err(), "it takes the master with it");
}

#[test]
fn dev_goes_on_when_a_process_dies_and_says_how_to_start_it_again() {
    let _turn = turn();
    let mut cluster = DevCluster::start(Launch { fuse: can_mount(), ..Launch::new(GOOSEFS) }).unwrap();
    let record = cluster.record().clone();
    assert_eq!((record.masters.len(), record.workers.len()), (3, 2));
    let port = cluster.port_base();
    assert_eq!(record.masters[2].rpc, format!("127.0.0.1:{}", port + 20));
    assert_eq!(record.masters[2].web, format!("127.0.0.1:{}", port + 21));
    assert_eq!(record.workers[1].rpc, format!("127.0.0.2:{}", port + 3));
    let started = cluster.said();
    for process in record.masters.iter().chain(&record.workers) {
        let line = started.lines().find(|line| line.contains(&process.rpc) && line.contains("pid"));
        let line = line.unwrap_or_else(|| panic!("no line for {}: {started}", process.rpc));
        assert!(line.contains(&format!("pid {}", process.pid)), "{line}");
    }
    assert_eq!(started.lines().filter(|line| line.ends_with("  leader")).count(), 1, "{started}");
    assert!(started.contains("try:  "), "{started}");

    cluster.kill("worker-2").unwrap();
    let told = format!(
        "worker-2 (pid {}) has ended: killed by SIGKILL; start it again with: goosefs worker ",
        record.workers[1].pid
    );
    wait_for("dev tells of the death", || cluster.said().contains(&told));
    let told = cluster.said();
    let line = told.lines().find(|line| line.starts_with("worker-2 (pid")).unwrap();
    for arg in &record.workers[1].args {
        assert!(line.contains(arg), "{arg} is missing: {line}");
    }
    // By hand, as it says.
    cluster.restart("worker-2").unwrap();
    let live = || cluster.goosefs(&["fsadmin", "report"]).stdout.contains("Live Workers: 2");
    wait_for("the worker is back", live);
    if record.fuse.is_some() {
        fs::write(cluster.mount_point().join("f"), "still here").unwrap();
        assert_eq!(fs::read(cluster.ufs().join("f")).unwrap(), b"still here");
    }
    cluster.finish().unwrap();
}
