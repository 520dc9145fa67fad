//! FUSE node ids and what they stand for.
//!
//! A directory or symlink is its inode id, a file its content id; the root, inode 0, is FUSE's 1. Nothing else has that
//! number, because container numbers start at 1 and ids are `container << 24` or more.

use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{Attr, NodeKind};
use goosefs_core::{Code, Error, Result};

/// The FUSE node id of the root.
pub const ROOT: u64 = 1;

/// The directory with this FUSE node id.
///
/// # Errors
/// `NotDirectory` when the id is a file's.
pub fn directory(node: u64) -> Result<InodeId> {
    if node == ROOT {
        return Ok(InodeId::ROOT);
    }
    match ContentId::from_raw(node) {
        Some(content) => Err(Error::new(Code::NotDirectory, format!("{content} is a file"))),
        None => Ok(InodeId(node)),
    }
}

/// The content with this FUSE node id.
///
/// # Errors
/// `IsDirectory` when the id is not a file's.
pub fn content(node: u64) -> Result<ContentId> {
    ContentId::from_raw(node).ok_or_else(|| Error::new(Code::IsDirectory, format!("{node} is not a file")))
}

/// The number by which masters know this FUSE node.
#[must_use]
pub fn master(node: u64) -> u64 {
    if node == ROOT { InodeId::ROOT.0 } else { node }
}

/// The FUSE node id of what masters know by this number.
#[must_use]
pub fn fuse(number: u64) -> u64 {
    if number == InodeId::ROOT.0 { ROOT } else { number }
}

/// The FUSE node id of what `attr` describes.
#[must_use]
pub fn of(attr: &Attr) -> u64 {
    match attr.kind() {
        NodeKind::File => attr.content,
        NodeKind::Directory | NodeKind::Symlink | NodeKind::Unspecified => fuse(attr.inode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::id::ContainerId;

    #[test]
    fn the_root_is_one_and_nothing_else_is() {
        assert_eq!(directory(ROOT), Ok(InodeId::ROOT));
        assert_eq!(fuse(InodeId::ROOT.0), ROOT);
        assert_eq!(master(ROOT), 0);
        assert!(ContainerId(1).inode().0 > ROOT && ContainerId(1).content().0 > ROOT);
    }

    #[test]
    fn files_and_directories_are_told_apart_by_their_id() {
        let file = ContainerId(9).content().0;
        let folder = ContainerId(9).inode().0;
        assert_eq!(content(file), Ok(ContentId(file)));
        assert_eq!(directory(folder), Ok(InodeId(folder)));
        assert_eq!(content(folder).expect_err("a directory").code, Code::IsDirectory);
        assert_eq!(directory(file).expect_err("a file").code, Code::NotDirectory);
    }
}
