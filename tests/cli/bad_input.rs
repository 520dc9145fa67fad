//! Bad input on the command line and in the surroundings: one clear line that names the thing and what is allowed,
//! an exit code that is not 0, and nothing left half-done.

use super::{GOOSEFS, alone, complains, turn};
use goosefs_harness::{Binary, DevCluster, Launch, MasterProcesses, Said};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::Stdio;

fn run(binary: &Binary, args: &[&str]) -> Said {
    binary.run(args).unwrap()
}

#[test]
fn unknown_flags_and_commands_are_named_with_the_usage() {
    let (_home, binary) = alone();
    for (args, named, allowed) in [
        (&["fs", "ls", "--frob", "/"][..], "'--frob'", "Usage: goosefs fs ls [OPTIONS] <PATHS>..."),
        (&["fs", "frob"], "'frob'", "Usage: goosefs fs [OPTIONS] <COMMAND>"),
        (&["dev", "--frob"], "'--frob'", "Usage: goosefs dev"),
        (&["frob"], "'frob'", "Usage: goosefs"),
        (&["master", "--id", "x"], "'x'", "--id <ID>"),
        (&["dev", "--masters", "10"], "'10'", "1..=9"),
    ] {
        let said = run(&binary, args);
        assert_eq!((said.code, said.stdout.as_str()), (Some(2), ""), "{said:?}");
        let first = said.stderr.lines().next().unwrap();
        assert!(first.starts_with("error: ") && first.contains(named), "{first}");
        assert!(said.stderr.contains(allowed), "{said:?}");
    }
}

#[test]
fn properties_that_cannot_be_are_named_with_what_is_allowed() {
    let (_home, binary) = alone();
    complains(
        &run(&binary, &["fs", "-Dgoosefs.master.hostnam=x", "ls", "/"]),
        &["property goosefs.master.hostnam is not known", "did you mean goosefs.master.hostname?"],
    );
    complains(&run(&binary, &["fs", "-Dnonsense", "ls", "/"]), &["-Dnonsense is not -Dkey=value"]);
    complains(
        &run(&binary, &["fs", "-Dgoosefs.user.block.size.bytes.default=2X", "ls", "/"]),
        &["goosefs.user.block.size.bytes.default", "\"2X\"", "512MB or 2GB"],
    );
    complains(
        &run(&binary, &["worker", "-Dgoosefs.worker.tieredstore.level0.dirs.quota=2X"]),
        &["goosefs.worker.tieredstore.level0.dirs.quota", "\"2X\"", "512MB or 2GB"],
    );
    complains(
        &run(&binary, &["getConf", "goosefs.nothing"]),
        &["goosefs.nothing", "`goosefs getConf` lists all"],
    );
}

#[test]
fn flags_of_dev_that_cannot_be_leave_no_directory_behind() {
    let (home, binary) = alone();
    fs::write(home.path().join("file"), "").unwrap();
    for (flags, words) in [
        (&["--worker-quota", "2X"][..], &["--worker-quota 2X", "512MB or 2GB"][..]),
        (&["--worker-quota", "512"], &["--worker-quota 512", "1MB at least"]),
        (&["--mount", "/x=ftp://h/"], &["--mount /x=ftp://h/", "\"ftp\"", "https://host[:port]/path/"]),
        (&["--mount", "/x=http://"], &["--mount /x=http://", "\"http://\"", "http://host[:port]/path/"]),
        (&["--mount", "nothing"], &["--mount nothing", "/path=URI"]),
        (&["--mount", "x=http://127.0.0.1/"], &["\"x\"", "not absolute"]),
        (&["--mount-point", "file"], &["/file is not a directory"]),
    ] {
        let said = run(&binary, &[&["dev", "--dir", "d"], flags].concat());
        assert_eq!(said.stdout, "");
        let line = complains(&said, words);
        assert!(line.starts_with("goosefs dev: "), "{line}");
        assert!(!home.path().join("d").exists(), "{flags:?} left a directory");
    }
}

#[test]
fn a_mount_point_that_is_no_directory_is_named() {
    let (home, binary) = alone();
    fs::write(home.path().join("file"), "").unwrap();
    // The masters are not asked: the default ports may be anybody's.
    let masters = "-Dgoosefs.master.rpc.addresses=127.0.0.1:1";
    complains(&run(&binary, &["fuse", "file", masters]), &["mount point file is not a directory", "empty"]);
    complains(
        &run(&binary, &["fuse", "nowhere", masters]),
        &["mount point nowhere is not a directory", "empty"],
    );
    complains(&run(&binary, &["fuse", masters]), &["where to mount is missing", "goosefs fuse /mnt"]);
}

