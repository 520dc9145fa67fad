//! Reading a content: from this worker's disks, from a worker that holds the only copy, from the under-storage.
//!
//! A [`Reader`] gives a range in order, piece by piece, and finds for each piece the nearest source. All pieces are of
//! one generation of the content: when the masters or the storage have moved on, what is cached of the old one is still
//! given, and then the reader fails with `Stale`; a mix is never given.

use crate::disk::blocking;
use crate::fill::{Fetched, Want};
use crate::mounts::Mount;
use crate::node::Node;
use crate::versions::Version;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::block::{PAGE, PageRead, Pin, Store};
use goosefs_core::id::{BlockId, ContentId};
use goosefs_core::proto::internal::{Persistence, ReadContentRequest};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::Payloads;
use goosefs_core::{Code, Error, Result};
use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// Failures that a reader gets over before it gives up.
const FAILURES: u32 = 4;

/// Times in a row that a page is found to be cached and is then gone before it can be read.
const MISSES: u32 = 16;

/// How long the masters may take to confirm a file that is wholly cached here.
const CONFIRM_CACHED: Duration = Duration::from_secs(1);

/// Bytes that are read from a file at a time where they must go through memory.
const THROUGH_MEMORY: u64 = PAGE;

/// Where a reader may take bytes from.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Sources {
    /// This worker's disks.
    Cache,
    /// And workers that hold only copies.
    Workers,
    /// And the under-storage.
    All,
}

/// What to read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Range {
    pub(crate) content: ContentId,
    pub(crate) offset: u64,
    pub(crate) length: u64,
    /// The reader goes on behind the range.
    pub(crate) sequential: bool,
    /// The generation is this one at least; 0 when the reader does not know.
    pub(crate) generation: u64,
    pub(crate) sources: Sources,
    /// The reader would rather have a file than memory, even if it has to wait until the file is written.
    pub(crate) in_file: bool,
}

/// The next bytes.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// In memory.
    Memory(Bytes),
    /// In a cached file, checked; they are there as long as the pin lives.
    File {
        pin: Arc<Pin>,
        /// In the file.
        offset: u64,
        length: u64,
    },
}

impl Piece {
    /// Bytes in it.
    pub(crate) fn len(&self) -> u64 {
        match self {
            Piece::Memory(bytes) => bytes.len() as u64,
            Piece::File { length, .. } => *length,
        }
    }

    /// Takes up to `most` bytes off the front, into memory.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) async fn take(&mut self, most: u64) -> Result<Bytes> {
        match self {
            Piece::Memory(bytes) => Ok(bytes.split_to((bytes.len() as u64).min(most) as usize)),
            Piece::File { pin, offset, length } => {
                let (file, at, wanted) = (pin.clone(), *offset, most.min(*length).min(THROUGH_MEMORY));
                let read = move || {
                    let mut bytes = vec![0; wanted as usize];
                    match file.file().read_exact_at(&mut bytes, at) {
                        Ok(()) => Ok(Bytes::from(bytes)),
                        Err(cause) => Err(Error::io("read a cached file", cause)),
                    }
                };
                let bytes = blocking(read).await?;
                *offset += wanted;
                *length -= wanted;
                Ok(bytes)
            }
        }
    }

    /// Nothing is left of it.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that come from elsewhere, as far as an offset of the content.
enum Onward {
    Worker(Payloads, u64),
    Storage(Arc<Mount>, BoxStream<'static, Result<Bytes>>, u64),
}

/// Reads one range.
pub(crate) struct Reader {
    node: Arc<Node>,
    version: Arc<Version>,
    range: Range,
    at: u64,
    end: u64,
    pin: Option<(BlockId, Arc<Pin>)>,
    fetched: VecDeque<Bytes>,
    onward: Option<Onward>,
    failures: u32,
    misses: u32,
}

impl Reader {
    /// Makes ready to read; asks the masters which version counts.
    ///
    /// # Errors
    /// `NotFound` when the content does not exist, or, from the cache alone, is not there.
    pub(crate) async fn open(node: Arc<Node>, range: Range) -> Result<Reader> {
        let version = version_for(&node, &range).await?;
        let mut reader = Reader {
            node,
            end: 0,
            at: range.offset,
            version,
            range,
            pin: None,
            fetched: VecDeque::new(),
            onward: None,
            failures: 0,
            misses: 0,
        };
        reader.end = reader.end_of_range();
        Ok(reader)
    }

