//! What changed in the namespace under the client: a long poll of the leader, handed on to whoever listens.
//!
//! FUSE voids the kernel's names and pages by it. Listeners that are too slow, and clients that were away for too long,
//! are told that everything they remember is void; nobody is ever told less than what changed.

use crate::metrics::ClientMetrics;
use goosefs_core::proto::internal::{Change, ChangesRequest, ChangesResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use std::time::Duration;
use tokio::sync::broadcast;

/// Events a listener may lag behind before it is told [`Event::Overrun`].
pub(crate) const BACKLOG: usize = 1024;

/// How long the leader may keep a poll open.
const POLL: Duration = Duration::from_secs(20);

/// Polls begin at most so often: in a storm of changes one answer then brings many, which spares the leader most of what its
/// listeners cost. The first change after a quiet time is heard at once.
const PACE: Duration = Duration::from_millis(5);

/// Pause after a poll that failed.
const PAUSE: Duration = Duration::from_millis(200);

/// Something changed.
#[derive(Clone, PartialEq, Debug)]
pub enum Event {
    /// A name means something else, or a node is void.
    Changed(Change),
    /// Everything that is remembered is void.
    Overrun,
}

/// A listener to changes.
#[derive(Debug)]
pub struct Listener {
    events: broadcast::Receiver<Event>,
}

impl Listener {
    pub(crate) fn new(events: broadcast::Receiver<Event>) -> Listener {
        Listener { events }
    }

    /// The next event; `None` when the client was shut down.
    pub async fn next(&mut self) -> Option<Event> {
        match self.events.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Overrun),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

/// Where the poll stands: numbers in, events out.
#[derive(Debug, Default)]
struct Position {
    last: Option<u64>,
}

impl Position {
    fn after(&self) -> u64 {
        self.last.unwrap_or(0)
    }

    fn apply(&mut self, answer: ChangesResponse) -> Vec<Event> {
        // What was remembered before the first answer may have changed unseen. Numbers that go back are another
        // leader's: what happened between is not known.
        let unseen = self.last.is_none_or(|last| answer.last < last);
        self.last = Some(answer.last);
        if answer.overrun || unseen {
            return vec![Event::Overrun];
        }
        answer.changes.into_iter().map(Event::Changed).collect()
    }
}

/// Polls until the client is shut down.
pub(crate) fn watch(
    masters: Masters,
    events: broadcast::Sender<Event>,
    metrics: ClientMetrics,
    tasks: &Tasks,
) {
    let stop = tasks.stop();
    tasks.spawn("changes", async move {
        let poll = poll(&masters, &events, &metrics);
        tokio::select! {
            () = stop.cancelled() => {}
            () = poll => {}
        }
    });
}

async fn poll(masters: &Masters, events: &broadcast::Sender<Event>, metrics: &ClientMetrics) {
    let wait_ms = u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX);
    let mut position = Position::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let request = ChangesRequest { after: position.after(), wait_ms };
        match masters.call(method::CHANGES, &request).await {
            Ok(answer) => {
                for event in position.apply(answer) {
                    metrics.changes.inc();
                    // Nobody listening is no error.
                    let _ = events.send(event);
                }
            }
            Err(error) => {
                tracing::debug!(%error, "no news of changes");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(last: u64, names: &[&str]) -> ChangesResponse {
        let changes =
            names.iter().map(|&name| Change { parent: 1, name: name.to_owned(), node: 0 }).collect();
        ChangesResponse { last, changes, overrun: false }
    }

    #[test]
    fn changes_are_handed_on_once() {
        let mut position = Position::default();
        assert_eq!(position.apply(answer(7, &[])), [Event::Overrun], "what was before is not known");
        assert_eq!(position.after(), 7);
        assert_eq!(position.apply(answer(9, &["a", "b"])).len(), 2);
        assert_eq!(position.apply(answer(9, &[])), []);
    }

    #[test]
    fn what_may_have_been_missed_voids_everything() {
        let mut position = Position::default();
        position.apply(answer(7, &[]));
        assert_eq!(position.apply(ChangesResponse { overrun: true, ..answer(9, &[]) }), [Event::Overrun]);
        assert_eq!(position.apply(answer(3, &["a"])), [Event::Overrun], "another leader's numbers");
    }
}
