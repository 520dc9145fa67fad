//! Our own service over frames: clients, masters and other workers.

use super::take_over::take_over;
use super::upload::upload;
use crate::disk::blocking;
use crate::node::Node;
use crate::peers::{mark_of, wire_mark};
use crate::read::{Piece, Range, Reader, Sources};
use crate::write::ContentWriter;
use async_trait::async_trait;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{
    CachedRequest, CachedResponse, DropContentsRequest, DropContentsResponse, FillContentRequest,
    FillContentResponse, HelloRequest, HelloResponse, InFile, ReadContentRequest, WriteContentRequest,
    WriteContentResponse,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::fds::FileId;
use goosefs_core::rpc::frame::{Call, FrameService, Incoming, Peer};
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::time::Duration;

/// Payloads of cached files are at most so long, so that a slow reader keeps no file pinned for long.
const FILE_PIECE: u64 = 4 << 20;

/// A reader on this machine has so long to take what was named to it: the blocks cannot be evicted meanwhile.
const READER_PATIENCE: Duration = Duration::from_secs(30);

/// The framed service of one worker.
pub(crate) struct Frames {
    node: Arc<Node>,
}

impl Frames {
    pub(crate) fn new(node: Arc<Node>) -> Frames {
        Frames { node }
    }

    async fn read(&self, call: &mut Call) -> Result<()> {
        let request: ReadContentRequest = call.request()?;
        let range = Range {
            content: content(request.content)?,
            offset: request.offset,
            length: request.length,
            sequential: request.sequential,
            generation: request.generation,
            sources: if request.cached_only { Sources::Cache } else { Sources::All },
            in_file: request.in_file,
        };
        let mut reader = Reader::open(self.node.clone(), range).await?;
        if request.cached_only && request.generation != 0 && reader.version().generation != request.generation
        {
            let message = format!("content {} is cached here in another generation", range.content);
            return Err(Error::new(Code::NotFound, message));
        }
        let mut named = Vec::new();
        let mut left = request.length;
        while let Some(piece) = reader.next().await? {
            left = left.saturating_sub(piece.len());
            match piece {
                Piece::Memory(bytes) => call.send(bytes).await?,
                Piece::File { pin, offset, length } if request.in_file => {
                    let file = FileId::of(pin.file())
                        .map_err(|cause| Error::io("ask which file is cached", cause))?;
                    let FileId { device, inode } = file;
                    call.send_message(&InFile { offset, length, device, inode }).await?;
                    named.push(pin);
                }
                Piece::File { pin, mut offset, mut length } => {
                    while length > 0 {
                        let part = length.min(FILE_PIECE);
                        // The pin lives until the kernel has the bytes: `send_file` returns no sooner.
                        call.send_file(pin.file().clone(), offset, part).await?;
                        offset += part;
                        length -= part;
                    }
                }
            }
        }
        if !named.is_empty() {
            if left > 0 {
                // The file ends before the range: nothing more will be named.
                call.send_message(&InFile::default()).await?;
            }
            taken(call).await?;
        }
        Ok(())
    }

    async fn write(&self, call: &mut Call) -> Result<()> {
        let request: WriteContentRequest = call.request()?;
        let content = content(request.content)?;
        let generation = Some(request.generation);
        let mut writer =
            ContentWriter::open(self.node.clone(), content, request.offset, request.block_size, generation)
                .await?;
        loop {
            let incoming = call.receive().await?;
            match incoming {
                Some(Incoming::Payload(bytes)) => {
                    self.node.metrics.written_bytes.inc_by(bytes.len() as u64);
                    writer.append(bytes).await?;
                }
                // WriteFlush is the only message of this stream.
                Some(Incoming::Message(_)) => writer.commit().await?,
                None => {
                    writer.commit().await?;
                    return call.send_message(&progress(&writer)).await;
                }
            }
            call.send_message(&progress(&writer)).await?;
        }
    }

    async fn drop_contents(&self, request: DropContentsRequest) -> Result<DropContentsResponse> {
        let mut contents = Vec::new();
        for raw in request.contents {
            let id = content(raw)?;
            self.node.versions.forget(id);
            contents.push(id);
        }
        let store = self.node.store.clone();
        let unpersisted_too = request.unpersisted_too;
        let freed = blocking(move || {
            contents
                .into_iter()
                .map(|content| store.drop_content(content, unpersisted_too))
                .sum::<Result<u64>>()
        });
        Ok(DropContentsResponse { freed: freed.await? })
    }

    fn cached(&self, request: &CachedRequest) -> Result<CachedResponse> {
        let bytes = request.contents.iter().map(|raw| Ok(self.node.store.content_bytes(content(*raw)?)));
        Ok(CachedResponse { bytes: bytes.collect::<Result<_>>()? })
    }

    async fn fill(&self, request: FillContentRequest) -> Result<FillContentResponse> {
        let content = content(request.content)?;
        let version = self.node.versions.get(content, 0).await?;
        if version.object().is_none() {
            let message = format!("content {content} is not in its storage (yet): there is nothing to load");
            return Err(Error::new(Code::Incomplete, message));
        }
        let filled = match self.node.fill.range(&version, 0..version.length).await {
            Err(error) if error.code == Code::Stale => {
                let version = self.node.versions.doubted(&version).await.map_err(|gone| match gone.code {
                    Code::NotFound => Error::new(Code::Stale, format!("content {content} was replaced")),
                    _ => gone,
                })?;
                self.node.fill.range(&version, 0..version.length).await?
            }
            filled => filled?,
        };
        Ok(FillContentResponse { filled, was_cached: filled == 0 })
    }
}

#[async_trait]
impl FrameService for Frames {
    fn hello(&self, _peer: &Peer, request: &HelloRequest) -> Result<HelloResponse> {
        hello(&self.node, request)
    }

    async fn call(&self, mut call: Call) {
        match call.method {
            method::READ_CONTENT => {
                let outcome = Box::pin(self.read(&mut call)).await;
                call.finish(outcome).await;
            }
            method::WRITE_CONTENT => {
                let outcome = Box::pin(self.write(&mut call)).await;
                call.finish(outcome).await;
            }
            method::UPLOAD_CONTENT => {
                let answer = match call.request() {
                    Ok(request) => Box::pin(upload(&self.node, request)).await,
                    Err(error) => Err(error),
                };
                call.answer(answer).await;
            }
            method::DROP_CONTENTS => {
                let answer = match call.request() {
                    Ok(request) => self.drop_contents(request).await,
                    Err(error) => Err(error),
                };
                call.answer(answer).await;
            }
            method::CACHED => {
                let answer = call.request().and_then(|request| self.cached(&request));
                call.answer(answer).await;
            }
            method::FILL_CONTENT => {
                let answer = match call.request() {
                    Ok(request) => Box::pin(self.fill(request)).await,
                    Err(error) => Err(error),
                };
                call.answer(answer).await;
            }
            method::TAKE_OVER => {
                let answer = match call.request() {
                    Ok(request) => Box::pin(take_over(&self.node, request)).await,
                    Err(error) => Err(error),
                };
                call.answer(answer).await;
            }
            other => {
                let message = format!("{} is not served by workers", other.name);
                call.answer::<CachedResponse>(Err(Error::new(Code::Unimplemented, message))).await;
            }
        }
    }
}

/// Waits until a reader on this machine has what was named to it; then the stream may end well, while the pins live.
async fn taken(call: &mut Call) -> Result<()> {
    let late = |_| Error::new(Code::DeadlineExceeded, "the reader does not take what was named to it");
    let finished = async {
        while call.receive().await?.is_some() {}
        Ok(())
    };
    tokio::time::timeout(READER_PATIENCE, finished).await.map_err(late)?
}

/// Who we are, unless the peer belongs to another cluster.
pub(crate) fn hello(node: &Node, request: &HelloRequest) -> Result<HelloResponse> {
    if let Some(theirs) = mark_of(request.cluster.as_ref())
        && theirs != node.mark
    {
        let message = format!("this worker belongs to cluster {}, the caller to {theirs}", node.mark);
        return Err(Error::new(Code::WrongCluster, message));
    }
    Ok(HelloResponse {
        version: 1,
        cluster: Some(wire_mark(node.mark)),
        worker: node.store.worker().0,
        ..HelloResponse::default()
    })
}

fn progress(writer: &ContentWriter) -> WriteContentResponse {
    WriteContentResponse { taken: writer.taken(), committed: writer.committed() }
}

fn content(raw: u64) -> Result<ContentId> {
    ContentId::from_raw(raw).ok_or_else(|| no_content(raw))
}

pub(super) fn no_content(raw: u64) -> Error {
    Error::new(Code::InvalidArgument, format!("{raw} is not a content id"))
}
