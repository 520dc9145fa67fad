//! Whole cached files by descriptor, from workers on this machine.
//!
//! A worker hands out the descriptor of a file that it has completely, with a lease that keeps it from being evicted.
//! Leases are kept after their last user let go, up to a bound, because a small file would pay a round trip each time
//! otherwise; they end with the connection they came over. Descriptors of completed contents only: their bytes never
//! change.

use crate::config::Config;
use crate::read::channels::Channels;
use crate::route::Router;
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::rpc::fds::FdClient;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// How often sockets of workers on this machine are looked for.
const SEARCH: Duration = Duration::from_secs(2);

/// A whole cached file of a worker on this machine. Clones share the lease, which is kept for a while after the last
/// one is dropped.
#[derive(Clone, Debug)]
pub struct LocalFile {
    held: Arc<Held>,
}

#[derive(Debug)]
struct Held {
    content: ContentId,
    worker: WorkerId,
    lease: u64,
    /// What the reader knew the content's generation to be when the file was asked for.
    generation: u64,
    length: u64,
    stacked: bool,
    file: Mutex<Option<Arc<File>>>,
    connection: FdClient,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.connection.close(vec![self.lease]);
    }
}

impl LocalFile {
    /// Which content.
    #[must_use]
    pub fn content(&self) -> ContentId {
        self.held.content
    }

    /// Which worker handed it out.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.held.worker
    }

    /// The lease's number on that worker's connection.
    #[must_use]
    pub fn lease(&self) -> u64 {
        self.held.lease
    }

    /// Bytes in the file.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.held.length
    }

    /// The tier lies on a stacked file system: passthrough needs a stack depth of 2.
    #[must_use]
    pub fn stacked(&self) -> bool {
        self.held.stacked
    }

    /// The descriptor, read-only; `None` after [`LocalFile::close_descriptor`].
    #[must_use]
    pub fn file(&self) -> Option<Arc<File>> {
        self.held.file.lock().clone()
    }

    /// Closes the descriptor and keeps the lease: what FUSE does once the kernel holds the file. Clones of the `Arc`
    /// that [`LocalFile::file`] gave keep it open.
    pub fn close_descriptor(&self) {
        *self.held.file.lock() = None;
    }

    /// Whether the worker still knows of the lease: false once its connection is gone.
    #[must_use]
    pub fn is_leased(&self) -> bool {
        !self.held.connection.is_closed()
    }

    /// Fills `buffer` from `offset` as far as the file goes; returns the bytes read. Blocks on the disk.
    ///
    /// # Errors
    /// `Io` when the disk fails, `Unavailable` when the descriptor was closed.
    pub fn read_at(&self, buffer: &mut [u8], offset: u64) -> Result<usize> {
        let Some(file) = self.file() else {
            return Err(Error::new(Code::Unavailable, "the descriptor was closed"));
        };
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => {
                    return Err(Error::io(
                        format!("read content {} from its file", self.held.content),
                        error,
                    ));
                }
            }
        }
        Ok(filled)
    }
}

/// The files that workers on this machine handed out.
#[derive(Debug)]
pub(crate) struct LocalFiles {
    router: Router,
    channels: Arc<Channels>,
    tasks: Tasks,
    configured: Vec<PathBuf>,
    enabled: bool,
    timeout: Duration,
    connections: Mutex<BTreeMap<PathBuf, FdClient>>,
    /// Whether sockets were looked for yet; held while they are.
    searched: tokio::sync::Mutex<bool>,
    kept: Mutex<Kept>,
}

/// Files by content, and when each was used last.
#[derive(Debug, Default)]
struct Kept {
    bound: usize,
    clock: u64,
    files: BTreeMap<ContentId, (u64, LocalFile)>,
    order: BTreeMap<u64, ContentId>,
}

impl Kept {
    fn get(&mut self, content: ContentId) -> Option<LocalFile> {
        let usable =
            self.files.get(&content).is_some_and(|(_, file)| file.is_leased() && file.file().is_some());
        let (used, file) = self.files.remove(&content)?;
        self.order.remove(&used);
        if !usable {
            return None;
        }
        self.insert(file.clone());
        Some(file)
    }

    /// Keeps a file; returns what has to make room, to be dropped outside the lock.
    fn insert(&mut self, file: LocalFile) -> Vec<LocalFile> {
        self.clock += 1;
        let content = file.content();
        let mut out = Vec::new();
        if let Some((used, old)) = self.files.insert(content, (self.clock, file)) {
            self.order.remove(&used);
            out.push(old);
        }
        self.order.insert(self.clock, content);
        while self.files.len() > self.bound {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            out.extend(self.files.remove(&oldest).map(|(_, file)| file));
        }
        out
    }

    fn remove(&mut self, content: ContentId) -> Option<LocalFile> {
        let (used, file) = self.files.remove(&content)?;
        self.order.remove(&used);
        Some(file)
    }
}

