//! Opening and releasing files.
//!
//! A file that is wholly cached on this machine is opened by passthrough where the table of modes allows it; a complete
//! file that is not goes through the page cache; a file that is being written comes to the daemon, because its size
//! changes under the reader. A file is never opened for writing by passthrough.

use super::nameless::descriptor;
use super::write::Writing;
use super::{Fs, PATIENCE, Who, is_gone, node};
use crate::attr::{Kind, kind};
use crate::backend::{LocalFile, Source};
use crate::handle::Backing;
use crate::handle::modes::{Want, Way};
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::Attr;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How long the worker on this machine has to hand a file out; it answers from memory.
const LOCAL_WORKER: Duration = Duration::from_secs(5);

/// So long an open waits for calls that may take the file's name; longer ones wait for a storage or for masters.
const TAKING: Duration = Duration::from_secs(2);

/// An open file.
pub struct Handle {
    node: u64,
    attr: Attr,
    way: Way,
    pub(super) who: Who,
    /// Made at the first read that comes here, and again when a file that is being written has grown.
    pub(super) source: Mutex<Option<(u64, Arc<dyn Source>)>>,
    /// The file's bytes wherever its name goes; see [`super::nameless`].
    pub(super) kept: OnceLock<Arc<dyn Source>>,
    /// Set when the file was opened for writing.
    pub(super) writing: Option<Arc<Writing>>,
    /// Another process was writing it, and what it wrote is not known.
    lost: bool,
}

impl Handle {
    /// One that another process opened.
    pub(super) fn adopted(node: u64, attr: Attr, way: Way, who: Who, lost: bool) -> Handle {
        let (source, kept) = (Mutex::new(None), OnceLock::new());
        Handle { node, attr, way, who, source, kept, writing: None, lost }
    }

    pub(super) fn way(&self) -> &Way {
        &self.way
    }

    /// Whether another process was writing it.
    pub(super) fn is_lost(&self) -> bool {
        self.lost
    }

    /// FUSE node id.
    #[must_use]
    pub fn node(&self) -> u64 {
        self.node
    }

    /// Attributes as they were when it was opened.
    #[must_use]
    pub fn attr(&self) -> &Attr {
        &self.attr
    }

    /// Whether its bytes stay readable when the file loses its name: the kernel reads them, or they are kept.
    pub(super) fn is_kept(&self) -> bool {
        let by_kernel = matches!(self.way, Way::Passthrough(_));
        by_kernel || self.kept.get().is_some() || (self.attr.completed && self.attr.length == 0)
    }

    pub(super) fn keep(&self, source: Arc<dyn Source>) {
        // Whoever was first kept the same bytes.
        drop(self.kept.set(source));
    }
}

/// What an open is answered with.
#[derive(Debug)]
pub struct Opened {
    /// Number of the handle.
    pub handle: u64,
    /// Who serves reads.
    pub way: Way,
    /// The page cache still holds this very content.
    pub keep_cache: bool,
    /// Nothing can be dirty at close: the kernel need not ask.
    pub read_only: bool,
}

impl Fs {
    /// Opens a file with the flags of open(2).
    ///
    /// # Errors
    /// `ReadOnly`, `Stale` when the node is gone (the kernel then looks the path up again), and what the cluster says.
    pub async fn open(self: &Arc<Fs>, who: Who, node: u64, flags: i32) -> Result<Opened> {
        let content = node::content(node)?;
        if flags & libc::O_ACCMODE != libc::O_RDONLY {
            return self.open_for_writing(who, node, content, flags).await;
        }
        if let Some(opened) = self.open_at_once(who, node, flags) {
            return Ok(opened);
        }
        if let Some(writing) = self.writing_of(content) {
            writing.wait_while_closing().await;
        }
        let attr = match self.known(node).filter(|attr| attr.completed) {
            Some(attr) => attr,
            None => match self.ask(node).await {
                Err(error) if is_gone(error.code) => return self.open_departed(who, node).await,
                asked => asked?,
            },
        };
        if kind(&attr) != Kind::File {
            return Err(Error::new(Code::IsDirectory, format!("node {node} is not a file")));
        }
        let (want, kept) = self.want(&attr, content).await;
        let sure = kept.is_some() || attr.length == 0 || !matches!(want, Want::Cached { .. });
        let opened = self.opened_with(who, attr, want, kept);
        if !sure && !self.is_still_there(node).await {
            self.release(opened.handle).await?;
            return self.open_departed(who, node).await;
        }
        Ok(opened)
    }

