//! Signals: what is half done is cleared away, and one signal that comes twice is one.

use super::{GOOSEFS, turn};
use goosefs_harness::{DevCluster, Launch};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

fn signal(child: &Child, with: nix::sys::signal::Signal) {
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, with).unwrap();
}

fn until(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !met() {
        assert!(Instant::now() < deadline, "never: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn command(cluster: &DevCluster, args: &[&str]) -> Command {
    let masters = format!("-Dgoosefs.master.rpc.addresses={}", cluster.masters().join(","));
    let mut command = Command::new(GOOSEFS);
    command.args(&args[..1]).arg(masters).args(&args[1..]).current_dir(cluster.scratch());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect()
}

#[test]
fn an_interrupted_copy_leaves_nothing_behind() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    // Sparse: large enough to be caught in the middle.
    let large = fs::File::create(cluster.ufs().join("large")).unwrap();
    large.set_len(600 << 20).unwrap();
    let to_local = command(&cluster, &["fs", "copyToLocal", "/large", "here"]).spawn().unwrap();
    until("the copy begins", || names(cluster.scratch()).iter().any(|name| name == "here.copying"));
    signal(&to_local, nix::sys::signal::Signal::SIGINT);
    let said = to_local.wait_with_output().unwrap();
    assert!(!said.status.success(), "{said:?}");
    assert!(!names(cluster.scratch()).iter().any(|name| name.starts_with("here")), "{said:?}");

    fs::copy(cluster.ufs().join("large"), cluster.scratch().join("large")).unwrap();
    let from_local = command(&cluster, &["fs", "copyFromLocal", "large", "/copy"]).spawn().unwrap();
    until("the copy begins", || cluster.goosefs(&["fs", "ls", "/"]).stdout.contains("/copy"));
    signal(&from_local, nix::sys::signal::Signal::SIGINT);
    let said = from_local.wait_with_output().unwrap();
    assert!(!said.status.success(), "{said:?}");
    let left = cluster.goosefs(&["fs", "ls", "/"]).stdout;
    assert!(!left.contains("/copy"), "{left}");
    cluster.finish().unwrap();
}

#[test]
fn a_role_that_is_signalled_twice_at_once_ends_in_order() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let home = tempfile::tempdir().unwrap();
    let tier =
        format!("-Dgoosefs.worker.tieredstore.level0.dirs.path={}", home.path().join("tier").display());
    let ports = ["-Dgoosefs.worker.rpc.port=0", "-Dgoosefs.worker.web.port=0"];
    let mut command = command(&cluster, &["worker", &tier, ports[0], ports[1]]);
    let mut worker = command.spawn().unwrap();
    let mut line = String::new();
    let mut output = std::io::BufReader::new(worker.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut output, &mut line).unwrap();
    assert!(line.starts_with("ready"), "{line}");
    for _ in 0..2 {
        signal(&worker, nix::sys::signal::Signal::SIGTERM);
    }
    let said = worker.wait_with_output().unwrap();
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    cluster.finish().unwrap();
}
