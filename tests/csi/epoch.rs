//! A FUSE process that dies while its masters begin another epoch, as the real processes do it.

use crate::plugin::{Ground, Plugin, Process, can_mount};
use goosefs_core::mountinfo;
use goosefs_harness::{MasterProcesses, wait_for};
use nix::sys::signal::Signal;
use std::fs::{self, File};

fn fuse(ground: &Ground, masters: &MasterProcesses) -> Process {
    let point = ground.source().display().to_string();
    let masters = format!("-Dgoosefs.master.rpc.addresses={}", masters.rpc(0));
    let holder = ground.root().join(".goosefs/holder.sock");
    let holder = format!("-Dgoosefs.fuse.holder.sockets={}", holder.display());
    let process = Process::start(ground, "fuse", &["fuse", &point, &masters, &holder]);
    let line = process.line();
    assert!(line.starts_with("ready fuse"), "{line}");
    process
}

#[test]
fn the_next_process_mounts_anew_once_the_masters_are_in_another_epoch() {
    if !can_mount() {
        return;
    }
    let mut masters = MasterProcesses::started(env!("CARGO_BIN_EXE_goosefs"), 1).unwrap();
    fs::write(masters.ufs().join("file"), "bytes").unwrap();
    let ground = Ground::new();
    let _plugin = Plugin::start(&ground);
    let log = || fs::read_to_string(ground.path().join("fuse.err")).unwrap_or_default();
    let mut process = fuse(&ground, &masters);
    wait_for("the mount is parked", || log().contains("parked with the holder"));
    let device = || mountinfo::at(&ground.source()).map(|mount| mount.device);
    let (first, file) = (device(), File::open(ground.source().join("file")).unwrap());
    process.signal(Signal::SIGKILL);
    process.wait();
    masters.stop(0).unwrap();
    masters.start(0, &["--force-new-cluster"]).unwrap();
    masters.ready(0).unwrap();
    let _process = fuse(&ground, &masters);
    assert!(log().contains("the mount cannot be taken over"), "{}", log());
    assert_ne!(device(), first);
    assert_eq!(file.metadata().unwrap_err().raw_os_error(), Some(libc::ENOTCONN));
    assert_eq!(fs::read_dir(ground.source()).unwrap().count(), 1);
}
