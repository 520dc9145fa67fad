//! File descriptors over a Unix socket: how a worker hands a cached container to a client on the same machine.
//!
//! `OpenContainer` is answered with one descriptor by SCM_RIGHTS. Only peers that run as the server's own user or as
//! root are served (SO_PEERCRED), because the kernel re-opens a backing file with the daemon's rights. What a
//! connection took is given back when it closes.
//!
//! The wire: `u32` length, `u16` method, message, one request after the other. An answer is `u32` length, `u8` status
//! (0: the method's answer, 1: `WireError`), message; the descriptor travels with the first byte of its answer.

use super::frame::{error_of_wire, wire_error};
use super::unix;
use crate::error::{Code, Error, Result};
use crate::id::ContentId;
use crate::proto::internal::{
    CloseLeaseRequest, Empty, HelloRequest, HelloResponse, OpenContainerRequest, OpenContainerResponse,
};
use crate::proto::method::{self, Method};
use crate::task::Tasks;
use async_trait::async_trait;
use bytes::{Buf, BufMut, Bytes, BytesMut};
use nix::cmsg_space;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use prost::Message;
use std::collections::VecDeque;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};

/// Longest message either side takes.
const LONGEST: usize = 64 << 10;

/// Bytes read at a time.
const READ: usize = 4096;

/// Requests of one client that wait for their turn.
const QUEUE: usize = 256;

/// One connection's side of the service; dropped when the connection closes.
#[async_trait]
pub trait FdSession: Send + 'static {
    /// The descriptor of a whole cached content.
    ///
    /// # Errors
    /// `NotFound` when it is not wholly here or not trusted.
    async fn open(&mut self, request: OpenContainerRequest) -> Result<(OpenContainerResponse, OwnedFd)>;

    /// Gives leases back.
    async fn close(&mut self, request: CloseLeaseRequest);
}

/// Makes a session for each connection.
pub trait FdService: Send + Sync + 'static {
    /// A peer says hello.
    ///
    /// # Errors
    /// The refusal.
    fn connect(&self, hello: &HelloRequest) -> Result<(HelloResponse, Box<dyn FdSession>)>;
}

/// Serves `path` until the role stops; a stale socket file is replaced. The socket file is removed at the end.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(path: &Path, service: Arc<dyn FdService>, tasks: &Tasks) -> Result<()> {
    let (listener, file) = unix::listen(path)?;
    let (scope, stop) = (tasks.clone(), tasks.stop());
    let own = nix::unistd::geteuid().as_raw();
    tasks.spawn("descriptors", async move {
        let _removed_at_the_end = file;
        loop {
            let accepted = tokio::select! {
                () = stop.cancelled() => return,
                accepted = listener.accept() => accepted,
            };
            let stream = match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "a connection for descriptors was not accepted");
                    continue;
                }
            };
            let (service, stop) = (service.clone(), stop.clone());
            scope.spawn("descriptors-connection", async move {
                let served = Connection::new(stream).serve(service, own);
                let outcome = tokio::select! {
                    () = stop.cancelled() => return,
                    outcome = served => outcome,
                };
                if let Err(error) = outcome {
                    tracing::debug!(%error, "a connection for descriptors ended");
                }
            });
        }
    });
    Ok(())
}

/// Whether a peer of this user may have descriptors.
fn may_have(uid: u32, own: u32) -> bool {
    uid == own || uid == 0
}

/// One connection, either side.
struct Connection {
    stream: UnixStream,
    received: BytesMut,
    descriptors: VecDeque<OwnedFd>,
}

impl Connection {
    fn new(stream: UnixStream) -> Connection {
        Connection { stream, received: BytesMut::new(), descriptors: VecDeque::new() }
    }

    async fn serve(mut self, service: Arc<dyn FdService>, own: u32) -> Result<()> {
        let Some((number, body)) = self.request().await? else { return Ok(()) };
        let credentials = self.stream.peer_cred().map_err(|e| Error::io("ask who connects", e))?;
        let greeted = if !may_have(credentials.uid(), own) {
            let text = format!("descriptors go to user {own} and root, not to user {}", credentials.uid());
            Err(Error::new(Code::PermissionDenied, text))
        } else if number == method::HELLO.number {
            decode::<HelloRequest>(&body).and_then(|hello| service.connect(&hello))
        } else {
            Err(Error::new(Code::InvalidArgument, "a connection begins with Hello"))
        };
        let mut session = match greeted {
            Ok((hello, session)) => {
                self.answer(Ok(&hello), None).await?;
                session
            }
            Err(error) => return self.answer::<Empty>(Err(error), None).await,
        };
        while let Some((number, body)) = self.request().await? {
            if number == method::OPEN_CONTAINER.number {
                let opened = match decode(&body) {
                    Ok(request) => session.open(request).await,
                    Err(error) => Err(error),
                };
                match opened {
                    Ok((response, file)) => self.answer(Ok(&response), Some(file)).await?,
                    Err(error) => self.answer::<Empty>(Err(error), None).await?,
                }
            } else if number == method::CLOSE_LEASE.number {
                match decode(&body) {
                    Ok(request) => {
                        session.close(request).await;
                        self.answer(Ok(&Empty {}), None).await?;
                    }
                    Err(error) => self.answer::<Empty>(Err(error), None).await?,
                }
            } else {
                let text = format!("method {number} is not served on this socket");
                self.answer::<Empty>(Err(Error::new(Code::Unimplemented, text)), None).await?;
            }
        }
        Ok(())
    }

