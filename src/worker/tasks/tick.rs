//! The block store's regular work: index to disk, checksummed files flushed, space of closed files counted.

use crate::disk::blocking;
use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;

const EVERY: Duration = Duration::from_millis(500);

pub(super) fn start(node: &Arc<Node>) {
    let ticking = node.clone();
    node.tasks.every("tick", EVERY, move || {
        let node = ticking.clone();
        async move {
            let store = node.store.clone();
            let ticked = blocking(move || {
                store.tick();
                Ok(())
            });
            if let Err(error) = ticked.await {
                tracing::debug!(%error, "the store's regular work was cut off");
            }
            node.metrics.follow(&node.store);
        }
    });
}
