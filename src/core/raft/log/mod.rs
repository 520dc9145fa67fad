//! The Raft log and the vote: durable, written by a thread of its own, read from memory where possible.
//!
//! `append` makes entries readable at once and reports them when they are on disk; whatever waits at the same time
//! shares one fsync. Used by openraft through [`RaftLogStorage`]; opened and closed by the node.

mod disk;
mod mark;
#[cfg(test)]
mod tests;
mod window;
mod writer;

use super::ground::{Ground, blocking};
use super::metrics::Counters;
use super::types::{Entry, LogId, Types, Vote};
use crate::error::{Error, Result};
use disk::{Disk, Recovered};
use mark::{Acknowledged, Mark};
use openraft::storage::{IOFlushed, LogState, RaftLogReader, RaftLogStorage};
use parking_lot::{Mutex, RwLock};
use std::fmt::Debug;
use std::io;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;
use window::Window;
use writer::{Job, Writer};

/// Bytes of entries in one message to a follower.
const MESSAGE_BYTES: usize = 1 << 20;

/// Readers get so long to end when the log is closed.
const CLOSING: Duration = Duration::from_secs(10);

/// What all handles of one log see.
struct Shared {
    state: RwLock<State>,
    /// Since when the writer has been at what it does; `None` while it waits for something to do.
    busy: Mutex<Option<Instant>>,
}

struct State {
    /// `None` once the log is closed.
    disk: Option<Arc<Disk>>,
    window: Window,
    last: Option<LogId>,
    purged: Option<LogId>,
    vote: Option<Vote>,
    committed: Option<LogId>,
}

impl Shared {
    fn flushed(&self, last: Option<LogId>) {
        self.state.write().window.shrink(last.as_ref());
    }

    fn close(&self) {
        self.state.write().disk = None;
    }
}

/// A handle of the log; clones see the same log.
#[derive(Clone)]
pub(super) struct LogStore {
    shared: Arc<Shared>,
    jobs: mpsc::Sender<Job>,
    counters: Counters,
    closed: Arc<Mutex<Option<oneshot::Receiver<()>>>>,
    ground: Arc<dyn Ground>,
}

/// A log that was opened.
pub(super) struct Opened {
    pub(super) log: LogStore,
    /// Why this log is less than what this master has acknowledged; it must then not be used.
    pub(super) damage: Option<String>,
    /// Nothing was ever written.
    pub(super) empty: bool,
}

impl LogStore {
    /// Opens or makes the log in `folder` and the acknowledgement mark in `mark`, and starts the writer.
    ///
    /// # Errors
    /// `Corrupt` when the log cannot be read at all, I/O errors.
    pub(super) fn open(
        folder: &Path,
        mark: &Path,
        cache_bytes: usize,
        counters: Counters,
        ground: Arc<dyn Ground>,
    ) -> Result<Opened> {
        let (closing, closed) = oneshot::channel();
        let (disk, recovered) = Disk::open(folder, closing)?;
        let (mark, acknowledged) =
            Mark::open(mark).map_err(|e| Error::io(format!("open {}", mark.display()), e))?;
        let empty = recovered == Recovered::default();
        let damage = damage(&recovered, acknowledged, empty);
        let disk = Arc::new(disk);
        let shared = Arc::new(Shared {
            state: RwLock::new(State {
                disk: Some(disk.clone()),
                window: Window::new(cache_bytes),
                last: recovered.last,
                purged: recovered.purged,
                vote: recovered.vote,
                committed: recovered.committed,
            }),
            busy: Mutex::new(None),
        });
        let (jobs, queue) = mpsc::channel();
        let writer = Writer::new(queue, disk, mark, shared.clone(), counters.clone());
        ground
            .employ("raft-log", Box::new(writer))
            .map_err(|e| Error::io("start the thread that writes the Raft log", e))?;
        Ok(Opened {
            log: LogStore { shared, jobs, counters, closed: Arc::new(Mutex::new(Some(closed))), ground },
            damage,
            empty,
        })
    }

    /// Index of the last entry, 0 when there is none.
    pub(super) fn last_index(&self) -> u64 {
        self.shared.state.read().last.map_or(0, |id| id.index)
    }