#[test]
fn a_port_in_use_is_named_and_dev_takes_everything_down_again() {
    let _turn = turn();
    let (home, binary) = alone();
    // Below the ports that the system gives to clients, whose neighbours would be taken, too.
    let first = 10_000 + u16::try_from(std::process::id() % 90).unwrap() * 20;
    let taken = (first..12_000).step_by(20).find_map(|port| TcpListener::bind(("127.0.0.1", port)).ok());
    let taken = taken.unwrap();
    let port = taken.local_addr().unwrap().port();
    let dir = home.path().join("d");
    let said = run(
        &binary,
        &[
            "dev",
            &format!("--dir={}", dir.display()),
            &format!("--port-base={port}"),
            "--masters=1",
            "--workers=1",
            "--no-fuse",
        ],
    );
    assert_eq!((said.code, said.stdout.as_str()), (Some(1), ""), "{said:?}");
    let lines: Vec<&str> = said.stderr.lines().filter(|line| line.contains(&format!(":{port}"))).collect();
    assert_eq!(lines.len(), 1, "{said:?}");
    let address = format!("127.0.0.1:{port} is already in use");
    assert!(lines[0].contains(&address) && lines[0].contains("choose another port"), "{}", lines[0]);
    assert!(said.stderr.contains("--port-base moves them all"), "{said:?}");
    assert!(!somebody_runs_on(&dir), "a process stayed");
}

/// Whether any process has `dir` in its arguments.
fn somebody_runs_on(dir: &Path) -> bool {
    let dir = dir.display().to_string();
    let processes = fs::read_dir("/proc").unwrap().flatten();
    let mut lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.any(|line| String::from_utf8_lossy(&line).contains(&dir))
}

#[test]
fn a_second_dev_on_the_same_directory_is_refused_and_the_first_goes_on() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let dir = cluster.dir().display().to_string();
    complains(&run(&cluster.binary(), &["dev", "--dir", &dir]), &["another `goosefs dev` runs on", &dir]);
    assert_eq!(cluster.goosefs(&["fs", "ls", "/"]).code, Some(0));
    cluster.finish().unwrap();
}

#[test]
fn paths_and_uris_that_cannot_be_are_named() {
    let _turn = turn();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let fs = |args: &[&str]| cluster.goosefs(&[&["fs"], args].concat());
    complains(&fs(&["ls", "x"]), &["path \"x\" is not absolute"]);
    complains(&fs(&["ls", "/a/../b"]), &["\"/a/../b\"", "\"..\""]);
    complains(&fs(&["mount", "/x", "ftp://h/"]), &["ftp://h/", "\"ftp\"", "https://host[:port]/path/"]);
    complains(&fs(&["mount", "/x", "http://"]), &["\"http://\"", "http://host[:port]/path/"]);
    complains(&fs(&["mount", "/x", "/nowhere/at/all"]), &["/nowhere/at/all", "No such file"]);
    complains(&fs(&["mount", "/x", "http://127.0.0.1:1/"]), &["http://127.0.0.1:1/", "refused"]);
    complains(&fs(&["mount", "--option", "retries", "/x", "/tmp"]), &["--option retries is not KEY=VALUE"]);
    complains(&fs(&["mount", "/x"]), &["mount /x", "URI"]);
    assert_eq!(fs(&["mount"]).lines().len(), 1, "only the root is mounted");
    assert_eq!(fs(&["ls", "/"]).stdout, "");
    cluster.finish().unwrap();
}

#[test]
fn a_command_that_no_master_answers_says_early_what_it_waits_for_and_at_the_end_what_it_tried() {
    let (_home, binary) = alone();
    // Bound and never served: whoever connects is kept waiting.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = silent.local_addr().unwrap();
    let masters = format!("-Dgoosefs.master.rpc.addresses={address}");
    let said = run(&binary, &["fs", &masters, "-Dgoosefs.user.rpc.retry.max.duration=6s", "ls", "/"]);
    let waiting = said.stderr.trim_end().to_owned();
    complains(
        &Said { stderr: String::new(), ..said },
        &["no master among", &address.to_string(), "are the masters running"],
    );
    assert!(waiting.starts_with(&format!("waiting for a leading master among {address} (")), "{waiting}");
    assert!(waiting.ends_with("gives up after 6 s (goosefs.user.rpc.retry.max.duration)"), "{waiting}");
}

#[test]
fn a_command_whose_data_no_worker_takes_says_early_what_it_waits_for() {
    let masters = MasterProcesses::started(GOOSEFS, 1).unwrap();
    fs::write(masters.ufs().join("file"), b"bytes").unwrap();
    let (_home, binary) = alone();
    let binary = binary.with("GOOSEFS_MASTER_RPC_ADDRESSES", masters.rpc(0));
    let mut command = binary.command(&["fs", "cat", "/file"]);
    let mut cat = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut said = String::new();
    BufReader::new(cat.stderr.take().unwrap()).read_line(&mut said).unwrap();
    let running = cat.try_wait().unwrap().is_none();
    cat.kill().unwrap();
    cat.wait().unwrap();
    assert!(running, "it told before it gave up");
    assert!(said.starts_with("waiting for a worker (no worker can be asked, 0 are known"), "{said}");
    assert!(said.trim_end().ends_with("gives up after 30 s"), "{said}");
}
