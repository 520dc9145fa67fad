//! Writing files.
//!
//! All opens of one content share one [`Writing`]. Bytes go to a sink in order; whatever would change bytes that are
//! there already is refused (EOPNOTSUPP) but for truncation to nothing. `flush` and `fsync` upload what is dirty and
//! return errors, as often as they are called; the last writer's release completes the file (see [`super::complete`]).
//!
//! A file whose name goes while it is written becomes [`Nameless`].
//!
//! What touches the sink runs as a task of its own that the request only waits for: a request that is interrupted or
//! too late must not leave a half-done call behind, and a killed program leaves what it wrote so far, as on a disk.

use super::adopt::lost;
use super::nameless::Nameless;
use super::open::Opened;
use super::{Fs, Who, gone, node};
use crate::attr::{Kind, Stat, kind};
use crate::backend::Sink;
use crate::handle::modes::Want;
use bytes::Bytes;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::Attr;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};
use tokio::sync::{oneshot, watch};

/// How long an open for reading waits for the release of a writer that has flushed: close(2) returns before the kernel
/// has told us of the release, and a complete file is better to read.
const RELEASE_ON_ITS_WAY: Duration = Duration::from_millis(250);

/// A write that takes longer waits for room most probably: files that are kept for a next open are let go of then.
const SLOW: Duration = Duration::from_millis(300);

/// One content that is open for writing here.
pub struct Writing {
    pub(super) content: ContentId,
    pub(super) state: tokio::sync::Mutex<State>,
    /// What `stat` shows while it is being written: length and time of the last write.
    pub(super) shown: Mutex<Option<(u64, u64)>>,
    /// Nothing was written since the last flush: what follows is likely the release.
    flushed: AtomicBool,
    /// Opens for writing. Changed under the file system's `writing` lock only.
    pub(super) writers: Mutex<u32>,
    pub(super) done: watch::Sender<bool>,
}

pub(super) struct State {
    pub(super) attr: Attr,
    pub(super) phase: Phase,
    /// So many bytes were said to be safe, by a flush or fsync.
    pub(super) synced: u64,
}

pub(super) enum Phase {
    /// A content that is there. It must be cut to nothing before it can be written.
    Existing,
    /// Being written from the start; the sink is opened with the first byte.
    Open { sink: Option<Box<dyn Sink>>, length: u64, uncommitted: bool },
    /// The sink could not be opened or failed, or a call to it did not end.
    Failed(Error),
    /// The name is gone: what is written is of use to those who have it open, and to nobody else.
    Nameless(Arc<Nameless>),
}

/// Where bytes that were written so far can be read.
pub(super) enum Readable {
    /// At the workers.
    Content(Attr),
    /// Here.
    Here(Arc<Nameless>),
}

impl Writing {
    fn new(attr: Attr, fresh: bool) -> Arc<Writing> {
        let shown = fresh.then_some((0, attr.mtime_ms));
        let phase =
            if fresh { Phase::Open { sink: None, length: 0, uncommitted: false } } else { Phase::Existing };
        Arc::new(Writing {
            content: ContentId(attr.content),
            state: tokio::sync::Mutex::new(State { attr, phase, synced: 0 }),
            shown: Mutex::new(shown),
            flushed: AtomicBool::new(false),
            writers: Mutex::new(0),
            done: watch::Sender::new(false),
        })
    }

    /// Puts what was written so far over what masters say.
    pub(super) fn show(&self, stat: &mut Stat) {
        if let Some((length, mtime_ms)) = *self.shown.lock() {
            stat.size = length;
            stat.mtime = UNIX_EPOCH + Duration::from_millis(mtime_ms);
            stat.ctime = stat.ctime.max(stat.mtime);
        }
    }

    /// Somebody says when it was changed.
    pub(super) fn set_mtime(&self, mtime_ms: u64) {
        if let Some((_, shown)) = &mut *self.shown.lock() {
            *shown = mtime_ms;
        }
    }

