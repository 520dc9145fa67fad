//! What others changed: the masters' feed, told to the kernel.
//!
//! One task follows the feed; the kernel is told on a thread where that may block, never on one that answers requests,
//! because the kernel waits for look-ups under way in the same directory before it takes an invalidation.

use super::{Fs, node};
use goosefs_core::proto::internal::{Change, ChangesResponse};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How long one call waits for something to happen.
const WAIT: Duration = Duration::from_secs(20);

/// How long to rest after the feed failed.
const REST: Duration = Duration::from_secs(1);

/// Follows the feed until `stop`.
pub async fn follow(fs: Arc<Fs>, stop: CancellationToken) {
    let mut after = 0;
    let mut failing = false;
    loop {
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = fs.backend.changes(after, WAIT) => answer,
        };
        match answer {
            Ok(answer) => {
                if failing {
                    tracing::info!("the masters' feed of changes is back");
                    failing = false;
                }
                // The first answer only says where the feed stands; nothing is remembered from before it.
                let first = after == 0;
                let restarted = answer.last < after;
                after = answer.last;
                if !first {
                    tell(&fs, answer, restarted).await;
                } else if after == 0 {
                    // Nothing has ever changed there, and 0 is answered at once.
                    rest(&stop).await;
                }
            }
            Err(error) => {
                if !failing {
                    tracing::warn!(%error, "no feed of changes: names are trusted for their time-to-live only");
                    failing = true;
                }
                rest(&stop).await;
            }
        }
    }
}

async fn rest(stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(REST) => {}
    }
}

async fn tell(fs: &Arc<Fs>, answer: ChangesResponse, restarted: bool) {
    if answer.changes.is_empty() && !answer.overrun && !restarted {
        return;
    }
    let fs = fs.clone();
    let told = tokio::task::spawn_blocking(move || {
        if answer.overrun || restarted {
            fs.forget_all_attrs();
            fs.drop_kept();
            fs.kernel.everything_changed();
        }
        for change in &answer.changes {
            fs.apply_change(change);
        }
    });
    if let Err(error) = told.await {
        tracing::error!(%error, "telling the kernel of changes failed");
    }
}

impl Fs {
    fn apply_change(&self, change: &Change) {
        if change.node != 0 {
            let void = node::fuse(change.node);
            if !self.is_ours(void) {
                self.content_changed(void);
                self.kernel.node_changed(void);
            }
        }
        if !change.name.is_empty() {
            let parent = node::fuse(change.parent);
            self.forget_attr(parent);
            self.kernel.entry_changed(parent, &change.name);
        }
    }

    /// Whether the content is being written through this mount: then we know better than the feed.
    fn is_ours(&self, node: u64) -> bool {
        goosefs_core::id::ContentId::from_raw(node).is_some_and(|content| self.writing_of(content).is_some())
    }
}
