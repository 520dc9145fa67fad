//! The session that numbers this client's operations, so that each takes effect once however often it was sent.
//!
//! Opened when the first operation needs it. An operation is acknowledged when its caller has the answer (or gave up);
//! masters forget results up to the lowest that is not. When masters do not know the session any more, a new one is
//! opened and the call made again: they answer so before they do anything.

use goosefs_core::proto::internal::{OpenSessionRequest, OpenSessionResponse, SessionOp};
use goosefs_core::proto::method::{self, Method};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Result};
use parking_lot::Mutex;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// How often a session is opened anew for one call before its error is handed on.
const REOPENINGS: u32 = 3;

/// An open session is renewed so often. Masters close sessions that were silent for minutes; no call lasts so long, so none
/// that was made before is made again after a renewal.
const KEEP: Duration = Duration::from_secs(60);

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Session {
    masters: Masters,
    description: String,
    numbers: Mutex<Numbers>,
    /// Held while a session is being opened, so that one call does it for all.
    opening: tokio::sync::Mutex<()>,
}

/// Which operations are under way.
#[derive(Debug, Default)]
struct Numbers {
    /// 0 while no session is open.
    session: u64,
    last: u64,
    pending: BTreeSet<u64>,
}

impl Numbers {
    fn begin(&mut self) -> Option<SessionOp> {
        if self.session == 0 {
            return None;
        }
        self.last += 1;
        self.pending.insert(self.last);
        Some(SessionOp {
            session: self.session,
            sequence: self.last,
            acknowledged: self.pending.first().map_or(0, |lowest| lowest - 1),
        })
    }

    fn end(&mut self, op: &SessionOp) {
        if op.session == self.session {
            self.pending.remove(&op.sequence);
        }
    }

    fn replace(&mut self, session: u64) {
        *self = Numbers { session, ..Numbers::default() };
    }
}

/// An operation under way; acknowledged when dropped.
struct Ticket<'a> {
    session: &'a Session,
    op: SessionOp,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.session.numbers.lock().end(&self.op);
    }
}

impl Session {
    pub(crate) fn new(masters: Masters, description: String) -> Session {
        Session { masters, description, numbers: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }

    /// Makes a call that takes effect once; `request` builds it around its number.
    ///
    /// # Errors
    /// The leader's, or that no leader answered in time.
    pub(crate) async fn call<Q: Message, A: Message + Default>(
        &self,
        method: Method,
        request: impl Fn(SessionOp) -> Q,
    ) -> Result<A> {
        let mut reopened = 0;
        loop {
            let ticket = self.begin().await?;
            let answer = self.masters.call(method, &request(ticket.op)).await;
            match answer {
                Err(error) if error.code == Code::Unauthenticated && reopened < REOPENINGS => {
                    tracing::debug!(
                        session = ticket.op.session,
                        "the masters forgot this session, opening a new one"
                    );
                    reopened += 1;
                    let mut numbers = self.numbers.lock();
                    if numbers.session == ticket.op.session {
                        numbers.replace(0);
                    }
                }
                answer => return answer,
            }
        }
    }

    /// Has the masters keep an open session while its client lives: a file that is open for writing may be idle for long.
    pub(crate) fn keep(self: &Arc<Self>, tasks: &Tasks) {
        let session = self.clone();
        tasks.every("session", KEEP, move || {
            let session = session.clone();
            async move { session.renew().await }
        });
    }

    /// Its number; 0 while none is open.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.lock().session
    }

    async fn renew(&self) {
        let session = self.numbers.lock().session;
        if session == 0 {
            return;
        }
        let request = OpenSessionRequest { session, description: self.description.clone() };
        let renewed: Result<OpenSessionResponse> = self.masters.call(method::OPEN_SESSION, &request).await;
        if let Err(error) = renewed {
            tracing::debug!(session, %error, "the session could not be renewed");
        }
    }

    async fn begin(&self) -> Result<Ticket<'_>> {
        loop {
            if let Some(op) = self.numbers.lock().begin() {
                return Ok(Ticket { session: self, op });
            }
            self.open().await?;
        }
    }

    async fn open(&self) -> Result<()> {
        let _opening = self.opening.lock().await;
        if self.numbers.lock().session != 0 {
            return Ok(());
        }
        let session = rand::random_range(1..=u64::MAX >> 1);
        let request = OpenSessionRequest { session, description: self.description.clone() };
        let _: OpenSessionResponse = self.masters.call(method::OPEN_SESSION, &request).await?;
        self.numbers.lock().replace(session);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_every_earlier_caller_has_is_acknowledged() {
        let mut numbers = Numbers::default();
        assert!(numbers.begin().is_none());
        numbers.replace(7);
        let ops: Vec<SessionOp> = (0..3).map(|_| numbers.begin().unwrap()).collect();
        assert_eq!(ops.iter().map(|op| op.acknowledged).collect::<Vec<_>>(), [0, 0, 0]);
        numbers.end(&ops[1]);
        assert_eq!(numbers.begin().unwrap().acknowledged, 0, "the first is under way");
        numbers.end(&ops[0]);
        assert_eq!(numbers.begin().unwrap().acknowledged, 2, "the third is under way");
    }

    #[test]
    fn numbers_of_an_old_session_do_not_touch_the_new_one() {
        let mut numbers = Numbers::default();
        numbers.replace(7);
        let old = numbers.begin().unwrap();
        numbers.replace(8);
        let new = numbers.begin().unwrap();
        numbers.end(&old);
        assert_eq!((new.session, new.sequence), (8, 1));
        assert!(numbers.pending.contains(&1));
    }
}
