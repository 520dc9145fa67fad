//! `WriteBlock`: one block into the cache, or one file straight into the under-storage.
//!
//! A command first, then chunks. A flush command is answered when everything before it counts; half-close commits, and
//! a reset gives up: what was not flushed is void, and a storage's file does not appear.

use super::{Answers, block_id, in_block_words, wire};
use crate::node::Node;
use crate::write::ContentWriter;
use bytes::Bytes;
use goosefs_core::id::{BlockId, MountId};
use goosefs_core::proto::public::shared::dataserver::CreateUfsFileOptions;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::{Attributes, Writer};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};
use wire::write_request::Value;

/// Answers that wait for the client.
const WAITING: usize = 8;

/// Answers one stream. The headers go at once, because clients wait for them before they flush.
pub(super) fn start(
    node: &Arc<Node>,
    mut requests: Streaming<wire::WriteRequest>,
) -> Answers<wire::WriteResponse> {
    let (answers, waiting) = mpsc::channel(WAITING);
    let (node, stop, tasks) = (node.clone(), node.tasks.stop(), node.tasks.clone());
    tasks.spawn("write-block", async move {
        let outcome = tokio::select! {
            () = stop.cancelled() => Err(Error::new(Code::Unavailable, "the worker is stopping")),
            outcome = Box::pin(serve(&node, &mut requests, &answers)) => outcome,
        };
        if let Err(mut error) = outcome {
            if error.code == Code::NotFound {
                // To these clients NOT_FOUND says that the worker is not there.
                error.code = Code::Stale;
            }
            let _client_is_gone = answers.send(Err(error.into())).await;
        }
    });
    ReceiverStream::new(waiting)
}

async fn serve(
    node: &Arc<Node>,
    requests: &mut Streaming<wire::WriteRequest>,
    answers: &mpsc::Sender<std::result::Result<wire::WriteResponse, Status>>,
) -> Result<()> {
    let first = next(requests).await?;
    let Some(Value::Command(command)) = first else {
        return Err(Error::new(Code::InvalidArgument, "WriteBlock begins with a command"));
    };
    let mut sink = open(node, &command).await?;
    loop {
        let request = match next(requests).await {
            Ok(request) => request,
            Err(error) => {
                sink.abort().await;
                return Err(error);
            }
        };
        let taken = match request {
            None => return sink.finish().await,
            Some(Value::Chunk(chunk)) => {
                let data = chunk.data.unwrap_or_default();
                node.metrics.written_bytes.inc_by(data.len() as u64);
                sink.append(data).await
            }
            Some(Value::Command(command)) if command.flush.unwrap_or_default() => match sink.flush().await {
                Ok(offset) => {
                    let answer = wire::WriteResponse { offset: i64::try_from(offset).ok() };
                    let _client_is_gone = answers.send(Ok(answer)).await;
                    Ok(())
                }
                Err(error) => Err(error),
            },
            Some(Value::Command(_)) => Ok(()),
        };
        if let Err(error) = taken {
            sink.abort().await;
            return Err(error);
        }
    }
}

async fn next(requests: &mut Streaming<wire::WriteRequest>) -> Result<Option<Value>> {
    match requests.message().await {
        Ok(None) => Ok(None),
        Ok(Some(request)) => request
            .value
            .map(Some)
            .ok_or_else(|| Error::new(Code::InvalidArgument, "a write request is neither command nor chunk")),
        Err(status) => {
            Err(Error::new(Code::Cancelled, format!("the write was given up: {}", status.message())))
        }
    }
}

async fn open(node: &Arc<Node>, command: &wire::WriteRequestCommand) -> Result<Sink> {
    match command.r#type() {
        wire::RequestType::UfsFile => {
            let Some(options) = &command.create_ufs_file_options else {
                return Err(Error::new(Code::InvalidArgument, "UFS_FILE needs create_ufs_file_options"));
            };
            open_file(node, options).await
        }
        wire::RequestType::GoosefsBlock | wire::RequestType::UfsFallbackBlock => {
            let block = block_id(command.id)?;
            let within = u64::try_from(command.offset.unwrap_or_default())
                .map_err(|_| Error::new(Code::InvalidArgument, "offset must not be negative"))?;
            let content = block.content();
            let version = node.versions.fresh(content).await.map_err(|error| in_block_words(error, block))?;
            let start = block.index() * version.block_size;
            let generation = Some(version.generation);
            let writer =
                ContentWriter::open(node.clone(), content, start + within, version.block_size, generation)
                    .await
                    .map_err(|error| in_block_words(error, block))?;
            Ok(Sink::Block { block, start, writer: Box::new(writer) })
        }
    }
}

