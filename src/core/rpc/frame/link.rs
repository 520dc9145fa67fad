//! What the reader, the writer and the users of one connection share, on either side.

use super::outbox::{Outbox, Piece};
use super::reader::Pool;
use super::socket::Socket;
use super::stream::Stream;
use super::wire::{self, HEADER, Header, Kind, MAX_PAYLOAD};
use crate::error::{Code, Error, Result};
use crate::proto::method::Method;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::convert::Infallible;
use std::fs::File;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

/// Payloads up to this size are copied behind their header: cheaper than a buffer more in the system call.
const COPIED: usize = 16 << 10;

/// How a connection is kept alive.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeepAlive {
    /// A ping goes out when nothing arrived for so long.
    pub idle: Duration,
    /// The connection is closed when nothing at all arrives for so long after the ping.
    pub timeout: Duration,
}

impl KeepAlive {
    /// 1 s and 2 s: of a connection to a worker, behind which somebody waits for bytes that others have too. What is taken
    /// off the network with its last words unsent, as the pod of a busy worker is, tells nobody that it went. However
    /// long what was asked may take, a ping is answered at once.
    pub const WORKER: KeepAlive = KeepAlive { idle: Duration::from_secs(1), timeout: Duration::from_secs(2) };
}

impl Default for KeepAlive {
    /// 10 s and 10 s.
    fn default() -> KeepAlive {
        KeepAlive { idle: Duration::from_secs(10), timeout: Duration::from_secs(10) }
    }
}

/// Who waits for the answer of a stream.
#[derive(Debug)]
pub(crate) enum Slot {
    /// A caller, for one message.
    Unary(oneshot::Sender<Result<Bytes>>),
    /// A stream of items.
    Stream(Arc<Stream>),
    /// Nobody: the connection ends when it was refused.
    Proof,
}

/// A connection.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) socket: Socket,
    pub(crate) outbox: Outbox,
    pub(crate) pool: Arc<Pool>,
    /// Cancelled when the connection is closed.
    pub(crate) gone: CancellationToken,
    /// No new streams.
    pub(crate) draining: AtomicBool,
    /// "master 10.0.0.1:9200": for messages.
    pub(crate) peer: String,
    streams: Mutex<Streams>,
    idle: Notify,
    pings: Mutex<HashMap<u32, oneshot::Sender<()>>>,
    heard: AtomicU64,
    why: OnceLock<Error>,
}

#[derive(Debug, Default)]
struct Streams {
    last: u32,
    slots: HashMap<u32, Slot>,
    /// Those of them that only wait for something to happen: few.
    long_polls: Vec<u32>,
    closed: bool,
}

impl Link {
    /// An open connection without streams.
    pub(crate) fn new(socket: Socket, peer: String) -> Arc<Link> {
        Arc::new(Link {
            socket,
            outbox: Outbox::default(),
            pool: Arc::default(),
            gone: CancellationToken::new(),
            draining: AtomicBool::new(false),
            peer,
            streams: Mutex::default(),
            idle: Notify::new(),
            pings: Mutex::default(),
            heard: AtomicU64::new(0),
            why: OnceLock::new(),
        })
    }

    /// Closes the connection because of `error`; all its streams fail. Only the first reason counts. To those who use it
    /// the peer is unavailable, unless it has refused their proof.
    pub(crate) fn close(&self, error: &Error) {
        let code = match error.code {
            Code::PermissionDenied => Code::PermissionDenied,
            _ => Code::Unavailable,
        };
        let reason = Error { code, ..error.clone() }.context(&self.peer);
        if self.why.set(reason).is_err() {
            return;
        }
        let slots = {
            let mut streams = self.streams.lock();
            streams.closed = true;
            std::mem::take(&mut streams.slots)
        };
        for slot in slots.into_values() {
            self.fail(slot, self.why());
        }
        self.pings.lock().clear();
        self.outbox.close();
        self.gone.cancel();
        self.socket.shutdown();
        self.idle.notify_waiters();
    }

