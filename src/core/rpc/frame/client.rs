//! The calling side of a framed connection.

use super::link::{CloseOnDrop, KeepAlive, Link, Slot};
use super::reader::{Frame, Reader};
use super::serve::check_cluster;
use super::server::Incoming;
use super::socket::Socket;
use super::stream::{Item, Stream};
use super::wire::{self, Header, Kind, LAST, MAGIC, MAX_HELLO, MAX_MESSAGE};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{HelloRequest, HelloResponse, ProveRequest, WireError};
use crate::proto::method::{self, Method};
use crate::rpc::control::{ControlKey, Transport};
use crate::task::Tasks;
use bytes::{Buf, Bytes};
use prost::Message;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::oneshot;

/// While its role stops, a connection closes when no call was under way for so long: who flushes then makes several.
const LINGER: Duration = Duration::from_millis(300);

/// Where to connect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// `host:port`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => f.write_str(address),
            Target::Unix(path) => write!(f, "{}", path.display()),
        }
    }
}

/// One multiplexed connection. Cheap to clone; closed when the last clone (and the last `Payloads` and `Duplex` of it)
/// is dropped. After [`Tasks::stop`] it goes on for those who still use it, and closes
/// when no call was under way for a moment.
#[derive(Clone, Debug)]
pub struct Channel {
    handle: Arc<Handle>,
}

/// Closes the connection when nobody uses it any more; reader and writer hold the [`Link`] only.
#[derive(Debug)]
struct Handle {
    link: Arc<Link>,
    hello: HelloResponse,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.link.close(&Error::new(Code::Unavailable, "nobody uses the connection any more"));
    }
}

