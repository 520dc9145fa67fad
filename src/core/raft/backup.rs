//! Backups: the state at one moment in one checksummed file.
//!
//! The file is a snapshot (`snapshot`) whose head also says which cluster and epoch it is of. Any master writes one: it
//! first makes sure that it has applied everything that was acknowledged before. Taking the image stops nothing; it is
//! written beside running changes, aside and renamed when it is whole.

use super::ClusterMark;
use super::snapshot::{self, SnapshotFile};
use super::status::Backup;
use super::types::SnapshotMeta;
use super::{Frozen, identity::sync_parent};
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use std::path::Path;

/// Writes `frozen` to `path`, which appears whole or not at all. Blocking.
///
/// # Errors
/// `AlreadyExists`, I/O errors.
pub(super) fn write(
    path: &Path,
    meta: &SnapshotMeta,
    mark: ClusterMark,
    frozen: &dyn Frozen,
) -> Result<Backup> {
    if path.exists() {
        return Err(Error::new(Code::AlreadyExists, format!("{} is there already", path.display())));
    }
    let records = frozen.records();
    let head = wire::SnapshotMeta { cluster: Some(mark.into()), records, ..snapshot::meta_to_wire(meta) };
    let aside = path.with_added_extension("part");
    let written = snapshot::write_file(&aside, &head, frozen).and_then(|file| {
        std::fs::rename(&aside, path)?;
        sync_parent(path)?;
        Ok(file)
    });
    match written {
        Ok(file) => Ok(Backup { path: path.to_owned(), records, bytes: file.length }),
        Err(e) => {
            // Half a backup helps nobody, and its name is only ours.
            let _gone = std::fs::remove_file(&aside);
            Err(Error::io(format!("write the backup {}", path.display()), e))
        }
    }
}

/// What a backup holds.
pub(super) struct Opened {
    pub(super) meta: SnapshotMeta,
    pub(super) mark: ClusterMark,
    pub(super) records: u64,
    pub(super) file: SnapshotFile,
}

/// Reads a backup whole and checks it. Blocking.
///
/// # Errors
/// `NotFound`, `Corrupt` naming the file, `InvalidArgument` when it is something else, I/O errors.
pub(super) fn open(path: &Path) -> Result<Opened> {
    let named = |error: Error| match error.code {
        Code::Corrupt => {
            let text = error.message.replacen("snapshot ", "backup ", 1);
            Error { message: text, ..error }.hint("take another backup; nothing was restored")
        }
        _ => {
            error.hint("give the path of a file that `goosefs fsadmin backup` wrote, as this master sees it")
        }
    };
    let (head, file) = snapshot::read(path).map_err(named)?;
    let Some(mark) = ClusterMark::from_wire(head.cluster.as_ref()) else {
        let text = format!("{} is a snapshot of a running master, not a backup", path.display());
        return Err(Error::new(Code::InvalidArgument, text).hint("`goosefs fsadmin backup` writes backups"));
    };
    let meta = snapshot::meta_from_wire(&head).map_err(|_| {
        Error::new(Code::Corrupt, format!("backup {}: has an unreadable head", path.display()))
    })?;
    Ok(Opened { meta, mark, records: head.records, file })
}
