//! Evicting in the background, so that writers and fills need not wait for room.

use crate::disk::blocking;
use crate::node::Node;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// Between two rounds, so that a store in which nothing may go is not searched without end.
const PAUSE: Duration = Duration::from_millis(100);

/// Evicts down to the low watermark whenever a directory is above its high one.
pub(super) fn start(node: &Arc<Node>) {
    let pressure = Arc::new(Notify::new());
    let pressed = pressure.clone();
    node.store.on_pressure(move || pressed.notify_one());
    let (stop, store) = (node.tasks.stop(), node.store.clone());
    node.tasks.spawn("evict", async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = pressure.notified() => {}
            }
            let evicting = store.clone();
            match blocking(move || evicting.evict()).await {
                Ok(0) => {}
                Ok(freed) => tracing::debug!(freed, "evicted down to the low watermark"),
                Err(error) => tracing::warn!(%error, "eviction failed"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    });
}
