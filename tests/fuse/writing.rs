//! Writing: from the start to the end, errors where programs look for them, complete at the last close.

use crate::mounted::{Mounted, bytes, errno};
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::fd::IntoRawFd;
use std::os::unix::fs::FileExt;
use std::process::Command;

const MIB: usize = 1 << 20;

#[test]
fn what_was_written_is_read_back_and_complete_at_close() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(5 * MIB + 321, 21);
    let mut file = File::create(mount.path("file")).expect("create");
    assert_eq!(mount.cluster.completed("file"), Some((false, 0)), "visible at create");
    file.write_all(&content[..MIB]).expect("write");
    assert_eq!(fs::metadata(mount.path("file")).expect("stat").len(), MIB as u64, "the size grows");
    let reader = File::open(mount.path("file")).expect("a reader of what is being written");
    let mut buffer = vec![0; MIB];
    reader.read_exact_at(&mut buffer, 0).expect("read");
    assert!(buffer == content[..MIB]);
    assert_eq!(reader.read_at(&mut buffer, MIB as u64).expect("read"), 0);
    file.write_all(&content[MIB..]).expect("write");
    assert_eq!(reader.read_at(&mut buffer, MIB as u64).expect("read"), MIB, "the reader sees it grow");
    assert!(buffer == content[MIB..2 * MIB]);
    drop((file, reader));
    mount.wait("complete", || mount.cluster.completed("file") == Some((true, content.len() as u64)));
    let seen = mount.reads();
    assert!(fs::read(mount.path("file")).expect("read") == content);
    assert_eq!(mount.reads(), seen, "passthrough once it is complete");
}

#[test]
fn copying_a_tree_in_and_out_keeps_every_byte() {
    let Some(mount) = Mounted::new() else { return };
    let source = tempfile::tempdir().expect("a folder");
    fs::create_dir(source.path().join("sub")).expect("a folder");
    for (name, length) in [("a", 0), ("b", 1), ("sub/c", 4096), ("sub/d", 3 * MIB + 5)] {
        fs::write(source.path().join(name), bytes(length, length as u64)).expect("a file");
    }
    let run = |command: &mut Command| {
        let output = command.output().expect("run");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    run(Command::new("cp").arg("-r").arg(source.path()).arg(mount.path("tree")));
    run(Command::new("diff").arg("-r").arg(source.path()).arg(mount.path("tree")));
}

#[test]
fn a_shell_that_flushes_many_times_writes_the_file() {
    let Some(mount) = Mounted::new() else { return };
    let script = "(echo one; echo two; /bin/echo three) > f && echo four > g";
    let status = Command::new("sh").args(["-c", script]).current_dir(mount.point()).status().expect("sh");
    assert!(status.success());
    assert_eq!(fs::read_to_string(mount.path("f")).expect("read"), "one\ntwo\nthree\n");
    assert_eq!(fs::read_to_string(mount.path("g")).expect("read"), "four\n");
}

#[test]
fn fsync_uploads_what_is_dirty_and_may_be_repeated() {
    let Some(mount) = Mounted::new() else { return };
    let mut file = File::create(mount.path("file")).expect("create");
    file.write_all(b"one").expect("write");
    file.sync_all().expect("fsync");
    file.sync_all().expect("fsync");
    assert_eq!(mount.cluster.persists(), 1);
    file.write_all(b"two").expect("write");
    file.sync_data().expect("fdatasync");
    assert_eq!(mount.cluster.persists(), 2);
    drop(file);
    mount.wait("complete", || mount.cluster.completed("file") == Some((true, 6)));
    assert_eq!(mount.cluster.persists(), 2, "nothing new at close");
}

#[test]
fn a_failed_write_is_told_by_write_fsync_and_close() {
    let Some(mount) = Mounted::new() else { return };
    let mut file = File::create(mount.path("file")).expect("create");
    file.write_all(b"good").expect("write");
    mount.cluster.fail_writes(true);
    assert_eq!(errno(file.write_all(b"bad")), libc::EIO);
    assert_eq!(errno(file.sync_all()), libc::EIO);
    let closed = nix::unistd::close(file.into_raw_fd());
    assert_eq!(closed, Err(nix::errno::Errno::EIO));
    mount.wait("empty", || mount.cluster.completed("file") == Some((true, 0)));
    mount.wait_until_closed();
    mount.cluster.fail_writes(false);
    fs::write(mount.path("file"), b"again").expect("it can be written anew");
    mount.wait("complete", || mount.cluster.completed("file") == Some((true, 5)));
}

#[test]
fn what_fsync_said_to_be_safe_stays_when_a_later_write_fails() {
    let Some(mount) = Mounted::new() else { return };
    let mut file = File::create(mount.path("file")).expect("create");
    file.write_all(b"safe").expect("write");
    file.sync_all().expect("fsync");
    mount.cluster.fail_writes(true);
    assert_eq!(errno(file.write_all(b"bad")), libc::EIO);
    drop(file);
    mount.wait("complete", || mount.cluster.completed("file") == Some((true, 4)));
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"safe");
}

