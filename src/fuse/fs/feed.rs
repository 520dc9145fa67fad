//! What changed: the masters' feed, told to the kernel as far as it does not know.
//!
//! One task follows the feed; the kernel is told on a thread of its own, never on one that answers requests, because the
//! kernel waits for look-ups under way in the same directory before it takes an invalidation.

use super::own::Name;
use super::{Fs, node};
use crate::backend::Event;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::Change;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Changes that wait for the kernel; then the feed is not read on, and says at last that everything is void.
const BACKLOG: usize = 256;

/// Follows the feed until `stop`.
pub async fn follow(fs: Arc<Fs>, stop: CancellationToken) {
    let mut feed = fs.backend.changes();
    let Some(mut doubts) = fs.own.doubted() else { return };
    let (tell, mut told) = mpsc::channel(BACKLOG);
    let teller = tokio::task::spawn_blocking(move || {
        while let Some(news) = told.blocking_recv() {
            match news {
                News::Event(event) => fs.apply_event(&event),
                News::Doubt((parent, name)) => fs.kernel.entry_changed(parent, &name),
            }
        }
    });
    loop {
        let news = tokio::select! {
            () = stop.cancelled() => break,
            event = feed.next() => event.map(News::Event),
            doubt = doubts.recv() => doubt.map(News::Doubt),
        };
        let Some(news) = news else { break };
        if tell.send(news).await.is_err() {
            break;
        }
    }
    drop(tell);
    if let Err(error) = teller.await {
        tracing::error!(%error, "telling the kernel of changes failed");
    }
}

/// What the kernel may have to be told.
enum News {
    Event(Event),
    /// Whether a call of this mount changed it is not known.
    Doubt(Name),
}

impl Fs {
    fn apply_event(&self, event: &Event) {
        match event {
            Event::Overrun => {
                self.forget_all_attrs();
                self.drop_kept();
                self.kernel.everything_changed();
            }
            Event::Changed(change) => self.apply_change(change, false),
            Event::Own(change) => self.apply_change(change, self.own.is_known()),
        }
    }

    /// `known`: the kernel changed the name itself.
    fn apply_change(&self, change: &Change, known: bool) {
        if change.node != 0 {
            let void = node::fuse(change.node);
            // What is being written through this mount we know better than the feed.
            if !self.is_ours(void) {
                self.content_changed(void);
                self.kernel.node_changed(void);
            }
        }
        if !change.name.is_empty() {
            let parent = node::fuse(change.parent);
            self.forget_attr(parent);
            if !known {
                self.kernel.entry_changed(parent, &change.name);
            }
        }
    }

    /// Whether the content is being written through this mount.
    fn is_ours(&self, node: u64) -> bool {
        ContentId::from_raw(node).is_some_and(|content| self.writing_of(content).is_some())
    }
}
