//! Writing a content: bytes go into this worker's store as only copies, and their location to the masters.
//!
//! What a [`ContentWriter`] has taken counts once [`ContentWriter::commit`] has answered: by then the block store
//! remembers it over a kill of this process, and a quorum of masters knows that this worker holds it. Full blocks are
//! committed on the way.

use crate::disk::blocking;
use crate::node::Node;
use crate::tasks::make_way;
use bytes::Bytes;
use goosefs_core::block::{BlockWriter, Content};
use goosefs_core::id::{BlockId, ContentId, max_file_len};
use goosefs_core::proto::internal::{CommitBlockRequest, Empty};
use goosefs_core::proto::method;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Before a writer that found no room looks again.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// Writes one content from an offset on.
pub(crate) struct ContentWriter {
    node: Arc<Node>,
    content: Content,
    at: u64,
    /// Everything before this offset is committed.
    committed: u64,
    block: Option<BlockWriter>,
}

impl ContentWriter {
    /// Makes ready to write `content` at `offset`. With `generation`, only that one.
    ///
    /// # Errors
    /// `Stale` when the content was truncated meanwhile, `NotFound` when it is gone, `InvalidArgument` when the block
    /// size is another one.
    pub(crate) async fn open(
        node: Arc<Node>,
        content: ContentId,
        offset: u64,
        block_size: u64,
        generation: Option<u64>,
    ) -> Result<ContentWriter> {
        let version = node.versions.fresh(content).await?;
        if generation.is_some_and(|generation| generation != version.generation) {
            let message = format!(
                "content {content} is of generation {}, not {}",
                version.generation,
                generation.unwrap_or_default()
            );
            return Err(Error::new(Code::Stale, message));
        }
        if block_size != 0 && block_size != version.block_size {
            let message =
                format!("content {content} has blocks of {} bytes, not {block_size}", version.block_size);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        let content = Content { complete: false, length: offset, ..version.content() };
        Ok(ContentWriter { node, content, at: offset, committed: offset, block: None })
    }

    /// Offset in the content up to which bytes were taken.
    pub(crate) fn taken(&self) -> u64 {
        self.at
    }

    /// Offset in the content up to which a quorum of masters knows the location.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Bytes of every block but the last.
    pub(crate) fn block_size(&self) -> u64 {
        self.content.block_size
    }

    /// Appends.
    ///
    /// # Errors
    /// `NoSpace` when nothing can be evicted for it within the time allowed, `Stale` when the content was truncated or removed meanwhile. What
    /// was not committed is void then.
    pub(crate) async fn append(&mut self, mut bytes: Bytes) -> Result<()> {
        if self.at.saturating_add(bytes.len() as u64) > max_file_len(self.content.block_size) {
            let message = format!("content {} would have more blocks than can be numbered", self.content.id);
            return Err(Error::new(Code::InvalidArgument, message));
        }
        while !bytes.is_empty() {
            let writer = self.take_writer().await?;
            let piece = bytes.split_to((bytes.len() as u64).min(writer.room()) as usize);
            let writer = self.append_piece(writer, piece).await?;
            let full = writer.room() == 0;
            self.block = Some(writer);
            if full {
                self.commit().await?;
                self.close_block().await?;
            }
        }
        Ok(())
    }

    async fn append_piece(&mut self, mut writer: BlockWriter, piece: Bytes) -> Result<BlockWriter> {
        let mut waiting = Waiting::default();
        let length = piece.len() as u64;
        loop {
            let piece = piece.clone();
            let (back, outcome) = blocking(move || {
                let outcome = writer.append(&piece);
                Ok((writer, outcome))
            })
            .await?;
            writer = back;
            match outcome {
                Ok(()) => break,
                Err(error) => self.wait_for_room(error, &mut waiting).await?,
            }
        }
        self.at += length;
        Ok(writer)
    }

    /// Returns when it is worth trying again after `error`; what else was written lately may be persisted by now.
    async fn wait_for_room(&self, error: Error, waiting: &mut Waiting) -> Result<()> {
        if error.code != Code::NoSpace {
            return Err(error);
        }
        let tried = waiting.begun.replace(waiting.begun.unwrap_or_else(Instant::now));
        let spent = tried.map_or(Duration::ZERO, |begun| begun.elapsed());
        let left = self.node.config.room_timeout.saturating_sub(spent);
        if left.is_zero() || waiting.in_vain {
            return Err(self.no_room());
        }
        let asked = tokio::time::timeout(left, make_way(&self.node, self.content.id)).await;
        // What was in the way may have gone between the attempt and the question, so one more follows even then.
        waiting.in_vain = asked != Ok(true);
        if tried.is_some() {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    fn no_room(&self) -> Error {
        let usage = self.node.store.usage();
        let capacity: u64 = usage.dirs.iter().map(|dir| dir.capacity).sum();
        let message = format!(
            "no room to write on: worker {} caches up to {capacity} bytes, {} of them are not in their storage yet, {} of \
             those of this file",
            self.node.store.worker(),
            usage.held,
            self.node.store.content_bytes(self.content.id),
        );
        Error::new(Code::NoSpace, message).hint(
            "a file stays in the cache until it is closed and uploaded: it must be smaller than \
             goosefs.worker.tieredstore.level0.dirs.quota",
        )
    }

    /// Makes what was taken so far count.
    ///
    /// # Errors
    /// `Stale` or `NotFound` when the content was truncated or removed meanwhile, `Unavailable` when no quorum of
    /// masters answers.
    pub(crate) async fn commit(&mut self) -> Result<()> {
        if self.committed == self.at {
            return Ok(());
        }
        let Some(writer) = self.block.take() else { return Ok(()) };
        let (writer, outcome) = blocking(move || {
            let mut writer = writer;
            let outcome = writer.commit();
            Ok((writer, outcome))
        })
        .await?;
        self.block = Some(writer);
        let length = outcome?;
        let request = CommitBlockRequest {
            block: self.here().0,
            worker: self.node.store.worker().0,
            length,
            generation: self.content.generation,
        };
        let Empty {} = self.node.masters.call(method::COMMIT_BLOCK, &request).await?;
        self.node.versions.forget(self.content.id);
        self.committed = self.at;
        Ok(())
    }

    /// The block that was written last.
    fn here(&self) -> BlockId {
        self.content.id.block(self.at.saturating_sub(1) / self.content.block_size)
    }

    async fn take_writer(&mut self) -> Result<BlockWriter> {
        if let Some(writer) = self.block.take() {
            return Ok(writer);
        }
        let (index, within) = (self.at / self.content.block_size, self.at % self.content.block_size);
        let mut waiting = Waiting::default();
        loop {
            let (store, content) = (self.node.store.clone(), self.content.clone());
            match blocking(move || store.write_block(&content, index, within)).await {
                Ok(writer) => return Ok(writer),
                Err(error) => self.wait_for_room(error, &mut waiting).await?,
            }
        }
    }

    async fn close_block(&mut self) -> Result<()> {
        let writer = self.block.take();
        blocking(move || {
            drop(writer);
            Ok(())
        })
        .await
    }
}

/// How a writer waits for room.
#[derive(Default)]
struct Waiting {
    /// Since when; not yet when there was room at once.
    begun: Option<Instant>,
    /// Nothing will go.
    in_vain: bool,
}

impl Drop for ContentWriter {
    fn drop(&mut self) {
        // Giving uncommitted bytes back touches the disk.
        let writer = self.block.take();
        if writer.is_some() {
            self.node.tasks.spawn("close-block", async move {
                let closed = blocking(move || {
                    drop(writer);
                    Ok(())
                });
                let _nothing_to_tell = closed.await;
            });
        }
    }
}