#[test]
fn only_the_end_of_a_new_file_can_be_written() {
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.put("old", b"old bytes").expect("a file");
    let old = OpenOptions::new().write(true).open(mount.path("old")).expect("open");
    assert_eq!(errno(old.write_at(b"x", 0)), libc::EOPNOTSUPP);
    assert_eq!(errno(old.set_len(3)), libc::EOPNOTSUPP);
    let mut appending = OpenOptions::new().append(true).open(mount.path("old")).expect("open");
    assert_eq!(errno(appending.write_all(b"x")), libc::EOPNOTSUPP);
    drop((old, appending));
    assert_eq!(fs::read(mount.path("old")).expect("read"), b"old bytes");
    let new = File::create(mount.path("new")).expect("create");
    new.write_at(b"abc", 0).expect("write");
    assert_eq!(errno(new.write_at(b"x", 1)), libc::EOPNOTSUPP);
    assert_eq!(errno(new.write_at(b"x", 100)), libc::EOPNOTSUPP);
    new.write_at(b"def", 3).expect("the end is still where it was");
    drop(new);
    mount.wait("complete", || mount.cluster.completed("new") == Some((true, 6)));
    assert_eq!(fs::read(mount.path("new")).expect("read"), b"abcdef");
}

#[test]
fn an_empty_file_can_be_appended_to() {
    let Some(mount) = Mounted::new() else { return };
    File::create(mount.path("file")).expect("touch");
    mount.wait("complete", || mount.cluster.completed("file") == Some((true, 0)));
    let mut file = OpenOptions::new().append(true).open(mount.path("file")).expect("open");
    file.write_all(b"now").expect("write");
    drop(file);
    mount.wait("complete", || mount.cluster.completed("file") == Some((true, 3)));
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"now");
}

#[test]
fn truncate_without_an_open_file_completes_it() {
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.put("file", b"bytes").expect("a file");
    nix::unistd::truncate(&mount.path("file"), 5).expect("the length it has");
    nix::unistd::truncate(&mount.path("file"), 0).expect("to nothing");
    assert_eq!(mount.cluster.completed("file"), Some((true, 0)));
    assert_eq!(fs::metadata(mount.path("file")).expect("stat").len(), 0);
}

#[test]
fn a_read_only_mount_refuses_every_change() {
    let Some(mount) = Mounted::with(|config| config.read_only = true) else { return };
    mount.cluster.put("file", b"bytes").expect("a file");
    assert_eq!(errno(File::create(mount.path("new"))), libc::EROFS);
    assert_eq!(errno(fs::create_dir(mount.path("dir"))), libc::EROFS);
    assert_eq!(errno(fs::remove_file(mount.path("file"))), libc::EROFS);
    assert_eq!(errno(OpenOptions::new().write(true).open(mount.path("file"))), libc::EROFS);
    assert_eq!(fs::read(mount.path("file")).expect("read"), b"bytes");
}
