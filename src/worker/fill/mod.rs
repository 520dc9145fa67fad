//! Filling the cache from peers that have the bytes, else from under-storages.
//!
//! Owns the pages that are on their way: however many readers miss a page, it is fetched once. A reader asks for a
//! page with [`Fill::page`]; that starts a *run*, one range request for neighbouring missing pages of a block, and,
//! when the reader goes on sequentially, further runs ahead of it, a few at a time for each file. Runs are tasks of
//! their own: a reader that goes away wastes no more than the runs that have begun. Every request is conditional on
//! the version that the masters name, so a page is of that version or is not there.
//!
//! What a run reads is given to whoever waits as soon as a page is complete, and written to the disk behind that.
//! When nothing can be evicted for it the reader is told to read past the cache ([`Fetched::Uncached`]).

mod plan;
mod run;

use crate::metrics::WorkerMetrics;
use crate::mounts::Mounts;
use crate::peers::Peers;
use crate::versions::Version;
use bytes::Bytes;
use goosefs_core::block::{PAGE, Store};
use goosefs_core::id::{BlockId, ContentId};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use plan::Run;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, watch};

/// The bytes of a page, in pieces as they came.
pub(crate) type Pieces = Arc<[Bytes]>;

/// Where a wanted page is now.
#[derive(Clone, Debug)]
pub(crate) enum Fetched {
    /// In the block store.
    Cached,
    /// Here; it is being written to the block store.
    Page(Pieces),
    /// Nothing can be evicted for it: read it past the cache.
    Uncached,
}

/// A page that somebody wants.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Want {
    /// Index of its block.
    pub(crate) block: u64,
    /// Its number in the block.
    pub(crate) page: u32,
    /// The reader reads on to this offset of the content.
    pub(crate) until: u64,
    /// And behind that, most probably.
    pub(crate) sequential: bool,
}

/// How much at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Runs of one content at a time.
    pub(crate) parallel: usize,
    /// Most bytes of one run.
    pub(crate) range: u64,
    /// A storage that sends nothing for so long is given up on.
    pub(crate) timeout: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct PageKey {
    block: BlockId,
    page: u32,
    generation: u64,
}

/// What became of a page; none while it is on its way.
type Outcome = Option<Result<Fetched>>;

#[derive(Default)]
struct Table {
    flights: HashMap<PageKey, watch::Receiver<Outcome>>,
    runs: HashMap<ContentId, usize>,
}

/// The pages on their way. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Fill {
    inner: Arc<Inner>,
}

struct Inner {
    store: Store,
    mounts: Arc<Mounts>,
    peers: Arc<Peers>,
    metrics: WorkerMetrics,
    tasks: Tasks,
    limits: Limits,
    in_all: Semaphore,
    table: Mutex<Table>,
}

impl Fill {
    pub(crate) fn new(
        store: Store,
        mounts: Arc<Mounts>,
        peers: Arc<Peers>,
        metrics: WorkerMetrics,
        tasks: Tasks,
        limits: Limits,
        parallel_in_all: usize,
    ) -> Fill {
        let in_all = Semaphore::new(parallel_in_all.max(1));
        Fill {
            inner: Arc::new(Inner {
                store,
                mounts,
                peers,
                metrics,
                tasks,
                limits,
                in_all,
                table: Mutex::default(),
            }),
        }
    }

    /// Fetches a page of a persisted content, and what the reader will want after it.
    ///
    /// # Errors
    /// `Stale` when the storage holds another version now, else what the storage said.
    pub(crate) async fn page(&self, version: &Arc<Version>, want: Want) -> Result<Fetched> {
        let block = version.content.block(want.block);
        let key = PageKey { block, page: want.page, generation: version.generation };
        loop {
            let Some(mut flight) = self.flight(version, want, key) else { return Ok(Fetched::Cached) };
            match flight.wait_for(Option::is_some).await {
                Ok(outcome) => return outcome.clone().unwrap_or(Ok(Fetched::Cached)),
                // The run was cut off before it came to this page.
                Err(_) if self.inner.tasks.stop().is_cancelled() => {
                    return Err(Error::new(Code::Unavailable, "the worker is stopping"));
                }
                Err(_) => {}
            }
        }
    }

