//! Uploads: asking a worker that holds a content to write it to the under-storage.

use crate::journal::Journal;
use crate::workers::{Channels, Worker, Workers};
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::proto::internal::{
    Fingerprint, UploadContentRequest, UploadContentResponse, VersionResponse,
};
use goosefs_core::proto::journal::PersistEffect;
use goosefs_core::proto::method::UPLOAD_CONTENT;
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Time an upload may take beside the time for its bytes.
const BASE_TIME: Duration = Duration::from_secs(60);

/// Slower than this an upload is given up, bytes per second.
const SLOWEST: u64 = 1 << 20;

/// Has contents uploaded by workers.
pub(crate) struct Uploads {
    journal: Arc<Journal>,
    workers: Arc<Workers>,
    channels: Arc<Channels>,
}

impl Uploads {
    pub(crate) fn new(journal: Arc<Journal>, workers: Arc<Workers>, channels: Arc<Channels>) -> Uploads {
        Uploads { journal, workers, channels }
    }

    /// Has the worker that holds most of the content upload it, then the next one. Gives what was verified to be in the
    /// under-storage.
    ///
    /// # Errors
    /// `Unavailable` while no worker that holds it is alive, else the last worker's.
    pub(crate) async fn upload(&self, effect: &PersistEffect) -> Result<Fingerprint> {
        let version = self.journal.state().read().version(ContentId(effect.content))?;
        let holders = self.live_holders(&version);
        let request = UploadContentRequest {
            content: effect.content,
            length: effect.length,
            generation: effect.generation,
            mount: effect.mount,
            ufs_path: effect.path.clone(),
        };
        let patience = BASE_TIME + Duration::from_secs(effect.length / SLOWEST);
        let mut last = Error::new(
            Code::Unavailable,
            format!("no live worker holds the bytes of {}, which are not persisted yet", effect.path),
        );
        for worker in holders {
            let answer: Result<UploadContentResponse> =
                self.channels.call(&worker, UPLOAD_CONTENT, &request, patience).await;
            match answer.map(|answer| answer.fingerprint) {
                Ok(Some(fingerprint)) if fingerprint.length == effect.length => return Ok(fingerprint),
                Ok(_) => {
                    last = Error::new(
                        Code::Ufs,
                        format!("worker {} uploaded {} but its length is wrong", worker.id, effect.path),
                    );
                }
                Err(error) => {
                    tracing::debug!(worker = worker.id.0, path = effect.path, %error, "upload failed");
                    last = error.context(format!("upload {} by worker {}", effect.path, worker.id));
                }
            }
        }
        Err(last)
    }

    /// Live workers by how many bytes of the content they hold, most first.
    fn live_holders(&self, version: &VersionResponse) -> Vec<Worker> {
        let mut held: BTreeMap<u64, u64> = BTreeMap::new();
        for block in &version.blocks {
            for worker in &block.workers {
                *held.entry(*worker).or_default() += block.length;
            }
        }
        let mut holders: Vec<(u64, Worker)> = held
            .into_iter()
            .filter_map(|(id, bytes)| Some((bytes, self.workers.get(WorkerId(id))?)))
            .filter(|(_, worker)| worker.live)
            .collect();
        holders.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        holders.into_iter().map(|(_, worker)| worker).collect()
    }
}
