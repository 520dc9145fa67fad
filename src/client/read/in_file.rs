//! Bytes of a file that a worker on this machine is still filling, taken from its container.
//!
//! The worker says where bytes lie as soon as they are written and keeps them in place until we have them; only a stream
//! that ends well vouches for what was read (`ReadContent` with `in_file`). That saves sending and receiving each byte.

use crate::metrics::ClientMetrics;
use bytes::Bytes;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{InFile, ReadContentRequest};
use goosefs_core::proto::method;
use goosefs_core::rpc::fds::{FdClient, FileId};
use goosefs_core::rpc::frame::{Channel, Incoming};
use goosefs_core::{Code, Error, Result};
use prost::Message;
use rustix::buffer::spare_capacity;
use rustix::io::{Errno, pread};
use std::fs::File;
use std::sync::Arc;
use std::time::Duration;

/// Shorter ranges are better sent.
pub(crate) const WORTH_IT: u64 = 128 << 10;

/// The container that a reader takes its bytes from.
#[derive(Debug, Default)]
pub(crate) struct Container {
    open: tokio::sync::Mutex<Option<(FileId, Arc<File>)>>,
}

impl Container {
    /// The descriptor of `wanted`; asked for when it is another file than last time.
    async fn file(&self, content: ContentId, wanted: FileId, worker: &FdClient) -> Result<Arc<File>> {
        let mut open = self.open.lock().await;
        if let Some((_, file)) = open.as_ref().filter(|(id, _)| *id == wanted) {
            return Ok(file.clone());
        }
        let file = File::from(worker.open_partial(content, wanted).await?);
        let found = FileId::of(&file).map_err(|cause| Error::io("look at a container", cause))?;
        if found != wanted {
            return Err(Error::new(Code::NotFound, "the worker handed out another container"));
        }
        let file = Arc::new(file);
        *open = Some((wanted, file.clone()));
        Ok(file)
    }
}

/// Reads the range of `request`, which sets `in_file`, from the container where the worker names it, and from the
/// stream where it does not. Each step of the worker may take `patience`.
///
/// # Errors
/// What the worker said; `NotFound` or `Io` when its container cannot be had or read: then it must send the bytes.
pub(crate) async fn read(
    channel: &Channel,
    container: &Container,
    worker: &FdClient,
    request: &ReadContentRequest,
    (patience, metrics): (Duration, &ClientMetrics),
) -> Result<Bytes> {
    let late = |_| Error::new(Code::DeadlineExceeded, format!("the worker was silent for {patience:?}"));
    let mut stream = channel.open(method::READ_CONTENT, request).await?;
    let wanted = usize::try_from(request.length).unwrap_or(usize::MAX);
    let mut bytes = Vec::with_capacity(wanted);
    let (mut from_file, mut ends_early) = (0, false);
    while let Some(incoming) = tokio::time::timeout(patience, stream.next()).await.map_err(late)?? {
        match incoming {
            Incoming::Payload(payload) => {
                within(wanted, bytes.len(), payload.len())?;
                bytes.extend_from_slice(&payload);
            }
            Incoming::Message(message) => {
                let named = InFile::decode(message).map_err(|cause| {
                    Error::new(Code::Corrupt, "what is where cannot be read").caused_by(cause)
                })?;
                let length = usize::try_from(named.length).unwrap_or(usize::MAX);
                within(wanted, bytes.len(), length)?;
                if length > 0 {
                    let id = FileId { device: named.device, inode: named.inode };
                    let file = container.file(ContentId(request.content), id, worker).await?;
                    bytes = take(file, named.offset, length, bytes).await?;
                    from_file += named.length;
                }
                ends_early = length == 0;
            }
        }
        // The worker keeps in place what it named until it hears that; it waits for nothing when it named nothing.
        if from_file > 0 && (ends_early || bytes.len() == wanted) {
            stream.finish_sending().await?;
        }
    }
    metrics.read_local.inc_by(from_file);
    metrics.read_streamed.inc_by(bytes.len() as u64 - from_file);
    Ok(Bytes::from(bytes))
}

fn within(wanted: usize, so_far: usize, more: usize) -> Result<()> {
    if so_far.saturating_add(more) <= wanted {
        return Ok(());
    }
    Err(Error::new(Code::Corrupt, format!("{more} bytes came after {so_far} where {wanted} were asked for")))
}

/// Appends exactly `length` bytes of `file` from `offset` on.
async fn take(file: Arc<File>, offset: u64, length: usize, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
    let read = tokio::task::spawn_blocking(move || {
        let (mut at, end) = (offset, bytes.len() + length);
        bytes.reserve_exact(length);
        while bytes.len() < end {
            match pread(&*file, spare_capacity(&mut bytes), at) {
                Ok(0) => return Err(Error::new(Code::Io, "a container is shorter than its worker says")),
                Ok(count) => at += count as u64,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(Error::io("read a container", errno.into())),
            }
            // A read may have taken more than was named: what lies behind it is nobody's yet.
            bytes.truncate(end);
        }
        Ok(bytes)
    });
    read.await.map_err(|_| Error::new(Code::Internal, "a local read was cut off"))?
}
