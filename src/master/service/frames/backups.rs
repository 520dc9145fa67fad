//! Backups that go over the network to whoever asked for them.

use crate::authority::Who;
use crate::master::Master;
use goosefs_core::{Code, Error, Result};
use std::fs::File;
use std::path::Path;
use std::sync::Arc;

/// Names of files on their way begin so.
const OUTGOING: &str = "outgoing-";

/// A backup of this moment, written by the leader; nothing of it is left once the file is closed.
///
/// # Errors
/// `PermissionDenied`, `NotLeader`, I/O errors.
pub(super) async fn write(master: Arc<Master>, who: Who) -> Result<File> {
    who.administer("change or back up the masters")?;
    master.journal.check_lease()?;
    let path = master.config.dir.join(format!("{OUTGOING}{}", uuid::Uuid::new_v4()));
    master.journal.node().backup(path.clone()).await?;
    let opened = tokio::task::spawn_blocking(move || {
        let file = File::open(&path);
        std::fs::remove_file(&path).and(file).map_err(|error| Error::io("read the backup", error))
    });
    opened.await.map_err(|error| Error::new(Code::Internal, "opening a backup panicked").caused_by(error))?
}

/// Removes what a master that was killed has left of backups in its directory.
pub(crate) fn forget(directory: &Path) {
    let Ok(entries) = std::fs::read_dir(directory) else { return };
    let left = entries.flatten().filter(|entry| entry.file_name().to_string_lossy().starts_with(OUTGOING));
    for entry in left {
        if let Err(error) = std::fs::remove_file(entry.path()) {
            tracing::warn!(path = %entry.path().display(), %error, "a left backup cannot be removed");
        }
    }
}
