//! One framed connection of a server: handshake, dispatch, drain.

use super::client::credit;
use super::link::{CloseOnDrop, KeepAlive, Link, Slot};
use super::reader::{Frame, Reader};
use super::server::{BriefCall, Call, FrameService, Peer};
use super::socket::Socket;
use super::stream::Stream;
use super::wire::{Header, Kind, LAST, MAGIC, MAX_HELLO, MAX_MESSAGE};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{ClusterMark, Empty, HelloRequest, HelloResponse, ProveRequest};
use crate::proto::method::{self, Method};
use crate::rpc::control;
use crate::task::Tasks;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The frame protocol's version in `Hello`.
const VERSION: u32 = 1;

/// A peer has so long to say hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls under way get so long to end when the role stops; then they are cancelled.
const DRAIN: Duration = Duration::from_secs(3);

/// After that, answers get so long to reach the peer.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Calls of one connection at a time; more are answered `Busy`.
const MAX_CALLS: usize = 4096;

/// After so many frames that arrived together others have their turn: some of them may have been answered at once.
const BATCH: usize = 128;

/// Compares cluster marks of two peers; a mark that is absent or has an empty or all-zero id is not known yet and fits
/// all.
///
/// # Errors
/// `WrongCluster`, naming both.
pub fn check_cluster(ours: Option<&ClusterMark>, theirs: Option<&ClusterMark>) -> Result<()> {
    let known = |mark: Option<&ClusterMark>| mark.filter(|m| m.cluster_id.iter().any(|b| *b != 0)).cloned();
    let (Some(ours), Some(theirs)) = (known(ours), known(theirs)) else { return Ok(()) };
    if ours == theirs {
        return Ok(());
    }
    let name = |mark: &ClusterMark| {
        let id: String = mark.cluster_id.iter().map(|b| format!("{b:02x}")).collect();
        format!("{id} epoch {}", mark.epoch)
    };
    let text =
        format!("this is cluster {}, the other side belongs to cluster {}", name(&ours), name(&theirs));
    let hint = match ours.cluster_id == theirs.cluster_id {
        true => {
            "the cluster was forced or restored since: restart what is of the old epoch; a worker drops what it cached"
        }
        false => "check the configured master addresses",
    };
    Err(Error::new(Code::WrongCluster, text).hint(hint))
}

/// Serves one connection until it ends, or until the role stops and its calls have ended.
pub(crate) async fn serve_connection(
    socket: Socket,
    address: Option<SocketAddr>,
    service: Arc<dyn FrameService>,
    tasks: Tasks,
    keep_alive: KeepAlive,
) {
    let name = address.map_or_else(|| "local peer".to_owned(), |address| address.to_string());
    let link = Link::new(socket, name);
    let _closed_even_when_aborted = CloseOnDrop(Arc::clone(&link));
    let mut reader = Reader::new(Arc::clone(&link.pool), MAX_HELLO);
    let writing = Arc::clone(&link);
    tasks.spawn("frames writer", async move {
        if let Err(error) = writing.outbox.run(&writing.socket).await {
            writing.close(&error);
        }
    });
    let late = |_| Error::new(Code::DeadlineExceeded, "no hello in time");
    let greeted = tokio::time::timeout(HELLO_TIMEOUT, greet(&link, &mut reader, address, &*service)).await;
    let error = match greeted.map_err(late).and_then(|greeted| greeted) {
        Ok(peer) => {
            let connection =
                Connection { link: Arc::clone(&link), peer: Arc::new(peer), service, tasks: tasks.clone() };
            tokio::select! {
                error = connection.run(reader) => error,
                error = link.keep_alive(keep_alive) => error,
                () = connection.drain() => Error::new(Code::Unavailable, "the server has shut down"),
                () = link.gone.cancelled() => link.why(),
            }
        }
        Err(error) => error,
    };
    if !link.gone.is_cancelled() {
        // A refusal must reach the peer before the connection ends.
        let _ = tokio::time::timeout(LAST_WORDS, link.outbox.flushed()).await;
    }
    tracing::debug!(peer = %link.peer, %error, "a framed connection ends");
    link.close(&error);
}