    async fn request(&mut self) -> Result<Option<(u16, Bytes)>> {
        let Some(mut message) = self.message().await? else { return Ok(None) };
        if message.len() < 2 {
            return Err(Error::new(Code::InvalidArgument, "a request without a method"));
        }
        Ok(Some((message.get_u16_le(), message)))
    }

    async fn answer<A: Message>(&mut self, answer: Result<&A>, file: Option<OwnedFd>) -> Result<()> {
        let mut bytes = BytesMut::new();
        match answer {
            Ok(answer) => put(&mut bytes, |out| out.put_u8(0), answer),
            Err(error) => put(&mut bytes, |out| out.put_u8(1), &wire_error(&error)),
        }
        self.send(&bytes, file).await
    }

    async fn ask<Q: Message, A: Message + Default>(&mut self, method: Method, request: &Q) -> Result<A> {
        let mut bytes = BytesMut::new();
        put(&mut bytes, |out| out.put_u16_le(method.number), request);
        self.send(&bytes, None).await?;
        let Some(mut message) = self.message().await? else { return Err(gone()) };
        if message.is_empty() {
            return Err(Error::new(Code::Corrupt, "an answer without a status"));
        }
        match message.get_u8() {
            0 => decode(&message),
            _ => Err(error_of_wire(decode(&message)?)),
        }
    }

    /// The next message; `None` when the peer has closed.
    async fn message(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(mut length) = self.received.get(..4) {
                let length = length.get_u32_le() as usize;
                if length > LONGEST {
                    return Err(Error::new(Code::Corrupt, format!("a message of {length} bytes")));
                }
                if self.received.len() >= 4 + length {
                    self.received.advance(4);
                    return Ok(Some(self.received.split_to(length).freeze()));
                }
            }
            if self.receive().await? == 0 {
                return Ok(None);
            }
        }
    }

    /// Reads what is there, descriptors too.
    async fn receive(&mut self) -> Result<usize> {
        let mut bytes = [0; READ];
        let (count, descriptors) = self
            .stream
            .async_io(Interest::READABLE, || receive_now(self.stream.as_raw_fd(), &mut bytes))
            .await
            .map_err(|e| Error::io("read from a socket for descriptors", e))?;
        self.descriptors.extend(descriptors);
        self.received.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    async fn send(&self, bytes: &[u8], file: Option<OwnedFd>) -> Result<()> {
        let mut sent = 0;
        let mut file = file.as_ref().map(AsRawFd::as_raw_fd);
        while sent < bytes.len() {
            let count = self
                .stream
                .async_io(Interest::WRITABLE, || send_now(self.stream.as_raw_fd(), &bytes[sent..], file))
                .await
                .map_err(|e| Error::io("write to a socket for descriptors", e))?;
            // It went with the first byte.
            file = None;
            sent += count;
        }
        Ok(())
    }
}

fn send_now(socket: RawFd, bytes: &[u8], file: Option<RawFd>) -> std::io::Result<usize> {
    let files: Vec<RawFd> = file.into_iter().collect();
    let rights = [ControlMessage::ScmRights(&files)];
    let control = if files.is_empty() { &[][..] } else { &rights[..] };
    Ok(sendmsg::<()>(socket, &[IoSlice::new(bytes)], control, MsgFlags::MSG_NOSIGNAL, None)?)
}

#[allow(unsafe_code)]
fn receive_now(socket: RawFd, bytes: &mut [u8]) -> std::io::Result<(usize, Vec<OwnedFd>)> {
    let mut room = cmsg_space!([RawFd; 4]);
    let mut parts = [IoSliceMut::new(bytes)];
    let message = recvmsg::<()>(socket, &mut parts, Some(&mut room), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = control {
            // SAFETY: recvmsg(2) has just made these descriptors for us, and nobody else knows their numbers.
            descriptors.extend(numbers.into_iter().map(|number| unsafe { OwnedFd::from_raw_fd(number) }));
        }
    }
    Ok((message.bytes, descriptors))
}

