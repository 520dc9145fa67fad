//! A range of a content from whichever worker can serve it.
//!
//! Workers are asked one after the other in the router's order, each going on where the last one stopped: a content id
//! stands for fixed bytes, so what two workers send never mixes versions. A worker that breaks off is remembered as
//! failed. When nobody answers, the round is repeated with fresh lists until the configured patience ends; when every
//! worker answered with an error, the most telling one is handed on.

use crate::config::Config;
use crate::meta::Inodes;
use crate::metrics::ClientMetrics;
use crate::read::channels::Channels;
use crate::read::in_file::{self, Container};
use crate::read::local::LocalFiles;
use crate::route::{Router, Worker};
use bytes::{Bytes, BytesMut};
use goosefs_core::id::{BlockId, ContentId, WorkerId};
use goosefs_core::proto::internal::{Attr, Persistence, ReadContentRequest};
use goosefs_core::proto::method;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// First and longest pause between two rounds in which nobody answered.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// A worker that answers so late that the storage failed has waited for that.
const SILENCE: Duration = Duration::from_secs(5);

/// How long the holders that a master named are believed.
const HOLDERS_KEPT: Duration = Duration::from_secs(5);

/// Which content is read: the attributes at open.
#[derive(Debug)]
pub(crate) struct Pinned {
    pub(crate) content: ContentId,
    pub(crate) block_size: u64,
    pub(crate) generation: u64,
    persisted: bool,
    holders: Mutex<Option<(Instant, Holders)>>,
    container: Container,
}

type Holders = Arc<BTreeMap<BlockId, Vec<WorkerId>>>;

impl Pinned {
    pub(crate) fn new(attr: &Attr) -> Pinned {
        Pinned {
            content: ContentId(attr.content),
            block_size: if attr.block_size == 0 { 64 << 20 } else { attr.block_size },
            generation: attr.generation,
            persisted: attr.persistence() == Persistence::Persisted,
            holders: Mutex::default(),
            container: Container::default(),
        }
    }
}

/// Fetches ranges. Shared by every reader of a client.
#[derive(Debug)]
pub(crate) struct Fetcher {
    inodes: Inodes,
    router: Router,
    channels: Arc<Channels>,
    files: Arc<LocalFiles>,
    metrics: ClientMetrics,
    timeout: Duration,
    patience: Duration,
}

impl Fetcher {
    pub(crate) fn new(
        inodes: Inodes,
        router: Router,
        channels: Arc<Channels>,
        files: Arc<LocalFiles>,
        metrics: ClientMetrics,
        config: &Config,
    ) -> Fetcher {
        Fetcher {
            inodes,
            router,
            channels,
            files,
            metrics,
            timeout: config.worker_timeout,
            patience: config.worker_patience,
        }
    }

    /// Exactly the bytes of a range that lies within the content.
    ///
    /// # Errors
    /// `Stale` when the version is gone and nobody has it cached, `Lost` when its only copy is, `NotFound` when a file
    /// that no storage had is, `Ufs` when the under-storage fails, `Unavailable` or `DeadlineExceeded` when no worker answers.
    pub(crate) async fn fetch(
        &self,
        pinned: &Pinned,
        offset: u64,
        length: u64,
        sequential: bool,
    ) -> Result<Bytes> {
        let mut whole = BytesMut::new();
        let mut at = offset;
        let end = offset + length;
        while at < end {
            let index = at / pinned.block_size;
            let stop = end.min((index + 1).saturating_mul(pinned.block_size));
            let range =
                Range { block: pinned.content.block(index), offset: at, length: stop - at, sequential };
            let part = self.fetch_block(pinned, &range).await.map_err(|error| of_version(error, pinned))?;
            if at == offset && stop == end {
                return Ok(part);
            }
            whole.extend_from_slice(&part);
            at = stop;
        }
        Ok(whole.freeze())
    }