/// Reads the peer's hello and answers it.
async fn greet(
    link: &Arc<Link>,
    reader: &mut Reader,
    address: Option<SocketAddr>,
    service: &dyn FrameService,
) -> Result<Peer> {
    let magic: [u8; 8] = reader.raw(&link.socket).await?;
    if magic != MAGIC {
        return Err(Error::new(Code::Corrupt, "the peer speaks neither gRPC nor frames"));
    }
    link.outbox.urgent(|out| {
        out.extend_from_slice(&MAGIC);
        Ok(())
    })?;
    let mut peer = Peer::new(address, link.gone.clone());
    let Frame { header, message, .. } = reader.next(&link.socket).await?;
    let answer = hello(header, message, &mut peer, service);
    match answer {
        Ok((request, response)) => {
            peer.hello = request;
            link.send(Header::new(Kind::End, 0), &response)?;
            reader.allow(MAX_MESSAGE);
            Ok(peer)
        }
        Err(error) => {
            link.queue_error(0, &error);
            link.flush(true);
            Err(error)
        }
    }
}

fn hello(
    header: Header,
    message: bytes::Bytes,
    peer: &mut Peer,
    service: &dyn FrameService,
) -> Result<(HelloRequest, HelloResponse)> {
    if header.kind != Kind::Request || header.method != method::HELLO.number || header.stream != 0 {
        return Err(Error::new(Code::InvalidArgument, "the first call of a connection must be Hello"));
    }
    let request = HelloRequest::decode(message)
        .map_err(|cause| Error::new(Code::InvalidArgument, "Hello cannot be read").caused_by(cause))?;
    if request.version != VERSION {
        let text = format!("frame protocol version {} is not spoken here, {VERSION} is", request.version);
        return Err(Error::new(Code::Unimplemented, text).hint("run the same release on both sides"));
    }
    let mut response = service.hello(peer, &request)?;
    if service.control().is_some() {
        let challenge = control::challenge()?;
        response.challenge = challenge.to_vec().into();
        peer.challenge = Some(challenge);
    }
    Ok((request, response))
}

struct Connection {
    link: Arc<Link>,
    peer: Arc<Peer>,
    service: Arc<dyn FrameService>,
    tasks: Tasks,
}

impl Connection {
    /// Receives and dispatches until the connection ends, and says why it did.
    async fn run(&self, mut reader: Reader) -> Error {
        loop {
            if let Err(error) = self.batch(&mut reader).await {
                return error;
            }
        }
    }

    /// Waits for a frame and handles those that have arrived with it; their answers leave together.
    async fn batch(&self, reader: &mut Reader) -> Result<()> {
        // A peer that does not read its answers gets no more requests taken.
        self.link.outbox.urgent_room().await;
        let mut next = Some(reader.next(&self.link.socket).await?);
        self.link.note_heard();
        self.link.outbox.cork();
        let mut count = 0;
        let handled = loop {
            let Some(frame) = next else { break Ok(()) };
            count += 1;
            if let Err(error) = self.receive(frame) {
                break Err(error);
            }
            if count == BATCH {
                break Ok(());
            }
            next = match reader.buffered() {
                Ok(next) => next,
                Err(error) => break Err(error),
            };
        };
        self.link.outbox.uncork();
        self.link.flush(true);
        if count == BATCH {
            tokio::task::yield_now().await;
        }
        handled
    }

    fn receive(&self, frame: Frame) -> Result<()> {
        let number = frame.header.stream;
        match frame.header.kind {
            Kind::Request => self.request(frame)?,
            Kind::Data => {
                if let Some(stream) = self.link.stream(number) {
                    stream.push(frame, false)?;
                }
            }
            Kind::Cancel => {
                if let Some(slot) = self.link.remove(number) {
                    self.link.fail(slot, Error::new(Code::Cancelled, "the caller gave up"));
                }
            }
            Kind::Credit => {
                if let Some(stream) = self.link.stream(number) {
                    stream.grant(credit(frame.message)?);
                }
            }
            Kind::Ping => self.link.queue(Header::new(Kind::Pong, number)),
            Kind::Pong => self.link.pong(number),
            Kind::End | Kind::Error | Kind::GoAway => {
                return Err(Error::new(Code::Corrupt, "a caller does not answer"));
            }
        }
        Ok(())
    }