fn put<M: Message>(bytes: &mut BytesMut, before: impl FnOnce(&mut BytesMut), message: &M) {
    bytes.put_u32_le(0);
    before(bytes);
    let encoded = message.encode(bytes);
    debug_assert!(encoded.is_ok(), "a buffer that grows takes every message");
    let length = u32::try_from(bytes.len() - 4).unwrap_or(u32::MAX);
    bytes[..4].copy_from_slice(&length.to_le_bytes());
}

fn decode<M: Message + Default>(bytes: &[u8]) -> Result<M> {
    M::decode(bytes).map_err(|e| Error::new(Code::InvalidArgument, format!("a message cannot be read: {e}")))
}

fn gone() -> Error {
    Error::new(Code::Unavailable, "the worker has closed its socket")
}

enum Ask {
    Open(ContentId, oneshot::Sender<Result<(OpenContainerResponse, OwnedFd)>>),
    Close(Vec<u64>),
}

/// A connection to a worker's socket. Cheap to clone; leases end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct FdClient {
    hello: Arc<HelloResponse>,
    asks: mpsc::Sender<Ask>,
}

impl FdClient {
    /// Connects and says hello.
    ///
    /// # Errors
    /// `Unavailable` when there is no such socket, `PermissionDenied` when the worker runs as another user.
    pub async fn connect(
        path: &Path,
        hello: HelloRequest,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<FdClient> {
        let greet = async {
            let stream = UnixStream::connect(path).await.map_err(|e| {
                let code = if e.kind() == std::io::ErrorKind::PermissionDenied {
                    Code::PermissionDenied
                } else {
                    Code::Unavailable
                };
                Error::new(code, format!("connect to {}: {e}", path.display())).caused_by(e)
            })?;
            let mut connection = Connection::new(stream);
            let answer: HelloResponse = connection.ask(method::HELLO, &hello).await?;
            Ok::<_, Error>((connection, answer))
        };
        let late = |_| {
            Error::new(Code::Unavailable, format!("{} did not answer within {timeout:?}", path.display()))
        };
        let (connection, answer) = tokio::time::timeout(timeout, greet).await.map_err(late)??;
        let (asks, queue) = mpsc::channel(QUEUE);
        let stop = tasks.stop();
        tasks.spawn("descriptors-client", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = work(connection, queue) => {}
            }
        });
        Ok(FdClient { hello: Arc::new(answer), asks })
    }

    /// What the worker said about itself.
    #[must_use]
    pub fn hello(&self) -> &HelloResponse {
        &self.hello
    }

    /// Whether the connection is gone, and every lease with it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.asks.is_closed()
    }

    /// Asks for a content's descriptor.
    ///
    /// # Errors
    /// `NotFound` when it is not wholly there, `Unavailable` when the connection is gone.
    pub async fn open(&self, content: ContentId) -> Result<(OpenContainerResponse, OwnedFd)> {
        let (reply, answer) = oneshot::channel();
        self.asks.send(Ask::Open(content, reply)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())?
    }

    /// Gives leases back; does not wait. What cannot be sent at once is given back when the connection closes.
    pub fn close(&self, leases: Vec<u64>) {
        if self.asks.try_send(Ask::Close(leases)).is_err() {
            tracing::debug!("leases are kept until the connection closes");
        }
    }
}

/// Asks one thing after the other until nobody wants anything or the worker is gone.
async fn work(mut connection: Connection, mut queue: mpsc::Receiver<Ask>) {
    loop {
        let ask = tokio::select! {
            ask = queue.recv() => ask,
            // Nothing is due: whatever comes now is the end of the connection.
            _ = connection.message() => return,
        };
        let outcome = match ask {
            None => return,
            Some(Ask::Open(content, reply)) => match open(&mut connection, content).await {
                Ok(opened) => give(&mut connection, opened, reply).await,
                Err(error) => {
                    let broken = error.code == Code::Unavailable || error.code == Code::Io;
                    let _asker_left = reply.send(Err(error));
                    if broken { Err(gone()) } else { Ok(()) }
                }
            },
            Some(Ask::Close(leases)) => close(&mut connection, leases).await,
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "the connection to a worker's socket ended");
            return;
        }
    }
}

async fn open(connection: &mut Connection, content: ContentId) -> Result<(OpenContainerResponse, OwnedFd)> {
    let request = OpenContainerRequest { content: content.0 };
    let response: OpenContainerResponse = connection.ask(method::OPEN_CONTAINER, &request).await?;
    let file = connection
        .descriptors
        .pop_front()
        .ok_or_else(|| Error::new(Code::Unavailable, "a worker's answer came without its descriptor"))?;
    Ok((response, file))
}