    /// Why the connection is closed.
    pub(crate) fn why(&self) -> Error {
        let closed = || Error::new(Code::Unavailable, format!("{}: the connection is closed", self.peer));
        self.why.get().cloned().unwrap_or_else(closed)
    }

    /// Ends what waits in `slot` with `error`.
    pub(crate) fn fail(&self, slot: Slot, error: Error) {
        match slot {
            // A caller that has gone away in this moment does not wait for it any more.
            Slot::Unary(sender) => drop(sender.send(Err(error))),
            Slot::Stream(stream) => stream.fail(error),
            Slot::Proof => {}
        }
    }

    /// Opens a stream for a call of `method` under a free number.
    ///
    /// # Errors
    /// `Unavailable` when the connection is closed or the peer takes no more.
    pub(crate) fn open(&self, method: Method, slot: Slot) -> Result<u32> {
        if self.draining.load(Ordering::Relaxed) {
            return Err(Error::new(Code::Unavailable, format!("{} is shutting down", self.peer)));
        }
        let mut streams = self.streams.lock();
        if streams.closed {
            drop(streams);
            return Err(self.why());
        }
        let mut number = streams.last.wrapping_add(1).max(1);
        while streams.slots.contains_key(&number) {
            number = number.wrapping_add(1).max(1);
        }
        streams.last = number;
        streams.slots.insert(number, slot);
        if method.is_long_poll() {
            streams.long_polls.push(number);
        }
        Ok(number)
    }

    /// Takes a stream that the peer opened as `number` for a call of `method`.
    ///
    /// # Errors
    /// `Corrupt` when the number is in use, `Busy` when there are `limit` streams already.
    pub(crate) fn accept(
        &self,
        number: u32,
        method: Method,
        stream: &Arc<Stream>,
        limit: usize,
    ) -> Result<()> {
        let mut streams = self.streams.lock();
        let streams = &mut *streams;
        if streams.closed {
            return Err(Error::new(Code::Unavailable, "the connection is closed"));
        }
        if streams.slots.len() >= limit {
            return Err(Error::new(Code::Busy, format!("{limit} calls of this connection are under way")));
        }
        match streams.slots.entry(number) {
            std::collections::hash_map::Entry::Occupied(_) => Err(opened_twice(number)),
            std::collections::hash_map::Entry::Vacant(vacant) => {
                vacant.insert(Slot::Stream(Arc::clone(stream)));
                if method.is_long_poll() {
                    streams.long_polls.push(number);
                }
                Ok(())
            }
        }
    }

    /// Forgets a stream; whether it was there.
    pub(crate) fn remove(&self, number: u32) -> Option<Slot> {
        let (slot, empty) = {
            let mut streams = self.streams.lock();
            streams.long_polls.retain(|poll| *poll != number);
            (streams.slots.remove(&number), streams.slots.is_empty())
        };
        if empty {
            self.idle.notify_waiters();
        }
        slot
    }

    /// The stream with this number, if it is one (not a single call).
    pub(crate) fn stream(&self, number: u32) -> Option<Arc<Stream>> {
        match self.streams.lock().slots.get(&number) {
            Some(Slot::Stream(stream)) => Some(Arc::clone(stream)),
            _ => None,
        }
    }

    /// Streams that are open.
    #[cfg(test)]
    pub(crate) fn open_streams(&self) -> usize {
        self.streams.lock().slots.len()
    }

    /// Whether more is under way than one call (long polls aside), so that small frames are worth collecting.
    fn crowded(&self) -> bool {
        let streams = self.streams.lock();
        streams.slots.len() > streams.long_polls.len() + 1
    }

    /// A call that is answered without being opened has this number.
    ///
    /// # Errors
    /// `Corrupt` when the number is in use.
    pub(crate) fn pass(&self, number: u32) -> Result<()> {
        if self.streams.lock().slots.contains_key(&number) { Err(opened_twice(number)) } else { Ok(()) }
    }

    /// Waits until no stream is open.
    pub(crate) async fn idle(&self) {
        loop {
            let mut idle = std::pin::pin!(self.idle.notified());
            idle.as_mut().enable();
            if self.streams.lock().slots.is_empty() {
                return;
            }
            idle.await;
        }
    }

