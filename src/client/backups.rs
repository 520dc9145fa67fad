//! Backups that the leader sends to us.

use crate::Client;
use goosefs_core::proto::internal::{StatFsRequest, StatFsResponse};
use goosefs_core::proto::method;
use goosefs_core::raft::{Backup, receive_backup};
use goosefs_core::{Code, Result};
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

impl Client {
    /// Has the leader write a backup and keeps it at `path` of this machine, which appears whole or not at all.
    ///
    /// # Errors
    /// `PermissionDenied`, I/O errors, `Unavailable` when no leader has sent it by the deadline.
    pub async fn backup_to(&self, path: &Path) -> Result<Backup> {
        let masters = self.calls();
        let until = Instant::now() + self.deadline();
        loop {
            // The leader alone answers this, so it is who is asked next.
            let _: StatFsResponse = masters.call(method::STAT_FS, &StatFsRequest {}).await?;
            let leader = masters.leader().await?;
            let received = match masters.channel(&leader).await {
                Ok(channel) => receive_backup(&channel, path).await,
                Err(error) => Err(error),
            };
            match received {
                Err(error)
                    if (error.code.retryable() || error.code == Code::NotLeader)
                        && Instant::now() < until =>
                {
                    tracing::debug!(%error, "the backup is asked for again");
                    tokio::time::sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }
}