/// Hands a descriptor to who asked; when he is gone its lease is given back.
async fn give(
    connection: &mut Connection,
    opened: (OpenContainerResponse, OwnedFd),
    reply: oneshot::Sender<Result<(OpenContainerResponse, OwnedFd)>>,
) -> Result<()> {
    match reply.send(Ok(opened)) {
        Err(Ok((response, _))) => close(connection, vec![response.lease]).await,
        _ => Ok(()),
    }
}

async fn close(connection: &mut Connection, leases: Vec<u64>) -> Result<()> {
    let _: Empty = connection.ask(method::CLOSE_LEASE, &CloseLeaseRequest { leases }).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use std::io::{Read, Seek, Write};

    #[derive(Default)]
    struct Shelf {
        closed: Arc<Mutex<Vec<u64>>>,
    }

    struct Session(Arc<Mutex<Vec<u64>>>);

    impl FdService for Shelf {
        fn connect(&self, hello: &HelloRequest) -> Result<(HelloResponse, Box<dyn FdSession>)> {
            if hello.role == "stranger" {
                return Err(Error::new(Code::WrongCluster, "another cluster"));
            }
            Ok((
                HelloResponse { worker: 7, ..HelloResponse::default() },
                Box::new(Session(self.closed.clone())),
            ))
        }
    }

    #[async_trait]
    impl FdSession for Session {
        async fn open(&mut self, request: OpenContainerRequest) -> Result<(OpenContainerResponse, OwnedFd)> {
            if request.content == 0 {
                return Err(Error::new(Code::NotFound, "not wholly here"));
            }
            let mut file = tempfile::tempfile().unwrap();
            write!(file, "content {}", request.content).unwrap();
            let response = OpenContainerResponse { lease: request.content, length: 1, ..Default::default() };
            Ok((response, file.into()))
        }

        async fn close(&mut self, request: CloseLeaseRequest) {
            self.0.lock().extend(request.leases);
        }
    }

    impl Drop for Session {
        fn drop(&mut self) {
            self.0.lock().push(u64::MAX);
        }
    }

    fn text_of(file: OwnedFd) -> String {
        let mut file = std::fs::File::from(file);
        file.rewind().unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        text
    }

    #[tokio::test]
    async fn descriptors_arrive_with_their_answers_and_leases_go_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let (server, client) = (Tasks::new("server"), Tasks::new("client"));
        let shelf = Arc::new(Shelf::default());
        serve(&path, shelf.clone(), &server).unwrap();
        let limit = Duration::from_secs(10);
        let connected = FdClient::connect(&path, HelloRequest::default(), &client, limit).await.unwrap();
        assert_eq!(connected.hello().worker, 7);
        let opens = (1..=50).map(|content| {
            let connected = connected.clone();
            async move { (content, connected.open(ContentId(content)).await.unwrap()) }
        });
        for (content, (response, file)) in futures::future::join_all(opens).await {
            assert_eq!(response.lease, content);
            assert_eq!(text_of(file), format!("content {content}"));
        }
        assert_eq!(connected.open(ContentId(0)).await.unwrap_err().code, Code::NotFound);
        connected.close(vec![3, 4]);
        assert_eq!(connected.open(ContentId(1)).await.unwrap().0.lease, 1);
        assert_eq!(*shelf.closed.lock(), [3, 4]);
        server.shutdown(limit).await;
        assert_eq!(*shelf.closed.lock(), [3, 4, u64::MAX]);
        assert_eq!(connected.open(ContentId(1)).await.unwrap_err().code, Code::Unavailable);
        assert!(!path.exists(), "the socket file is removed");
        client.shutdown(limit).await;
    }

    #[tokio::test]
    async fn a_refused_hello_is_an_error_and_nobody_there_is_unavailable() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let tasks = Tasks::new("test");
        let limit = Duration::from_secs(10);
        let absent = FdClient::connect(&path, HelloRequest::default(), &tasks, limit).await;
        assert_eq!(absent.unwrap_err().code, Code::Unavailable);
        serve(&path, Arc::new(Shelf::default()), &tasks).unwrap();
        let stranger = HelloRequest { role: "stranger".to_owned(), ..HelloRequest::default() };
        let refused = FdClient::connect(&path, stranger, &tasks, limit).await;
        assert_eq!(refused.unwrap_err().code, Code::WrongCluster);
        tasks.shutdown(limit).await;
    }

    #[test]
    fn only_the_own_user_and_root_may_have_descriptors() {
        assert!(may_have(1000, 1000) && may_have(0, 1000));
        assert!(!may_have(1001, 1000) && !may_have(1000, 0));
    }
}
