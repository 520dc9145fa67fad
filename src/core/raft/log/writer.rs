//! The thread that writes the log: whatever waits when it comes round shares one fsync.

use super::Shared;
use super::disk::{Batch, Disk};
use super::mark::{Acknowledged, Mark};
use crate::raft::ground::Worker;
use crate::raft::metrics::Counters;
use crate::raft::types::{Entry, LogId, Types, Vote, weight};
use openraft::storage::IOFlushed;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::Instant;
use tokio::sync::oneshot;

/// Bytes of entries that one batch takes.
const BATCH_BYTES: usize = 8 << 20;

/// Something to write, in order.
pub(super) enum Job {
    Append(Vec<Entry>, IOFlushed<Types>),
    Vote(Vote, oneshot::Sender<io::Result<()>>),
    Truncate(Option<LogId>, oneshot::Sender<io::Result<()>>),
    Purge(LogId, oneshot::Sender<io::Result<()>>),
    /// Rides along with the next batch: losing it costs a little replay.
    Committed(Option<LogId>),
    Stop(oneshot::Sender<()>),
}

/// Who waits for a batch.
enum Waiting {
    Flushed(IOFlushed<Types>),
    Done(oneshot::Sender<io::Result<()>>),
}

impl Waiting {
    fn answer(self, result: io::Result<()>) {
        match self {
            Waiting::Flushed(callback) => callback.io_completed(result),
            // The one who asked may have gone.
            Waiting::Done(done) => drop(done.send(result)),
        }
    }
}

pub(super) struct Writer {
    jobs: Receiver<Job>,
    disk: Arc<Disk>,
    mark: Mark,
    shared: Arc<Shared>,
    counters: Counters,
    /// After a failed write nothing may be written any more, or the log would have a hole.
    failed: Option<io::Error>,
    batch: Batch,
    bytes: usize,
    acknowledged: Acknowledged,
    waiting: Vec<Waiting>,
    /// Who told us to stop. Dropped last: the engine must be closed before the one who asked goes on, since it may open the
    /// directory again.
    stopped: Option<oneshot::Sender<()>>,
}

impl Worker for Writer {
    /// A panic in here (raft-engine panics when an fsync fails) ends the process: what is on disk is then unknown to us,
    /// and only a start from disk can tell.
    fn turn(&mut self, wait: bool) -> bool {
        catch_unwind(AssertUnwindSafe(|| self.work(wait)))
            .unwrap_or_else(|_| end("writing the Raft log panicked"))
    }
}

impl Writer {
    pub(super) fn new(
        jobs: Receiver<Job>,
        disk: Arc<Disk>,
        mark: Mark,
        shared: Arc<Shared>,
        counters: Counters,
    ) -> Writer {
        let acknowledged = mark.current();
        Writer {
            jobs,
            disk,
            mark,
            shared,
            counters,
            failed: None,
            batch: Batch::default(),
            bytes: 0,
            acknowledged,
            waiting: Vec::new(),
            stopped: None,
        }
    }

    /// Does what waits; with `wait`, waits for it. False when it was told to stop.
    fn work(&mut self, wait: bool) -> bool {
        let next = match self.first(wait) {
            Ok(job) => Some(job),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return false,
        };
        *self.shared.busy.lock() = Some(Instant::now());
        let goes_on = self.carry_out(next);
        *self.shared.busy.lock() = None;
        goes_on
    }

    /// Does `next` and what else has come meanwhile, durably. False when it was told to stop.
    fn carry_out(&mut self, mut next: Option<Job>) -> bool {
        while let Some(job) = next {
            if let Job::Stop(stopped) = job {
                self.flush();
                self.sync_mark();
                self.shared.close();
                self.stopped = Some(stopped);
                return false;
            }
            self.take(job);
            next = if self.bytes < BATCH_BYTES { self.jobs.try_recv().ok() } else { None };
        }
        self.flush();
        if self.mark.due().is_some_and(|due| due <= Instant::now()) {
            self.sync_mark();
        }
        true
    }