    /// Whether bytes are being written, or will be: opens that only may write leave the content as it is.
    pub(super) fn is_under_way(&self) -> bool {
        self.shown.lock().is_some()
    }

    /// Waits a moment if the last writer seems to be closing.
    pub(super) async fn wait_while_closing(&self) {
        if self.flushed.load(Ordering::Acquire) {
            let mut done = self.done.subscribe();
            let _ = tokio::time::timeout(RELEASE_ON_ITS_WAY, done.wait_for(|done| *done)).await;
        }
    }

    /// Attributes with the length that can be read, after making it so.
    pub(super) async fn readable(self: &Arc<Self>, tasks: &Tasks) -> Result<Readable> {
        let writing = self.clone();
        detached(tasks, "commit", async move {
            let mut state = writing.state.lock().await;
            if let Phase::Open { uncommitted: true, .. } = state.phase {
                state.commit().await?;
            }
            let mut attr = state.attr.clone();
            match &state.phase {
                Phase::Existing => {}
                Phase::Open { length, .. } => attr.length = *length,
                Phase::Failed(error) => return Err(error.clone()),
                Phase::Nameless(file) => return Ok(Readable::Here(file.clone())),
            }
            Ok(Readable::Content(attr))
        })
        .await
    }

    /// The file lives on without a name.
    pub(super) fn unnamed(&self, state: &mut State, file: Arc<Nameless>, now_ms: u64) {
        *self.shown.lock() = Some((file.length(), now_ms));
        state.phase = Phase::Nameless(file);
    }
}

impl State {
    /// Takes the sink out for one call; what is left says that the call did not end.
    pub(super) fn take_sink(&mut self) -> Result<(Option<Box<dyn Sink>>, u64)> {
        let left = Phase::Failed(Error::new(Code::Internal, "a write to this file did not end"));
        match std::mem::replace(&mut self.phase, left) {
            Phase::Open { sink, length, .. } => Ok((sink, length)),
            Phase::Existing => {
                self.phase = Phase::Existing;
                Err(Error::new(Code::Internal, "the file is not being written"))
            }
            Phase::Failed(error) => {
                self.phase = Phase::Failed(error.clone());
                Err(error)
            }
            Phase::Nameless(file) => {
                self.phase = Phase::Nameless(file);
                Err(Error::new(Code::NotFound, "the file has no name any more"))
            }
        }
    }

    pub(super) fn fail(&mut self, error: Error) -> Error {
        self.phase = Phase::Failed(error.clone());
        error
    }

    pub(super) async fn commit(&mut self) -> Result<()> {
        if !matches!(self.phase, Phase::Open { .. }) {
            return Ok(());
        }
        let (mut sink, length) = self.take_sink()?;
        let outcome = match &mut sink {
            Some(sink) => sink.commit().await,
            None => Ok(()),
        };
        self.phase = Phase::Open { sink, length, uncommitted: outcome.is_err() };
        outcome
    }

    async fn persist(&mut self) -> Result<()> {
        if matches!(self.phase, Phase::Existing | Phase::Nameless(_)) {
            return Ok(());
        }
        let (mut sink, length) = self.take_sink()?;
        let outcome = match &mut sink {
            Some(sink) => sink.persist().await,
            None => Ok(()),
        };
        if outcome.is_ok() {
            self.synced = length;
        }
        self.phase = Phase::Open { sink, length, uncommitted: outcome.is_err() };
        outcome
    }
}

/// Runs `work` to its end even if the caller goes away.
pub(super) async fn detached<T: Send + 'static>(
    tasks: &Tasks,
    name: &'static str,
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let (tell, told) = oneshot::channel();
    tasks.spawn(name, async move {
        // Nobody listens any more when the request was interrupted; the work is done all the same.
        drop(tell.send(work.await));
    });
    told.await.unwrap_or_else(|_| Err(Error::new(Code::Cancelled, "the mount is shutting down")))
}

