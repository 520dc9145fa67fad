//! `BlockWorker`, the data service of the GooseFS protocol, for the clients that GooseFS users already have.
//!
//! Its clients name blocks. What a block's bytes are (which version of which object, or an only copy) is the masters'
//! word, by the block's id: the options that clients send along name a path but no version. A block that belongs to no
//! file is not answered NOT_FOUND, which those clients take for a worker that is not there.

mod read;
mod write;

use crate::disk::blocking;
use crate::node::Node;
use goosefs_core::block::PAGE;
use goosefs_core::id::BlockId;
use goosefs_core::proto::public::block as wire;
use goosefs_core::proto::public::block::block_worker_server::{BlockWorker, BlockWorkerServer};
use goosefs_core::{Code, Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

/// Blocks that clients asked to be cached in the background, at a time; more are not taken up.
const BACKGROUND: usize = 32;

/// Larger than any chunk that clients send.
const MAX_MESSAGE: usize = 64 << 20;

type Answers<T> = ReceiverStream<std::result::Result<T, Status>>;

/// The public data service of one worker.
#[derive(Clone)]
pub(crate) struct Blocks {
    node: Arc<Node>,
    background: Arc<Semaphore>,
}

impl Blocks {
    /// The service, ready to be routed to.
    pub(crate) fn server(node: Arc<Node>) -> BlockWorkerServer<Blocks> {
        let blocks = Blocks { node, background: Arc::new(Semaphore::new(BACKGROUND)) };
        BlockWorkerServer::new(blocks)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE)
    }

    /// Puts a block into the cache.
    async fn cache(&self, block: BlockId) -> Result<()> {
        let version =
            self.node.versions.get(block.content(), 0).await.map_err(|e| in_block_words(e, block))?;
        if version.object().is_none() {
            let message = format!("block {block} is not in its storage: there is nothing to cache");
            return Err(Error::new(Code::Stale, message));
        }
        let start = block.index() * version.block_size;
        self.node.fill.range(&version, start..start + version.block_size).await.map(drop)
    }
}

/// A block id as clients send it.
fn block_id(raw: Option<i64>) -> Result<BlockId> {
    let id = raw.and_then(|raw| u64::try_from(raw).ok()).map(BlockId);
    id.filter(|id| *id != BlockId(id.content().0)).ok_or_else(|| {
        Error::new(Code::InvalidArgument, format!("{} is not a block id", raw.unwrap_or_default()))
    })
}

/// An unknown block is a block whose file has moved on.
fn in_block_words(error: Error, block: BlockId) -> Error {
    match error.code {
        Code::NotFound => Error::new(Code::Stale, format!("block {block} belongs to no file (any more)")),
        _ => error,
    }
}

fn unimplemented<T>(rpc: &str) -> std::result::Result<T, Status> {
    Err(Error::new(Code::Unimplemented, format!("BlockWorker.{rpc} is not served by this version")).into())
}

#[tonic::async_trait]
impl BlockWorker for Blocks {
    type ReadBlockStream = Answers<wire::ReadResponse>;
    type WriteBlockStream = Answers<wire::WriteResponse>;
    type OpenLocalBlockStream = Answers<wire::OpenLocalBlockResponse>;
    type CreateLocalBlockStream = Answers<wire::CreateLocalBlockResponse>;

    async fn read_block(
        &self,
        request: Request<Streaming<wire::ReadRequest>>,
    ) -> std::result::Result<Response<Self::ReadBlockStream>, Status> {
        Ok(Response::new(Box::pin(read::start(&self.node, request.into_inner())).await?))
    }

    async fn write_block(
        &self,
        request: Request<Streaming<wire::WriteRequest>>,
    ) -> std::result::Result<Response<Self::WriteBlockStream>, Status> {
        Ok(Response::new(write::start(&self.node, request.into_inner())))
    }