    fn first(&self, wait: bool) -> Result<Job, RecvTimeoutError> {
        match self.mark.due() {
            _ if !wait => self.jobs.try_recv().map_err(|error| match error {
                TryRecvError::Empty => RecvTimeoutError::Timeout,
                TryRecvError::Disconnected => RecvTimeoutError::Disconnected,
            }),
            None => self.jobs.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => self.jobs.recv_timeout(due.saturating_duration_since(Instant::now())),
        }
    }

    fn take(&mut self, job: Job) {
        if let Some(error) = &self.failed {
            let error = || io::Error::new(error.kind(), error.to_string());
            return match job {
                Job::Append(_, callback) => callback.io_completed(Err(error())),
                Job::Vote(_, done) | Job::Truncate(_, done) | Job::Purge(_, done) => {
                    drop(done.send(Err(error())))
                }
                Job::Committed(_) | Job::Stop(_) => {}
            };
        }
        match job {
            Job::Append(entries, callback) => {
                self.bytes += entries.iter().map(weight).sum::<usize>();
                let added = self.batch.append(&entries);
                if let Some(last) = entries.last() {
                    self.acknowledged.last = Some(last.log_id);
                }
                self.wait(added, Waiting::Flushed(callback));
            }
            Job::Vote(vote, done) => {
                let added = self.batch.vote(&vote);
                self.acknowledged.vote = Some(vote);
                self.wait(added, Waiting::Done(done));
            }
            Job::Committed(committed) => {
                let added = self.batch.committed(committed.as_ref());
                self.note(added);
            }
            Job::Truncate(last, done) => {
                // What came before goes to disk first, since an append and a truncation do not mix in one batch. The
                // mark is lowered, durably, before the log is.
                self.flush();
                self.acknowledged.last = last;
                let lowered = self.set_mark();
                self.sync_mark();
                let added = lowered.and_then(|()| self.batch.last(last.as_ref()));
                self.wait(added, Waiting::Done(done));
                self.flush();
            }
            Job::Purge(upto, done) => {
                self.flush();
                self.acknowledged.last = self.acknowledged.last.max(Some(upto));
                let added =
                    self.batch.purge(&upto).and_then(|()| self.batch.last(self.acknowledged.last.as_ref()));
                self.wait(added, Waiting::Done(done));
                self.flush();
            }
            Job::Stop(_) => {}
        }
    }

    fn wait(&mut self, added: io::Result<()>, waiting: Waiting) {
        self.waiting.push(waiting);
        self.note(added);
    }

    fn note(&mut self, result: io::Result<()>) {
        if let Err(error) = result
            && self.failed.is_none()
        {
            tracing::error!(%error, "the Raft log cannot be written; this master stops");
            self.failed = Some(error);
        }
    }

    /// Writes what has been gathered and answers those who wait.
    fn flush(&mut self) {
        if self.failed.is_none() && !self.batch.is_empty() {
            // Only what somebody waits for needs the disk's word.
            let sync = !self.waiting.is_empty();
            let result = self.write(sync);
            self.note(result);
        }
        self.bytes = 0;
        for waiting in self.waiting.drain(..) {
            let result = match &self.failed {
                None => Ok(()),
                Some(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            waiting.answer(result);
        }
    }

    fn write(&mut self, sync: bool) -> io::Result<()> {
        let entries = self.batch.entries;
        let start = Instant::now();
        self.disk.write(&mut self.batch, sync)?;
        if sync {
            self.counters.fsyncs.inc();
            self.counters.fsync_seconds.observe(start.elapsed().as_secs_f64());
            self.counters.entries_written.inc_by(entries as u64);
            self.set_mark()?;
            self.shared.flushed(self.acknowledged.last);
        }
        Ok(())
    }

    fn set_mark(&mut self) -> io::Result<()> {
        if self.mark.current() == self.acknowledged { Ok(()) } else { self.mark.set(self.acknowledged) }
    }

    fn sync_mark(&mut self) {
        if let Err(error) = self.mark.sync() {
            end(&format!("the acknowledgement mark cannot be fsynced: {error}"));
        }
    }
}

/// After a failed fsync the kernel may have dropped what it had: nothing that is asked of it later can be believed.
fn end(problem: &str) -> ! {
    tracing::error!("{problem}; what is on disk is unknown, so the process ends");
    std::process::abort();
}
