//! One version of one file, being read.

use crate::metrics::ClientMetrics;
use crate::read::ahead::{Ahead, CHUNK, Plan};
use crate::read::fetch::{Fetcher, Pinned};
use crate::read::local::{LocalFile, LocalFiles};
use bytes::{Bytes, BytesMut};
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::Attr;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::{OnceCell, OwnedSemaphorePermit, Semaphore, watch};

/// The most that one call copies at a time.
const COPY: u64 = 4 << 20;

/// What every reader of a client shares.
#[derive(Debug)]
pub(crate) struct Readers {
    pub(crate) fetcher: Arc<Fetcher>,
    pub(crate) files: Arc<LocalFiles>,
    pub(crate) metrics: ClientMetrics,
    pub(crate) tasks: Tasks,
    pub(crate) read_ahead: u64,
    /// One permit for each chunk that may be held ahead of all readers together.
    pub(crate) budget: Arc<Semaphore>,
}

impl Readers {
    /// Bytes of one chunk, for which the budget holds one permit.
    pub(crate) const CHUNK: u64 = CHUNK;
}

/// One version of one file, pinned at open: it gives the bytes of that version or an error (`Stale` when the version is
/// gone and cached nowhere), never a mix. Safe to call from many tasks at once. Cheap to clone; clones share what was
/// fetched ahead.
#[derive(Clone, Debug)]
pub struct Reader {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Readers>,
    pinned: Arc<Pinned>,
    completed: bool,
    length: AtomicU64,
    local: OnceCell<Option<LocalFile>>,
    ahead: Mutex<Ahead<Chunk>>,
}

/// A chunk that is being fetched, or is there.
#[derive(Clone, Debug)]
struct Chunk {
    state: watch::Receiver<Option<Result<Bytes>>>,
    _permit: Option<Arc<OwnedSemaphorePermit>>,
}

impl Reader {
    pub(crate) fn new(shared: Arc<Readers>, attr: &Attr) -> Reader {
        let ahead = Ahead::new(shared.read_ahead);
        Reader {
            inner: Arc::new(Inner {
                shared,
                pinned: Arc::new(Pinned::new(attr)),
                completed: attr.completed,
                length: AtomicU64::new(attr.length),
                local: OnceCell::new(),
                ahead: Mutex::new(ahead),
            }),
        }
    }

    /// Which content is read.
    #[must_use]
    pub fn content(&self) -> ContentId {
        self.inner.pinned.content
    }