impl Channel {
    /// Connects and says hello, within `timeout`.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers, `WrongCluster` when either side refuses the other's mark.
    pub async fn connect(
        target: &Target,
        hello: HelloRequest,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<Channel> {
        Channel::connect_with(target, hello, None, tasks, timeout, KeepAlive::default()).await
    }

    /// As [`Channel::connect`], for who administers: where the server asks for it, `key` is proven before all calls, and
    /// nothing waits for it. Without a key it is [`Channel::connect`].
    ///
    /// # Errors
    /// As [`Channel::connect`]; calls fail with `PermissionDenied` when the server has another key.
    pub async fn connect_proven(
        target: &Target,
        hello: HelloRequest,
        key: Option<&ControlKey>,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<Channel> {
        Channel::connect_with(target, hello, key, tasks, timeout, KeepAlive::default()).await
    }

    /// As [`Channel::connect`], to a worker of whom bytes are read that others may have too: its silence is taken for its end
    /// within seconds ([`KeepAlive::WORKER`]).
    ///
    /// # Errors
    /// As [`Channel::connect`].
    pub async fn connect_worker(
        address: &str,
        hello: HelloRequest,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<Channel> {
        let target = Target::Tcp(address.to_owned());
        Channel::connect_with(&target, hello, None, tasks, timeout, KeepAlive::WORKER).await
    }

    /// As [`Channel::connect_proven`], with its own keep-alive.
    ///
    /// # Errors
    /// As [`Channel::connect_proven`].
    pub async fn connect_with(
        target: &Target,
        hello: HelloRequest,
        key: Option<&ControlKey>,
        tasks: &Tasks,
        timeout: Duration,
        keep_alive: KeepAlive,
    ) -> Result<Channel> {
        let late = |_| Error::new(Code::Unavailable, format!("{target} did not answer within {timeout:?}"));
        let user = hello.caller.as_ref().map(|caller| caller.user.clone()).unwrap_or_default();
        let (link, reader, hello) =
            tokio::time::timeout(timeout, shake_hands(target, hello)).await.map_err(late)??;
        if let Some(key) = key {
            prove(&link, key, &hello.challenge, &user)?;
        }
        let writing = Arc::clone(&link);
        tasks.spawn(format!("frames to {target}, writer"), async move {
            if let Err(error) = writing.outbox.run(&writing.socket).await {
                writing.close(&error);
            }
        });
        let reading = Arc::clone(&link);
        let stop = tasks.stop();
        tasks.spawn(format!("frames to {target}, reader"), async move {
            let _closed_even_when_aborted = CloseOnDrop(Arc::clone(&reading));
            let error = tokio::select! {
                error = read(&reading, reader) => error,
                error = reading.keep_alive(keep_alive) => error,
                () = reading.gone.cancelled() => return,
                () = async { stop.cancelled().await; reading.quiet(LINGER).await } => {
                    Error::new(Code::Unavailable, "this process is shutting down")
                }
            };
            tracing::debug!(peer = %reading.peer, %error, "a framed connection ends");
            reading.close(&error);
        });
        Ok(Channel { handle: Arc::new(Handle { link, hello }) })
    }

    /// What the peer said about itself.
    #[must_use]
    pub fn hello(&self) -> &HelloResponse {
        &self.handle.hello
    }

    /// Whether the connection is gone or its server takes no new calls because it shuts down: calls fail with
    /// `Unavailable`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.link().gone.is_cancelled() || self.link().draining.load(Ordering::Relaxed)
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {
        self.link().gone.cancelled().await;
    }

    /// Asks the peer for a sign of life.
    ///
    /// # Errors
    /// `DeadlineExceeded` when none came within `timeout`; the connection stays. `Unavailable` when it is gone.
    pub async fn ping(&self, timeout: Duration) -> Result<()> {
        self.link().ping(timeout).await
    }

    /// One request, one answer. Dropping the future cancels the call on the server.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable` when the connection broke: the outcome is then not known.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: Method, request: &Q) -> Result<A> {
        let link = self.link();
        let (sender, answer) = oneshot::channel();
        let call = Open::new(Arc::clone(&self.handle), method, Slot::Unary(sender))?;
        link.send(
            Header { method: method.number, flags: LAST, ..Header::new(Kind::Request, call.number) },
            request,
        )?;
        let outcome = answer.await.map_err(|_| link.why());
        call.close();
        decode(method, outcome??)
    }

    /// One request, answered by a stream of payloads. Dropping it cancels the call.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone; the peer's errors come from [`Payloads::next`].
    pub async fn read<Q: Message>(&self, method: Method, request: &Q) -> Result<Payloads> {
        let (open, stream) = self.open_stream(method, request, LAST)?;
        Ok(Payloads { open, stream, method })
    }

    /// Opens a stream in both directions, `request` first.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone.
    pub async fn open<Q: Message>(&self, method: Method, request: &Q) -> Result<Duplex> {
        let (open, stream) = self.open_stream(method, request, 0)?;
        Ok(Duplex { open, stream, method })
    }

    fn open_stream<Q: Message>(&self, method: Method, request: &Q, flags: u8) -> Result<(Open, Arc<Stream>)> {
        let stream = Arc::new(Stream::new());
        let open = Open::new(Arc::clone(&self.handle), method, Slot::Stream(Arc::clone(&stream)))?;
        let header = Header { method: method.number, flags, ..Header::new(Kind::Request, open.number) };
        self.link().send(header, request)?;
        Ok((open, stream))
    }

    fn link(&self) -> &Arc<Link> {
        &self.handle.link
    }
}

async fn shake_hands(target: &Target, hello: HelloRequest) -> Result<(Arc<Link>, Reader, HelloResponse)> {
    let unreachable = |error: std::io::Error| {
        Error::new(Code::Unavailable, format!("connect to {target}: {error}")).caused_by(error)
    };
    let socket = match target {
        Target::Tcp(address) => {
            let stream = TcpStream::connect(address).await.map_err(unreachable)?;
            stream.set_nodelay(true).map_err(unreachable)?;
            Socket::Tcp(stream)
        }
        Target::Unix(path) => Socket::Unix(UnixStream::connect(path).await.map_err(unreachable)?),
    };
    let link = Link::new(socket, target.to_string());
    let ours = hello.cluster.clone();
    link.outbox.urgent(|out| {
        out.extend_from_slice(&MAGIC);
        let header = Header { method: method::HELLO.number, flags: LAST, ..Header::new(Kind::Request, 0) };
        wire::encode(header, &hello, out)
    })?;
    link.outbox.flush(&link.socket, true)?;
    let mut reader = Reader::new(Arc::clone(&link.pool), MAX_HELLO);
    let talk = async {
        let magic: [u8; 8] = reader.raw(&link.socket).await?;
        if magic != MAGIC {
            return Err(Error::new(Code::Unavailable, "something else than GooseFS answers there")
                .hint("is that the RPC port, and of the same version?"));
        }
        reader.next(&link.socket).await
    };
    // A hello that does not fit the socket's buffer is written by hand: the writer does not run yet.
    let answer = tokio::select! {
        answer = talk => answer,
        outcome = link.outbox.run(&link.socket) => match outcome {
            Ok(()) => Err(link.why()),
            Err(error) => Err(error),
        },
    };
    let frame = answer.map_err(|error| error.context(target))?;
    let hello = match frame.header.kind {
        Kind::End => decode::<HelloResponse>(method::HELLO, frame.message)?,
        Kind::Error => return Err(decode_error(frame.message).context(target)),
        other => return Err(Error::new(Code::Corrupt, format!("{target} answered Hello with {other:?}"))),
    };
    check_cluster(ours.as_ref(), hello.cluster.as_ref()).map_err(|error| error.context(target))?;
    reader.allow(MAX_MESSAGE);
    Ok((link, reader, hello))
}

/// Answers the server's challenge, if it sent one: it leaves before all calls.
fn prove(link: &Link, key: &ControlKey, challenge: &[u8], user: &str) -> Result<()> {
    let Ok(challenge) = challenge.try_into() else { return Ok(()) };
    let request = ProveRequest { proof: key.prove(Transport::Frames, challenge, user).into() };
    let number = link.open(method::PROVE, Slot::Proof)?;
    let header = Header { method: method::PROVE.number, flags: LAST, ..Header::new(Kind::Request, number) };
    link.send(header, &request)
}

/// Receives until the connection ends, and says why it did.
async fn read(link: &Link, mut reader: Reader) -> Error {
    loop {
        let received = match reader.next(&link.socket).await {
            Ok(frame) => receive(link, frame),
            Err(error) => Err(error),
        };
        if let Err(error) = received {
            return error;
        }
        link.note_heard();
    }
}

fn receive(link: &Link, frame: Frame) -> Result<()> {
    let number = frame.header.stream;
    match frame.header.kind {
        Kind::End | Kind::Error => {
            let failed = frame.header.kind == Kind::Error;
            // A stream that is not there was given up in the meantime.
            match link.remove(number) {
                Some(Slot::Unary(caller)) => {
                    let outcome = if failed { Err(decode_error(frame.message)) } else { Ok(frame.message) };
                    // The caller may have gone away in this moment.
                    let _ = caller.send(outcome);
                }
                Some(Slot::Stream(stream)) if failed => stream.fail(decode_error(frame.message)),
                Some(Slot::Stream(stream)) => stream.push(frame, true)?,
                Some(Slot::Proof) if failed => return Err(decode_error(frame.message)),
                Some(Slot::Proof) => {}
                None => {}
            }
        }
        Kind::Data => {
            if let Some(stream) = link.stream(number) {
                stream.push(frame, false)?;
            }
        }
        Kind::Credit => {
            if let Some(stream) = link.stream(number) {
                stream.grant(credit(frame.message)?);
            }
        }
        Kind::Ping => {
            link.queue(Header::new(Kind::Pong, number));
            link.flush(true);
        }
        Kind::Pong => link.pong(number),
        Kind::GoAway => link.draining.store(true, Ordering::Relaxed),
        Kind::Request | Kind::Cancel => {
            return Err(Error::new(Code::Corrupt, "a server does not open or cancel streams"));
        }
    }
    Ok(())
}

/// The amount in a credit frame.
pub(super) fn credit(mut message: Bytes) -> Result<u32> {
    if message.len() == 4 {
        Ok(message.get_u32_le())
    } else {
        Err(Error::new(Code::Corrupt, "malformed credit"))
    }
}

fn decode<A: Message + Default>(method: Method, message: Bytes) -> Result<A> {
    A::decode(message).map_err(|cause| {
        Error::new(Code::Corrupt, format!("the answer to {} cannot be read", method.name)).caused_by(cause)
    })
}

fn decode_error(message: Bytes) -> Error {
    match WireError::decode(message) {
        Ok(error) => Error::from_wire(error),
        Err(cause) => Error::new(Code::Internal, "an error that cannot be read").caused_by(cause),
    }
}

/// An open stream number; cancels the call when dropped before its end.
#[derive(Debug)]
struct Open {
    handle: Arc<Handle>,
    number: u32,
    over: bool,
}

impl Open {
    fn new(handle: Arc<Handle>, method: Method, slot: Slot) -> Result<Open> {
        let number = handle.link.open(method, slot)?;
        Ok(Open { handle, number, over: false })
    }

    /// The peer has ended the stream.
    fn close(mut self) {
        self.over = true;
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.over && self.handle.link.remove(self.number).is_some() {
            self.handle.link.queue(Header::new(Kind::Cancel, self.number));
            self.handle.link.flush(true);
        }
    }
}

/// Payloads from the peer.
#[derive(Debug)]
pub struct Payloads {
    open: Open,
    stream: Arc<Stream>,
    method: Method,
}

impl Payloads {
    /// The next payload, never empty; `None` at the end of the stream.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable` when the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            let Some((item, grant)) = self.stream.next().await? else { return Ok(None) };
            self.open.handle.link.grant(self.open.number, grant);
            match item {
                Item::Payload(bytes) => return Ok(Some(bytes)),
                // The message of an End frame says nothing here.
                Item::Message(bytes) if bytes.is_empty() => {}
                Item::Message(_) => return Err(unexpected(self.method, "a message", "payloads")),
            }
        }
    }
}