    /// A range within one block.
    async fn fetch_block(&self, pinned: &Pinned, range: &Range) -> Result<Bytes> {
        let begun = Instant::now();
        let mut got = Got::default();
        let mut pause = PAUSE;
        loop {
            self.know_workers().await;
            let holders = Box::pin(self.holders(pinned, range.block)).await;
            let mut verdict = None;
            let workers = self.router.candidates(range.block, &holders);
            for worker in &workers {
                match Box::pin(self.read_from(worker, pinned, range, &mut got)).await {
                    Ok(()) => return Ok(got.into_bytes()),
                    // It waited for the storage as long as is allowed: others would wait as long.
                    Err(error) if error.code == Code::Ufs && begun.elapsed() >= SILENCE => return Err(error),
                    Err(error) => verdict = Some(self.judge(worker, range, error, verdict)),
                }
            }
            let error = verdict.unwrap_or_else(|| self.router.nobody());
            if !error.code.retryable() || begun.elapsed() >= self.patience {
                return Err(error);
            }
            let told = self.router.waits().begin(begun, error);
            tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
            *pinned.holders.lock() = None;
            // An old list is better than none: the next round uses it.
            let _ = tokio::time::timeout(pause, Box::pin(self.router.refresh())).await;
            drop(told);
        }
    }

    /// Waits, within the patience, for the first list of workers.
    async fn know_workers(&self) {
        if self.router.is_known() {
            return;
        }
        if let Ok(Err(error)) = tokio::time::timeout(self.patience, Box::pin(self.router.ensure())).await {
            tracing::debug!(%error, "no list of workers yet");
        }
    }

    /// Appends to `got` what one worker sends of the rest of the range.
    async fn read_from(&self, worker: &Worker, pinned: &Pinned, range: &Range, got: &mut Got) -> Result<()> {
        let channel = self.channels.to(worker).await?;
        let mut request = ReadContentRequest {
            content: pinned.content.0,
            offset: range.offset + got.length,
            length: range.length - got.length,
            sequential: range.sequential,
            cached_only: false,
            generation: pinned.generation,
            in_file: false,
        };
        if request.length >= in_file::WORTH_IT
            && let Some(descriptors) = self.files.connection(worker.id)
        {
            request.in_file = true;
            let limits = (self.timeout, &self.metrics);
            match Box::pin(in_file::read(&channel, &pinned.container, &descriptors, &request, limits)).await {
                Ok(bytes) => {
                    got.push(bytes, range.length)?;
                    return self.whole(worker, pinned, range, got);
                }
                Err(error) if matches!(error.code, Code::NotFound | Code::Io) => {
                    tracing::debug!(content = %pinned.content, %error, "a local worker has to send what it has");
                    request.in_file = false;
                }
                Err(error) => return Err(error),
            }
        }
        let mut payloads = self.within(worker, channel.read(method::READ_CONTENT, &request)).await?;
        while let Some(payload) = self.within(worker, payloads.next()).await? {
            self.metrics.read_streamed.inc_by(payload.len() as u64);
            got.push(payload, range.length)?;
        }
        self.whole(worker, pinned, range, got)
    }

    /// Checks that a worker has sent all of the range.
    fn whole(&self, worker: &Worker, pinned: &Pinned, range: &Range, got: &Got) -> Result<()> {
        if got.length < range.length {
            return Err(Error::new(
                Code::Corrupt,
                format!(
                    "worker {} sent {} of {} bytes of content {} at {}",
                    worker.rpc(),
                    got.length,
                    range.length,
                    pinned.content,
                    range.offset
                ),
            ));
        }
        self.router.answered(worker.id);
        Ok(())
    }

    async fn within<T>(&self, worker: &Worker, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::time::timeout(self.timeout, work).await.unwrap_or_else(|_| {
            let silent = format!("worker {} was silent for {:?}", worker.rpc(), self.timeout);
            Err(Error::new(Code::DeadlineExceeded, silent))
        })
    }