    /// Waits until no stream was open, and none was opened, for as long as `linger`.
    pub(crate) async fn quiet(&self, linger: Duration) {
        loop {
            self.idle().await;
            let before = self.streams.lock().last;
            tokio::time::sleep(linger).await;
            let streams = self.streams.lock();
            if streams.slots.is_empty() && streams.last == before {
                return;
            }
        }
    }

    /// Takes every open stream out.
    pub(crate) fn take_all(&self) -> HashMap<u32, Slot> {
        let all = {
            let mut streams = self.streams.lock();
            streams.long_polls.clear();
            std::mem::take(&mut streams.slots)
        };
        self.idle.notify_waiters();
        all
    }

    /// Sends a small frame with a message; at once when no other call is under way.
    ///
    /// # Errors
    /// `InvalidArgument` when the message is too long.
    pub(crate) fn send<M: Message>(&self, header: Header, message: &M) -> Result<()> {
        self.queue_message(header, message)?;
        self.flush_small();
        Ok(())
    }

    /// Queues a small frame with a message; it leaves with the next flush.
    ///
    /// # Errors
    /// `InvalidArgument` when the message is too long.
    pub(crate) fn queue_message<M: Message>(&self, header: Header, message: &M) -> Result<()> {
        self.outbox.urgent(|out| wire::encode(header, message, out))
    }

    /// Sends what is queued: at once when no other call is under way, else collected by the writer.
    pub(crate) fn flush_small(&self) {
        self.flush(!self.crowded());
    }

    /// Queues a small frame without a message; it leaves with the next flush.
    pub(crate) fn queue(&self, header: Header) {
        let queued = self.outbox.urgent(|out| {
            header.encode(out);
            Ok(())
        });
        debug_assert!(queued.is_ok(), "a header always fits");
    }

    /// Queues an error that ends stream `number`.
    pub(crate) fn queue_error(&self, number: u32, error: &Error) {
        let header = Header::new(Kind::Error, number);
        let queued = self.outbox.urgent(|out| wire::encode(header, &error.to_wire(), out));
        debug_assert!(queued.is_ok(), "errors are cut to a length that fits");
    }

    /// Grants `amount` bytes of credit to the peer.
    pub(crate) fn grant(&self, number: u32, amount: usize) {
        if amount == 0 {
            return;
        }
        let amount = u32::try_from(amount).unwrap_or(u32::MAX);
        let queued = self.outbox.urgent(|out| {
            wire::encode_credit(number, amount, out);
            Ok(())
        });
        debug_assert!(queued.is_ok(), "a credit always fits");
        self.flush(true);
    }

    /// Sends what is queued.
    pub(crate) fn flush(&self, inline: bool) {
        if let Err(error) = self.outbox.flush(&self.socket, inline) {
            self.close(&error);
        }
    }

    /// Sends a message in order with the payloads of its stream.
    ///
    /// # Errors
    /// `InvalidArgument` when the message is too long.
    pub(crate) async fn send_ordered<M: Message>(&self, header: Header, message: &M) -> Result<()> {
        let mut frame = BytesMut::new();
        wire::encode(header, message, &mut frame)?;
        self.outbox.bulk_room().await;
        self.outbox.bulk([Piece::Bytes(frame.freeze())]);
        self.flush(false);
        Ok(())
    }

    /// Sends a frame without message or payload, in order with the payloads of its stream.
    pub(crate) async fn send_bare(&self, header: Header) {
        let mut frame = BytesMut::with_capacity(HEADER);
        header.encode(&mut frame);
        self.outbox.bulk_room().await;
        self.outbox.bulk([Piece::Bytes(frame.freeze())]);
        self.flush(false);
    }

    /// Sends `payload` in stream `number`, in as many frames as credit and limits ask for.
    ///
    /// # Errors
    /// The stream's failure.
    pub(crate) async fn send_payload(&self, number: u32, stream: &Stream, mut payload: Bytes) -> Result<()> {
        while !payload.is_empty() {
            let length = stream.reserve(payload.len().min(MAX_PAYLOAD)).await?;
            self.send_reserved(number, payload.split_to(length)).await;
        }
        Ok(())
    }

