//! Letting go of only copies once they are in their under-storage, or their file is gone.

use crate::heartbeat::compare;
use crate::node::Node;
use goosefs_core::id::ContentId;
use std::sync::Arc;
use std::time::Duration;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(2);

/// After an upload the leading master first logs that it was done.
const AFTER_UPLOAD: Duration = Duration::from_millis(100);

/// Contents asked about in one round.
const ROUND: usize = 256;

pub(super) fn start(node: &Arc<Node>) {
    let (node, stop) = (node.clone(), node.tasks.stop());
    let tasks = node.tasks.clone();
    tasks.spawn("persisted", async move {
        let mut after = None;
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(EVERY) => {}
                () = node.uploaded.notified() => tokio::time::sleep(AFTER_UPLOAD).await,
            }
            tokio::select! {
                () = stop.cancelled() => return,
                next = round(&node, after) => after = next,
            }
        }
    });
}

/// Asks about the next contents with only copies; answers where the next round goes on.
async fn round(node: &Node, after: Option<ContentId>) -> Option<ContentId> {
    let held = node.store.held_contents(after, ROUND);
    let next = held.last().filter(|_| held.len() == ROUND).map(|(content, _)| *content);
    for (content, _) in held {
        node.versions.forget(content);
        if let Err(error) = compare(node, content).await {
            tracing::debug!(%content, %error, "cannot ask whether an only copy is persisted");
            return after;
        }
    }
    next
}
