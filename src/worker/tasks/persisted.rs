//! Letting go of only copies once they are in their under-storage, or their file is gone.

use crate::heartbeat::compare;
use crate::node::Node;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::Persistence;
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

/// Asks now about the only copies that came last, but `writing`'s, so that room can be made for that. Answers whether there
/// may be more room soon: something may go, is being uploaded, or is in the hands of somebody who is about to let go.
pub(crate) async fn make_way(node: &Node, writing: ContentId) -> bool {
    let _one_at_a_time = node.making_way.lock().await;
    let mut soon = node.store.may_let_go(writing);
    let held = node.store.held_contents(None, usize::MAX);
    for (content, _) in held.into_iter().rev().filter(|(content, _)| *content != writing).take(ROUND) {
        node.versions.forget(content);
        if let Err(error) = compare(node, content).await {
            tracing::debug!(%content, %error, "cannot ask whether an only copy is persisted");
            return true;
        }
        soon |= match node.versions.get(content, 0).await {
            Ok(version) => {
                let uploading = version.persistence == Persistence::ToBePersisted;
                !version.completed || uploading || version.object().is_some()
            }
            Err(_) => true,
        };
    }
    soon
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
