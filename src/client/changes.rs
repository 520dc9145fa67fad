//! What changed in the namespace under the client: a long poll of the leader, handed on to whoever listens.
//!
//! FUSE voids the kernel's names and pages by it. Listeners that are too slow, and clients that were away for too long,
//! are told that everything they remember is void; nobody is ever told less than what changed.

use crate::metrics::ClientMetrics;
use crate::session::Session;
use goosefs_core::proto::internal::{Change, ChangesRequest, ChangesResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use std::sync::Arc;
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
    /// The same, by a call of this client; it comes before or after the call's own answer.
    Own(Change),
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

    fn apply(&mut self, answer: ChangesResponse, session: u64) -> Vec<Event> {
        // What was remembered before the first answer may have changed unseen. Numbers that go back are another
        // leader's: what happened between is not known.
        let unseen = self.last.is_none_or(|last| answer.last < last);
        self.last = Some(answer.last);
        if answer.overrun || unseen {
            return vec![Event::Overrun];
        }
        let event = |change: Change| match change.session != 0 && change.session == session {
            true => Event::Own(change),
            false => Event::Changed(change),
        };
        answer.changes.into_iter().map(event).collect()
    }
}

/// Polls until the client is shut down.
pub(crate) fn watch(
    masters: Masters,
    session: Arc<Session>,
    events: broadcast::Sender<Event>,
    metrics: ClientMetrics,
    tasks: &Tasks,
) {
    let stop = tasks.stop();
    tasks.spawn("changes", async move {
        let poll = poll(&masters, &session, &events, &metrics);
        tokio::select! {
            () = stop.cancelled() => {}
            () = poll => {}
        }
    });
}

async fn poll(
    masters: &Masters,
    session: &Session,
    events: &broadcast::Sender<Event>,
    metrics: &ClientMetrics,
) {
    let wait_ms = u32::try_from(POLL.as_millis()).unwrap_or(u32::MAX);
    let mut position = Position::default();
    let mut pace = tokio::time::interval(PACE);
    pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        pace.tick().await;
        let request = ChangesRequest { after: position.after(), wait_ms };
        match masters.call(method::CHANGES, &request).await {
            Ok(answer) => {
                for event in position.apply(answer, session.number()) {
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

    fn change(name: &str, session: u64) -> Change {
        Change { parent: 1, name: name.to_owned(), node: 0, session }
    }

    fn answer(last: u64, names: &[&str]) -> ChangesResponse {
        let changes = names.iter().map(|&name| change(name, 0)).collect();
        ChangesResponse { last, changes, overrun: false }
    }

    #[test]
    fn changes_are_handed_on_once() {
        let mut position = Position::default();
        assert_eq!(position.apply(answer(7, &[]), 0), [Event::Overrun], "what was before is not known");
        assert_eq!(position.after(), 7);
        assert_eq!(position.apply(answer(9, &["a", "b"]), 0).len(), 2);
        assert_eq!(position.apply(answer(9, &[]), 0), []);
    }

    #[test]
    fn what_may_have_been_missed_voids_everything() {
        let mut position = Position::default();
        position.apply(answer(7, &[]), 0);
        assert_eq!(position.apply(ChangesResponse { overrun: true, ..answer(9, &[]) }, 0), [Event::Overrun]);
        assert_eq!(position.apply(answer(3, &["a"]), 0), [Event::Overrun], "another leader's numbers");
    }

    #[test]
    fn a_client_knows_its_own_changes_from_those_of_others() {
        let mut position = Position::default();
        position.apply(answer(1, &[]), 7);
        let changes = [("ours", 7), ("theirs", 8), ("nobody's", 0)];
        let changes = changes.map(|(name, session)| change(name, session));
        let expected = [
            Event::Own(changes[0].clone()),
            Event::Changed(changes[1].clone()),
            Event::Changed(changes[2].clone()),
        ];
        let answer = |last| ChangesResponse { last, changes: changes.to_vec(), overrun: false };
        assert_eq!(position.apply(answer(4), 7), expected);
        // Before its first operation a client has no session.
        let none_is_ours = position.apply(answer(7), 0);
        assert!(none_is_ours.iter().all(|event| matches!(event, Event::Changed(_))), "{none_is_ours:?}");
    }
}
