//! The client's side.

use super::FileId;
use super::wire::{Receiver, decode_error, frame, send};
use crate::error::{Code, Error, Result};
use crate::id::ContentId;
use crate::proto::internal::{
    CloseLeaseRequest, HelloRequest, HelloResponse, OpenContainerRequest, OpenContainerResponse,
};
use crate::proto::method;
use crate::rpc::frame::check_cluster;
use crate::rpc::frame::wire::{Header, Kind, LAST, MAGIC};
use crate::task::Tasks;
use bytes::{Bytes, BytesMut};
use nix::unistd::Uid;
use parking_lot::Mutex;
use prost::Message;
use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::{CancellationToken, DropGuard};

/// A worker has so long to answer: it may have to ask its master, and to verify a small file.
const PATIENCE: Duration = Duration::from_secs(5);

/// A connection to a worker's socket. Cheap to clone; leases end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct FdClient {
    shared: Arc<Shared>,
    /// Ends the connection with the last clone.
    _last: Arc<DropGuard>,
}

type Opened = (OpenContainerResponse, OwnedFd);

#[derive(Debug)]
struct Shared {
    name: String,
    hello: HelloResponse,
    waiting: Mutex<Waiting>,
    /// Frames to send. Bounded by the opens that wait and the leases that are held.
    outgoing: mpsc::UnboundedSender<BytesMut>,
    gone: CancellationToken,
}

#[derive(Debug, Default)]
struct Waiting {
    last: u32,
    opens: HashMap<u32, oneshot::Sender<Result<Opened>>>,
    closed: bool,
}

impl FdClient {
    /// Connects and says hello.
    ///
    /// # Errors
    /// `Unavailable` when there is no such socket, `PermissionDenied` when the worker runs as another user,
    /// `WrongCluster` when either side refuses the other's mark.
    pub async fn connect(
        path: &Path,
        hello: HelloRequest,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<FdClient> {
        let name = path.display().to_string();
        let late = |_| Error::new(Code::Unavailable, format!("{name} did not answer within {timeout:?}"));
        let (stream, receiver, hello) = tokio::time::timeout(timeout, shake_hands(path, hello))
            .await
            .map_err(late)?
            .map_err(|error| error.context(&name))?;
        let (outgoing, queue) = mpsc::unbounded_channel();
        let gone = CancellationToken::new();
        let waiting = Mutex::default();
        let shared = Arc::new(Shared { name, hello, waiting, outgoing, gone: gone.clone() });
        let (running, stop) = (Arc::clone(&shared), tasks.stop());
        tasks.spawn(format!("descriptors from {}", shared.name), async move {
            let ended = tokio::select! {
                received = running.receive(&stream, receiver) => received,
                sent = write(&stream, queue) => sent,
                () = running.gone.cancelled() => Ok(()),
                () = stop.cancelled() => Ok(()),
            };
            if let Err(error) = ended {
                tracing::debug!(socket = %running.name, %error, "the connection for descriptors ends");
            }
            running.close();
        });
        Ok(FdClient { shared, _last: Arc::new(gone.drop_guard()) })
    }

    /// What the worker said about itself.
    #[must_use]
    pub fn hello(&self) -> &HelloResponse {
        &self.shared.hello
    }

    /// Whether the connection is gone, and every lease with it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.shared.gone.is_cancelled()
    }

    /// Asks for a content's descriptor, of `generation` or a later one. A lease that nobody takes, because the future was dropped, is given back.
    ///
    /// # Errors
    /// `NotFound` when it is not wholly there, `Unavailable` when the connection is gone, `DeadlineExceeded` when the
    /// worker does not answer.
    pub async fn open(
        &self,
        content: ContentId,
        generation: u64,
    ) -> Result<(OpenContainerResponse, OwnedFd)> {
        self.ask(OpenContainerRequest { content: content.0, generation, ..OpenContainerRequest::default() })
            .await
    }

    /// Asks for the descriptor of a container of `content` that may not be whole yet, without a lease: what may be read
    /// of it is said by `ReadContent` streams with `in_file`, which name `file`.
    ///
    /// # Errors
    /// As [`FdClient::open`]; `NotFound` when there is no such file.
    pub async fn open_partial(&self, content: ContentId, file: FileId) -> Result<OwnedFd> {
        let FileId { device, inode } = file;
        let request = OpenContainerRequest { content: content.0, generation: 0, inode, device };
        self.ask(request).await.map(|(_, descriptor)| descriptor)
    }