/// A stream in both directions.
#[derive(Debug)]
pub struct Duplex {
    open: Open,
    stream: Arc<Stream>,
    method: Method,
}

impl Duplex {
    /// Sends a payload; waits while the peer gives no credit. An empty one is not sent.
    ///
    /// # Errors
    /// The peer's error if it ended the stream, or `Unavailable`.
    pub async fn send(&mut self, payload: Bytes) -> Result<()> {
        self.open.handle.link.send_payload(self.open.number, &self.stream, payload).await
    }

    /// Sends a message without payload (a flush, say).
    ///
    /// # Errors
    /// As [`Duplex::send`].
    pub async fn send_message<Q: Message>(&mut self, message: &Q) -> Result<()> {
        self.stream.reserve_message(message.encoded_len()).await?;
        self.open.handle.link.send_ordered(Header::new(Kind::Data, self.open.number), message).await
    }

    /// The peer's next message; `None` when it ended the stream well.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable`.
    pub async fn receive<A: Message + Default>(&mut self) -> Result<Option<A>> {
        let Some((item, grant)) = self.stream.next().await? else { return Ok(None) };
        self.open.handle.link.grant(self.open.number, grant);
        match item {
            Item::Message(bytes) => decode(self.method, bytes).map(Some),
            Item::Payload(_) => Err(unexpected(self.method, "a payload", "messages")),
        }
    }

    /// The peer's next message or payload; `None` when it ended the stream well.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable`.
    pub async fn next(&mut self) -> Result<Option<Incoming>> {
        loop {
            let Some((item, grant)) = self.stream.next().await? else { return Ok(None) };
            self.open.handle.link.grant(self.open.number, grant);
            match item {
                Item::Payload(bytes) => return Ok(Some(Incoming::Payload(bytes))),
                // The message of an End frame says nothing here.
                Item::Message(bytes) if bytes.is_empty() => {}
                Item::Message(bytes) => return Ok(Some(Incoming::Message(bytes))),
            }
        }
    }

    /// Says that nothing more will be sent; the peer's messages go on until its own end. Dropping a `Duplex` without
    /// this cancels the call; dropping it before the peer's end does so too.
    ///
    /// # Errors
    /// As [`Duplex::send`].
    pub async fn finish_sending(&mut self) -> Result<()> {
        let header = Header { flags: LAST, ..Header::new(Kind::Data, self.open.number) };
        self.open.handle.link.send_bare(header).await;
        Ok(())
    }
}

fn unexpected(method: Method, got: &str, wanted: &str) -> Error {
    Error::new(Code::Internal, format!("{} answered with {got} where only {wanted} belong", method.name))
}