async fn open_file(node: &Arc<Node>, options: &CreateUfsFileOptions) -> Result<Sink> {
    let id = options.mount_id.and_then(|id| u64::try_from(id).ok()).unwrap_or_default();
    let mount = node.mounts.get(MountId(id)).await?;
    let path = options.ufs_path.as_deref().unwrap_or_default();
    if mount.read_only {
        return Err(Error::new(Code::ReadOnly, format!("{path}: the mount takes no writes")));
    }
    let relative = relative_to(&mount.uri, path).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("\"{path}\" does not lie below {}", mount.uri))
    })?;
    let attributes = Attributes {
        mode: options.mode.and_then(|mode| u32::try_from(mode).ok()),
        owner: options.owner.clone().filter(|owner| !owner.is_empty()),
        group: options.group.clone().filter(|group| !group.is_empty()),
        mtime_ms: None,
    };
    let writer = mount.ufs.create(relative, &attributes).await?;
    Ok(Sink::File { writer: Some(writer), written: 0 })
}

/// `path` below the mount's URI; clients name the whole URI, with or without the scheme of local files.
fn relative_to<'a>(uri: &str, path: &'a str) -> Option<&'a str> {
    let local = |text: &'a str| text.strip_prefix("file://").unwrap_or(text);
    let root = uri.strip_prefix("file://").unwrap_or(uri).trim_end_matches('/');
    let rest = local(path).strip_prefix(root)?;
    let relative = rest.strip_prefix('/')?.trim_start_matches('/');
    let safe = !relative.is_empty()
        && relative.split('/').all(|name| name != ".." && name != "." && !name.is_empty());
    safe.then_some(relative)
}

/// Where the bytes go.
enum Sink {
    Block { block: BlockId, start: u64, writer: Box<ContentWriter> },
    File { writer: Option<Box<dyn Writer>>, written: u64 },
}

impl Sink {
    async fn append(&mut self, data: Bytes) -> Result<()> {
        match self {
            Sink::Block { block, start, writer } => {
                let end = writer.taken() - *start + data.len() as u64;
                if end > writer.block_size() {
                    let message = format!("block {block} ends after {} bytes", writer.block_size());
                    return Err(Error::new(Code::InvalidArgument, message));
                }
                writer.append(data).await
            }
            Sink::File { writer, written } => {
                *written += data.len() as u64;
                match writer {
                    Some(writer) => writer.write(data).await,
                    None => Ok(()),
                }
            }
        }
    }

    /// Makes count what can count before the end. Answers with the bytes taken.
    async fn flush(&mut self) -> Result<u64> {
        match self {
            Sink::Block { start, writer, .. } => {
                writer.commit().await?;
                Ok(writer.taken() - *start)
            }
            Sink::File { written, .. } => Ok(*written),
        }
    }

    async fn finish(self) -> Result<()> {
        match self {
            Sink::Block { mut writer, .. } => writer.commit().await,
            Sink::File { writer: Some(writer), .. } => writer.finish().await.map(drop),
            Sink::File { writer: None, .. } => Ok(()),
        }
    }

    async fn abort(&mut self) {
        if let Sink::File { writer, .. } = self
            && let Some(writer) = writer.take()
        {
            writer.abort().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::relative_to;

    #[test]
    fn files_are_written_below_their_mount_only() {
        assert_eq!(relative_to("/data/ufs", "/data/ufs/a/b"), Some("a/b"));
        assert_eq!(relative_to("file:///data/ufs/", "/data/ufs/a"), Some("a"));
        assert_eq!(relative_to("/data/ufs", "file:///data/ufs/a"), Some("a"));
        assert_eq!(relative_to("/data/ufs", "/data/ufs/../../etc/passwd"), None);
        assert_eq!(relative_to("/data/ufs", "/data/ufs2/a"), None);
        assert_eq!(relative_to("/data/ufs", "/data/ufs"), None);
        assert_eq!(relative_to("/", "/tmp/a"), Some("tmp/a"));
    }
}
