//! What stays mounted after a FUSE process died. Asked of mountinfo alone: to `stat` a mount whose daemon is dead hangs.

use goosefs_core::mountinfo;
use nix::mount::{MntFlags, umount2};
use std::path::Path;

/// Whether something is mounted at `path` (absolute).
pub(super) fn is_mounted(path: &Path) -> bool {
    mountinfo::at(path).is_some()
}

/// Takes away every mount at `path`; who still has files open there keeps them until it closes them.
pub(super) fn detach(path: &Path) -> nix::Result<()> {
    while is_mounted(path) {
        umount2(path, MntFlags::MNT_DETACH)?;
    }
    Ok(())
}
