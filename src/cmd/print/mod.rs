//! How GooseFS prints things that several commands print: sizes, times, modes, progress.

mod progress;
mod size;
mod time;

pub(crate) use progress::Progress;
pub(crate) use size::size;
pub(crate) use time::{date, uptime};

use goosefs_core::proto::internal::NodeKind;

/// `drwxr-xr-x`.
#[must_use]
pub(crate) fn mode(kind: NodeKind, bits: u32) -> String {
    let first = match kind {
        NodeKind::Directory => 'd',
        NodeKind::Symlink => 'l',
        NodeKind::File | NodeKind::Unspecified => '-',
    };
    let letter =
        |shift: u32| if bits >> shift & 1 == 1 { ['x', 'w', 'r'][(shift % 3) as usize] } else { '-' };
    std::iter::once(first).chain((0..9).rev().map(letter)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes() {
        assert_eq!(mode(NodeKind::Directory, 0o755), "drwxr-xr-x");
        assert_eq!(mode(NodeKind::File, 0o640), "-rw-r-----");
        assert_eq!(mode(NodeKind::Symlink, 0o777), "lrwxrwxrwx");
    }
}
