//! Whether every mount of the node would outlive its FUSE process, which is what being ready says: only then may a FUSE
//! pod, or the plugin of the next node, be replaced.

use goosefs_core::mountinfo::{self, FSTYPE, Mount};
use goosefs_core::rpc::park::holder::Holder;
use std::path::{Path, PathBuf};

/// The first kernel that lets a mount be taken over.
const FIRST_KERNEL: (u32, u32) = (6, 9);

/// Mounts of runtimes, below `root`, that the holder does not have.
pub(super) fn missing(root: &Path, holder: &Holder) -> Vec<PathBuf> {
    let held = holder.devices();
    let all = mountinfo::all();
    let missing = |(mount, _): &(&Mount, usize)| {
        mount.fstype == FSTYPE && mount.mount_point.starts_with(root) && !held.contains(&mount.device)
    };
    mountinfo::tops(&all).into_values().filter(missing).map(|(mount, _)| mount.mount_point.clone()).collect()
}

/// Whether this kernel lets a mount be taken over at all.
pub(super) fn possible() -> bool {
    nix::sys::utsname::uname()
        .is_ok_and(|name| release(&name.release().to_string_lossy()) >= Some(FIRST_KERNEL))
}

/// `6.18.3-cloud`: major and minor number.
fn release(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_is_old_or_new() {
        assert!(release("6.8.0-31-generic") < Some(FIRST_KERNEL));
        assert!(release("6.9.1") >= Some(FIRST_KERNEL));
        assert!(release("6.18.3-cloud") >= Some(FIRST_KERNEL));
        assert_eq!(release("odd"), None);
    }
}
