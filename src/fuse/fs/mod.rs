//! All meaning of the mount: what each operation does, without a FUSE request or reply in sight.
//!
//! [`crate::ops`] calls it, one call per request, on any thread; every call may be dropped half-way (an interrupt, a
//! deadline). Locks here are held for table look-ups only, never across an await; the one exception is a file's writer,
//! whose calls must not overlap. Rooms: [`node`] ids, [`open`] files, [`read`] them, [`mod@write`] and [`complete`] them, [`dir`]ectories,
//! [`change`] the namespace, [`own`] changes of names, [`nameless`] what lost its name while open, [`race`]s for a name, [`feed`] what others changed, [`recent`] memory with a bound, [`adopt`] what another process
//! had open.

mod adopt;
pub mod change;
pub mod complete;
pub mod dir;
pub mod feed;
pub mod nameless;
pub mod node;
pub mod open;
mod own;
pub(crate) mod race;
pub mod read;
pub mod recent;
#[cfg(test)]
mod tests;
pub mod write;

use crate::attr::{Kind, Stat, kind};
use crate::backend::Backend;
use crate::config::Config;
use crate::handle::kept::Kept;
use crate::handle::modes::Modes;
use crate::kernel::Kernel;
use crate::metrics::FuseMetrics;
use crate::owner::Owners;
use crate::park::table::Table;
use dir::DirHandle;
use goosefs_core::clock::Clock;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{Attr, Caller, StatFsResponse};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use open::Handle;
use own::Own;
use parking_lot::{Mutex, RwLock};
use race::Races;
use recent::Recent;
use std::collections::HashMap;
use std::fmt;
use std::future::Future;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use write::Writing;

/// Attributes remembered at a time: twice this many.
const REMEMBERED: usize = 8192;

/// How long a file that was replaced or removed can be opened by whoever found its name before.
const DEPARTED: Duration = Duration::from_secs(2);

/// A name that is replaced faster than the file behind it can be held is looked up so many times.
const HOLDS: usize = 64;

/// Who makes a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Who {
    /// Number of the user.
    pub uid: u32,
    /// Number of the group.
    pub gid: u32,
    /// Number of the thread; 0 when it has none that is known here.
    pub pid: u32,
    /// The kernel's number of the request; 0 when it made none.
    pub request: u64,
}

/// Which files are open how, and which closed ones are kept.
pub(crate) struct Opens {
    pub(crate) modes: Modes,
    pub(crate) kept: Kept,
}

/// A master has so long to say what an open file or the mounted directory is like before its last answer counts.
const PATIENCE: Duration = Duration::from_millis(200);

/// One mounted file system.
pub struct Fs {
    pub(crate) backend: Arc<dyn Backend>,
    pub(crate) kernel: Arc<dyn Kernel>,
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: FuseMetrics,
    pub(crate) tasks: Tasks,
    pub(crate) owners: Owners,
    /// Whether the kernel can read cached files itself: granted at mounting, and no registration was refused since.
    pub(crate) passthrough: AtomicBool,
    pub(crate) opens: Mutex<Opens>,
    handles: RwLock<HashMap<u64, Arc<Handle>>>,
    dirs: RwLock<HashMap<u64, Arc<DirHandle>>>,
    pub(crate) writing: Mutex<HashMap<ContentId, Arc<Writing>>>,
    known: Mutex<Recent<(Attr, Duration)>>,
    /// Complete files that were known until a moment ago, and since when they are not: the kernel may be about to open one.
    departed: Mutex<Recent<(Attr, Duration)>>,
    pub(crate) races: Arc<Races>,
    own: Own,
    /// Which version of a content the page cache was filled from: generation, length, mtime.
    pub(crate) cached_as: Mutex<Recent<(u64, u64, u64)>>,
    capacity: RwLock<StatFsResponse>,
    /// What a master last said of the mounted directory itself.
    root: RwLock<Option<Attr>>,
    next_handle: AtomicU64,
    /// Where what is open is kept for the next process, if there is a holder.
    table: OnceLock<Arc<Table>>,
    /// Handles of an earlier process by the requests that asked for them.
    adopted: Mutex<HashMap<u64, u64>>,
}