    /// Puts a range of a persisted content into the cache, and returns when it is on the disk. What is there already
    /// counts as used now. Answers with the bytes that were missing.
    ///
    /// # Errors
    /// `NoSpace` when nothing can be evicted for it, or it does not stay, else as [`Fill::page`].
    pub(crate) async fn range(&self, version: &Arc<Version>, range: Range<u64>) -> Result<u64> {
        let block_size = version.content().block_size;
        let blocks = range.start / block_size..range.end.div_ceil(block_size);
        self.inner.store.touch(version.content, version.generation, blocks);
        let missing = self.missing(version, &range);
        let bytes = missing.iter().map(|(_, bytes)| bytes).sum();
        let until = range.end.min(version.length);
        for (key, _) in &missing {
            let want = Want { block: key.block.index(), page: key.page, until, sequential: true };
            if let Fetched::Uncached = self.page(version, want).await? {
                return Err(self.no_room(version));
            }
        }
        for (key, _) in &missing {
            self.landed(*key).await;
        }
        if missing.is_empty() || self.missing(version, &range).is_empty() {
            return Ok(bytes);
        }
        let message =
            format!("content {} was cached, and evicted again before all of it was there", version.content);
        Err(Error::new(Code::NoSpace, message).hint(
            "it does not fit below the cache's low watermark beside what else is read: raise the quota",
        ))
    }

    fn no_room(&self, version: &Version) -> Error {
        let message = format!("no room to cache content {}: nothing may be evicted", version.content);
        let usage = self.inner.store.usage();
        let open: u64 = usage.dirs.iter().map(|dir| dir.still_open).sum();
        Error::new(Code::NoSpace, message).hint(match (usage.held, open) {
            (0, 0) => "what is cached is in use: raise the quota, or try again".to_owned(),
            (held, open) => format!(
                "{held} bytes are only copies, {open} bytes are evicted files that programs still have open: persist or \
                 close them, or raise the quota"
            ),
        })
    }

    /// Waits until a page that [`Fill::page`] gave is in the block store, or found no room there.
    pub(crate) async fn written(&self, version: &Version, block: u64, page: u32) {
        let block = version.content.block(block);
        self.landed(PageKey { block, page, generation: version.generation }).await;
    }

    async fn landed(&self, key: PageKey) {
        let flight = self.inner.table.lock().flights.get(&key).cloned();
        if let Some(mut flight) = flight {
            // It changes no more; its sender goes when the page is on the disk.
            while flight.changed().await.is_ok() {}
        }
    }

    /// Pages of a range that are not in the store, with their bytes.
    fn missing(&self, version: &Version, range: &Range<u64>) -> Vec<(PageKey, u64)> {
        let content = version.content();
        let end = range.end.min(version.length);
        let mut found = Vec::new();
        let mut at = range.start;
        while at < end {
            let index = at / content.block_size;
            let start = index * content.block_size;
            let length = content.block_len(index);
            let page_at = |offset: u64| u32::try_from(offset / PAGE).unwrap_or(u32::MAX);
            let last = (end - start).min(length).next_multiple_of(PAGE);
            let block = version.content.block(index);
            let pages = page_at(at - start)..page_at(last);
            let missing = self.inner.store.missing(block, version.generation, pages);
            found.extend(missing.into_iter().map(|page| {
                let bytes = (length - u64::from(page) * PAGE).min(PAGE);
                (PageKey { block, page, generation: version.generation }, bytes)
            }));
            at = start + length;
        }
        found
    }

    /// The flight of the wanted page, begun if need be; none when the page is in the store.
    fn flight(&self, version: &Arc<Version>, want: Want, key: PageKey) -> Option<watch::Receiver<Outcome>> {
        let mut table = self.inner.table.lock();
        let runs = self.plan(&table, version, want, key);
        for run in runs {
            self.begin(&mut table, version, run);
        }
        table.flights.get(&key).cloned()
    }

    fn begin(&self, table: &mut Table, version: &Arc<Version>, run: Run) {
        let block = version.content.block(run.block);
        let mut landings = Vec::new();
        for page in run.pages.clone() {
            let (sender, receiver) = watch::channel(None);
            let key = PageKey { block, page, generation: version.generation };
            table.flights.insert(key, receiver);
            landings.push((key, sender));
        }
        *table.runs.entry(version.content).or_default() += 1;
        let name = format!("fill-{block}");
        let work = run::Work::new(self.inner.clone(), version.clone(), run, landings);
        self.inner.tasks.spawn(name, Box::pin(work.run()));
    }
}