    /// Which version is read.
    pub(crate) fn version(&self) -> &Arc<Version> {
        &self.version
    }

    fn end_of_range(&self) -> u64 {
        let (version, range) = (&self.version, &self.range);
        let written_here = || {
            let cached = self.node.store.content(range.content);
            cached.filter(|cached| cached.generation == version.generation).map_or(0, |cached| cached.length)
        };
        let readable =
            if version.completed { version.length } else { version.readable().max(written_here()) };
        range.offset.saturating_add(range.length).min(readable)
    }

    /// The next piece; none at the end of the range or the content.
    ///
    /// # Errors
    /// `Stale` when the content has moved on, `Lost` when its only copy is gone, else what the source said.
    pub(crate) async fn next(&mut self) -> Result<Option<Piece>> {
        loop {
            if let Some(bytes) = self.fetched.pop_front() {
                self.node.metrics.read_ufs.inc_by(bytes.len() as u64);
                return Ok(Some(self.give(Piece::Memory(bytes))));
            }
            if self.at >= self.end {
                return Ok(None);
            }
            match Box::pin(self.step()).await {
                Ok(Some(Step::Give(piece))) => return Ok(Some(self.give(piece))),
                Ok(Some(Step::Again)) => {}
                Ok(None) => return Ok(None),
                Err(error) => Box::pin(self.recover(error)).await?,
            }
        }
    }

    fn give(&mut self, piece: Piece) -> Piece {
        self.misses = 0;
        self.at += piece.len();
        piece
    }

    async fn step(&mut self) -> Result<Option<Step>> {
        if self.onward.is_some() {
            return self.go_on().await.map(Some);
        }
        if let Some(piece) = self.read_cache().await? {
            self.node.metrics.read_cache.inc_by(piece.len());
            return Ok(Some(Step::Give(piece)));
        }
        let (index, _) = self.place();
        let block = self.version.content.block(index);
        match self.range.sources {
            Sources::Cache => {
                let message = format!("block {block} is not cached here from offset {}", self.at);
                Err(Error::new(Code::NotFound, message))
            }
            Sources::All if self.version.object().is_some() => self.read_storage().await.map(Some),
            Sources::All | Sources::Workers => self.read_worker(block).await,
        }
    }

    fn place(&self) -> (u64, u64) {
        (self.at / self.version.block_size, self.at % self.version.block_size)
    }

    /// What is here of the block from where the reader is.
    async fn read_cache(&mut self) -> Result<Option<Piece>> {
        let (index, within) = self.place();
        let block = self.version.content.block(index);
        let wanted = self.end - self.at;
        if self.pin.as_ref().is_some_and(|(pinned, _)| *pinned != block) {
            self.pin = None;
        }
        if let Some((_, pin)) = &self.pin {
            let ready = pin.ready(within, wanted);
            if ready > 0 {
                let offset = pin.start() + within;
                return Ok(Some(Piece::File { pin: pin.clone(), offset, length: ready }));
            }
        }
        let pinned = self.pin.take().map(|(_, pin)| pin);
        let (store, generation) = (self.node.store.clone(), self.version.generation);
        let (pin, piece) = blocking(move || look(&store, pinned, block, generation, within, wanted)).await?;
        // A pin from before the block grew or came back knows nothing of that: it is taken anew next time.
        self.pin = pin.filter(|_| piece.is_some()).map(|pin| (block, pin));
        Ok(piece)
    }