impl fmt::Debug for Fs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fs({})", self.config.mount_point.display())
    }
}

impl Fs {
    /// A file system over `backend`, with nothing open. `passthrough` starts off; see [`Fs::allow_passthrough`].
    #[must_use]
    pub fn new(
        config: Config,
        backend: Arc<dyn Backend>,
        kernel: Arc<dyn Kernel>,
        clock: Arc<dyn Clock>,
        metrics: FuseMetrics,
        tasks: Tasks,
    ) -> Arc<Fs> {
        let kept = Kept::new(config.keep);
        Arc::new(Fs {
            backend,
            kernel,
            config,
            own: Own::new(clock.clone()),
            clock,
            metrics,
            tasks,
            owners: Owners::default(),
            passthrough: AtomicBool::new(false),
            opens: Mutex::new(Opens { modes: Modes::default(), kept }),
            handles: RwLock::default(),
            dirs: RwLock::default(),
            writing: Mutex::default(),
            known: Mutex::new(Recent::new(REMEMBERED)),
            departed: Mutex::new(Recent::new(REMEMBERED)),
            races: Arc::default(),
            cached_as: Mutex::new(Recent::new(REMEMBERED)),
            capacity: RwLock::default(),
            root: RwLock::default(),
            next_handle: AtomicU64::new(1),
            table: OnceLock::new(),
            adopted: Mutex::default(),
        })
    }