    async fn ask(&self, request: OpenContainerRequest) -> Result<Opened> {
        let (sender, answer) = oneshot::channel();
        let number = {
            let mut waiting = self.shared.waiting.lock();
            if waiting.closed {
                return Err(self.shared.lost());
            }
            waiting.last = waiting.last.wrapping_add(1).max(1);
            let number = waiting.last;
            waiting.opens.insert(number, sender);
            number
        };
        let _forget = Forget { shared: &self.shared, number };
        let header = Header {
            method: method::OPEN_CONTAINER.number,
            flags: LAST,
            ..Header::new(Kind::Request, number)
        };
        self.shared.send(frame(header, &request)?);
        match tokio::time::timeout(PATIENCE, answer).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(self.shared.lost()),
            Err(_) => {
                let text =
                    format!("{} did not hand out content {} in time", self.shared.name, request.content);
                Err(Error::new(Code::DeadlineExceeded, text))
            }
        }
    }

    /// Gives leases back; does not wait.
    pub fn close(&self, leases: Vec<u64>) {
        self.shared.give_back(leases);
    }
}

/// Nobody waits for this answer any more.
struct Forget<'a> {
    shared: &'a Shared,
    number: u32,
}

impl Drop for Forget<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().opens.remove(&self.number);
    }
}

impl Shared {
    fn send(&self, bytes: BytesMut) {
        // Without a receiver the connection is gone, and everybody who waits is told so.
        let _ = self.outgoing.send(bytes);
    }

    fn give_back(&self, leases: Vec<u64>) {
        // As many as surely fit one frame.
        for leases in leases.chunks(1000) {
            let header =
                Header { method: method::CLOSE_LEASE.number, flags: LAST, ..Header::new(Kind::Request, 0) };
            match frame(header, &CloseLeaseRequest { leases: leases.to_vec() }) {
                Ok(bytes) => self.send(bytes),
                Err(error) => tracing::warn!(%error, "leases are kept until the connection ends"),
            }
        }
    }

    fn lost(&self) -> Error {
        Error::new(Code::Unavailable, format!("the connection to {} is gone", self.name))
    }

    fn close(&self) {
        let opens = {
            let mut waiting = self.waiting.lock();
            waiting.closed = true;
            std::mem::take(&mut waiting.opens)
        };
        // Dropped senders tell those who wait.
        drop(opens);
        self.gone.cancel();
    }

    async fn receive(&self, stream: &UnixStream, mut receiver: Receiver) -> Result<()> {
        while let Some((header, message)) = receiver.next(stream).await? {
            let outcome = match header.kind {
                Kind::End => {
                    let missing = || Error::new(Code::Corrupt, "an answer came without its descriptor");
                    let descriptor = receiver.descriptor().ok_or_else(missing)?;
                    Ok((decode::<OpenContainerResponse>(message)?, descriptor))
                }
                Kind::Error => Err(decode_error(message)),
                other => return Err(Error::new(Code::Corrupt, format!("a worker does not send {other:?}"))),
            };
            let waiting = self.waiting.lock().opens.remove(&header.stream);
            let unwanted = match waiting {
                Some(waiting) => waiting.send(outcome).err(),
                None => Some(outcome),
            };
            if let Some(Ok((response, _))) = unwanted
                && response.lease != 0
            {
                self.give_back(vec![response.lease]);
            }
        }
        Ok(())
    }
}

async fn write(stream: &UnixStream, mut queue: mpsc::UnboundedReceiver<BytesMut>) -> Result<()> {
    while let Some(bytes) = queue.recv().await {
        send(stream, &bytes, &[]).await?;
    }
    Ok(())
}

async fn shake_hands(path: &Path, hello: HelloRequest) -> Result<(UnixStream, Receiver, HelloResponse)> {
    let stream = UnixStream::connect(path).await.map_err(|error| {
        let code = match error.kind() {
            std::io::ErrorKind::PermissionDenied => Code::PermissionDenied,
            _ => Code::Unavailable,
        };
        Error::new(code, format!("connect: {error}")).caused_by(error)
    })?;
    let peer = stream.peer_cred().map_err(|e| Error::io("read the worker's credentials", e))?.uid();
    let own = Uid::effective();
    if !own.is_root() && peer != own.as_raw() && peer != 0 {
        let text = format!("the worker runs as user {peer}, this process as user {own}");
        return Err(Error::new(Code::PermissionDenied, text));
    }
    let ours = hello.cluster.clone();
    let header = Header { method: method::HELLO.number, flags: LAST, ..Header::new(Kind::Request, 0) };
    let mut bytes = BytesMut::from(&MAGIC[..]);
    bytes.unsplit(frame(header, &hello)?);
    send(&stream, &bytes, &[]).await?;
    let mut receiver = Receiver::default();
    receiver.magic(&stream).await?;
    let closed = || Error::new(Code::Unavailable, "closed without an answer");
    let (header, message) = receiver.next(&stream).await?.ok_or_else(closed)?;
    let response: HelloResponse = match header.kind {
        Kind::End => decode(message)?,
        Kind::Error => return Err(decode_error(message)),
        other => return Err(Error::new(Code::Corrupt, format!("Hello was answered with {other:?}"))),
    };
    check_cluster(ours.as_ref(), response.cluster.as_ref())?;
    Ok((stream, receiver, response))
}

fn decode<A: Message + Default>(message: Bytes) -> Result<A> {
    A::decode(message).map_err(|cause| Error::new(Code::Corrupt, "an answer cannot be read").caused_by(cause))
}
