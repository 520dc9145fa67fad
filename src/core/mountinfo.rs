//! `/proc/self/mountinfo`, which can be read however dead a mount is, and the way out of one that hangs. FUSE asks it
//! for its own mount, the CSI plugin for everybody's.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Minor number of the device, which names a FUSE connection under `/sys/fs/fuse/connections`.
    pub minor: u32,
    /// `major:minor`, which names it under `/sys/class/bdi`.
    pub device: String,
    /// What of the file system is mounted: `/` for all of it.
    pub root: PathBuf,
    /// Where it is mounted.
    pub mount_point: PathBuf,
    /// [`FSTYPE`] for ours.
    pub fstype: String,
    /// What was mounted, as whoever mounted it calls it.
    pub source: String,
    /// Options of this mount alone, not of what is mounted: `rw,nosuid,nodev,noatime`.
    pub options: String,
}

/// The file itself. poll(2) says POLLPRI when it has changed.
pub const TABLE: &str = "/proc/self/mountinfo";

/// What [`Mount::fstype`] is for mounts of ours.
pub const FSTYPE: &str = "fuse.goosefs-fuse";

/// Where the kernel shows FUSE connections, once fusectl is mounted there.
const CONNECTIONS: &str = "/sys/fs/fuse/connections";

impl Mount {
    /// Whether it has the option `name`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.options.split(',').any(|option| option == name)
    }

    /// Ends the connection between the kernel and the mount's daemon: every call on the mount fails from now on. Needs
    /// root; fusectl is mounted first where nobody has done so.
    ///
    /// # Errors
    /// `NotFound` when the connection is gone already, `PermissionDenied`.
    pub fn abort(&self) -> io::Result<()> {
        let path = format!("{CONNECTIONS}/{}/abort", self.minor);
        if at(Path::new(CONNECTIONS)).is_none() {
            let nothing = None::<&str>;
            let flags = nix::mount::MsFlags::empty();
            nix::mount::mount(Some("fusectl"), CONNECTIONS, Some("fusectl"), flags, nothing)?;
        }
        std::fs::OpenOptions::new().write(true).open(path)?.write_all(b"1")
    }
}

/// Every mount that this process sees; one that lies on top of another at the same place comes after it.
#[must_use]
pub fn all() -> Vec<Mount> {
    let text = std::fs::read_to_string(TABLE).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

/// The mount that lies on top at each place, and how many lie there.
#[must_use]
pub fn tops(all: &[Mount]) -> BTreeMap<&Path, (&Mount, usize)> {
    let mut tops: BTreeMap<&Path, (&Mount, usize)> = BTreeMap::new();
    for mount in all {
        let top = tops.entry(&mount.mount_point).or_insert((mount, 0));
        *top = (mount, top.1 + 1);
    }
    tops
}

/// The mount that lies on top at `mount_point`, which must be absolute and without symlinks.
#[must_use]
pub fn at(mount_point: &Path) -> Option<Mount> {
    all().into_iter().rfind(|mount| mount.mount_point == mount_point)
}

/// `36 35 98:0 /root /mount/point options optional... - fstype source superoptions`.
fn parse(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut fields = before.split(' ');
    let device = fields.nth(2)?.to_owned();
    let root = unescape(fields.next()?);
    let mount_point = unescape(fields.next()?);
    let options = fields.next()?.to_owned();
    let minor = device.split_once(':')?.1.parse().ok()?;
    let mut after = after.split(' ');
    let fstype = after.next()?.to_owned();
    let source = after.next()?.to_owned();
    Some(Mount { minor, device, root, mount_point, fstype, source, options })
}

/// Space, tab, newline and backslash are written as three octal digits.
fn unescape(field: &str) -> PathBuf {
    let bytes = field.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let octal = bytes.get(at + 1..at + 4).filter(|_| *byte == b'\\');
        let value = octal.and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            u8::from_str_radix(digits, 8).ok()
        });
        match value {
            Some(value) => {
                plain.push(value);
                at += 4;
            }
            None => {
                plain.push(*byte);
                at += 1;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_point_with_a_space_is_read_back() {
        let line = r"97 26 0:57 / /mnt/my\040data\134x rw,nosuid - fuse.goosefs-fuse goosefs rw,user_id=0";
        let mount = parse(line).expect("a mount");
        assert_eq!(mount.mount_point, Path::new(r"/mnt/my data\x"));
        assert_eq!((mount.fstype.as_str(), mount.source.as_str()), ("fuse.goosefs-fuse", "goosefs"));
        assert_eq!(mount.root, Path::new("/"));
        assert_eq!((mount.minor, mount.device.as_str()), (57, "0:57"));
        assert!(mount.has("nosuid") && !mount.has("ro"), "{mount:?}");
    }

    #[test]
    fn the_root_is_a_mount() {
        assert!(at(Path::new("/proc")).is_some_and(|mount| mount.fstype == "proc"));
    }
}
