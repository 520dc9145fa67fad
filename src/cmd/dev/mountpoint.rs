//! What stays mounted after a FUSE process died. Asked of mountinfo alone: to `stat` a mount whose daemon is dead hangs.

use nix::mount::{MntFlags, umount2};
use std::path::Path;

/// Whether something is mounted at `path` (absolute).
pub(super) fn is_mounted(path: &Path) -> bool {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    mentions(&table, path)
}

fn mentions(table: &str, path: &Path) -> bool {
    // The fifth field is the mount point, with blanks written in octal (proc_pid_mountinfo(5)).
    table.lines().filter_map(|line| line.split(' ').nth(4)).any(|field| Path::new(&unescape(field)) == path)
}

/// Takes away every mount at `path`; who still has files open there keeps them until it closes them.
pub(super) fn detach(path: &Path) -> nix::Result<()> {
    while is_mounted(path) {
        umount2(path, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}

fn unescape(field: &str) -> String {
    [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")]
        .iter()
        .fold(field.to_owned(), |text, (escaped, plain)| text.replace(escaped, plain))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mount_is_found_by_its_place_alone() {
        let table = "36 35 98:0 / /mnt/a\\040b rw - fuse.goosefs-fuse goosefs rw\n37 35 98:0 / /mnt rw - ext4 /d rw\n";
        assert!(mentions(table, Path::new("/mnt/a b")));
        assert!(mentions(table, Path::new("/mnt")));
        assert!(!mentions(table, Path::new("/mnt/a")));
    }
}