impl Fs {
    /// Opens for writing: the file stays as it is until it is cut to nothing or, when it is empty, written.
    pub(super) async fn open_for_writing(
        self: &Arc<Fs>,
        who: Who,
        node: u64,
        content: ContentId,
        flags: i32,
    ) -> Result<Opened> {
        self.require_writable()?;
        let attr = match self.known(node) {
            Some(attr) => attr,
            None => self.ask(node).await.map_err(|error| gone(error, node))?,
        };
        if kind(&attr) != Kind::File {
            return Err(Error::new(Code::IsDirectory, format!("node {node} is not a file")));
        }
        if attr.read_only {
            return Err(Error::new(Code::ReadOnly, format!("content {content} is on a read-only mount")));
        }
        tracing::trace!(node, flags, "open for writing");
        let writing = self.join_writers(&attr, false);
        Ok(self.opened(who, attr, Want::Direct, Some(writing)))
    }

    /// Opens a file that was just created.
    pub(super) fn open_created(&self, who: Who, attr: Attr) -> Opened {
        let writing = self.join_writers(&attr, true);
        self.opened(who, attr, Want::Direct, Some(writing))
    }

    /// Counts one more writer of a content.
    fn join_writers(&self, attr: &Attr, fresh: bool) -> Arc<Writing> {
        let mut all = self.writing.lock();
        let content = ContentId(attr.content);
        let writing = all.entry(content).or_insert_with(|| Writing::new(attr.clone(), fresh)).clone();
        *writing.writers.lock() += 1;
        writing
    }

    /// Writes `data` at `offset`, which must be where the file ends.
    ///
    /// # Errors
    /// `Unimplemented` when it is not, and what the workers say.
    pub async fn write(self: &Arc<Fs>, number: u64, offset: u64, data: Bytes) -> Result<u32> {
        let handle = self.handle(number)?;
        self.metrics.writes.inc();
        self.metrics.written_bytes.inc_by(data.len() as u64);
        if handle.is_lost() {
            return Err(lost(handle.node()));
        }
        let Some(writing) = handle.writing.clone() else {
            return Err(Error::new(Code::Internal, "the file is not open for writing"));
        };
        let (fs, who) = (self.clone(), handle.who);
        let work = async move { fs.append(&writing, who, offset, data).await };
        self.bounded_data("write", detached(&self.tasks, "append", work)).await
    }

    /// The sink that [`State::take_sink`] gave, opened if there is none yet.
    pub(super) async fn opened_sink(
        &self,
        taken: Option<Box<dyn Sink>>,
        state: &mut State,
        who: Who,
    ) -> Result<Box<dyn Sink>> {
        if let Some(sink) = taken {
            return Ok(sink);
        }
        let caller = self.caller(who).await;
        self.backend.sink(caller, &state.attr).await.map_err(|error| state.fail(error))
    }

    async fn append(&self, writing: &Writing, who: Who, offset: u64, data: Bytes) -> Result<u32> {
        let taken = u32::try_from(data.len()).unwrap_or(u32::MAX);
        let mut state = writing.state.lock().await;
        if let Phase::Nameless(file) = &state.phase {
            let file = file.clone();
            file.write(offset, data).await?;
            *writing.shown.lock() = Some((file.length(), self.clock.now_ms()));
            return Ok(taken);
        }
        if matches!(state.phase, Phase::Existing) {
            if state.attr.length > 0 {
                return Err(refuse(
                    writing.content,
                    "files that have bytes can only be written after O_TRUNC",
                ));
            }
            self.cut(writing, &mut state, who).await?;
        }
        if let Phase::Open { length, .. } = &state.phase
            && *length != offset
        {
            return Err(refuse(
                writing.content,
                format!("written so far are {length} bytes, and this write is at {offset}"),
            ));
        }
        writing.flushed.store(false, Ordering::Release);
        let (sink, length) = state.take_sink()?;
        let mut sink = self.opened_sink(sink, &mut state, who).await?;
        let written = {
            let mut write = std::pin::pin!(sink.write(data));
            match tokio::time::timeout(SLOW, write.as_mut()).await {
                Ok(written) => written,
                Err(_) => {
                    self.drop_kept();
                    write.await
                }
            }
        };
        if let Err(error) = written {
            drop(sink);
            self.give_up(writing, &mut state, who, &error).await;
            // It says so at every write and flush until the file is cut to nothing.
            return Err(state.fail(error));
        }
        let length = length + u64::from(taken);
        state.phase = Phase::Open { sink: Some(sink), length, uncommitted: true };
        *writing.shown.lock() = Some((length, self.clock.now_ms()));
        Ok(taken)
    }

