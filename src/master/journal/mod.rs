//! The journal: every change of the namespace goes through [`Journal::propose`], every read through [`Journal::read`].
//!
//! A proposal gets the leader's clock, is encoded as `goosefs.journal.Entry`, replicated by `core::raft`, applied to the
//! namespace on every master, and answered with what `apply` said on this one. A command with a side effect on the
//! under-storage is answered when that has ended (`effects`). What a change sets off, news for polling clients and
//! contents that workers must drop, is noted after it was applied and never before.
//!
//! Guarded by: Raft is the only writer of [`State`]; reads are refused unless this master holds the leader's lease.

mod recent;
mod settled;
mod state;
mod steady;

pub use state::State;

use crate::metrics::MasterMetrics;
use crate::namespace::Namespace;
use bytes::Bytes;
use goosefs_core::clock::Clock;
use goosefs_core::id::IntentId;
use goosefs_core::proto::internal::{Caller, SessionOp, VendorOp};
use goosefs_core::proto::journal::{Applied, Entry, entry::Command};
use goosefs_core::raft::{Node, Role};
use goosefs_core::{Code, Error, Result};
use parking_lot::RwLockReadGuard;
use prost::Message;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use steady::Steady;

/// A command that is held up is tried again after so long, whether or not a side effect has ended.
const HELD_AGAIN: Duration = Duration::from_millis(500);

/// Which operation a proposal is, so that a retry gets the first answer.
#[derive(Clone, Copy, Debug, Default)]
pub enum Op {
    /// It may take effect again when it is retried.
    #[default]
    Unnumbered,
    /// Of one of our own clients.
    Session(SessionOp),
    /// `FsOpPId` of a client of the GooseFS protocol.
    Vendor(VendorOp),
}

/// The replicated state and the way to change it.
pub struct Journal {
    node: Node,
    state: Arc<State>,
    clock: Arc<dyn Clock>,
    propose_timeout: Duration,
    metrics: Arc<MasterMetrics>,
    steady: Steady,
    /// The first entries of this cluster's life were seen to be applied here.
    founded: AtomicBool,
}

impl Journal {
    /// The way to `state`, which `node` replicates. Entries carry the time of `clock`.
    pub fn new(
        node: Node,
        state: Arc<State>,
        clock: Arc<dyn Clock>,
        propose_timeout: Duration,
        metrics: Arc<MasterMetrics>,
    ) -> Journal {
        let steady = Steady::default();
        Journal { node, state, clock, propose_timeout, metrics, steady, founded: AtomicBool::new(false) }
    }

    /// The Raft node below.
    pub fn node(&self) -> &Node {
        &self.node
    }

    /// The state, whether it is current or not.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The steady time, by which sessions age. To be called now and then, also on a master that does not lead: it then
    /// goes on from here when it does.
    pub(crate) fn steady_ms(&self) -> u64 {
        let replicated = self.state.read().steady_ms();
        self.steady.follow(self.clock.as_ref(), replicated)
    }

    /// The time, as entries carry it.
    pub(crate) fn now_ms(&self) -> u64 {
        self.clock.now_ms()
    }

    /// Whether this master leads and its state is current.
    pub fn leads(&self) -> bool {
        let status = self.node.status();
        let status = status.borrow();
        status.role == Role::Leader && status.serving
    }