    /// Sends one payload frame (at most [`MAX_PAYLOAD`]) for which credit was taken.
    pub(crate) async fn send_reserved(&self, number: u32, payload: Bytes) {
        self.outbox.bulk_room().await;
        let length = payload.len();
        let mut frame = BytesMut::with_capacity(HEADER + if length <= COPIED { length } else { 0 });
        Header { payload: length, ..Header::new(Kind::Data, number) }.encode(&mut frame);
        if length <= COPIED {
            frame.extend_from_slice(&payload);
            self.outbox.bulk([Piece::Bytes(frame.freeze())]);
        } else {
            self.outbox.bulk([Piece::Bytes(frame.freeze()), Piece::Bytes(payload)]);
        }
        self.flush(false);
    }

    /// Sends `length` bytes (at most [`MAX_PAYLOAD`]) of `file`, for which credit was taken; `queued` is dropped when they
    /// are written.
    pub(crate) async fn send_file(
        &self,
        number: u32,
        file: Arc<File>,
        offset: u64,
        length: usize,
        queued: mpsc::Sender<Infallible>,
    ) {
        self.outbox.bulk_room().await;
        let mut frame = BytesMut::with_capacity(HEADER);
        Header { payload: length, ..Header::new(Kind::Data, number) }.encode(&mut frame);
        let range = Piece::File { file, offset, length, _queued: queued };
        self.outbox.bulk([Piece::Bytes(frame.freeze()), range]);
        self.flush(false);
    }

    /// The peer was heard.
    pub(crate) fn note_heard(&self) {
        self.heard.store(self.heard.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    }

    /// Pings the peer and waits for its answer.
    ///
    /// # Errors
    /// `DeadlineExceeded` when none came within `timeout`, `Unavailable` when the connection is closed.
    pub(crate) async fn ping(&self, timeout: Duration) -> Result<()> {
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut pings = self.pings.lock();
            let mut number = 1;
            while pings.contains_key(&number) {
                number += 1;
            }
            pings.insert(number, sender);
            number
        };
        self.queue(Header::new(Kind::Ping, number));
        self.flush(true);
        let outcome = tokio::select! {
            outcome = tokio::time::timeout(timeout, answer) => outcome,
            () = self.gone.cancelled() => return Err(self.why()),
        };
        match outcome {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(self.why()),
            Err(_) => {
                self.pings.lock().remove(&number);
                let text = format!("{} did not answer a ping within {timeout:?}", self.peer);
                Err(Error::new(Code::DeadlineExceeded, text))
            }
        }
    }

    /// A pong arrived.
    pub(crate) fn pong(&self, number: u32) {
        if let Some(waiting) = self.pings.lock().remove(&number) {
            // Nobody may wait any more; then nobody cares.
            let _ = waiting.send(());
        }
    }

    /// Pings an idle peer; returns when it does not answer.
    pub(crate) async fn keep_alive(&self, settings: KeepAlive) -> Error {
        loop {
            let before = self.heard.load(Ordering::Relaxed);
            tokio::time::sleep(settings.idle).await;
            if self.heard.load(Ordering::Relaxed) != before {
                continue;
            }
            self.pool.clear();
            self.outbox.trim();
            if self.ping(settings.timeout).await.is_err() && self.heard.load(Ordering::Relaxed) == before {
                let text = format!("no answer to a ping within {:?}", settings.timeout);
                return Error::new(Code::Unavailable, text);
            }
        }
    }
}

fn opened_twice(number: u32) -> Error {
    Error::new(Code::Corrupt, format!("stream {number} was opened twice"))
}

/// Closes a connection when the task that serves it ends, however it ends.
pub(crate) struct CloseOnDrop(pub(crate) Arc<Link>);

impl Drop for CloseOnDrop {
    fn drop(&mut self) {
        self.0.close(&Error::new(Code::Unavailable, "the connection's task was ended"));
    }
}
