//! Metadata of the under-storage, loaded when it is first looked at.
//!
//! One directory listing at a time and one listing a directory: callers that want the same one wait for it together. A
//! listing is committed in batches and the directory counts as known only with the last, so a listing that breaks off
//! hides nothing: the next caller starts a new one. Only the leader loads.

use super::{Connectors, Freshness};
use crate::journal::{Journal, Op};
use crate::metrics::MasterMetrics;
use crate::namespace::{DirectoryState, MountPoint};
use futures::StreamExt;
use futures::future::{BoxFuture, FutureExt, Shared};
use goosefs_core::id::InodeId;
use goosefs_core::path::check_name;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::journal::{LoadChildren, ReviseFile, UfsEntry, entry::Command};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::{Entry, Ufs};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, oneshot};

/// A listing that was overtaken by a removal in its directory is made again so often.
const ATTEMPTS: usize = 4;

/// A file that is doubted is looked at no more often.
const DOUBT: Duration = Duration::from_secs(1);

/// Who doubts a file waits so long for what the under-storage has.
const DOUBT_WAIT: Duration = Duration::from_secs(5);

/// Limits of loading.
#[derive(Clone, Copy, Debug)]
pub(crate) struct LoadLimits {
    /// Entries that go into one log entry.
    pub(crate) batch: usize,
    /// Listings at the same time.
    pub(crate) concurrency: usize,
    /// A listing without progress for so long fails.
    pub(crate) stall: Duration,
}

type Flight = Shared<BoxFuture<'static, Result<()>>>;

/// Loads directories.
pub(crate) struct Loader {
    journal: Arc<Journal>,
    connectors: Arc<Connectors>,
    tasks: Tasks,
    limits: LoadLimits,
    permits: Semaphore,
    flights: Mutex<HashMap<InodeId, Flight>>,
    /// Files that somebody doubts, for a while after each was looked at.
    doubts: Mutex<HashMap<InodeId, Flight>>,
    metrics: Arc<MasterMetrics>,
}

impl Loader {
    pub(crate) fn new(
        journal: Arc<Journal>,
        connectors: Arc<Connectors>,
        tasks: Tasks,
        limits: LoadLimits,
        metrics: Arc<MasterMetrics>,
    ) -> Arc<Loader> {
        let permits = Semaphore::new(limits.concurrency.max(1));
        Arc::new(Loader {
            journal,
            connectors,
            tasks,
            limits,
            permits,
            flights: Mutex::default(),
            doubts: Mutex::default(),
            metrics,
        })
    }

