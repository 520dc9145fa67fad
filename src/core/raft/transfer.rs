//! A backup on its way from the process that has it to the one that keeps it or begins with it.
//!
//! It goes as it is, by frames; a backup has its checksum in it, so the receiver knows whether it has all of it. Sent by
//! masters and by whoever offers a backup to a new cluster; received by `goosefs fsadmin backup --to` and by the master that
//! founds the cluster.

use super::identity::sync_parent;
use super::{Backup, backup};
use crate::error::{Code, Error, Result};
use crate::proto::internal::BackupRequest;
use crate::proto::method;
use crate::rpc::frame::{Call, Channel};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// A master may take so long to write it, and a sender between two pieces.
const PATIENCE: Duration = Duration::from_secs(600);

/// Answers a call for a backup with this file.
pub async fn send_backup(mut call: Call, file: File) {
    let sent = match file.metadata() {
        Ok(about) => call.send_file(Arc::new(file), 0, about.len()).await,
        Err(error) => Err(Error::io("look at the backup", error)),
    };
    call.finish(sent).await;
}

/// Asks for a backup and keeps it at `path`, which appears whole or not at all.
///
/// # Errors
/// The sender's, `Unavailable` when it goes away, `Corrupt` when what came is no whole backup, I/O errors.
pub async fn receive_backup(channel: &Channel, path: &Path) -> Result<Backup> {
    let aside = path.with_added_extension("part");
    let received = receive(channel, &aside, path).await;
    if received.is_err() {
        // Half a backup helps nobody, and its name is only ours.
        let _gone = tokio::fs::remove_file(&aside).await;
    }
    received
}

async fn receive(channel: &Channel, aside: &Path, path: &Path) -> Result<Backup> {
    let write = |error: std::io::Error| Error::io(format!("write the backup {}", aside.display()), error);
    let mut payloads = channel.read(method::BACKUP, &BackupRequest {}).await?;
    let mut file = tokio::fs::File::create(aside).await.map_err(write)?;
    let late = |_| Error::new(Code::DeadlineExceeded, "no more of the backup has come for a long time");
    while let Some(bytes) = tokio::time::timeout(PATIENCE, payloads.next()).await.map_err(late)?? {
        file.write_all(&bytes).await.map_err(write)?;
    }
    file.sync_all().await.map_err(write)?;
    let (aside, path) = (aside.to_owned(), path.to_owned());
    let kept = tokio::task::spawn_blocking(move || keep(&aside, path)).await;
    kept.map_err(|error| Error::new(Code::Internal, "keeping a backup panicked").caused_by(error))?
}

fn keep(aside: &Path, path: PathBuf) -> Result<Backup> {
    let whole = check_backup(aside)?;
    std::fs::rename(aside, &path)
        .and_then(|()| sync_parent(&path))
        .map_err(|error| Error::io(format!("write the backup {}", path.display()), error))?;
    Ok(Backup { path, ..whole })
}

/// Reads a backup whole and says what it is. Blocking.
///
/// # Errors
/// `NotFound`, `Corrupt` naming the file, `InvalidArgument` when it is something else, I/O errors.
pub fn check_backup(path: &Path) -> Result<Backup> {
    let opened = backup::open(path)?;
    Ok(Backup { path: path.to_owned(), records: opened.records, bytes: opened.file.length })
}
