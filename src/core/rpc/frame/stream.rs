//! One stream of a connection: what has arrived and waits for its consumer, and how much may still be sent.
//!
//! Both sides use it. Credit counts messages and payloads of `Data` frames: a sender may be [`WINDOW`] bytes ahead of the
//! consumer, who grants back what it took in steps of [`GRANT`]. So each stream holds a bounded amount of memory, and a
//! slow consumer stops its own stream only.

use super::reader::Frame;
use super::wire::{GRANT, HAS_MESSAGE, LAST, MAX_MESSAGE, WINDOW};
use crate::error::{Code, Error, Result};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::VecDeque;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

/// The least credit worth a payload frame, so that a stream does not crumble into tiny ones.
const WORTH_SENDING: usize = 256 << 10;

/// Something received in a stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Item {
    /// An undecoded message.
    Message(Bytes),
    /// Raw bytes.
    Payload(Bytes),
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Item::Message(bytes) | Item::Payload(bytes) => bytes.len(),
        }
    }
}

/// One stream.
#[derive(Debug)]
pub(crate) struct Stream {
    state: Mutex<State>,
    arrived: Notify,
    credited: Notify,
}

#[derive(Debug)]
struct State {
    queue: VecDeque<Item>,
    /// Bytes that the peer has sent and was not granted back.
    outstanding: usize,
    /// Bytes taken by the consumer and not granted back.
    consumed: usize,
    /// The peer sends nothing more.
    peer_finished: bool,
    /// Why the stream ended, if it did not end well.
    failure: Option<Error>,
    /// The peer ended the stream, well or not: nothing sent reaches anybody.
    over: bool,
    /// Bytes that may be sent; below zero after a long message.
    credit: i64,
    cancelled: Option<CancellationToken>,
}

impl Stream {
    /// A new stream with full credit both ways.
    pub(crate) fn new() -> Stream {
        let state = State {
            queue: VecDeque::new(),
            outstanding: 0,
            consumed: 0,
            peer_finished: false,
            failure: None,
            over: false,
            credit: WINDOW as i64,
            cancelled: None,
        };
        Stream { state: Mutex::new(state), arrived: Notify::new(), credited: Notify::new() }
    }

    /// A frame for this stream arrived (`Data` or `End`, or the `Request` for its flags).
    ///
    /// # Errors
    /// `Corrupt` when the peer sent more than its credit: the connection must be closed.
    pub(crate) fn push(&self, frame: Frame, ends: bool) -> Result<()> {
        {
            let mut state = self.state.lock();
            state.outstanding += frame.message.len() + frame.payload.len();
            if !ends && state.outstanding > WINDOW + MAX_MESSAGE {
                return Err(Error::new(Code::Corrupt, "the peer sent more than its credit"));
            }
            if frame.header.has(HAS_MESSAGE) {
                state.queue.push_back(Item::Message(frame.message));
            }
            if !frame.payload.is_empty() {
                state.queue.push_back(Item::Payload(frame.payload));
            }
            state.peer_finished |= ends || frame.header.has(LAST);
            state.over |= ends;
        }
        self.arrived.notify_one();
        if ends {
            self.credited.notify_one();
        }
        Ok(())
    }

    /// The peer sends nothing more.
    pub(crate) fn finish(&self) {
        self.state.lock().peer_finished = true;
        self.arrived.notify_one();
    }

    /// The stream ended with `error`: what arrived before can still be taken.
    pub(crate) fn fail(&self, error: Error) {
        let cancelled = {
            let mut state = self.state.lock();
            if state.over {
                return;
            }
            state.peer_finished = true;
            state.over = true;
            state.failure = Some(error);
            state.cancelled.take()
        };
        if let Some(cancelled) = cancelled {
            cancelled.cancel();
        }
        self.arrived.notify_one();
        self.credited.notify_one();
    }

    /// Whether the stream has ended: nobody waits for what is sent.
    pub(crate) fn is_over(&self) -> bool {
        self.state.lock().over
    }

    /// Cancelled when the stream fails.
    pub(crate) fn cancelled(&self) -> CancellationToken {
        let mut state = self.state.lock();
        if state.failure.is_some() {
            let token = CancellationToken::new();
            token.cancel();
            return token;
        }
        state.cancelled.get_or_insert_with(CancellationToken::new).clone()
    }

    /// The next item, `None` at the good end; with the credit to grant to the peer, 0 for none.
    ///
    /// # Errors
    /// The failure, after everything that came before it.
    pub(crate) async fn next(&self) -> Result<Option<(Item, usize)>> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(item) = state.queue.pop_front() {
                    state.consumed += item.len();
                    let mut grant = 0;
                    if state.consumed >= GRANT && !state.peer_finished {
                        grant = std::mem::take(&mut state.consumed);
                        state.outstanding -= grant;
                    }
                    return Ok(Some((item, grant)));
                }
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if state.peer_finished {
                    return Ok(None);
                }
            }
            self.arrived.notified().await;
        }
    }

    /// The peer granted `amount` more bytes.
    pub(crate) fn grant(&self, amount: u32) {
        {
            let mut state = self.state.lock();
            // A hostile grant only lets us queue more of what our own bounds allow anyway.
            state.credit = (state.credit + i64::from(amount)).min(WINDOW as i64);
        }
        self.credited.notify_one();
    }

    /// Takes credit for up to `want` payload bytes and says how many may be sent; waits for a worthwhile amount.
    ///
    /// # Errors
    /// The failure; `Cancelled` when the peer ended the stream and takes no more.
    pub(crate) async fn reserve(&self, want: usize) -> Result<usize> {
        let least = want.min(WORTH_SENDING) as i64;
        let granted = self.wait_for_credit(least, want as i64).await?;
        Ok(usize::try_from(granted).unwrap_or(0))
    }

    /// Takes credit for a message of `length` bytes; waits until there is any at all.
    ///
    /// # Errors
    /// As [`Stream::reserve`].
    pub(crate) async fn reserve_message(&self, length: usize) -> Result<()> {
        self.wait_for_credit(1, 0).await?;
        self.state.lock().credit -= length as i64;
        Ok(())
    }

    async fn wait_for_credit(&self, least: i64, most: i64) -> Result<i64> {
        loop {
            {
                let mut state = self.state.lock();
                if let Some(failure) = &state.failure {
                    return Err(failure.clone());
                }
                if state.over {
                    return Err(Error::new(Code::Cancelled, "the other side has ended the stream"));
                }
                if state.credit >= least {
                    let granted = state.credit.min(most);
                    state.credit -= granted;
                    return Ok(granted);
                }
            }
            self.credited.notified().await;
        }
    }
}