    async fn async_cache(
        &self,
        request: Request<wire::AsyncCacheRequest>,
    ) -> std::result::Result<Response<wire::AsyncCacheResponse>, Status> {
        let block = block_id(request.into_inner().block_id)?;
        if let Ok(permit) = self.background.clone().try_acquire_owned() {
            let blocks = self.clone();
            self.node.tasks.spawn(format!("cache-{block}"), async move {
                let stop = blocks.node.tasks.stop();
                tokio::select! {
                    () = stop.cancelled() => {}
                    cached = Box::pin(blocks.cache(block)) => {
                        if let Err(error) = cached {
                            tracing::debug!(%block, %error, "a block could not be cached in the background");
                        }
                    }
                }
                drop(permit);
            });
        }
        Ok(Response::new(wire::AsyncCacheResponse {}))
    }

    async fn sync_cache(
        &self,
        request: Request<wire::SyncCacheRequest>,
    ) -> std::result::Result<Response<wire::SyncCacheResponse>, Status> {
        let block = block_id(request.into_inner().block_id)?;
        Box::pin(self.cache(block)).await?;
        Ok(Response::new(wire::SyncCacheResponse { result: Some(true) }))
    }

    async fn check_blocks(
        &self,
        request: Request<wire::CheckBlocksRequest>,
    ) -> std::result::Result<Response<wire::CheckBlocksResponse>, Status> {
        let ids = request.into_inner().block_ids;
        let cached = |raw: i64| u64::try_from(raw).map_or(0, |id| self.node.store.block_bytes(BlockId(id)));
        let bytes: HashMap<i64, i64> =
            ids.into_iter().map(|raw| (raw, i64::try_from(cached(raw)).unwrap_or(i64::MAX))).collect();
        Ok(Response::new(wire::CheckBlocksResponse { block_cached_bytes: bytes }))
    }

    async fn remove_block(
        &self,
        request: Request<wire::RemoveBlockRequest>,
    ) -> std::result::Result<Response<wire::RemoveBlockResponse>, Status> {
        let block = block_id(request.into_inner().block_id)?;
        let store = self.node.store.clone();
        if !blocking(move || store.drop_block(block)).await? {
            let message = format!("block {block} is in use, or is the only copy there is");
            return Err(Error::new(Code::Busy, message).into());
        }
        Ok(Response::new(wire::RemoveBlockResponse {}))
    }

    async fn open_local_block(
        &self,
        _request: Request<Streaming<wire::OpenLocalBlockRequest>>,
    ) -> std::result::Result<Response<Self::OpenLocalBlockStream>, Status> {
        unimplemented("OpenLocalBlock")
    }

    async fn create_local_block(
        &self,
        _request: Request<Streaming<wire::CreateLocalBlockRequest>>,
    ) -> std::result::Result<Response<Self::CreateLocalBlockStream>, Status> {
        unimplemented("CreateLocalBlock")
    }

    async fn move_block(
        &self,
        _request: Request<wire::MoveBlockRequest>,
    ) -> std::result::Result<Response<wire::MoveBlockResponse>, Status> {
        unimplemented("MoveBlock")
    }

    async fn free_worker(
        &self,
        _request: Request<wire::FreeWorkerRequest>,
    ) -> std::result::Result<Response<wire::FreeWorkerResponse>, Status> {
        unimplemented("FreeWorker")
    }

    async fn clear_metrics(
        &self,
        _request: Request<wire::ClearMetricsRequest>,
    ) -> std::result::Result<Response<wire::ClearMetricsResponse>, Status> {
        unimplemented("ClearMetrics")
    }

    async fn avoid_block_dead_lock(
        &self,
        _request: Request<wire::AvoidBlockDeadLockRequest>,
    ) -> std::result::Result<Response<wire::AvoidBlockDeadLockResponse>, Status> {
        unimplemented("AvoidBlockDeadLock")
    }

    async fn migrate_block(
        &self,
        _request: Request<Streaming<wire::MigrateBlockRequest>>,
    ) -> std::result::Result<Response<wire::MigrateBlockResponse>, Status> {
        unimplemented("MigrateBlock")
    }
}

/// Bytes of a chunk when a client does not say.
const CHUNK: u64 = PAGE;