    /// Makes a new, empty generation of the content.
    async fn cut(&self, writing: &Writing, state: &mut State, who: Who) -> Result<()> {
        let caller = self.caller(who).await;
        let attr = self.bounded("truncate", self.backend.truncate(caller, writing.content)).await?;
        self.content_changed(node::of(&attr));
        self.remember(&attr);
        *writing.shown.lock() = Some((0, attr.mtime_ms));
        let phase = Phase::Open { sink: None, length: 0, uncommitted: false };
        *state = State { attr, phase, synced: 0 };
        Ok(())
    }

    /// Uploads what is dirty, for flush and fsync.
    ///
    /// # Errors
    /// What writing the file ran into, now or before.
    pub async fn flush(&self, number: u64) -> Result<()> {
        let handle = self.handle(number)?;
        if handle.is_lost() {
            return Err(lost(handle.node()));
        }
        let Some(writing) = handle.writing.clone() else { return Ok(()) };
        let work = detached(&self.tasks, "upload", async move {
            writing.state.lock().await.persist().await?;
            writing.flushed.store(true, Ordering::Release);
            Ok(())
        });
        self.bounded_data("flush", work).await
    }

    /// Sets the length of a file: to nothing, or to what it is.
    ///
    /// # Errors
    /// `Unimplemented` for any other length, `ReadOnly`, and what the cluster says.
    pub(super) async fn truncate(self: &Arc<Fs>, who: Who, node: u64, size: u64) -> Result<()> {
        self.require_writable()?;
        let content = node::content(node)?;
        if self.truncate_nameless(content, size).await? {
            return Ok(());
        }
        let attr = match self.known(node) {
            Some(attr) => attr,
            None => self.ask(node).await.map_err(|error| gone(error, node))?,
        };
        if attr.read_only {
            return Err(Error::new(Code::ReadOnly, format!("content {content} is on a read-only mount")));
        }
        let writing = self.join_writers(&attr, false);
        let (fs, shared) = (self.clone(), writing.clone());
        let cut = detached(&self.tasks, "cut", async move {
            let mut state = shared.state.lock().await;
            let length = match &state.phase {
                Phase::Existing => state.attr.length,
                Phase::Open { length, .. } => *length,
                Phase::Failed(_) => u64::MAX,
                Phase::Nameless(file) => return file.cut(size),
            };
            if size == length {
                return Ok(());
            }
            if size > 0 {
                return Err(refuse(content, format!("it can be cut to nothing, not to {size} bytes")));
            }
            fs.cut(&shared, &mut state, who).await
        });
        let outcome = cut.await;
        let closed = self.close_writer(writing, who).await;
        outcome.and(closed)
    }

    /// Cuts or extends a file without a name; false when the content has one.
    async fn truncate_nameless(&self, content: ContentId, size: u64) -> Result<bool> {
        let Some(writing) = self.writing_of(content) else { return Ok(false) };
        let state = writing.state.lock().await;
        let Phase::Nameless(file) = &state.phase else { return Ok(false) };
        file.cut(size)?;
        *writing.shown.lock() = Some((size, self.clock.now_ms()));
        Ok(true)
    }
}

/// A change of bytes that are there already.
fn refuse(content: ContentId, why: impl std::fmt::Display) -> Error {
    tracing::info!(%content, %why, "refused a write: files are written once, from start to end");
    Error::new(Code::Unimplemented, format!("content {content}: {why}"))
        .hint("write the file from start to end, or write a new one and rename it")
}