    fn request(&self, frame: Frame) -> Result<()> {
        let Header { stream: number, method: wanted, .. } = frame.header;
        let Some(method) = method::by_number(wanted) else {
            let text = format!("method {wanted} is not known here");
            self.link.queue_error(number, &Error::new(Code::Unimplemented, text));
            return Ok(());
        };
        if self.link.draining.load(Ordering::Relaxed) {
            self.link.queue_error(number, &Error::new(Code::Unavailable, "the server is shutting down"));
            return Ok(());
        }
        if method == method::PROVE {
            return self.prove(&frame);
        }
        if frame.header.has(LAST) && self.answered_at_once(method, &frame)? {
            return Ok(());
        }
        let stream = Arc::new(Stream::new());
        if frame.header.has(LAST) {
            stream.finish();
        }
        match self.link.accept(number, method, &stream, MAX_CALLS) {
            Ok(()) => {}
            Err(error) if error.code == Code::Busy => {
                self.link.queue_error(number, &error);
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        let call = Call {
            method,
            peer: Arc::clone(&self.peer),
            link: Arc::clone(&self.link),
            stream,
            number,
            message: frame.message,
            stop: self.tasks.stop(),
            ordered: false,
            ended: false,
        };
        let service = Arc::clone(&self.service);
        self.tasks.spawn_request(method.name, async move { service.call(call).await });
        Ok(())
    }

    /// Takes a proof of the control key, on this task: calls that come after it find it taken.
    ///
    /// # Errors
    /// The refusal, which ends the connection.
    fn prove(&self, frame: &Frame) -> Result<()> {
        let number = frame.header.stream;
        self.link.pass(number)?;
        let unreadable = |_| Error::new(Code::PermissionDenied, "the proof cannot be read");
        let proven = ProveRequest::decode(&*frame.message)
            .map_err(unreadable)
            .and_then(|request| self.peer.prove(self.service.control(), &request.proof));
        match &proven {
            Ok(()) => self.link.queue_message(Header::new(Kind::End, number), &Empty {})?,
            Err(error) => self.link.queue_error(number, error),
        }
        proven
    }

    /// Whether the service answered the call on this task.
    ///
    /// # Errors
    /// `Corrupt` when the call's number is in use.
    fn answered_at_once(&self, method: Method, frame: &Frame) -> Result<bool> {
        let number = frame.header.stream;
        self.link.pass(number)?;
        let mut call = BriefCall {
            method,
            peer: &self.peer,
            link: &self.link,
            number,
            message: &frame.message,
            ended: false,
        };
        let work = std::panic::AssertUnwindSafe(|| self.service.call_at_once(&mut call));
        if std::panic::catch_unwind(work).is_err() {
            tracing::error!(method = method.name, "a request's handler panicked");
            let text = format!("{} ended without an answer", method.name);
            call.answer::<Empty>(Err(Error::new(Code::Internal, text)));
        }
        Ok(call.ended)
    }

    /// Ends when the role stops and all calls have ended: new ones are refused from then on, those that take too long are
    /// cancelled.
    async fn drain(&self) {
        self.tasks.stop().cancelled().await;
        self.link.draining.store(true, Ordering::Relaxed);
        self.link.queue(Header::new(Kind::GoAway, 0));
        self.link.flush(true);
        if tokio::time::timeout(DRAIN, self.link.idle()).await.is_err() {
            self.cut_off();
        }
        let _ = tokio::time::timeout(LAST_WORDS, self.link.outbox.flushed()).await;
    }

    /// Tells handlers and callers of what is still under way that it is over.
    fn cut_off(&self) {
        let error = Error::new(Code::Unavailable, "the server is shutting down");
        for (number, slot) in self.link.take_all() {
            self.link.queue_error(number, &error);
            if let Slot::Stream(stream) = slot {
                stream.fail(Error { code: Code::Cancelled, ..error.clone() });
            }
        }
        self.link.flush(true);
    }
}