    /// Makes sure that `directory` is as fresh as asked for. Says whether a listing was made.
    ///
    /// # Errors
    /// The under-storage's, unless what is known is good enough (see [`Freshness::Within`]).
    pub(crate) async fn freshen(self: &Arc<Self>, directory: InodeId, freshness: Freshness) -> Result<bool> {
        if freshness == Freshness::Known {
            return Ok(false);
        }
        let state = self.journal.read()?.directory(directory)?;
        if !state.needs_load(self.journal.now_ms(), freshness.interval_ms()) {
            return Ok(false);
        }
        match self.load(directory).await {
            Ok(()) => Ok(true),
            Err(error) if known_is_good_enough(&state, freshness, error.code) => {
                tracing::debug!(directory = directory.0, %error, "answering with what is known");
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Makes sure that the file `inode`, which is in the under-storage, is as fresh as asked for. Says whether it was
    /// looked at.
    ///
    /// # Errors
    /// As [`Loader::freshen`].
    pub(crate) async fn freshen_file(&self, inode: InodeId, freshness: Freshness) -> Result<bool> {
        let Some(interval) = freshness.interval_ms() else { return Ok(false) };
        let (mount, path) = {
            let namespace = self.journal.read()?;
            let details = namespace.details(inode)?;
            let due = self.journal.now_ms().saturating_sub(details.checked_ms) >= interval;
            if details.fingerprint.is_none() || !due || namespace.busy(inode).is_some() {
                return Ok(false);
            }
            let (mount, path) = namespace.ufs_location(inode)?;
            (namespace.mount(mount)?, path)
        };
        let ufs = self.connectors.of(&mount)?;
        let looked = tokio::time::timeout(self.limits.stall, ufs.stat(&path)).await;
        let looked = looked.unwrap_or_else(|_| Err(stalled(&mount, &path, self.limits.stall)));
        let fingerprint = match looked {
            Ok(entry) => Some(entry.fingerprint),
            Err(error) if error.code == Code::NotFound => None,
            Err(error) if !freshness.strict() && is_outage(error.code) => {
                tracing::debug!(inode = inode.0, %error, "answering with what is known");
                return Ok(false);
            }
            Err(error) => return Err(of_storage(error.context(format!("look at {path} in {}", mount.ufs)))),
        };
        let command = Command::ReviseFile(ReviseFile { inode: inode.0, fingerprint });
        match self.journal.begin(command, &Caller::default(), Op::Unnumbered).await {
            // A side effect holds it: what it leaves behind is looked at later.
            Err(error) if error.code == Code::Busy => Ok(false),
            outcome => outcome.map(|_| true),
        }
    }

    /// Looks at the file `inode` in its under-storage, whatever its age: somebody found another version there. All who
    /// doubt it within [`DOUBT`] share one look. What comes of it is in the namespace afterwards; no answer within
    /// [`DOUBT_WAIT`] leaves what is known.
    pub(crate) async fn doubt(self: &Arc<Self>, inode: InodeId) {
        let flight = {
            let mut doubts = self.doubts.lock();
            doubts.entry(inode).or_insert_with(|| self.look_at(inode)).clone()
        };
        match tokio::time::timeout(DOUBT_WAIT, flight).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::debug!(inode = inode.0, %error, "a doubted file could not be looked at")
            }
            Err(_) => tracing::debug!(inode = inode.0, "a doubted file is still being looked at"),
        }
    }

    fn look_at(self: &Arc<Self>, inode: InodeId) -> Flight {
        let (tell, told) = oneshot::channel();
        let (loader, stop) = (self.clone(), self.tasks.stop());
        self.tasks.spawn(format!("look/{inode}"), async move {
            let again = tokio::time::sleep(DOUBT);
            tokio::select! {
                () = stop.cancelled() => return,
                looked = loader.freshen_file(inode, Freshness::Within(Duration::ZERO)) => {
                    // Nobody may be waiting any more.
                    let _ = tell.send(looked.map(drop));
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = again => {}
            }
            loader.doubts.lock().remove(&inode);
        });
        shared(told)
    }

    /// Lists `directory` now, or waits for the listing that is under way.
    ///
    /// # Errors
    /// The under-storage's; the directory is then no more known than before.
    pub(crate) async fn load(self: &Arc<Self>, directory: InodeId) -> Result<()> {
        let flight = {
            let mut flights = self.flights.lock();
            match flights.get(&directory) {
                Some(flight) => flight.clone(),
                None => {
                    let flight = self.take_off(directory);
                    flights.insert(directory, flight.clone());
                    flight
                }
            }
        };
        flight.await
    }

    /// Starts a listing on a task of its own, so that a caller who gives up does not stop it for the others.
    fn take_off(self: &Arc<Self>, directory: InodeId) -> Flight {
        let (tell, told) = oneshot::channel();
        let loader = self.clone();
        self.tasks.spawn(format!("load/{directory}"), async move {
            let outcome = loader.list_until_current(directory).await;
            if outcome.is_err() {
                loader.metrics.listings_failed.inc();
            }
            loader.flights.lock().remove(&directory);
            // Nobody may be waiting any more.
            let _ = tell.send(outcome);
        });
        shared(told)
    }

    async fn list_until_current(&self, directory: InodeId) -> Result<()> {
        let mut outcome = Ok(());
        for _ in 0..ATTEMPTS {
            outcome = self.list(directory).await;
            match &outcome {
                Err(error) if matches!(error.code, Code::Stale | Code::Busy) => {}
                _ => break,
            }
        }
        outcome
    }

    async fn list(&self, directory: InodeId) -> Result<()> {
        let stopping = || Error::new(Code::Unavailable, "this master is stopping");
        let stop = self.tasks.stop();
        let _permit = tokio::select! {
            permit = self.permits.acquire() => permit.map_err(|_| stopping())?,
            () = stop.cancelled() => return Err(stopping()),
        };
        self.metrics.listings.inc();
        let (mount, path, since) = {
            let namespace = self.journal.read()?;
            let (mount, path) = namespace.ufs_location(directory)?;
            (namespace.mount(mount)?, path, namespace.last_index())
        };
        let ufs = self.connectors.of(&mount)?;
        let listing = Listing { directory, number: rand::random(), since };
        let outcome = tokio::select! {
            outcome = self.commit_listing(&*ufs, &mount, &path, &listing) => outcome,
            () = stop.cancelled() => Err(stopping()),
        };
        match outcome {
            Err(error) if error.code == Code::NotFound && !path.is_empty() => {
                self.commit_absence(directory).await?;
                Err(error)
            }
            outcome => outcome,
        }
    }

    /// The under-storage does not have this directory any more. What the cache alone has in it stays.
    async fn commit_absence(&self, directory: InodeId) -> Result<()> {
        let command = Command::ReviseFile(ReviseFile { inode: directory.0, fingerprint: None });
        self.journal.begin(command, &Caller::default(), Op::Unnumbered).await.map(drop)
    }

    async fn commit_listing(
        &self,
        ufs: &dyn Ufs,
        mount: &MountPoint,
        path: &str,
        listing: &Listing,
    ) -> Result<()> {
        let named = |error: Error| of_storage(error.context(format!("list \"{path}\" of {}", mount.ufs)));
        let stall = self.limits.stall;
        let mut entries = tokio::time::timeout(stall, ufs.list(path))
            .await
            .unwrap_or_else(|_| Err(stalled(mount, path, stall)))
            .map_err(named)?;
        let mut batch = Vec::new();
        let mut first = true;
        loop {
            let next = tokio::time::timeout(stall, entries.next())
                .await
                .map_err(|_| named(stalled(mount, path, stall)))?;
            let Some(entry) = next else { break };
            let entry = entry.map_err(named)?;
            if check_name(&entry.name).is_err() {
                tracing::warn!(
                    name = entry.name,
                    path,
                    mount = mount.ufs,
                    "name cannot be shown, entry left out"
                );
                continue;
            }
            batch.push(to_wire(entry));
            if batch.len() >= self.limits.batch {
                self.commit_batch(listing, std::mem::take(&mut batch), first, false).await?;
                first = false;
            }
        }
        self.commit_batch(listing, batch, first, true).await
    }

    async fn commit_batch(
        &self,
        listing: &Listing,
        entries: Vec<UfsEntry>,
        first: bool,
        last: bool,
    ) -> Result<()> {
        self.metrics.listed_entries.inc_by(entries.len() as u64);
        let command = Command::LoadChildren(LoadChildren {
            directory: listing.directory.0,
            entries,
            last,
            listing: listing.number,
            first,
            since: listing.since,
        });
        self.journal.propose(command, &Caller::default(), Op::Unnumbered).await.map(drop)
    }
}

fn shared(told: oneshot::Receiver<Result<()>>) -> Flight {
    let told = told
        .map(|told| told.unwrap_or_else(|_| Err(Error::new(Code::Unavailable, "this master is stopping"))));
    told.boxed().shared()
}

struct Listing {
    directory: InodeId,
    number: u64,
    since: u64,
}

fn to_wire(entry: Entry) -> UfsEntry {
    UfsEntry {
        name: entry.name,
        kind: entry.kind as i32,
        fingerprint: Some(entry.fingerprint),
        mode: entry.mode,
        owner: entry.owner,
        group: entry.group,
    }
}

fn stalled(mount: &MountPoint, path: &str, stall: Duration) -> Error {
    Error::new(
        Code::DeadlineExceeded,
        format!("{} did not answer for \"{path}\" within {stall:?}", mount.ufs),
    )
}

/// What retries did not mend is told as the storage's trouble: a client that hears "unavailable" looks for another master.
pub(crate) fn of_storage(mut error: Error) -> Error {
    if error.code.retryable() {
        error.code = Code::Ufs;
    }
    error
}

/// The under-storage may answer later; what it said before still stands.
fn is_outage(code: Code) -> bool {
    matches!(code, Code::Unavailable | Code::DeadlineExceeded | Code::Ufs | Code::Io | Code::Busy)
}

fn known_is_good_enough(state: &DirectoryState, freshness: Freshness, code: Code) -> bool {
    state.loaded && !freshness.strict() && is_outage(code)
}