impl LocalFiles {
    pub(crate) fn new(router: Router, channels: Arc<Channels>, config: &Config, tasks: &Tasks) -> LocalFiles {
        LocalFiles {
            router,
            channels,
            tasks: tasks.clone(),
            configured: config.sockets.clone(),
            enabled: config.short_circuit,
            timeout: config.connect_timeout,
            connections: Mutex::default(),
            searched: tokio::sync::Mutex::default(),
            kept: Mutex::new(Kept { bound: config.kept_descriptors, ..Kept::default() }),
        }
    }

    /// The whole file of `content`, if a worker on this machine has it completely and trusts it.
    pub(crate) async fn open(&self, content: ContentId, generation: u64, length: u64) -> Option<LocalFile> {
        if !self.enabled {
            return None;
        }
        if let Some(file) = self.kept.lock().get(content)
            && (file.held.generation, file.length()) == (generation, length)
        {
            return Some(file);
        }
        for connection in self.connections().await {
            match connection.open(content, generation).await {
                Ok((opened, _)) if opened.length != length => {
                    tracing::warn!(%content, length, found = opened.length, "a local file has another length");
                    connection.close(vec![opened.lease]);
                }
                Ok((opened, descriptor)) => {
                    let file = LocalFile {
                        held: Arc::new(Held {
                            content,
                            worker: WorkerId(connection.hello().worker),
                            lease: opened.lease,
                            generation,
                            length: opened.length,
                            stacked: opened.stacked,
                            file: Mutex::new(Some(Arc::new(File::from(descriptor)))),
                            connection,
                        }),
                    };
                    let evicted = self.kept.lock().insert(file.clone());
                    drop(evicted);
                    return Some(file);
                }
                Err(error) if error.code == Code::NotFound => {}
                Err(error) => tracing::debug!(%content, %error, "a local worker hands out nothing"),
            }
        }
        None
    }

    /// Lets go of a content that is void.
    pub(crate) fn forget(&self, content: ContentId) {
        let file = self.kept.lock().remove(content);
        drop(file);
    }

    /// Lets go of every file that nobody uses.
    pub(crate) fn forget_all(&self) {
        let files = {
            let mut kept = self.kept.lock();
            kept.order.clear();
            std::mem::take(&mut kept.files)
        };
        drop(files);
    }

    /// Looks for sockets again and again until the client is shut down.
    pub(crate) fn keep_searching(self: &Arc<LocalFiles>, tasks: &Tasks) {
        if !self.enabled {
            return;
        }
        let files = self.clone();
        tasks.ask_every("local-workers", SEARCH, move || {
            let files = files.clone();
            async move { files.search().await }
        });
    }

    /// Waits until workers on this machine were looked for once: from then on they are asked first.
    pub(crate) async fn known(&self) {
        let searched = *self.searched.lock().await;
        if !searched {
            self.search().await;
        }
    }

    /// The connections to workers on this machine.
    async fn connections(&self) -> Vec<FdClient> {
        self.known().await;
        self.connections.lock().values().filter(|connection| !connection.is_closed()).cloned().collect()
    }

    /// The connection to `worker`, if it is on this machine.
    pub(crate) fn connection(&self, worker: WorkerId) -> Option<FdClient> {
        let connections = self.connections.lock();
        connections.values().find(|found| found.hello().worker == worker.0 && !found.is_closed()).cloned()
    }

    /// Connects to the sockets that are there and not connected to yet.
    pub(crate) async fn search(&self) {
        let mut searched = self.searched.lock().await;
        if !self.enabled {
            return;
        }
        *searched = true;
        if let Err(error) = self.router.ensure().await {
            tracing::debug!(%error, "no list of workers yet");
        }
        let workers = self.router.workers();
        let mut paths = self.configured.clone();
        paths.extend(workers.iter().map(|worker| PathBuf::from(&worker.address.socket)));
        paths.retain(|path| !path.as_os_str().is_empty() && path.exists());
        for path in &paths {
            let connected =
                self.connections.lock().get(path).is_some_and(|connection| !connection.is_closed());
            if connected {
                continue;
            }
            match self.connect(path).await {
                Ok(connection) => drop(self.connections.lock().insert(path.clone(), connection)),
                Err(error) => {
                    tracing::debug!(socket = %path.display(), %error, "no descriptors from this worker");
                    self.connections.lock().remove(path);
                }
            }
        }
        let mut connections = self.connections.lock();
        connections.retain(|path, connection| paths.contains(path) && !connection.is_closed());
        self.router.set_local(connections.values().map(|c| WorkerId(c.hello().worker)).collect());
    }

    async fn connect(&self, path: &Path) -> Result<FdClient> {
        FdClient::connect(path, self.channels.hello(), &self.tasks, self.timeout).await
    }
}
