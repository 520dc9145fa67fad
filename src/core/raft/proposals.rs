//! Proposing commands: a bounded number in flight, errors that say whether anything was done.
//!
//! Batching needs nothing here: openraft takes whatever waits at its door as one append, the log writer and the network
//! then carry it as one.

use super::me::Me;
use super::metrics::Counters;
use super::space::Space;
use super::state::StateMachine;
use super::types::{Command, Types};
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use openraft::errors::{ClientWriteError, ForwardToLeader, RaftError};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

type Raft = openraft::Raft<Types, StateMachine>;

/// Commands that may wait for their answer at once.
const IN_FLIGHT: usize = 8192;
/// One command's largest size.
const MAX_COMMAND: usize = 16 << 20;
/// For a command to be committed and applied; longer means that a quorum is away.
const TIMEOUT: Duration = Duration::from_secs(5);

/// The way in for commands.
pub(super) struct Proposals {
    me: Arc<Me>,
    raft: Raft,
    space: Arc<Space>,
    counters: Counters,
    room: Semaphore,
}

impl Proposals {
    pub(super) fn new(me: Arc<Me>, raft: Raft, space: Arc<Space>, counters: Counters) -> Proposals {
        Proposals { me, raft, space, counters, room: Semaphore::new(IN_FLIGHT) }
    }

    pub(super) async fn propose(&self, command: Bytes) -> Result<Bytes> {
        if command.len() > MAX_COMMAND {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("a command of {} bytes is too long; {MAX_COMMAND} are allowed", command.len()),
            ));
        }
        let start = Instant::now();
        let outcome = match tokio::time::timeout(TIMEOUT, self.room.acquire()).await {
            Ok(Ok(_room)) => self.write(command).await,
            // Nothing was done, but another master would not do better.
            _ => Err(Error::new(Code::Busy, "too many metadata changes wait already")),
        };
        match &outcome {
            Ok(_) => {
                self.counters.proposals.inc();
                self.counters.commit_seconds.observe(start.elapsed().as_secs_f64());
            }
            Err(_) => drop(self.counters.proposals_refused.inc()),
        }
        outcome
    }

    async fn write(&self, command: Bytes) -> Result<Bytes> {
        if self.space.low() && self.raft.is_leader() {
            return Err(self.space.error());
        }
        let _counted = InFlight::new(&self.counters);
        let write = self.raft.client_write(Command(command));
        match tokio::time::timeout(TIMEOUT, write).await {
            Ok(Ok(written)) => Ok(written.data),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(to)))) => Err(self.not_leader(&to)),
            Ok(Err(e)) => Err(Error::new(
                Code::Unavailable,
                format!("whether the change took effect is not known: {e}"),
            )),
            Err(_) => Err(Error::new(
                Code::Unavailable,
                format!("no quorum of masters has confirmed the change within {TIMEOUT:?}"),
            )
            .hint("check that a majority of the masters runs")),
        }
    }

    fn not_leader(&self, to: &ForwardToLeader<Types>) -> Error {
        let ours = self.me.node().0;
        let slot = to.leader_node.filter(|_| to.leader_id != Some(ours));
        Error::not_leader(slot.and_then(|slot| self.me.rpc_address(slot.0)).unwrap_or_default())
    }
}

/// Counts down when the proposer gives up, too.
struct InFlight<'a>(&'a Counters);

impl InFlight<'_> {
    fn new(counters: &Counters) -> InFlight<'_> {
        counters.proposals_in_flight.inc();
        InFlight(counters)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.proposals_in_flight.dec();
    }
}