    /// The kernel granted passthrough.
    pub fn allow_passthrough(&self) {
        self.passthrough.store(true, Ordering::Release);
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// The counters.
    #[must_use]
    pub fn metrics(&self) -> &FuseMetrics {
        &self.metrics
    }

    /// A metadata call with its deadline.
    pub(crate) async fn bounded<T>(&self, what: &str, call: impl Future<Output = Result<T>>) -> Result<T> {
        self.within(self.config.deadline, what, call).await
    }

    /// A call that moves data, with its deadline.
    pub(crate) async fn bounded_data<T>(
        &self,
        what: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        self.within(self.config.data_deadline, what, call).await
    }

    pub(crate) async fn within<T>(
        &self,
        limit: Duration,
        what: &str,
        call: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        tokio::time::timeout(limit, call).await.unwrap_or_else(|_| {
            Err(Error::new(Code::DeadlineExceeded, format!("{what} took longer than {limit:?}")))
        })
    }

    /// On whose behalf a call is made, by name.
    pub(crate) async fn caller(&self, who: Who) -> Caller {
        let (user, group) = self.owners.names(who.uid, who.gid).await;
        Caller { user, group }
    }

    /// Attributes as `stat` shows them; a file that is being written here shows what was written so far.
    pub(crate) async fn stat(&self, attr: &Attr) -> Stat {
        let (uid, gid) = self.owners.numbers(&attr.owner, &attr.group).await;
        let mut stat = Stat::of(attr, uid, gid);
        if stat.kind == Kind::File
            && let Some(writing) = self.writing_of(ContentId(attr.content))
        {
            writing.show(&mut stat);
        }
        stat
    }

    /// Remembers what a master said.
    pub(crate) fn remember(&self, attr: &Attr) {
        self.known.lock().put(node::of(attr), (attr.clone(), self.clock.monotonic()));
    }

    /// Forgets what masters said of a FUSE node.
    pub(crate) fn forget_attr(&self, node: u64) {
        let known = self.known.lock().remove(node);
        if let Some((attr, _)) = known.filter(|(attr, _)| attr.completed && kind(attr) == Kind::File) {
            self.departed.lock().put(node, (attr, self.clock.monotonic()));
        }
    }

    /// A complete file that was known until a moment ago.
    pub(crate) fn departed(&self, node: u64) -> Option<Attr> {
        let departed = self.departed.lock();
        let (attr, since) = departed.get(node)?;
        (self.clock.monotonic().saturating_sub(*since) <= DEPARTED).then(|| attr.clone())
    }

    pub(crate) fn forget_all_attrs(&self) {
        self.known.lock().clear();
    }

    /// What a master said of a FUSE node, if it is not older than the kernel's own memory may be.
    pub(crate) fn known(&self, node: u64) -> Option<Attr> {
        let known = self.known.lock();
        let (attr, since) = known.get(node)?;
        (self.clock.monotonic().saturating_sub(*since) <= self.config.attr_ttl).then(|| attr.clone())
    }

    /// Attributes of a FUSE node, asked of a master.
    pub(crate) async fn ask(&self, node: u64) -> Result<Attr> {
        match self.bounded("getattr", self.backend.attr(node::master(node))).await {
            Ok(attr) => {
                self.remember(&attr);
                if node == node::ROOT {
                    *self.root.write() = Some(attr.clone());
                }
                Ok(attr)
            }
            Err(error) => {
                self.forget_attr(node);
                Err(error)
            }
        }
    }

    /// Looks `name` up in a directory.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, and what the cluster says.
    pub async fn lookup(&self, who: Who, parent: u64, name: &str) -> Result<Stat> {
        let directory = node::directory(parent)?;
        let caller = self.caller(who).await;
        for _ in 0..HOLDS {
            let lookup = self.backend.lookup(caller.clone(), directory, name);
            let attr = self.bounded("lookup", lookup).await?;
            self.remember(&attr);
            if !self.races.has_lost(who.pid, self.clock.monotonic()) || self.hold(&attr).await {
                return Ok(self.stat(&attr).await);
            }
        }
        Err(Error::new(Code::Stale, format!("{name} is replaced again and again")))
    }

    /// Attributes of a node. A file that was removed or replaced while it is open here, or held for this thread's open, still
    /// has its last ones, without a name.
    ///
    /// # Errors
    /// `Stale` when the node is gone, so that the kernel looks the path up again.
    pub async fn getattr(&self, who: Who, node: u64) -> Result<Stat> {
        if let Some(attr) = self.known(node) {
            return Ok(self.stat(&attr).await);
        }
        match self.ask_or_recall(node).await {
            Ok(attr) => Ok(self.stat(&attr).await),
            Err(error) if is_gone(error.code) => match self.last_attr(who, node) {
                Some(attr) => Ok(Stat { links: 0, ..self.stat(&attr).await }),
                None => Err(self.lost_race(who, node)),
            },
            Err(error) => Err(error),
        }
    }

    /// Attributes of a FUSE node. Of what must not wait for masters, the last ones when none answers for a moment: of
    /// files that are open here, because the kernel asks before it reads, and of the mounted directory, at which `df` and
    /// every tool that lists mounts looks.
    async fn ask_or_recall(&self, node: u64) -> Result<Attr> {
        let last = if node == node::ROOT { self.root.read().clone() } else { self.open_attr(node) };
        let Some(last) = last else { return self.ask(node).await };
        match tokio::time::timeout(PATIENCE, self.ask(node)).await {
            Ok(Err(error)) if !error.code.retryable() => Err(error),
            Ok(Ok(attr)) => Ok(attr),
            Ok(Err(_)) | Err(_) => Ok(last),
        }
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// `InvalidArgument` when the node is none.
    pub async fn readlink(&self, node: u64) -> Result<String> {
        let attr = match self.known(node) {
            Some(attr) => attr,
            None => self.ask(node).await.map_err(|error| gone(error, node))?,
        };
        match kind(&attr) {
            Kind::Symlink => Ok(attr.target),
            Kind::File | Kind::Directory => {
                Err(Error::new(Code::InvalidArgument, format!("node {node} is no symlink")))
            }
        }
    }

    /// Capacity and use as they were known last; never waits.
    #[must_use]
    pub fn statfs(&self) -> StatFsResponse {
        *self.capacity.read()
    }

    /// Asks the cluster for its capacity and use; a failure leaves the last answer.
    pub async fn refresh_statfs(&self) {
        match self.bounded("statfs", self.backend.stat_fs()).await {
            Ok(now) => *self.capacity.write() = now,
            Err(error) => tracing::debug!(%error, "capacity is not known at the moment"),
        }
    }

    pub(crate) fn new_handle(&self) -> u64 {
        self.next_handle.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn insert_handle(&self, handle: Arc<Handle>) -> u64 {
        let number = self.new_handle();
        self.note_open(number, &handle);
        self.handles.write().insert(number, handle);
        self.metrics.handles.inc();
        number
    }

    pub(crate) fn handle(&self, number: u64) -> Result<Arc<Handle>> {
        self.handles.read().get(&number).cloned().ok_or_else(|| bad_handle(number))
    }

    pub(crate) fn take_handle(&self, number: u64) -> Result<Arc<Handle>> {
        let taken = self.handles.write().remove(&number).ok_or_else(|| bad_handle(number))?;
        self.note_closed(number);
        self.metrics.handles.dec();
        Ok(taken)
    }

    pub(crate) fn insert_dir(&self, who: Who, dir: Arc<DirHandle>) -> u64 {
        let number = self.new_handle();
        self.note_open_dir(number, who, dir.node());
        self.dirs.write().insert(number, dir);
        number
    }

    pub(crate) fn dir(&self, number: u64) -> Result<Arc<DirHandle>> {
        self.dirs.read().get(&number).cloned().ok_or_else(|| bad_handle(number))
    }

    pub(crate) fn take_dir(&self, number: u64) {
        self.dirs.write().remove(&number);
        self.note_closed(number);
    }

    /// The node is gone: the kernel looks the path up again, and what that finds is held for this thread.
    pub(crate) fn lost_race(&self, who: Who, node: u64) -> Error {
        self.races.lost(who.pid, self.clock.monotonic());
        stale(node)
    }

    /// The last attributes of a node that is gone, if it is open here or this thread is about to open it: the kernel may
    /// check permissions between the look-up that took hold of the bytes and the open.
    fn last_attr(&self, who: Who, node: u64) -> Option<Attr> {
        let now = self.clock.monotonic();
        let opens = || self.races.has_lost(who.pid, now).then(|| self.races.held(node, now)).flatten();
        self.open_attr(node).or_else(|| opens().map(|(attr, _)| attr))
    }

    /// The last attributes of a node that is open here.
    fn open_attr(&self, node: u64) -> Option<Attr> {
        let handles = self.handles.read();
        handles.values().find(|handle| handle.node() == node).map(|handle| handle.attr().clone())
    }

    pub(crate) fn writing_of(&self, content: ContentId) -> Option<Arc<Writing>> {
        self.writing.lock().get(&content).cloned()
    }

    pub(crate) fn require_writable(&self) -> Result<()> {
        if self.config.read_only {
            return Err(Error::new(Code::ReadOnly, "this mount is read-only"));
        }
        Ok(())
    }
}

fn bad_handle(number: u64) -> Error {
    Error::new(Code::Internal, format!("handle {number} is not open"))
}

/// The kernel still has a name for a node that is gone; ESTALE makes it look the path up again.
pub(crate) fn stale(node: u64) -> Error {
    Error::new(Code::Stale, format!("node {node} was replaced or removed"))
}

pub(crate) fn gone(error: Error, node: u64) -> Error {
    if error.code == Code::NotFound { stale(node) } else { error }
}

/// Whether masters say so of what was removed or replaced.
pub(crate) fn is_gone(code: Code) -> bool {
    matches!(code, Code::NotFound | Code::Stale)
}
