//! `MetaMasterClientService`: backups and checkpoints.
//!
//! Whichever master is asked for a backup writes it, on its own machine: it waits until it has applied all that was
//! acknowledged, so a standby's is as good as the leader's and costs the leader nothing. A checkpoint is the leader's.

use super::{administer, answer};
use crate::master::Master;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::public::meta::meta_master_client_service_server::MetaMasterClientService;
use goosefs_core::proto::public::meta::{
    BackupPRequest, BackupPStatus, BackupState, BackupStatusPRequest, CheckpointPOptions, CheckpointPResponse,
};
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Request, Response, Status};

/// For a snapshot of tens of millions of inodes on a slow disk.
const CHECKPOINT: Duration = Duration::from_secs(600);

pub(super) struct Meta {
    master: Arc<Master>,
    /// The last backup that this master wrote.
    last: Arc<Mutex<Option<BackupPStatus>>>,
}

impl Meta {
    pub(super) fn new(master: Arc<Master>) -> Meta {
        Meta { master, last: Arc::default() }
    }
}

#[tonic::async_trait]
impl MetaMasterClientService for Meta {
    async fn backup(&self, request: Request<BackupPRequest>) -> Result<Response<BackupPStatus>, Status> {
        let last = self.last.clone();
        administer(&self.master, "Backup", request, |master, _, request| async move {
            let status = backup(&master, request).await?;
            *last.lock() = Some(status.clone());
            Ok(status)
        })
        .await
    }

    async fn get_backup_status(
        &self,
        request: Request<BackupStatusPRequest>,
    ) -> Result<Response<BackupPStatus>, Status> {
        let last = self.last.lock().clone();
        answer(&self.master, "GetBackupStatus", request, |_, _, request: BackupStatusPRequest| async move {
            let wanted = request.backup_id.unwrap_or_default();
            last.filter(|last| wanted.is_empty() || last.backup_id() == wanted)
                .ok_or_else(|| Error::new(Code::NotFound, format!("backup {wanted} was not written here")))
        })
        .await
    }

    async fn checkpoint(
        &self,
        request: Request<CheckpointPOptions>,
    ) -> Result<Response<CheckpointPResponse>, Status> {
        administer(&self.master, "Checkpoint", request, checkpoint).await
    }
}

async fn checkpoint(master: Arc<Master>, _: Caller, _: CheckpointPOptions) -> Result<CheckpointPResponse> {
    master.journal.check_lease()?;
    master.journal.node().checkpoint(CHECKPOINT).await?;
    Ok(CheckpointPResponse { master_hostname: Some(host(&master)) })
}

fn host(master: &Master) -> String {
    let own = master.config.rpc_addresses.get(master.config.id as usize);
    own.and_then(|address| address.rsplit_once(':')).map(|(host, _)| host.to_owned()).unwrap_or_default()
}

async fn backup(master: &Arc<Master>, request: BackupPRequest) -> Result<BackupPStatus> {
    let local = request.options.is_some_and(|options| options.local_file_system());
    let wanted = request.target_directory.filter(|wanted| !wanted.is_empty());
    let folder = folder(&wanted.unwrap_or_else(|| master.config.backup_dir.clone()))?;
    if !local {
        check_root_takes_it(master)?;
    }
    let path = folder.join(name(master.clock.now_ms()));
    let made = folder.clone();
    tokio::task::spawn_blocking(move || std::fs::create_dir_all(&made))
        .await
        .map_err(|e| Error::new(Code::Internal, "making a directory panicked").caused_by(e))?
        .map_err(|e| Error::io(format!("make the directory {}", folder.display()), e))?;
    let written = master.journal.node().backup(path).await?;
    Ok(BackupPStatus {
        backup_id: Some(uuid::Uuid::new_v4().to_string()),
        backup_state: Some(BackupState::Completed.into()),
        backup_host: Some(host(master)),
        backup_uri: Some(written.path.display().to_string()),
        entry_count: Some(i64::try_from(written.records).unwrap_or(i64::MAX)),
        backup_error: None,
    })
}

/// # Errors
/// `InvalidArgument` for what is no absolute path.
fn folder(wanted: &str) -> Result<PathBuf> {
    let path = Path::new(wanted.strip_prefix("file://").unwrap_or(wanted));
    if path.is_absolute() {
        return Ok(path.to_owned());
    }
    let text = format!("\"{wanted}\" is no directory that a backup can go to");
    Err(Error::new(Code::InvalidArgument, text).hint("it takes an absolute path on the master's machine"))
}

/// A backup goes to the root storage unless it is to be local; that storage must be a folder of the machine.
///
/// # Errors
/// `ReadOnly`.
fn check_root_takes_it(master: &Master) -> Result<()> {
    let root = master.journal.state().read().mount(goosefs_core::id::MountId(1)).ok();
    let elsewhere = |uri: &String| uri.contains("://") && !uri.starts_with("file://");
    match root.map(|root| root.ufs).filter(elsewhere) {
        None => Ok(()),
        Some(uri) => {
            let text = format!("the root storage {uri} takes no backups");
            Err(Error::new(Code::ReadOnly, text)
                .hint("name a directory of the master's machine: DIR --local"))
        }
    }
}

/// `goosefs-backup-2026-11-24-1764021234567`
fn name(now_ms: u64) -> String {
    let moment =
        jiff::Timestamp::from_millisecond(i64::try_from(now_ms).unwrap_or_default()).unwrap_or_default();
    format!("goosefs-backup-{}-{now_ms}", moment.strftime("%Y-%m-%d"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backups_are_named_by_their_time() {
        assert_eq!(name(1_700_000_000_123), "goosefs-backup-2023-11-14-1700000000123");
    }

    #[test]
    fn a_relative_directory_is_refused() {
        assert_eq!(folder("file:///a/b").unwrap(), Path::new("/a/b"));
        assert!(folder("a/b").unwrap_err().message.contains("\"a/b\""));
    }
}
