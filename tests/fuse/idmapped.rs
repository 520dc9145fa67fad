//! A mount whose user numbers are mapped, as a runtime of containers makes it for a pod with users of its own.

use crate::mounted::Mounted;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;
use std::{fs, io};

/// What the mapping adds: user 0 of the mount is this one in the mapped mount.
const FIRST: u32 = 100_000;

/// Attaches the tree at `argv[1]` a second time at `argv[2]`, with the mapping of a new user namespace. `unshare(1)` makes
/// that; `mount(8)` has an option for all of this from util-linux 2.39 on.
const ATTACH: &str = "
import ctypes, os, struct, subprocess, sys
libc = ctypes.CDLL(None, use_errno=True)
child = subprocess.Popen(['unshare', '-U', 'cat'], stdin=subprocess.PIPE)
# It is there once it is in another namespace than ours.
while os.readlink(f'/proc/{child.pid}/ns/user') == os.readlink('/proc/self/ns/user'): pass
for kind in ('uid', 'gid'):
    open(f'/proc/{child.pid}/{kind}_map', 'w').write('0 100000 65536')
space = os.open(f'/proc/{child.pid}/ns/user', os.O_RDONLY)
def call(number, *arguments):
    result = libc.syscall(number, *arguments)
    if result < 0: sys.exit(os.strerror(ctypes.get_errno()))
    return result
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR, AT_FDCWD, AT_EMPTY_PATH = 428, 429, 442, -100, 0x1000
tree = call(OPEN_TREE, AT_FDCWD, sys.argv[1].encode(), 1 | os.O_CLOEXEC)
MOUNT_ATTR_IDMAP = 0x100000
call(MOUNT_SETATTR, tree, b'', AT_EMPTY_PATH, struct.pack('QQQQ', MOUNT_ATTR_IDMAP, 0, 0, space), 32)
call(MOVE_MOUNT, tree, b'', AT_FDCWD, sys.argv[2].encode(), 4)
child.stdin.close()
child.wait()
";

/// The mapped mount; gone with its value.
struct Mapped(tempfile::TempDir);

impl Mapped {
    fn of(mount: &Mounted) -> io::Result<Mapped> {
        let place = tempfile::tempdir()?;
        let attached =
            Command::new("python3").args(["-c", ATTACH]).arg(mount.point()).arg(place.path()).output()?;
        match attached.status.success() {
            true => Ok(Mapped(place)),
            false => Err(io::Error::other(String::from_utf8_lossy(&attached.stderr).into_owned())),
        }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        let _gone = nix::mount::umount2(self.0.path(), nix::mount::MntFlags::MNT_DETACH);
    }
}

/// A program as user and group `number`.
fn as_user(number: u32, command: &[&str], path: &Path) -> io::Result<String> {
    let number = number.to_string();
    let output = Command::new("setpriv")
        .args(["--reuid", &number, "--regid", &number, "--clear-groups"])
        .args(command)
        .arg(path)
        .output()?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).into_owned()),
        false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
    }
}

fn owner(path: &Path) -> (u32, u32) {
    let stat = fs::metadata(path).expect("stat");
    (stat.uid(), stat.gid())
}

#[test]
fn users_of_an_idmapped_mount_read_write_and_remove_as_the_ones_they_are_mapped_to() {
    let Some(mount) = Mounted::with(|config| config.idmapped = true) else { return };
    fs::set_permissions(mount.point(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("chmod");
    fs::write(mount.path("theirs"), b"bytes").expect("a file");
    let mapped = Mapped::of(&mount).expect("an idmapped mount");
    let root = owner(mount.point());
    assert_eq!(owner(&mapped.path("")), (root.0 + FIRST, root.1 + FIRST), "the root is mapped");
    assert_eq!(owner(&mapped.path("theirs")), (FIRST, FIRST));
    assert_eq!(as_user(FIRST, &["cat"], &mapped.path("theirs")).expect("read"), "bytes");

    as_user(FIRST, &["touch"], &mapped.path("ours")).expect("create");
    assert_eq!(owner(&mapped.path("ours")), (FIRST, FIRST));
    assert_eq!(owner(&mount.path("ours")), (0, 0), "its owner is the one that the creator is mapped to");
    as_user(FIRST, &["chmod", "600"], &mapped.path("theirs")).expect("change");
    as_user(FIRST, &["rm"], &mapped.path("ours")).expect("remove");
    assert!(!mount.path("ours").exists());

    // Another one may not, and neither here nor there is anybody taken for the mount's own user.
    for (who, path) in [(FIRST + 1, mapped.path("theirs")), (1000, mount.path("theirs"))] {
        let refused = as_user(who, &["rm", "-f"], &path).expect_err("not the owner's directory");
        assert!(refused.to_string().contains("Permission denied"), "{refused}");
    }
    assert!(mount.path("theirs").exists());
}

#[test]
fn a_mount_that_was_not_asked_to_cannot_be_idmapped() {
    let Some(mount) = Mounted::new() else { return };
    let refused = Mapped::of(&mount).err().expect("the file system does not allow it");
    assert!(refused.to_string().contains("Invalid argument"), "{refused}");
}