    /// Fetches the page where the reader is, or reads past the cache when that takes nothing.
    async fn read_storage(&mut self) -> Result<Step> {
        let (block, within_block) = self.place();
        let page = u32::try_from(within_block / PAGE).unwrap_or(u32::MAX);
        let want = Want { block, page, until: self.end, sequential: self.range.sequential };
        match self.node.fill.page(&self.version, want).await? {
            Fetched::Cached => {
                self.misses += 1;
                if self.misses > MISSES {
                    let message = format!("block {block} of content {} comes and goes", self.range.content);
                    return Err(Error::new(Code::Busy, message));
                }
                Ok(Step::Again)
            }
            Fetched::Page(pieces) => {
                if self.range.in_file {
                    self.node.fill.written(&self.version, block, page).await;
                    if let Some(piece) = self.read_cache().await? {
                        self.node.metrics.read_ufs.inc_by(piece.len());
                        return Ok(Step::Give(piece));
                    }
                }
                self.take_from(&pieces, within_block % PAGE);
                Ok(Step::Again)
            }
            Fetched::Uncached => {
                let version = &self.version;
                let until = ((block + 1) * version.block_size).min(self.end);
                let Some(expected) = version.object() else { return Ok(Step::Again) };
                let mount = self.node.mounts.get(version.mount).await?;
                let opened = mount.ufs.read(&version.ufs_path, self.at..until, expected);
                let bytes = mount.within(self.node.config.fill_timeout, opened).await?;
                self.node.metrics.uncached_reads.inc();
                self.onward = Some(Onward::Storage(mount.clone(), bytes, until));
                Ok(Step::Again)
            }
        }
    }

    /// What the reader wants of a page, from `skip` on.
    fn take_from(&mut self, pieces: &[Bytes], mut skip: u64) {
        let mut wanted = self.end - self.at;
        for piece in pieces {
            let length = piece.len() as u64;
            let from = skip.min(length);
            skip -= from;
            let taken = (length - from).min(wanted);
            wanted -= taken;
            if taken > 0 {
                self.fetched.push_back(piece.slice(from as usize..(from + taken) as usize));
            }
        }
    }

    /// Asks the workers that hold the only copies of `block`. None at the end of what is written.
    async fn read_worker(&mut self, block: BlockId) -> Result<Option<Step>> {
        let version = self.version.clone();
        let (_, within_block) = self.place();
        let holders = version.holders.get(&block).filter(|holders| holders.length > within_block);
        let Some(holders) = holders else {
            return if version.completed { Err(nobody_has(&version, block)) } else { Ok(None) };
        };
        let until = (self.at - within_block + holders.length).min(self.end);
        let request = ReadContentRequest {
            content: version.content.0,
            offset: self.at,
            length: until - self.at,
            sequential: self.range.sequential,
            cached_only: true,
            generation: version.generation,
            in_file: false,
        };
        let me = self.node.store.worker();
        let mut trouble = None;
        for worker in holders.workers.iter().filter(|worker| **worker != me) {
            let opened = match self.node.peers.channel(*worker).await {
                Ok(channel) => channel.read(method::READ_CONTENT, &request).await,
                Err(error) => Err(error),
            };
            let mut payloads = match opened {
                Ok(payloads) => payloads,
                Err(error) => {
                    trouble = Some(error);
                    continue;
                }
            };
            match payloads.next().await {
                Ok(Some(first)) => {
                    self.onward = Some(Onward::Worker(payloads, until));
                    self.node.metrics.read_peer.inc_by(first.len() as u64);
                    return Ok(Some(Step::Give(Piece::Memory(first))));
                }
                Ok(None) => {}
                Err(error) => trouble = Some(error),
            }
        }
        Err(match trouble {
            Some(error) => {
                let message =
                    format!("no worker that holds the only copy of block {block} gives it: {error}");
                let away = error.code.retryable();
                Error::new(if away { Code::Unavailable } else { Code::Lost }, message)
            }
            None => nobody_has(&version, block),
        })
    }

    /// The next bytes of a stream that is open.
    async fn go_on(&mut self) -> Result<Step> {
        let (next, until) = match &mut self.onward {
            Some(Onward::Worker(payloads, until)) => (payloads.next().await, *until),
            Some(Onward::Storage(mount, bytes, until)) => {
                let next = async { bytes.next().await.transpose() };
                (mount.within(self.node.config.fill_timeout, next).await, *until)
            }
            None => return Ok(Step::Again),
        };
        let from_worker = matches!(self.onward, Some(Onward::Worker(..)));
        if self.at >= until || !matches!(next, Ok(Some(_))) {
            self.onward = None;
        }
        match next? {
            Some(bytes) => {
                let bytes = bytes.slice(..bytes.len().min((until.saturating_sub(self.at)) as usize));
                let metrics = &self.node.metrics;
                let counter = if from_worker { &metrics.read_peer } else { &metrics.read_ufs };
                counter.inc_by(bytes.len() as u64);
                if self.at + bytes.len() as u64 >= until {
                    self.onward = None;
                }
                Ok(if bytes.is_empty() { Step::Again } else { Step::Give(Piece::Memory(bytes)) })
            }
            None if self.at < until => Err(Error::new(Code::Unavailable, "a stream ended early")),
            None => Ok(Step::Again),
        }
    }