    /// What a worker's error means for it, and which of two errors is handed on if everyone fails.
    fn judge(&self, worker: &Worker, range: &Range, error: Error, earlier: Option<Error>) -> Error {
        tracing::debug!(worker = %worker.rpc(), block = %range.block, %error, "a worker did not serve a read");
        self.metrics.read_fallbacks.inc();
        if matches!(error.code, Code::Unavailable | Code::DeadlineExceeded | Code::WrongCluster | Code::Io) {
            self.router.failed(worker.id);
        }
        match earlier {
            Some(earlier) if rank(earlier.code) >= rank(error.code) => earlier,
            _ => error,
        }
    }

    /// Who holds an unpersisted block; nobody when the content is persisted or no master answers.
    async fn holders(&self, pinned: &Pinned, block: BlockId) -> Vec<WorkerId> {
        if pinned.persisted {
            return Vec::new();
        }
        let known = pinned.holders.lock().as_ref().filter(|(at, _)| at.elapsed() < HOLDERS_KEPT).cloned();
        let holders = match known {
            Some((_, holders)) => holders,
            None => {
                let version = match self.inodes.version(pinned.content).await {
                    Ok(version) => version,
                    Err(error) => {
                        tracing::debug!(content = %pinned.content, %error, "no word on who holds its blocks");
                        return Vec::new();
                    }
                };
                let holders: BTreeMap<BlockId, Vec<WorkerId>> = version
                    .blocks
                    .into_iter()
                    .map(|held| (BlockId(held.block), held.workers.into_iter().map(WorkerId).collect()))
                    .collect();
                let holders = Arc::new(holders);
                *pinned.holders.lock() = Some((Instant::now(), holders.clone()));
                holders
            }
        };
        holders.get(&block).cloned().unwrap_or_default()
    }
}

/// A range within one block.
struct Range {
    block: BlockId,
    offset: u64,
    length: u64,
    sequential: bool,
}

/// What has come of a range. One payload that is all of it is handed on without a copy.
#[derive(Default)]
struct Got {
    length: u64,
    first: Bytes,
    rest: BytesMut,
}

impl Got {
    fn push(&mut self, payload: Bytes, wanted: u64) -> Result<()> {
        let total = self.length + payload.len() as u64;
        if total > wanted {
            return Err(Error::new(
                Code::Corrupt,
                format!("{total} bytes came where {wanted} were asked for"),
            ));
        }
        if self.length == 0 {
            self.first = payload;
        } else {
            if self.rest.is_empty() {
                self.rest.reserve(usize::try_from(wanted).unwrap_or(0));
                self.rest.extend_from_slice(&std::mem::take(&mut self.first));
            }
            self.rest.extend_from_slice(&payload);
        }
        self.length = total;
        Ok(())
    }

    fn into_bytes(self) -> Bytes {
        if self.rest.is_empty() { self.first } else { self.rest.freeze() }
    }
}

/// What the storage had, and has no more, is another version to who has the file open, be it replaced or removed.
fn of_version(error: Error, pinned: &Pinned) -> Error {
    match error.code {
        Code::NotFound if pinned.persisted => Error { code: Code::Stale, ..error },
        _ => error,
    }
}

/// How telling an error is: what is wrong with the data says more than that a worker is away, and an error that trying
/// again may heal says less than any that it will not — but a worker that is away may have the bytes, so as long as one
/// is, only trying again tells.
fn rank(code: Code) -> u8 {
    match code {
        Code::Unavailable | Code::DeadlineExceeded | Code::NotLeader | Code::Busy => 5,
        Code::Lost => 4,
        Code::Stale => 3,
        Code::Ufs | Code::PermissionDenied | Code::NoSpace => 2,
        Code::NotFound => 1,
        Code::AlreadyExists
        | Code::NotDirectory
        | Code::IsDirectory
        | Code::NotEmpty
        | Code::InvalidArgument
        | Code::InvalidPath
        | Code::NameTooLong
        | Code::Unauthenticated
        | Code::ReadOnly
        | Code::Incomplete
        | Code::Cancelled
        | Code::Unimplemented
        | Code::Corrupt
        | Code::WrongCluster
        | Code::CrossMount
        | Code::Io
        | Code::Internal => 0,
    }
}
