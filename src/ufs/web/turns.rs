//! How many requests a server gets at once that closes the connection after each answer.
//!
//! Each of them is a new connection. Simple servers keep few that they have not accepted (Python's `http.server` 5); what
//! comes beyond these is dropped, and its next SYN comes a second later (RFC 6298, 2.1). So every answer that takes so long
//! makes what this process sends at once one less, down to [`FEWEST`], which several processes may send together. A server
//! that keeps connections gets all at once, as soon as it has shown that it does.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::sync::{Semaphore, SemaphorePermit};

const MOST: usize = 8;
const FEWEST: usize = 2;

/// So long a dropped SYN takes at least.
const DROPPED: Duration = Duration::from_millis(900);

/// The turns of one server's requests.
#[derive(Debug)]
pub(super) struct Turns {
    places: Semaphore,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    at_once: usize,
    keeps_connections: bool,
}

/// Held from the request to the head of its answer.
pub(super) struct Turn<'a>(Option<SemaphorePermit<'a>>);

impl Turns {
    pub(super) fn new() -> Turns {
        let state = State { at_once: MOST, keeps_connections: false };
        Turns { places: Semaphore::new(MOST), state: Mutex::new(state) }
    }

    /// Waits for a turn, unless the server keeps connections.
    pub(super) async fn next(&self) -> Turn<'_> {
        if self.state.lock().keeps_connections {
            return Turn(None);
        }
        // Never closed.
        Turn(self.places.acquire().await.ok())
    }

    /// An answer came after so long.
    pub(super) fn answered(&self, turn: Turn<'_>, keeps_connection: bool, took: Duration) {
        let mut state = self.state.lock();
        state.keeps_connections = keeps_connection;
        let Some(place) = turn.0 else { return };
        if !keeps_connection && took >= DROPPED && state.at_once > FEWEST {
            // One by one: those that were dropped together come back together.
            state.at_once -= 1;
            place.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn slow_answers_of_a_server_that_closes_make_requests_fewer_and_quick_ones_do_not() {
        let turns = Turns::new();
        for _ in 0..MOST {
            turns.answered(turns.next().await, false, Duration::from_millis(10));
        }
        assert_eq!(turns.places.available_permits(), MOST);
        for _ in 0..2 * MOST {
            turns.answered(turns.next().await, false, Duration::from_secs(1));
        }
        assert_eq!(turns.places.available_permits(), FEWEST);
    }

    #[tokio::test]
    async fn a_server_that_keeps_connections_is_asked_everything_at_once() {
        let turns = Turns::new();
        turns.answered(turns.next().await, true, Duration::from_secs(5));
        let mut held = Vec::new();
        for _ in 0..10 * MOST {
            held.push(turns.next().await);
        }
        assert_eq!(turns.places.available_permits(), MOST);
    }
}
