//! The worker's side.

use super::wire::{Receiver, error_frame, frame, send};
use super::{FdService, FdSession};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{CloseLeaseRequest, HelloRequest, OpenContainerRequest};
use crate::proto::method;
use crate::rpc::frame::wire::{Header, Kind, MAGIC};
use crate::rpc::server::accept_unix;
use crate::rpc::unix;
use crate::task::Tasks;
use bytes::Bytes;
use nix::unistd::Uid;
use prost::Message;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::UnixStream;

/// A peer has so long to say hello, and to take an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Serves `path` until the role stops; a stale socket file is replaced. The socket file is removed at the end.
///
/// # Errors
/// `Busy` when another process serves that socket, `InvalidArgument` when the path cannot be one, else the I/O error.
pub fn serve(path: &Path, service: Arc<dyn FdService>, tasks: &Tasks) -> Result<()> {
    let (listener, file) = unix::listen(path)?;
    let connections = tasks.clone();
    tasks.spawn(format!("descriptors {}", path.display()), async move {
        // Removed when this task ends.
        let _file = file;
        let stop = connections.stop();
        accept_unix("descriptors", &listener, &stop, |stream| {
            let (service, stop) = (Arc::clone(&service), stop.clone());
            connections.spawn_request("descriptors of one client", async move {
                let served = tokio::select! {
                    served = connection(&stream, &*service) => served,
                    () = stop.cancelled() => Ok(()),
                };
                if let Err(error) = served {
                    tracing::debug!(%error, "a client of descriptors was cut off");
                }
            });
        })
        .await;
    });
    Ok(())
}

/// Serves one client until it closes the connection; its session, and all leases with it, end then.
async fn connection(stream: &UnixStream, service: &dyn FdService) -> Result<()> {
    if let Err(refusal) = check_peer(stream) {
        // The magic first, so that the client reads the error as one.
        let mut bytes = bytes::BytesMut::from(&MAGIC[..]);
        bytes.unsplit(error_frame(0, &refusal)?);
        answer(stream, &bytes, None).await?;
        // Closing while its hello is under way would break the connection before it reads why.
        let _ = tokio::time::timeout(PATIENCE, Receiver::default().drain(stream)).await;
        return Err(refusal);
    }
    let mut receiver = Receiver::default();
    let late = |_| Error::new(Code::DeadlineExceeded, "no hello in time");
    let mut session =
        tokio::time::timeout(PATIENCE, greet(stream, &mut receiver, service)).await.map_err(late)??;
    while let Some((header, message)) = receiver.next(stream).await? {
        if receiver.holds_descriptors() {
            return Err(Error::new(Code::Corrupt, "a client does not send descriptors"));
        }
        request(stream, &mut *session, header, message).await?;
    }
    Ok(())
}

/// Only our own user and root may have descriptors.
pub(in crate::rpc) fn check_peer(stream: &UnixStream) -> Result<()> {
    let peer = stream.peer_cred().map_err(|e| Error::io("read the peer's credentials", e))?;
    let own = Uid::effective();
    if peer.uid() == own.as_raw() || peer.uid() == 0 {
        return Ok(());
    }
    let text = format!("descriptors go to user {own} and root only, not to user {}", peer.uid());
    Err(Error::new(Code::PermissionDenied, text).hint("run both as the same user"))
}

async fn greet(
    stream: &UnixStream,
    receiver: &mut Receiver,
    service: &dyn FdService,
) -> Result<Box<dyn FdSession>> {
    receiver.magic(stream).await?;
    send(stream, &MAGIC, &[]).await?;
    let closed = || Error::new(Code::Unavailable, "closed before hello");
    let (header, message) = receiver.next(stream).await?.ok_or_else(closed)?;
    let connected = if header.kind == Kind::Request && header.method == method::HELLO.number {
        decode::<HelloRequest>(message).and_then(|hello| service.connect(&hello))
    } else {
        Err(Error::new(Code::InvalidArgument, "the first call of a connection must be Hello"))
    };
    match connected {
        Ok((response, session)) => {
            send(stream, &frame(Header::new(Kind::End, header.stream), &response)?, &[]).await?;
            Ok(session)
        }
        Err(error) => {
            send(stream, &error_frame(header.stream, &error)?, &[]).await?;
            Err(error)
        }
    }
}

async fn request(
    stream: &UnixStream,
    session: &mut dyn FdSession,
    header: Header,
    message: Bytes,
) -> Result<()> {
    let number = header.stream;
    if header.kind != Kind::Request {
        return Err(Error::new(Code::Corrupt, format!("a client does not send {:?}", header.kind)));
    }
    if header.method == method::CLOSE_LEASE.number {
        session.close(decode::<CloseLeaseRequest>(message)?).await;
        return Ok(());
    }
    let opened = if header.method == method::OPEN_CONTAINER.number {
        match decode::<OpenContainerRequest>(message) {
            Ok(request) => session.open(request).await,
            Err(error) => Err(error),
        }
    } else {
        Err(Error::new(Code::Unimplemented, format!("method {} is not served here", header.method)))
    };
    let (response, descriptor) = match opened {
        Ok(opened) => opened,
        Err(error) => return answer(stream, &error_frame(number, &error)?, None).await,
    };
    let bytes = frame(Header::new(Kind::End, number), &response)?;
    match answer(stream, &bytes, Some(&descriptor)).await {
        Err(error) if error.code == Code::Busy => {
            session.close(CloseLeaseRequest { leases: vec![response.lease] }).await;
            answer(stream, &error_frame(number, &error)?, None).await
        }
        sent => sent,
    }
}

async fn answer(stream: &UnixStream, bytes: &[u8], descriptor: Option<&OwnedFd>) -> Result<()> {
    let late = |_| Error::new(Code::DeadlineExceeded, "the client does not take its answers");
    let descriptors: Vec<BorrowedFd<'_>> = descriptor.map(AsFd::as_fd).into_iter().collect();
    let sending = send(stream, bytes, &descriptors);
    tokio::time::timeout(PATIENCE, sending).await.map_err(late)?
}

fn decode<Q: Message + Default>(message: Bytes) -> Result<Q> {
    Q::decode(message)
        .map_err(|cause| Error::new(Code::InvalidArgument, "the request cannot be read").caused_by(cause))
}