    /// Makes ready to go on after `error`, or gives it back.
    async fn recover(&mut self, error: Error) -> Result<()> {
        self.failures += 1;
        self.onward = None;
        if self.range.sources == Sources::Cache || self.failures >= FAILURES {
            return Err(error);
        }
        if !(error.code.retryable() || matches!(error.code, Code::Stale | Code::Lost)) {
            return Err(error);
        }
        // The file may have been persisted, truncated or replaced meanwhile.
        let versions = &self.node.versions;
        let asked = match error.code {
            Code::Stale => versions.doubted(&self.version).await,
            _ => versions.fresh(self.range.content).await,
        };
        let now = match asked {
            Ok(version) => version,
            Err(gone) if gone.code == Code::NotFound => {
                let message = format!("content {} does not exist any more", self.range.content);
                return Err(Error::new(Code::Stale, message));
            }
            Err(_) => return Err(error),
        };
        let untouched = self.at == self.range.offset;
        if now.generation != self.version.generation && !untouched {
            let message = format!("content {} was truncated while it was read", self.range.content);
            return Err(Error::new(Code::Stale, message));
        }
        if now == self.version && !error.code.retryable() {
            return Err(error);
        }
        self.version = now;
        self.pin = None;
        self.end = self.end_of_range();
        Ok(())
    }
}

enum Step {
    Give(Piece),
    Again,
}

async fn version_for(node: &Node, range: &Range) -> Result<Arc<Version>> {
    let cached = node.store.content(range.content).filter(|cached| cached.generation >= range.generation);
    if range.sources == Sources::Cache {
        let Some(cached) = cached else {
            let message = format!("content {} is not cached here", range.content);
            return Err(Error::new(Code::NotFound, message));
        };
        return Ok(Arc::new(Version::from_cache(&cached)));
    }
    let Some(cached) = cached.filter(|cached| cached.complete) else {
        return node.versions.get(range.content, range.generation).await;
    };
    let asked = node.versions.get(range.content, range.generation);
    match tokio::time::timeout(CONFIRM_CACHED, asked).await {
        Ok(Err(error)) if !error.code.retryable() => Err(error),
        Ok(Ok(version)) => Ok(version),
        Ok(Err(_)) | Err(_) => Ok(Arc::new(Version::from_cache(&cached))),
    }
}

/// Finds cached bytes at `within`; pages that were never verified are read and checked.
fn look(
    store: &Store,
    pinned: Option<Arc<Pin>>,
    block: BlockId,
    generation: u64,
    within: u64,
    wanted: u64,
) -> Result<(Option<Arc<Pin>>, Option<Piece>)> {
    let Some(pin) = pinned.or_else(|| store.pin(block, Some(generation)).map(Arc::new)) else {
        return Ok((None, None));
    };
    let ready = pin.ready(within, wanted);
    if ready > 0 {
        let offset = pin.start() + within;
        let piece = Piece::File { pin: pin.clone(), offset, length: ready };
        return Ok((Some(pin), Some(piece)));
    }
    let read = pin.read(within, wanted.min(PAGE) as usize)?;
    Ok(match read {
        PageRead::Bytes(bytes) if !bytes.is_empty() => (Some(pin), Some(Piece::Memory(bytes))),
        PageRead::Bytes(_) | PageRead::Absent => (Some(pin), None),
    })
}

fn nobody_has(version: &Version, block: BlockId) -> Error {
    if version.persistence == Persistence::Persisted {
        return Error::new(Code::Stale, format!("block {block} has no object in its storage"));
    }
    Error::new(Code::Lost, format!("no worker has block {block}, and it is not in its storage"))
        .hint("the worker that held its only copy is gone, or no master can be asked")
}