    /// Whether the file, whose bytes come from elsewhere, still has its name now that whoever takes it sees this open. While
    /// no master answers, nothing is replaced.
    async fn is_still_there(&self, node: u64) -> bool {
        let settled = tokio::time::timeout(TAKING, self.races.settled(node)).await;
        if settled.is_err() {
            tracing::debug!(node, "a call that may take its name does not end");
        }
        let asked = tokio::time::timeout(PATIENCE, self.ask(node)).await;
        !matches!(asked, Ok(Err(error)) if is_gone(error.code))
    }

    /// Opens a file that lost its name after the kernel looked it up, if all its bytes can be kept yet. Else the kernel looks
    /// the path up again.
    async fn open_departed(&self, who: Who, node: u64) -> Result<Opened> {
        let found = match self.races.held(node, self.clock.monotonic()) {
            Some(held) => Some(held),
            None => match self.departed(node) {
                Some(attr) => self.keep(&attr).await.ok().map(|kept| (attr, kept)),
                None => None,
            },
        };
        let Some((attr, kept)) = found else {
            return Err(self.lost_race(who, node));
        };
        Ok(self.opened_with(who, attr, Want::Direct, Some(kept)))
    }

    fn opened_with(&self, who: Who, attr: Attr, want: Want, kept: Option<Arc<dyn Source>>) -> Opened {
        let opened = self.opened(who, attr, want, None);
        if let Some(kept) = kept
            && let Ok(handle) = self.handle(opened.handle)
        {
            handle.keep(kept);
        }
        opened
    }

    /// An open that needs nobody and never waits: the file is open by passthrough already, or was lately.
    pub fn open_at_once(&self, who: Who, node: u64, flags: i32) -> Option<Opened> {
        let content = node::content(node).ok()?;
        if flags & libc::O_ACCMODE != libc::O_RDONLY || self.is_being_written(content) {
            return None;
        }
        let attr = self.known(node).filter(|attr| attr.completed)?;
        let backing = {
            let mut opens = self.opens.lock();
            match opens.modes.in_force(node) {
                Some(backing) => Some(backing.clone()),
                None if opens.modes.passthrough_is_free(node) => opens.kept.take(node),
                None => None,
            }
        }?;
        let good = backing.is_alive() && backing.generation() == attr.generation;
        let want = good.then_some(Want::Passthrough(backing))?;
        Some(self.opened(who, attr, want, None))
    }

    /// Which way an open for reading would like to go, and the file's bytes when they are wholly here and the kernel cannot
    /// read them by itself.
    async fn want(&self, attr: &Attr, content: ContentId) -> (Want, Option<Arc<dyn Source>>) {
        if !attr.completed || self.is_being_written(content) {
            return (Want::Direct, None);
        }
        let cached = Want::Cached { generation: attr.generation };
        if attr.length == 0 {
            return (cached, None);
        }
        let Some(local) = self.local_file(attr).await else { return (cached, None) };
        let useful = self.passthrough.load(Ordering::Acquire)
            && self.opens.lock().modes.passthrough_is_free(node::of(attr));
        if !useful {
            return (cached, Some(descriptor(local)));
        }
        match self.kernel.register(local.file.as_fd()) {
            Ok(id) => {
                let backing =
                    Backing::new(id, attr.generation, local.length, self.kernel.clone(), local.lease);
                (Want::Passthrough(backing), None)
            }
            Err(error) => {
                self.passthrough_refused(&error);
                (cached, Some(descriptor(local)))
            }
        }
    }

    fn is_being_written(&self, content: ContentId) -> bool {
        self.writing_of(content).is_some_and(|writing| writing.is_under_way())
    }

