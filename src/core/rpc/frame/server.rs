//! What a handler of framed calls sees: the service trait and the call.

use super::link::Link;
use super::reader::broken;
use super::stream::{Item, Stream};
use super::wire::{Header, Kind, MAX_PAYLOAD};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{HelloRequest, HelloResponse};
use crate::proto::method::Method;
use crate::rpc::control::{Challenge, KeyFile, Proof, Transport};
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use std::convert::Infallible;
use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Answers the calls of framed connections.
#[async_trait]
pub trait FrameService: Send + Sync + 'static {
    /// A peer says hello: refuse it (`WrongCluster`, see [`super::check_cluster`]) or answer who we are.
    ///
    /// # Errors
    /// The refusal.
    fn hello(&self, peer: &Peer, request: &HelloRequest) -> Result<HelloResponse>;

    /// The key that callers are asked for a proof of; see [`Peer::proof`].
    fn control(&self) -> Option<&KeyFile> {
        None
    }

    /// One call. It must end by [`Call::answer`] or [`Call::finish`]; dropping it, or a panic, answers `Internal`.
    async fn call(&self, call: Call);

    /// Answers a call on the connection's own task, if that takes no more than some ten microseconds of computing and
    /// waits for nothing but short locks: a read from memory, say. That is less than half the cost of a task; while it
    /// computes, the connection's other calls wait. What is not answered here goes to [`FrameService::call`].
    fn call_at_once(&self, call: &mut BriefCall<'_>) {
        let _ = call;
    }
}

/// One call that may be answered at once. Its request is whole, its answer is one message.
#[derive(Debug)]
pub struct BriefCall<'a> {
    /// Which.
    pub method: Method,
    /// From whom.
    pub peer: &'a Peer,
    pub(super) link: &'a Link,
    pub(super) number: u32,
    pub(super) message: &'a Bytes,
    pub(super) ended: bool,
}

impl BriefCall<'_> {
    /// The request.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be decoded.
    pub fn request<Q: Message + Default>(&self) -> Result<Q> {
        decode(self.method, self.message.clone())
    }

    /// Answers and ends the call. The answer leaves with those of all calls that arrived together.
    pub fn answer<A: Message>(&mut self, answer: Result<A>) {
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let header = Header::new(Kind::End, self.number);
        let queued = answer.and_then(|message| self.link.queue_message(header, &message));
        if let Err(error) = queued {
            self.link.queue_error(self.number, &error);
        }
    }
}

/// Who is at the other end.
#[derive(Debug)]
pub struct Peer {
    /// Its address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// What it said about itself; empty during `hello`.
    pub hello: HelloRequest,
    /// Cancelled when the connection closes.
    pub gone: CancellationToken,
    /// What it was asked to prove itself with.
    pub(super) challenge: Option<Challenge>,
    proven: AtomicBool,
}

impl Peer {
    /// A peer that has said nothing yet.
    #[must_use]
    pub fn new(address: Option<SocketAddr>, gone: CancellationToken) -> Peer {
        let (hello, proven) = (HelloRequest::default(), AtomicBool::new(false));
        Peer { address, hello, gone, challenge: None, proven }
    }

    /// Whether it has shown that it has the control key. It does so before its other calls, or never.
    #[must_use]
    pub fn proof(&self) -> Proof {
        if self.proven.load(Ordering::Relaxed) { Proof::Given } else { Proof::Missing }
    }

    /// # Errors
    /// `PermissionDenied` for a proof that is wrong or that nobody has asked for.
    pub(super) fn prove(&self, control: Option<&KeyFile>, proof: &[u8]) -> Result<()> {
        let (Some(control), Some(challenge)) = (control, &self.challenge) else {
            return Err(Error::new(Code::PermissionDenied, "no proof was asked for"));
        };
        let user = self.hello.caller.as_ref().map(|caller| caller.user.as_str()).unwrap_or_default();
        control.check(Transport::Frames, challenge, user, proof)?;
        self.proven.store(true, Ordering::Relaxed);
        Ok(())
    }
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Which.
    pub method: Method,
    /// From whom.
    pub peer: Arc<Peer>,
    pub(super) link: Arc<Link>,
    pub(super) stream: Arc<Stream>,
    pub(super) number: u32,
    pub(super) message: Bytes,
    /// Cancelled when the role that answers is told to stop.
    pub(super) stop: CancellationToken,
    /// Payloads or messages were sent: what follows must keep its place behind them.
    pub(super) ordered: bool,
    pub(super) ended: bool,
}

impl Call {
    /// The request.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be decoded.
    pub fn request<Q: Message + Default>(&self) -> Result<Q> {
        decode(self.method, self.message.clone())
    }

    /// Answers and ends the call.
    pub async fn answer<A: Message>(mut self, answer: Result<A>) {
        match answer {
            Ok(message) => {
                if let Err(error) = self.end_with(&message).await {
                    self.end_badly(error).await;
                }
            }
            Err(error) => self.end_badly(error).await,
        }
    }

    /// Sends bytes of a streamed answer; waits for credit. Empty ones are not sent.
    ///
    /// # Errors
    /// `Cancelled` when the caller went away.
    pub async fn send(&mut self, payload: Bytes) -> Result<()> {
        self.ordered = true;
        self.link.send_payload(self.number, &self.stream, payload).await
    }

