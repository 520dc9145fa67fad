//! Names: listing, making, moving, removing, attributes.

use crate::mounted::{Mounted, errno};
use nix::fcntl::{AT_FDCWD, RenameFlags, renameat2};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::time::{Duration, UNIX_EPOCH};

#[test]
fn ten_thousand_names_are_listed_once_each_while_others_come_and_go() {
    let Some(mount) = Mounted::new() else { return };
    for n in 0..10_000 {
        mount.cluster.put(&format!("f{n:05}"), b"").expect("a file");
    }
    let mut names = Vec::new();
    for (n, entry) in fs::read_dir(mount.point()).expect("list").enumerate() {
        names.push(entry.expect("entry").file_name().into_string().expect("text"));
        if n % 1000 == 0 {
            fs::write(mount.path(&format!("new{n:05}")), b"").expect("a new file");
            fs::remove_file(mount.path(&format!("new{n:05}"))).expect("gone again");
        }
    }
    let distinct: BTreeSet<&String> = names.iter().collect();
    assert_eq!(distinct.len(), names.len(), "no name twice");
    let stable = names.iter().filter(|name| name.starts_with('f')).count();
    assert_eq!(stable, 10_000);
    assert!(fs::metadata(mount.path("f09999")).expect("stat").is_file());
}

