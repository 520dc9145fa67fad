//! Entries and fingerprints of local files.

use crate::Entry;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::fs::Metadata;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

/// Makes entries; remembers the names of owners and groups, since asking for one may go over the network.
#[derive(Debug, Default)]
pub(super) struct Describer {
    users: Mutex<HashMap<u32, String>>,
    groups: Mutex<HashMap<u32, String>>,
}

impl Describer {
    /// The entry for `metadata` (of what a symlink leads to); `None` for sockets, devices and the like.
    pub(super) fn entry(&self, name: &str, metadata: &Metadata) -> Option<Entry> {
        let kind = if metadata.is_file() {
            NodeKind::File
        } else if metadata.is_dir() {
            NodeKind::Directory
        } else {
            return None;
        };
        Some(Entry {
            name: name.to_owned(),
            kind,
            fingerprint: fingerprint(metadata),
            mode: Some(metadata.permissions().mode() & 0o7777),
            owner: name_of(&self.users, metadata.uid(), |id| {
                Some(nix::unistd::User::from_uid(id.into()).ok()??.name)
            }),
            group: name_of(&self.groups, metadata.gid(), |id| {
                Some(nix::unistd::Group::from_gid(id.into()).ok()??.name)
            }),
        })
    }
}

fn name_of(known: &Mutex<HashMap<u32, String>>, id: u32, ask: impl Fn(u32) -> Option<String>) -> String {
    if let Some(name) = known.lock().get(&id) {
        return name.clone();
    }
    let name = ask(id).unwrap_or_else(|| id.to_string());
    known.lock().insert(id, name.clone());
    name
}

/// Which version of its file (or directory) `metadata` shows. The tag is made of inode, time of birth, time of
/// modification in nanoseconds and size, so a replacement within the same millisecond, also into a reused inode, is
/// another version. The time of change is left out on purpose: rename, chmod and link move it and leave the bytes alone.
pub(super) fn fingerprint(metadata: &Metadata) -> Fingerprint {
    let mtime_ms = metadata.mtime().saturating_mul(1000).saturating_add(metadata.mtime_nsec() / 1_000_000);
    let mtime_ms = u64::try_from(mtime_ms).unwrap_or(0);
    if metadata.is_dir() {
        return Fingerprint { length: 0, mtime_ms: Some(mtime_ms), etag: String::new() };
    }
    let birth = metadata.created().ok().and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok());
    let etag = format!(
        "\"{:x}-{:x}-{:x}.{:x}-{:x}\"",
        metadata.ino(),
        birth.unwrap_or_default().as_nanos(),
        metadata.mtime(),
        metadata.mtime_nsec(),
        metadata.len()
    );
    Fingerprint { length: metadata.len(), mtime_ms: Some(mtime_ms), etag }
}