    /// How long the disk has kept the writer waiting.
    pub(super) fn waiting(&self) -> Duration {
        self.shared.busy.lock().map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Whether there is neither an entry nor a vote.
    pub(super) fn is_empty(&self) -> bool {
        let state = self.shared.state.read();
        state.last.is_none() && state.vote.is_none()
    }

    /// Writes what waits and closes the files. Whoever reads or writes afterwards gets an error.
    pub(super) async fn close(&self) {
        let (stopped, wait) = oneshot::channel();
        if self.jobs.send(Job::Stop(stopped)).is_ok() {
            // An error means that the writer ended before.
            drop(wait.await);
        }
        // A reader, or the removal of old files, may still be at work.
        let closed = self.closed.lock().take();
        if let Some(closed) = closed
            && tokio::time::timeout(CLOSING, closed).await.is_err()
        {
            tracing::warn!("the files of the Raft log are still in use");
        }
    }

    fn send(&self, job: Job) -> io::Result<()> {
        self.jobs.send(job).map_err(|_| io::Error::other("the Raft log is closed"))
    }

    async fn wait(&self, job: impl FnOnce(oneshot::Sender<io::Result<()>>) -> Job) -> io::Result<()> {
        let (done, wait) = oneshot::channel();
        self.send(job(done))?;
        wait.await.map_err(|_| io::Error::other("the Raft log is closed"))?
    }

    /// Entries `begin..end` as far as the log has them, at least one and then up to `max_bytes`.
    async fn read(&self, begin: u64, end: u64, max_bytes: usize) -> io::Result<Vec<Entry>> {
        let (disk, purged, begin, from_disk, end) = {
            let state = self.shared.state.read();
            let begin = begin.max(state.purged.map_or(0, |id| id.index + 1));
            let end = end.min(state.last.map_or(0, |id| id.index + 1));
            if begin >= end {
                return Ok(Vec::new());
            }
            let first = state.window.first().unwrap_or(u64::MAX);
            if begin >= first {
                return Ok(state.window.range(begin, end, max_bytes));
            }
            let disk = state.disk.clone().ok_or_else(|| io::Error::other("the Raft log is closed"))?;
            (disk, state.purged, begin, end.min(first), end)
        };
        let limit = (max_bytes != usize::MAX).then_some(max_bytes);
        let read = blocking(&self.ground, move || disk.read(begin, from_disk, limit));
        let mut entries = match read.await.map_err(io::Error::other)? {
            Ok(entries) => entries,
            // Purged while we were reading: from there on it is as if it had been before.
            Err(e) if e.kind() == io::ErrorKind::NotFound && self.shared.state.read().purged > purged => {
                return Box::pin(self.read(begin, end, max_bytes)).await;
            }
            Err(e) => return Err(e),
        };
        if limit.is_none() && from_disk < end {
            entries.extend(Box::pin(self.read(from_disk, end, max_bytes)).await?);
        }
        Ok(entries)
    }
}

/// Why `recovered` is less than what was `acknowledged`.
fn damage(recovered: &Recovered, acknowledged: Option<Acknowledged>, empty: bool) -> Option<String> {
    if let Some(damage) = &recovered.damage {
        return Some(damage.clone());
    }
    let Some(acknowledged) = acknowledged else {
        return (!empty).then(|| "the mark of what was acknowledged is missing".to_owned());
    };
    let index =
        |id: Option<LogId>| id.map_or_else(|| "nothing".to_owned(), |id| format!("entry {}", id.index));
    if acknowledged.last > recovered.last {
        return Some(format!(
            "the log ends at {}, but {} was acknowledged",
            index(recovered.last),
            index(acknowledged.last)
        ));
    }
    if acknowledged.vote > recovered.vote {
        return Some("the last vote is missing".to_owned());
    }
    None
}

fn bounds(range: &impl RangeBounds<u64>) -> (u64, u64) {
    let begin = match range.start_bound() {
        Bound::Included(index) => *index,
        Bound::Excluded(index) => index + 1,
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(index) => index + 1,
        Bound::Excluded(index) => *index,
        Bound::Unbounded => u64::MAX,
    };
    (begin, end)
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + Send>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        let (begin, end) = bounds(&range);
        self.read(begin, end, usize::MAX).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.read(start, end, MESSAGE_BYTES).await
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        Ok(self.shared.state.read().vote)
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let state = self.shared.state.read();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        let vote = *vote;
        self.wait(|done| Job::Vote(vote, done)).await?;
        self.shared.state.write().vote = Some(vote);
        Ok(())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> io::Result<()> {
        self.shared.state.write().committed = committed;
        self.send(Job::Committed(committed))
    }

    async fn read_committed(&mut self) -> io::Result<Option<LogId>> {
        Ok(self.shared.state.read().committed)
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + Send,
        I::IntoIter: Send,
    {
        let entries: Vec<Entry> = entries.into_iter().collect();
        {
            let mut state = self.shared.state.write();
            for entry in &entries {
                state.window.push(entry.clone());
                state.last = Some(entry.log_id);
            }
        }
        self.send(Job::Append(entries, callback))
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let last = {
            let mut state = self.shared.state.write();
            let index = |id: Option<LogId>| id.map(|id| id.index);
            if index(last_log_id) >= index(state.last) {
                return Ok(());
            }
            state.last = last_log_id.max(state.purged);
            let last = state.last;
            state.window.truncate_after(index(last));
            last
        };
        self.wait(|done| Job::Truncate(last, done)).await
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        {
            let mut state = self.shared.state.write();
            state.window.purge(log_id.index);
            state.purged = state.purged.max(Some(log_id));
            state.last = state.last.max(Some(log_id));
        }
        self.wait(|done| Job::Purge(log_id, done)).await?;
        let disk = self.shared.state.read().disk.clone();
        let counters = self.counters.clone();
        // Not waited for: it may rewrite old files.
        self.ground.block(Box::new(move || {
            let Some(disk) = disk else { return };
            match disk.tidy() {
                Ok(()) => drop(counters.log_bytes.set(i64::try_from(disk.used()).unwrap_or(i64::MAX))),
                Err(error) => tracing::warn!(%error, "old files of the Raft log could not be removed"),
            }
        }));
        Ok(())
    }
}