    /// The namespace, current as of now. After a proposal of our own look at [`Journal::state`] instead: an error would
    /// say that nothing was done.
    ///
    /// # Errors
    /// `NotLeader`, also while this master cannot tell whether it still leads: nothing was done, the call may be made
    /// again, here or elsewhere.
    pub fn read(&self) -> Result<RwLockReadGuard<'_, Namespace>> {
        self.check_lease()?;
        let namespace = self.state.read();
        self.check_founded(&namespace)?;
        Ok(namespace)
    }

    /// Until the root is mounted, which the entry that names the cluster follows, no name would be found.
    fn check_founded(&self, namespace: &Namespace) -> Result<()> {
        if self.founded.load(Ordering::Relaxed) {
            return Ok(());
        }
        let mark = namespace.mark();
        if mark.is_none() || mark != self.node.mark() {
            return Err(Error::new(Code::NotLeader, "the cluster is being founded"));
        }
        self.founded.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Whether what this master answers is current.
    ///
    /// # Errors
    /// As [`Journal::read`].
    pub fn check_lease(&self) -> Result<()> {
        self.node.check_lease().map_err(|error| match error.code {
            Code::Unavailable => Error { code: Code::NotLeader, ..error },
            _ => error,
        })
    }

    /// Changes the namespace and waits for the answer: after a quorum has the entry, it is applied here, and its side
    /// effect, if it has one, has ended. Waits a while for side effects that hold what it touches.
    ///
    /// # Errors
    /// What `apply` answered; `NotLeader` when nothing was done; `Unavailable` or `DeadlineExceeded` when the outcome is
    /// not known.
    pub async fn propose(&self, command: Command, caller: &Caller, op: Op) -> Result<Applied> {
        let deadline = tokio::time::Instant::now() + self.propose_timeout;
        let mut ended = self.state.ended();
        let applied = loop {
            match self.begin(command.clone(), caller, op).await {
                // Something that it touches is held by a side effect: wait for the end of one.
                Err(error) if error.code == Code::Busy => {
                    let moment = deadline.min(tokio::time::Instant::now() + HELD_AGAIN);
                    let woken = tokio::time::timeout_at(moment, ended.changed()).await;
                    if woken.is_err() && tokio::time::Instant::now() >= deadline {
                        return Err(error);
                    }
                }
                outcome => break outcome?,
            }
        };
        self.end_of(applied).await
    }

    /// The answer to `op` if it was applied before. Whoever looks at the namespace before it proposes asks this first: the
    /// operation's own effect, or what others did since, must not be taken for a reason to refuse its retry.
    ///
    /// # Errors
    /// The operation's own, and as [`Journal::read`].
    pub(crate) async fn answered(&self, op: Op) -> Result<Option<Applied>> {
        let known = match op {
            Op::Unnumbered => None,
            Op::Session(op) => self.read()?.answer_of(&op),
            Op::Vendor(op) => self.read()?.vendor_answer_of(&op),
        };
        match known {
            Some(known) => self.end_of(answer(known?)?).await.map(Some),
            None => Ok(None),
        }
    }

    /// Waits for the side effect that a command announced, if it did.
    async fn end_of(&self, applied: Applied) -> Result<Applied> {
        if applied.intent == 0 {
            return Ok(applied);
        }
        answer(self.node.in_touch(self.state.settled(IntentId(applied.intent))).await?)
    }

    /// Changes the namespace as [`Journal::propose`] does but does not wait for a side effect: its number is in the answer.
    ///
    /// # Errors
    /// As [`Journal::propose`].
    pub(crate) async fn begin(&self, command: Command, caller: &Caller, op: Op) -> Result<Applied> {
        let (session_op, vendor_op) = match op {
            Op::Unnumbered => (None, None),
            Op::Session(op) => (Some(op), None),
            Op::Vendor(op) => (None, Some(op)),
        };
        let entry = Entry {
            now_ms: self.clock.now_ms(),
            steady_ms: self.steady.now_ms(self.clock.as_ref(), || self.state.read().steady_ms()),
            caller: Some(caller.clone()),
            session_op,
            vendor_op,
            command: Some(command),
        };
        let started = Instant::now();
        let proposal = self.node.propose(Bytes::from(entry.encode_to_vec()));
        let outcome = match tokio::time::timeout(self.propose_timeout, proposal).await {
            Ok(outcome) => outcome,
            Err(_) => Err(Error::new(
                Code::DeadlineExceeded,
                format!("no quorum of masters answered within {:?}", self.propose_timeout),
            )
            .hint("the change may still take effect; check that most masters run and reach each other")),
        };
        self.metrics.proposal(started.elapsed(), outcome.is_ok());
        let applied = Applied::decode(outcome?).map_err(|cause| {
            Error::new(Code::Internal, "an answer of apply cannot be decoded").caused_by(cause)
        })?;
        answer(applied)
    }
}

fn answer(applied: Applied) -> Result<Applied> {
    match &applied.error {
        Some(error) => Err(Error::from_wire(error.clone())),
        None => Ok(applied),
    }
}