#[test]
fn a_directory_can_be_read_again_from_any_position() {
    let Some(mount) = Mounted::new() else { return };
    for n in 0..3000 {
        mount.cluster.put(&format!("f{n:05}"), b"").expect("a file");
    }
    let script = "import os, ctypes\n\
        libc = ctypes.CDLL(None, use_errno=True)\n\
        libc.opendir.restype = ctypes.c_void_p\n\
        libc.readdir.restype = ctypes.c_void_p\n\
        libc.readdir.argtypes = [ctypes.c_void_p]\n\
        libc.telldir.argtypes = [ctypes.c_void_p]\n\
        libc.telldir.restype = ctypes.c_long\n\
        libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]\n\
        libc.rewinddir.argtypes = [ctypes.c_void_p]\n\
        d = libc.opendir(b'.')\n\
        def name():\n\
        \x20 e = libc.readdir(d)\n\
        \x20 return ctypes.string_at(e + 19) if e else None\n\
        seen = []\n\
        places = []\n\
        while True:\n\
        \x20 places.append(libc.telldir(d))\n\
        \x20 n = name()\n\
        \x20 if n is None: break\n\
        \x20 seen.append(n)\n\
        assert len(seen) == 3002, len(seen)\n\
        for i in (2500, 3, 1500, 1025, 1024, 2):\n\
        \x20 libc.seekdir(d, places[i])\n\
        \x20 n = name()\n\
        \x20 assert n == seen[i], (i, n, seen[i])\n\
        libc.rewinddir(d)\n\
        assert [name() for _ in range(5)] == seen[:5]\n";
    let output =
        std::process::Command::new("python3").args(["-c", script]).current_dir(mount.point()).output();
    let Ok(output) = output else {
        eprintln!("SKIPPED: needs python3");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn odd_names_are_kept_as_they_are() {
    let Some(mount) = Mounted::new() else { return };
    let long = "n".repeat(255);
    let names = ["a b", "100%", "#1", "a&b", "a+b", "\"q'", "中文", "🪿", ".hidden", "back\\slash", &long];
    for name in names {
        fs::write(mount.path(name), name).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(fs::read_to_string(mount.path(name)).expect("read"), name);
    }
    let listed: BTreeSet<String> = fs::read_dir(mount.point())
        .expect("list")
        .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
        .collect();
    assert_eq!(listed, names.iter().map(|name| (*name).to_owned()).collect());
    assert_eq!(errno(File::create(mount.path(&"n".repeat(256)))), libc::ENAMETOOLONG);
    use std::os::unix::ffi::OsStrExt;
    let bytes = mount.point().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
    assert_eq!(errno(fs::metadata(&bytes)), libc::ENOENT);
    assert_eq!(errno(File::create(&bytes)), libc::EINVAL);
}

#[test]
fn directories_are_made_and_removed_when_empty() {
    let Some(mount) = Mounted::new() else { return };
    fs::create_dir(mount.path("d")).expect("mkdir");
    assert_eq!(errno(fs::create_dir(mount.path("d"))), libc::EEXIST);
    fs::write(mount.path("d/f"), b"x").expect("a file");
    assert_eq!(errno(fs::remove_dir(mount.path("d"))), libc::ENOTEMPTY);
    assert_eq!(errno(fs::remove_file(mount.path("d"))), libc::EISDIR);
    assert_eq!(errno(fs::remove_dir(mount.path("d/f"))), libc::ENOTDIR);
    fs::remove_file(mount.path("d/f")).expect("unlink");
    fs::remove_dir(mount.path("d")).expect("rmdir");
    assert_eq!(errno(fs::metadata(mount.path("d"))), libc::ENOENT);
}

#[test]
fn a_process_in_a_directory_that_the_feed_told_of_still_has_its_path() {
    let Some(mount) = Mounted::new() else { return };
    fs::create_dir(mount.path("d")).expect("mkdir");
    let script =
        "cd d && mkdir sub && for i in 1 2 3 4 5; do sleep 0.1; /bin/pwd; done && echo x > f && cat f";
    let output = std::process::Command::new("sh").args(["-c", script]).current_dir(mount.point()).output();
    let output = output.expect("sh");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let said = String::from_utf8(output.stdout).expect("text");
    let path = mount.path("d").display().to_string();
    assert_eq!(said.lines().filter(|line| *line == path).count(), 5, "{said}");
    assert!(said.ends_with("x\n"));
}

#[test]
fn rename_replaces_unless_told_not_to_and_never_exchanges() {
    let Some(mount) = Mounted::new() else { return };
    fs::write(mount.path("a"), b"a").expect("a file");
    fs::write(mount.path("b"), b"b").expect("a file");
    let rename = |flags| renameat2(AT_FDCWD, &mount.path("a"), AT_FDCWD, &mount.path("b"), flags);
    assert_eq!(rename(RenameFlags::RENAME_NOREPLACE), Err(nix::errno::Errno::EEXIST));
    assert_eq!(rename(RenameFlags::RENAME_EXCHANGE), Err(nix::errno::Errno::EINVAL));
    fs::rename(mount.path("a"), mount.path("b")).expect("rename");
    assert_eq!(fs::read(mount.path("b")).expect("read"), b"a");
    assert_eq!(errno(fs::metadata(mount.path("a"))), libc::ENOENT);
}

#[test]
fn symlinks_are_followed_and_read() {
    let Some(mount) = Mounted::new() else { return };
    fs::write(mount.path("target"), b"bytes").expect("a file");
    symlink("target", mount.path("link")).expect("symlink");
    assert_eq!(fs::read_link(mount.path("link")).expect("readlink").to_str(), Some("target"));
    assert_eq!(fs::read(mount.path("link")).expect("read"), b"bytes");
    assert!(fs::symlink_metadata(mount.path("link")).expect("lstat").is_symlink());
}

#[test]
fn mode_owner_and_times_can_be_set() {
    let Some(mount) = Mounted::new() else { return };
    fs::write(mount.path("f"), b"x").expect("a file");
    mount.wait_until_closed();
    fs::set_permissions(mount.path("f"), fs::Permissions::from_mode(0o640)).expect("chmod");
    std::os::unix::fs::chown(mount.path("f"), Some(12345), Some(54321)).expect("chown");
    let then = UNIX_EPOCH + Duration::from_secs(1_000_000_000);
    let file = File::open(mount.path("f")).expect("open");
    file.set_times(fs::FileTimes::new().set_modified(then).set_accessed(then)).expect("utimens");
    let stat = fs::metadata(mount.path("f")).expect("stat");
    assert_eq!(stat.mode() & 0o7777, 0o640);
    assert_eq!((stat.uid(), stat.gid()), (12345, 54321));
    assert_eq!(stat.modified().expect("mtime"), then);
    assert_eq!(stat.accessed().expect("atime"), then);
}

#[test]
fn what_is_not_supported_says_so_and_capacity_is_shown() {
    let Some(mount) = Mounted::new() else { return };
    fs::write(mount.path("f"), b"x").expect("a file");
    assert_eq!(errno(fs::hard_link(mount.path("f"), mount.path("g"))), libc::EPERM);
    let path = std::ffi::CString::new(mount.path("f").to_str().expect("text")).expect("no zero");
    // SAFETY: both strings end with a zero, and no value is written.
    #[allow(unsafe_code)]
    let got = unsafe { libc::getxattr(path.as_ptr(), c"user.x".as_ptr(), std::ptr::null_mut(), 0) };
    assert_eq!((got, std::io::Error::last_os_error().raw_os_error()), (-1, Some(libc::EOPNOTSUPP)));
    mount.wait("capacity is known", || {
        let stat = nix::sys::statvfs::statvfs(mount.point()).expect("statvfs");
        stat.blocks() * stat.fragment_size() == 1 << 30
    });
}
