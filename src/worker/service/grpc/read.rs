//! `ReadBlock`: a range of one block, in chunks.
//!
//! The first request asks; later ones acknowledge, and are only taken in: HTTP/2 gives the credit that matters, and the
//! few chunks that wait here are bounded.

use super::{Answers, CHUNK, block_id, in_block_words, wire};
use crate::node::Node;
use crate::read::{Range, Reader, Sources};
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

/// Chunks that wait for the client besides those HTTP/2 has taken.
const WAITING: usize = 2;

/// The largest chunk that is sent, whatever the client asks.
const MAX_CHUNK: u64 = 8 << 20;

/// Answers one stream.
pub(super) async fn start(
    node: &Arc<Node>,
    mut requests: Streaming<wire::ReadRequest>,
) -> std::result::Result<Answers<wire::ReadResponse>, Status> {
    let Some(first) = requests.message().await? else {
        return Err(Error::new(Code::InvalidArgument, "ReadBlock was closed before its first request").into());
    };
    let (mut reader, chunk) = open(node, &first).await?;
    let (answers, waiting) = mpsc::channel(WAITING);
    let stop = node.tasks.stop();
    node.tasks.spawn("read-block", async move {
        let acknowledged = async { while let Some(Ok(_)) = requests.next().await {} };
        let sent = async {
            if let Err(error) = send(&mut reader, chunk, &answers).await {
                let _client_is_gone = answers.send(Err(error.into())).await;
            }
        };
        // The client may half-close at once; only its going away ends the sending, which `send` notices.
        let both = async {
            tokio::pin!(acknowledged, sent);
            tokio::select! {
                () = &mut sent => {}
                () = &mut acknowledged => sent.await,
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = Box::pin(both) => {}
        }
    });
    Ok(ReceiverStream::new(waiting))
}

async fn open(node: &Arc<Node>, request: &wire::ReadRequest) -> Result<(Reader, u64)> {
    let block = block_id(request.block_id)?;
    let offset = at_least_zero("offset", request.offset)?;
    let content = block.content();
    let version = node.versions.get(content, 0).await;
    let block_size = match (&version, node.store.content(content)) {
        (Ok(version), _) => version.block_size,
        (Err(error), Some(cached)) if error.code.retryable() => cached.block_size,
        (Err(error), _) => return Err(in_block_words(error.clone(), block)),
    };
    let length = request.length.filter(|length| *length >= 0).map_or(block_size, i64::unsigned_abs);
    let range = Range {
        content,
        offset: block.index() * block_size + offset,
        length: length.min(block_size.saturating_sub(offset)),
        sequential: !request.position_short.unwrap_or_default(),
        generation: 0,
        sources: Sources::All,
        in_file: false,
    };
    let reader = Reader::open(node.clone(), range).await.map_err(|error| in_block_words(error, block))?;
    let chunk = request.chunk_size.filter(|chunk| *chunk > 0).map_or(CHUNK, i64::unsigned_abs);
    Ok((reader, chunk.min(MAX_CHUNK)))
}

fn at_least_zero(field: &str, value: Option<i64>) -> Result<u64> {
    u64::try_from(value.unwrap_or_default())
        .map_err(|_| Error::new(Code::InvalidArgument, format!("{field} must not be negative")))
}

async fn send(
    reader: &mut Reader,
    chunk: u64,
    answers: &mpsc::Sender<std::result::Result<wire::ReadResponse, Status>>,
) -> Result<()> {
    while let Some(mut piece) = reader.next().await? {
        while !piece.is_empty() {
            let data = piece.take(chunk).await?;
            let answer = wire::ReadResponse { chunk: Some(wire::Chunk { data: Some(data) }) };
            if answers.send(Ok(answer)).await.is_err() {
                return Err(Error::new(Code::Cancelled, "the client went away"));
            }
        }
    }
    Ok(())
}