    /// Asks the local worker for the file behind a complete content.
    pub(super) async fn local_file(&self, attr: &Attr) -> Option<LocalFile> {
        let asked = self.backend.local_file(attr);
        let local = match self.within(LOCAL_WORKER, "open cached file", asked).await {
            Ok(local) => local?,
            Err(error) => {
                tracing::debug!(%error, content = attr.content, "no cached file, reads come to the daemon");
                return None;
            }
        };
        if local.length == attr.length {
            return Some(local);
        }
        tracing::warn!(
            content = attr.content,
            cached = local.length,
            length = attr.length,
            "the cached file has another length, reads come to the daemon"
        );
        None
    }

    fn passthrough_refused(&self, error: &std::io::Error) {
        match error.raw_os_error() {
            Some(libc::EPERM) => {
                if self.passthrough.swap(false, Ordering::AcqRel) {
                    tracing::warn!("kernel passthrough needs CAP_SYS_ADMIN: reads come to the daemon");
                }
            }
            Some(libc::ELOOP) => {
                if self.passthrough.swap(false, Ordering::AcqRel) {
                    tracing::warn!(
                        "the cache lies on a stacked file system: reads come to the daemon; put the cache on a \
                         plain file system"
                    );
                }
            }
            _ => tracing::warn!(%error, "the kernel did not take a cached file, reads come to the daemon"),
        }
    }

    /// Decides the way, keeps count, and makes the handle.
    pub(super) fn opened(&self, who: Who, attr: Attr, want: Want, writing: Option<Arc<Writing>>) -> Opened {
        let node = node::of(&attr);
        let way = self.opens.lock().modes.open(node, want);
        let keep_cache = matches!(way, Way::Cached) && self.page_cache_is_of(node, &attr);
        self.metrics.opened(way.name());
        let read_only = writing.is_none();
        let handle = Handle {
            node,
            attr,
            way: way.clone(),
            who,
            source: Mutex::new(None),
            kept: OnceLock::new(),
            writing,
            lost: false,
        };
        Opened { handle: self.insert_handle(Arc::new(handle)), way, keep_cache, read_only }
    }

    /// Whether the page cache of `node` was filled from this version, which it is from now on.
    fn page_cache_is_of(&self, node: u64, attr: &Attr) -> bool {
        let version = (attr.generation, attr.length, attr.mtime_ms);
        self.cached_as.lock().put(node, version) == Some(version)
    }

    /// The kernel released a handle: nothing uses it any more. What completing the file ran into, when this was its last
    /// writer, goes to the log: nobody else would learn of it.
    ///
    /// # Errors
    /// When there is no such handle.
    pub async fn release(self: &Arc<Fs>, number: u64) -> Result<()> {
        let handle = self.take_handle(number)?;
        self.closed(handle.node, &handle.way);
        if let Some(writing) = &handle.writing
            && let Err(error) = self.close_writer(writing.clone(), handle.who).await
        {
            tracing::debug!(%error, node = handle.node, "released, and not complete");
        }
        Ok(())
    }

    pub(super) fn closed(&self, node: u64, way: &Way) {
        let gone = {
            let mut opens = self.opens.lock();
            let free = opens.modes.close(node, way);
            let now = self.clock.monotonic();
            let gone = free.map(|backing| opens.kept.put(node, backing, now));
            self.metrics.kept.set(i64::try_from(opens.kept.len()).unwrap_or(i64::MAX));
            gone
        };
        drop(gone);
    }

    /// Gives up what was kept for too long.
    pub fn expire_kept(&self) {
        self.races.expire(self.clock.monotonic());
        let gone = {
            let mut opens = self.opens.lock();
            let gone = opens.kept.expire(self.clock.monotonic());
            self.metrics.kept.set(i64::try_from(opens.kept.len()).unwrap_or(i64::MAX));
            gone
        };
        drop(gone);
    }

    /// Gives up everything that was kept.
    pub fn drop_kept(&self) {
        let gone = self.opens.lock().kept.clear();
        drop(gone);
    }

    /// A content is not what it was: no new open may use what was known of it. Those that have its old backing file open
    /// go on reading that.
    pub(super) fn content_changed(&self, node: u64) {
        self.forget_attr(node);
        let gone = {
            let mut opens = self.opens.lock();
            opens.kept.take(node)
        };
        drop(gone);
    }
}
