//! Questions and orders to every live worker at once.

use super::Worker;
use crate::master::Master;
use futures::future::join_all;
use goosefs_core::proto::internal::{
    CachedRequest, CachedResponse, DropContentsRequest, DropContentsResponse,
};
use goosefs_core::proto::method::{CACHED, DROP_CONTENTS};
use goosefs_core::{Error, Result};
use std::time::Duration;

/// A worker that was heard so lately is there, however busy its machine is: its answer is waited for as long.
const HEARD: Duration = Duration::from_secs(2);

/// One that was silent for longer may be gone, and no listing is to stand still for it.
const SILENT_TIMEOUT: Duration = Duration::from_millis(500);

/// How long a worker may take to drop contents.
const DROP_TIMEOUT: Duration = Duration::from_secs(30);

/// How many bytes of each content are cached, over all live workers that say so in time. Replicas count each.
pub(crate) async fn cached_bytes(master: &Master, contents: &[u64]) -> Vec<u64> {
    let mut sums = vec![0; contents.len()];
    if contents.is_empty() {
        return sums;
    }
    let request = CachedRequest { contents: contents.to_vec() };
    let live = master.workers.live();
    let asked = live.iter().map(|worker| {
        let heard = master.workers.silent_for(worker.id) < HEARD;
        let patience = if heard { HEARD } else { SILENT_TIMEOUT };
        master.channels.call::<_, CachedResponse>(worker, CACHED, &request, patience)
    });
    for answer in join_all(asked).await {
        match answer {
            Ok(answer) => {
                for (sum, bytes) in sums.iter_mut().zip(answer.bytes) {
                    *sum += bytes;
                }
            }
            Err(error) => tracing::debug!(%error, "a worker did not say what it has cached"),
        }
    }
    sums
}

/// Has every live worker drop what it has cached of these contents, unpersisted bytes excepted.
///
/// # Errors
/// The first worker's that could not; the others have dropped theirs.
pub(crate) async fn drop_everywhere(master: &Master, contents: &[u64]) -> Result<()> {
    let request = DropContentsRequest { contents: contents.to_vec(), unpersisted_too: false };
    let live = master.workers.live();
    let told = live.iter().map(|worker| drop_on(master, worker, &request));
    for outcome in join_all(told).await {
        outcome?;
    }
    Ok(())
}

async fn drop_on(master: &Master, worker: &Worker, request: &DropContentsRequest) -> Result<()> {
    let answer: Result<DropContentsResponse> =
        master.channels.call(worker, DROP_CONTENTS, request, DROP_TIMEOUT).await;
    answer.map(drop).map_err(|error: Error| error.context(format!("free on worker {}", worker.id)))
}
