//! Taking over blocks that another worker alone has: the leader asks for it before that one goes.

use crate::node::Node;
use crate::read::{Range, Reader, Sources};
use crate::write::ContentWriter;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{Empty, TakeOverRequest};
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;

/// Bytes that are written at a time.
const CHUNK: u64 = 1 << 20;

/// Copies blocks of a finished file to this worker. Once it has answered, the masters know that they are here too.
///
/// # Errors
/// `Stale` when the content was truncated meanwhile, `NoSpace` when there is no room, `Lost` when the holder is gone.
pub(super) async fn take_over(node: &Arc<Node>, request: TakeOverRequest) -> Result<Empty> {
    let content =
        ContentId::from_raw(request.content).ok_or_else(|| super::frames::no_content(request.content))?;
    let version = node.versions.fresh(content).await?;
    for block in request.blocks {
        let start = block.saturating_mul(version.block_size);
        let length = version.length.saturating_sub(start).min(version.block_size);
        let range = Range {
            content,
            offset: start,
            length,
            sequential: true,
            generation: request.generation,
            sources: Sources::Workers,
            in_file: false,
        };
        let mut reader = Reader::open(node.clone(), range).await?;
        let generation = Some(request.generation);
        let mut writer =
            ContentWriter::open(node.clone(), content, start, version.block_size, generation).await?;
        while let Some(mut piece) = reader.next().await? {
            while !piece.is_empty() {
                writer.append(piece.take(CHUNK).await?).await?;
            }
        }
        if writer.taken() != start + length {
            let message = format!(
                "block {block} of content {content} has {} bytes elsewhere, not {length}",
                writer.taken() - start
            );
            return Err(Error::new(Code::Lost, message));
        }
        writer.commit().await?;
    }
    Ok(Empty {})
}
