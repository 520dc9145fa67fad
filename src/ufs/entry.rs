//! What storages say about objects, and how two versions of one are told apart.

use goosefs_core::proto::internal::{Fingerprint, NodeKind};

/// What a connector can do. What it cannot is answered with `ReadOnly` or `Unimplemented`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capabilities {
    /// Objects can be written, removed and renamed.
    pub writable: bool,
    /// A rename of a file or directory is one atomic step.
    pub atomic_rename: bool,
    /// Directories exist by themselves (not only as prefixes of objects).
    pub directories: bool,
    /// Mode, owner, group and times can be kept.
    pub attributes: bool,
}

/// One object or directory.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Name within its directory; empty for the root of the storage.
    pub name: String,
    /// File, directory or symlink.
    pub kind: NodeKind,
    /// Which version it is; for directories only the time counts.
    pub fingerprint: Fingerprint,
    /// Permission bits, where the storage has them.
    pub mode: Option<u32>,
    /// Owner's name, empty where the storage has none.
    pub owner: String,
    /// Group's name, empty where the storage has none.
    pub group: String,
}

/// Changes to attributes; `None` leaves one as it is.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Attributes {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner's name.
    pub owner: Option<String>,
    /// Group's name.
    pub group: Option<String>,
    /// Modification time, milliseconds since 1970.
    pub mtime_ms: Option<u64>,
}

/// Room in the storage; `None` where it does not say.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Space {
    /// Bytes in all.
    pub capacity: Option<u64>,
    /// Bytes taken.
    pub used: Option<u64>,
}

/// Whether two fingerprints can be of one version: equal in every field that both have. Two strong entity tags stand for
/// the bytes themselves, whatever the times say: a copy in an object storage has its original's tag and a time of its own.
/// The weak mark of a tag does not count: a server may drop it when it sends a range.
#[must_use]
pub fn same_version(a: &Fingerprint, b: &Fingerprint) -> bool {
    if a.etag.starts_with('"') && b.etag.starts_with('"') {
        return a.length == b.length && a.etag == b.etag;
    }
    let times = a.mtime_ms.zip(b.mtime_ms).is_none_or(|(a, b)| a == b);
    let tags = a.etag.is_empty() || b.etag.is_empty() || strong_part(&a.etag) == strong_part(&b.etag);
    a.length == b.length && times && tags
}

fn strong_part(etag: &str) -> &str {
    etag.strip_prefix("W/").unwrap_or(etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn print(length: u64, mtime_ms: Option<u64>, etag: &str) -> Fingerprint {
        Fingerprint { length, mtime_ms, etag: etag.to_owned() }
    }

    #[test]
    fn every_field_that_both_have_counts() {
        let whole = print(3, Some(7), "\"a\"");
        assert!(same_version(&whole, &whole));
        assert!(same_version(&whole, &print(3, None, "")));
        assert!(same_version(&whole, &print(3, Some(7), "W/\"a\"")));
        assert!(!same_version(&whole, &print(4, Some(7), "\"a\"")));
        assert!(!same_version(&whole, &print(3, Some(8), "W/\"a\"")));
        assert!(!same_version(&whole, &print(3, Some(8), "")));
        assert!(same_version(&whole, &print(3, Some(8), "\"a\"")), "strong tags stand for the bytes");
        assert!(!same_version(&whole, &print(3, Some(7), "\"b\"")));
    }
}