    /// Bytes of the file as far as this reader knows.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.inner.length.load(Ordering::Acquire)
    }

    /// The file grew to `length` bytes under its writer.
    pub fn grow(&self, length: u64) {
        self.inner.length.fetch_max(length, Ordering::AcqRel);
    }

    /// Up to `length` bytes from `offset`; fewer only at the end of the file, none behind it.
    ///
    /// # Errors
    /// `Stale`, `Lost`, `NotFound`, `Ufs`; `Unavailable` or `DeadlineExceeded` when no worker answers within the
    /// configured patience.
    pub async fn read_at(&self, offset: u64, length: u64) -> Result<Bytes> {
        let size = self.length();
        let length = length.min(size.saturating_sub(offset));
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(file) = self.local().await {
            match read_local(file.clone(), offset, length).await {
                Ok(bytes) if bytes.len() as u64 == length => {
                    self.inner.shared.metrics.read_local.inc_by(length);
                    return Ok(bytes);
                }
                Ok(_) => tracing::warn!(content = %self.content(), "a local file is shorter than it said"),
                Err(error) if error.code == Code::Unavailable => {}
                Err(error) => {
                    tracing::warn!(content = %self.content(), %error, "a local file cannot be read")
                }
            }
        }
        self.read_remote(offset, length, size).await
    }

    /// Writes the file from `offset` to its end into `sink`, telling `progress` of each piece's length. Returns the
    /// bytes written.
    ///
    /// # Errors
    /// As [`Reader::read_at`], and `Io` when `sink` fails.
    pub async fn copy_to<W: AsyncWrite + Unpin>(
        &self,
        offset: u64,
        sink: &mut W,
        mut progress: impl FnMut(u64),
    ) -> Result<u64> {
        let mut at = offset;
        while at < self.length() {
            let piece = self.read_at(at, COPY - at % COPY).await?;
            let written = sink.write_all(&piece).await;
            written.map_err(|error| Error::io("write what was read", error))?;
            at += piece.len() as u64;
            progress(piece.len() as u64);
        }
        sink.flush().await.map_err(|error| Error::io("write what was read", error))?;
        Ok(at.saturating_sub(offset))
    }

    /// The whole file of a worker on this machine, asked for once.
    async fn local(&self) -> Option<&LocalFile> {
        if !self.inner.completed {
            return None;
        }
        if let Some(known) = self.inner.local.get() {
            return known.as_ref();
        }
        let generation = self.inner.pinned.generation;
        let open = Box::pin(self.inner.shared.files.open(self.content(), generation, self.length()));
        self.inner.local.get_or_init(|| open).await.as_ref()
    }

    async fn read_remote(&self, offset: u64, length: u64, size: u64) -> Result<Bytes> {
        // What grows is not fetched ahead: a chunk that was cut by the end then would be short later.
        let plan = if self.inner.completed {
            self.inner.ahead.lock().plan(offset, length, size)
        } else {
            Plan::Exactly
        };
        match plan {
            Plan::Exactly => self.inner.shared.fetcher.fetch(&self.inner.pinned, offset, length, false).await,
            Plan::Chunks { needed, ahead } => {
                let chunks: Vec<(u64, Chunk)> =
                    needed.map(|number| (number, self.chunk(number, size))).collect();
                for number in ahead {
                    if !self.prefetch(number, size) {
                        break;
                    }
                }
                self.assemble(chunks, offset, length).await
            }
        }
    }

    /// The chunk of this number; fetched if it is not under way.
    fn chunk(&self, number: u64, size: u64) -> Chunk {
        let mut ahead = self.inner.ahead.lock();
        if let Some(chunk) = ahead.get(number) {
            return chunk;
        }
        let chunk = self.fetch_chunk(number, size, None);
        ahead.insert(number, chunk.clone());
        chunk
    }

    /// Fetches a chunk ahead of the reader; false when all readers together hold enough.
    fn prefetch(&self, number: u64, size: u64) -> bool {
        let mut ahead = self.inner.ahead.lock();
        if ahead.get(number).is_some() {
            return true;
        }
        let Ok(permit) = self.inner.shared.budget.clone().try_acquire_owned() else { return false };
        let chunk = self.fetch_chunk(number, size, Some(Arc::new(permit)));
        ahead.insert(number, chunk);
        true
    }

    fn fetch_chunk(&self, number: u64, size: u64, permit: Option<Arc<OwnedSemaphorePermit>>) -> Chunk {
        let (done, state) = watch::channel(None);
        let shared = self.inner.shared.clone();
        let pinned = self.inner.pinned.clone();
        let offset = number * CHUNK;
        let length = CHUNK.min(size - offset);
        self.inner.shared.tasks.spawn("read-ahead", async move {
            // Nobody waits for a chunk that was dropped.
            tokio::select! {
                () = done.closed() => {}
                fetched = shared.fetcher.fetch(&pinned, offset, length, true) => {
                    let _ = done.send(Some(fetched));
                }
            }
        });
        Chunk { state, _permit: permit }
    }

    /// The range out of its chunks, without a copy when it lies in one.
    async fn assemble(&self, chunks: Vec<(u64, Chunk)>, offset: u64, length: u64) -> Result<Bytes> {
        let end = offset + length;
        let mut whole = BytesMut::new();
        for (number, mut chunk) in chunks {
            let bytes = match wait(&mut chunk.state).await {
                Ok(bytes) => bytes,
                Err(error) => {
                    // The next read tries again.
                    self.inner.ahead.lock().remove(number);
                    return Err(error);
                }
            };
            let start = number * CHUNK;
            let from = usize::try_from(offset.max(start) - start).unwrap_or(usize::MAX).min(bytes.len());
            let to = usize::try_from(end.min(start + CHUNK) - start).unwrap_or(usize::MAX).min(bytes.len());
            let part = bytes.slice(from..to);
            if part.len() as u64 == length {
                return Ok(part);
            }
            whole.extend_from_slice(&part);
        }
        Ok(whole.freeze())
    }
}

async fn wait(state: &mut watch::Receiver<Option<Result<Bytes>>>) -> Result<Bytes> {
    match state.wait_for(Option::is_some).await.map(|fetched| fetched.clone()) {
        Ok(Some(fetched)) => fetched,
        _ => Err(Error::new(Code::Cancelled, "the client is shutting down")),
    }
}

async fn read_local(file: LocalFile, offset: u64, length: u64) -> Result<Bytes> {
    let read = tokio::task::spawn_blocking(move || {
        let mut buffer = vec![0; usize::try_from(length).unwrap_or(0)];
        let count = file.read_at(&mut buffer, offset)?;
        buffer.truncate(count);
        Ok(Bytes::from(buffer))
    });
    read.await.map_err(|_| Error::new(Code::Internal, "a local read was cut off"))?
}