    /// Sends `length` bytes of `file` from `offset` as payloads, by `sendfile` where they are in the page cache; else
    /// they are read on a thread that may block. Returns when the last of them is with the kernel (never while they are
    /// only queued), whatever the outcome: the caller's guard against eviction ends then. The file must not become
    /// shorter meanwhile: that breaks the connection.
    ///
    /// # Errors
    /// `Cancelled` when the caller went away, `Io` when the file cannot be read (or ends before `offset + length`); the
    /// stream then ends with that error.
    pub async fn send_file(&mut self, file: Arc<File>, offset: u64, length: u64) -> Result<()> {
        // Each queued piece of the file holds a sender; none is left when all were written or dropped.
        let (queued, mut written) = mpsc::channel(1);
        let outcome = self.send_parts(file, offset, length, queued).await;
        let _ = written.recv().await;
        outcome
    }

    async fn send_parts(
        &mut self,
        file: Arc<File>,
        offset: u64,
        length: u64,
        queued: mpsc::Sender<Infallible>,
    ) -> Result<()> {
        self.ordered = true;
        let mut at = offset;
        let end = offset.saturating_add(length);
        while at < end {
            let want = usize::try_from(end - at).unwrap_or(MAX_PAYLOAD).min(MAX_PAYLOAD);
            let part = self.stream.reserve(want).await?;
            if super::warm::in_page_cache(&file, at, part) {
                self.link.send_file(self.number, Arc::clone(&file), at, part, queued.clone()).await;
            } else {
                match read_part(Arc::clone(&file), at, part).await {
                    Ok(bytes) => self.link.send_reserved(self.number, bytes).await,
                    Err(error) => {
                        self.end_badly(error.clone()).await;
                        return Err(error);
                    }
                }
            }
            at += part as u64;
        }
        Ok(())
    }

    /// Sends a message within a stream.
    ///
    /// # Errors
    /// `Cancelled` when the caller went away, `InvalidArgument` when the message is too long.
    pub async fn send_message<A: Message>(&mut self, message: &A) -> Result<()> {
        self.ordered = true;
        self.stream.reserve_message(message.encoded_len()).await?;
        self.link.send_ordered(Header::new(Kind::Data, self.number), message).await
    }

    /// What the caller sends next; `None` when it has finished sending.
    ///
    /// # Errors
    /// `Cancelled` when the caller dropped the call or the connection broke.
    pub async fn receive(&mut self) -> Result<Option<Incoming>> {
        let Some((item, grant)) = self.stream.next().await? else { return Ok(None) };
        self.link.grant(self.number, grant);
        Ok(Some(match item {
            Item::Payload(bytes) => Incoming::Payload(bytes),
            Item::Message(bytes) => Incoming::Message(bytes),
        }))
    }

    /// Ends a streamed call, well or with an error.
    pub async fn finish(mut self, outcome: Result<()>) {
        match outcome {
            Err(error) => self.end_badly(error).await,
            Ok(()) if self.claim_end() => {
                let header = Header::new(Kind::End, self.number);
                if self.ordered {
                    self.link.send_bare(header).await;
                } else {
                    self.link.queue(header);
                    self.link.flush(true);
                }
                self.link.remove(self.number);
            }
            Ok(()) => {}
        }
    }

    /// Cancelled when the caller drops the call or goes away.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.stream.cancelled()
    }

    /// Whether the caller still waits for an end, which is sent now.
    fn claim_end(&mut self) -> bool {
        !std::mem::replace(&mut self.ended, true) && !self.stream.is_over()
    }

    async fn end_with<A: Message>(&mut self, message: &A) -> Result<()> {
        if !self.claim_end() {
            return Ok(());
        }
        let header = Header::new(Kind::End, self.number);
        let sent = if self.ordered {
            self.link.send_ordered(header, message).await
        } else {
            self.link.outbox.urgent_room().await;
            self.link.send(header, message)
        };
        match sent {
            Ok(()) => drop(self.link.remove(self.number)),
            // Too long to be sent: the caller gets the error instead.
            Err(_) => self.ended = false,
        }
        sent
    }

    async fn end_badly(&mut self, error: Error) {
        if !self.claim_end() {
            return;
        }
        if self.ordered {
            let message = error.to_wire();
            let sent = self.link.send_ordered(Header::new(Kind::Error, self.number), &message).await;
            debug_assert!(sent.is_ok(), "errors are cut to a length that fits");
        } else {
            self.link.outbox.urgent_room().await;
            self.link.queue_error(self.number, &error);
            self.link.flush_small();
        }
        self.link.remove(self.number);
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        // What is cut off as its role stops is told by the end of the connection, after which callers ask another server.
        let cut_off = self.stop.is_cancelled() && !std::thread::panicking();
        if self.claim_end() && !cut_off {
            let text = format!("{} ended without an answer", self.method.name);
            self.link.queue_error(self.number, &Error::new(Code::Internal, text));
            self.link.flush(false);
        }
        self.link.remove(self.number);
    }
}

async fn read_part(file: Arc<File>, offset: u64, length: usize) -> Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut bytes = vec![0; length];
        file.read_exact_at(&mut bytes, offset).map(|()| Bytes::from(bytes))
    });
    match read.await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(error)) => {
            let text = format!("read {length} bytes at {offset} of a cached file: {error}");
            Err(Error::new(Code::Io, text).caused_by(error))
        }
        // The runtime is shutting down.
        Err(error) => Err(broken(std::io::Error::other(error))),
    }
}

fn decode<Q: Message + Default>(method: Method, message: Bytes) -> Result<Q> {
    Q::decode(message).map_err(|cause| {
        Error::new(Code::InvalidArgument, format!("the request of {} cannot be read", method.name))
            .caused_by(cause)
    })
}

/// What a caller sends within a stream.
#[derive(Debug)]
pub enum Incoming {
    /// Raw bytes, never empty.
    Payload(Bytes),
    /// A message (undecoded).
    Message(Bytes),
}
