//! A [`Backend`] without a cluster: names in memory, contents as files of a directory, with levers for tests.
//!
//! Contents are "cached here" when [`TestCluster::cache`] is on, which hands out the real file; otherwise reads come
//! from the same file through the daemon. Behaves like the masters where the kernel can tell: truncation makes a new
//! generation in a new file, replacement a new content id, and every change goes to the feed, whoever made it.

use crate::backend::{AttrChange, Backend, Event, Feed, LocalFile, Sink, Source};
use crate::handle::Lease;
use async_trait::async_trait;
use bytes::Bytes;
use goosefs_core::clock::{Clock, SystemClock};
use goosefs_core::id::{ContainerId, ContentId, InodeId};
use goosefs_core::proto::internal::{
    Attr, Caller, Change, ClusterMark, DirEntry, NodeKind, ReadDirResponse, StatFsResponse,
};
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use tokio::sync::{broadcast, watch};

#[derive(Default)]
struct Names {
    inodes: HashMap<u64, Attr>,
    entries: BTreeMap<(u64, String), u64>,
    contents: HashMap<u64, u64>,
    next: u64,
}

/// What the levers and the backend share.
struct Shared {
    dir: PathBuf,
    names: Mutex<Names>,
    changed: broadcast::Sender<Event>,
    cache: AtomicBool,
    hold_reads: watch::Sender<bool>,
    leases: AtomicU64,
    local_calls: AtomicU64,
    fail_writes: AtomicBool,
    persists: AtomicU64,
    fail_completes: AtomicU64,
    clock: Arc<dyn Clock>,
}

/// A namespace over the files of one directory. Cheap to clone.
#[derive(Clone)]
pub struct TestCluster {
    shared: Arc<Shared>,
}

impl TestCluster {
    /// An empty namespace whose contents lie in `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> TestCluster {
        let root = Attr {
            kind: NodeKind::Directory.into(),
            mode: 0o755,
            owner: "root".to_owned(),
            group: "root".to_owned(),
            completed: true,
            ..Attr::default()
        };
        let names = Names { inodes: HashMap::from([(0, root)]), next: 1, ..Names::default() };
        let shared = Shared {
            dir: dir.to_owned(),
            names: Mutex::new(names),
            changed: broadcast::Sender::new(1024),
            cache: AtomicBool::new(true),
            hold_reads: watch::Sender::new(false),
            leases: AtomicU64::new(0),
            local_calls: AtomicU64::new(0),
            fail_writes: AtomicBool::new(false),
            persists: AtomicU64::new(0),
            fail_completes: AtomicU64::new(0),
            clock: SystemClock::shared(),
        };
        TestCluster { shared: Arc::new(shared) }
    }

    /// Whether contents count as cached on this machine.
    pub fn cache(&self, on: bool) {
        self.shared.cache.store(on, Ordering::SeqCst);
    }

    /// While on, reads that come to the daemon do not return.
    pub fn hold_reads(&self, on: bool) {
        self.shared.hold_reads.send_replace(on);
    }

    /// While on, writes fail with EIO.
    pub fn fail_writes(&self, on: bool) {
        self.shared.fail_writes.store(on, Ordering::SeqCst);
    }

    /// The next `times` completions find no leading master.
    pub fn fail_completes(&self, times: u64) {
        self.shared.fail_completes.store(times, Ordering::SeqCst);
    }

    /// Leases that are out.
    #[must_use]
    pub fn leases(&self) -> u64 {
        self.shared.leases.load(Ordering::SeqCst)
    }

    /// How often a cached file was asked for.
    #[must_use]
    pub fn local_calls(&self) -> u64 {
        self.shared.local_calls.load(Ordering::SeqCst)
    }

    /// How often a file was uploaded.
    #[must_use]
    pub fn persists(&self) -> u64 {
        self.shared.persists.load(Ordering::SeqCst)
    }

    /// Puts a complete file at `name` in the root, replacing what is there as an under-storage does: with a new content
    /// id, and told to the feed.
    ///
    /// # Errors
    /// What the disk says.
    pub fn put(&self, name: &str, bytes: &[u8]) -> std::io::Result<()> {
        let mut names = self.shared.names.lock();
        let old = names.entries.get(&(0, name.to_owned())).copied();
        let container = names.draw();
        std::fs::write(self.shared.path(container.content(), 0), bytes)?;
        let mut attr = self.shared.file_attr(container, 0o755, "root", "root");
        attr.length = bytes.len() as u64;
        attr.completed = true;
        if let Some(old) = old {
            let was = names.inodes.get(&old).cloned().unwrap_or_default();
            names.contents.remove(&was.content);
            attr.inode = old;
            self.shared.tell(Change { parent: 0, name: name.to_owned(), node: was.content, session: 0 });
        }
        names.insert(0, name, attr);
        Ok(())
    }

    /// The number of a root entry's content.
    #[must_use]
    pub fn content(&self, name: &str) -> Option<ContentId> {
        let names = self.shared.names.lock();
        let inode = names.entries.get(&(0, name.to_owned()))?;
        names.inodes.get(inode).map(|attr| ContentId(attr.content))
    }

    /// Whether a root entry is complete, and its length.
    #[must_use]
    pub fn completed(&self, name: &str) -> Option<(bool, u64)> {
        let names = self.shared.names.lock();
        let inode = names.entries.get(&(0, name.to_owned()))?;
        names.inodes.get(inode).map(|attr| (attr.completed, attr.length))
    }

    /// Unlinks the file behind a root entry, as a worker evicts a container.
    ///
    /// # Errors
    /// When there is none.
    pub fn evict(&self, name: &str) -> std::io::Result<()> {
        let names = self.shared.names.lock();
        let inode = names.entries.get(&(0, name.to_owned())).copied().unwrap_or_default();
        let attr = names.inodes.get(&inode).cloned().unwrap_or_default();
        std::fs::remove_file(self.shared.path(ContentId(attr.content), attr.generation))
    }
}

impl Names {
    fn draw(&mut self) -> ContainerId {
        let container = ContainerId(self.next);
        self.next += 1;
        container
    }

    /// The change that masters tell when an inode's attributes or bytes changed.
    fn touched(&self, inode: u64) -> Option<Change> {
        let ((parent, name), _) = self.entries.iter().find(|(_, of)| **of == inode)?;
        let node = self.inodes.get(&inode).map_or(0, |attr| attr.content.max(attr.inode));
        Some(Change { parent: *parent, name: name.clone(), node, session: 0 })
    }

    fn insert(&mut self, parent: u64, name: &str, attr: Attr) {
        if attr.content != 0 {
            self.contents.insert(attr.content, attr.inode);
        }
        self.entries.insert((parent, name.to_owned()), attr.inode);
        self.inodes.insert(attr.inode, attr);
    }

    fn get(&self, node: u64) -> Result<&Attr> {
        let inode = self.contents.get(&node).copied().unwrap_or(node);
        self.inodes.get(&inode).ok_or_else(|| Error::new(Code::NotFound, format!("no node {node}")))
    }

    fn find(&self, parent: InodeId, name: &str) -> Result<&Attr> {
        let inode = self.entries.get(&(parent.0, name.to_owned()));
        let inode = inode.ok_or_else(|| Error::new(Code::NotFound, format!("no name {name}")))?;
        self.get(*inode)
    }

    fn free(&self, parent: InodeId, name: &str) -> Result<()> {
        match self.entries.contains_key(&(parent.0, name.to_owned())) {
            true => Err(Error::new(Code::AlreadyExists, format!("{name} is there"))),
            false => Ok(()),
        }
    }
}

impl Shared {
    fn path(&self, content: ContentId, generation: u64) -> PathBuf {
        self.dir.join(format!("{content}-{generation}"))
    }

    fn tell(&self, change: Change) {
        // Nobody listening is no error.
        drop(self.changed.send(Event::Changed(change)));
    }

    fn tell_own(&self, change: Change) {
        drop(self.changed.send(Event::Own(change)));
    }

    fn file_attr(&self, container: ContainerId, mode: u32, owner: &str, group: &str) -> Attr {
        let now = self.clock.now_ms();
        Attr {
            inode: container.inode().0,
            content: container.content().0,
            kind: NodeKind::File.into(),
            mode,
            owner: owner.to_owned(),
            group: group.to_owned(),
            block_size: 64 << 20,
            mtime_ms: now,
            ctime_ms: now,
            atime_ms: now,
            created_ms: now,
            links: 1,
            ..Attr::default()
        }
    }

    fn update(&self, node: u64, change: impl FnOnce(&mut Attr)) -> Result<Attr> {
        let mut names = self.names.lock();
        let inode = names.get(node)?.inode;
        let attr = names.inodes.entry(inode).or_default();
        change(attr);
        attr.ctime_ms = self.clock.now_ms();
        let attr = attr.clone();
        if let Some(change) = names.touched(attr.inode) {
            self.tell(change);
        }
        Ok(attr)
    }
}

struct TestLease(Arc<Shared>);

impl Lease for TestLease {
    fn is_alive(&self) -> bool {
        true
    }
}

impl Drop for TestLease {
    fn drop(&mut self) {
        self.0.leases.fetch_sub(1, Ordering::SeqCst);
    }
}

#[async_trait]
impl Backend for TestCluster {
    fn cluster(&self) -> Option<ClusterMark> {
        None
    }

    async fn lookup(&self, _: Caller, parent: InodeId, name: &str) -> Result<Attr> {
        self.shared.names.lock().find(parent, name).cloned()
    }

    async fn attr(&self, node: u64) -> Result<Attr> {
        self.shared.names.lock().get(node).cloned()
    }

    async fn read_dir(&self, directory: InodeId, after: &str, limit: u32) -> Result<ReadDirResponse> {
        let names = self.shared.names.lock();
        let limit = usize::try_from(limit).unwrap_or(usize::MAX).min(1000);
        let mut entries: Vec<DirEntry> = names
            .entries
            .range((directory.0, after.to_owned())..)
            .filter(|((_, name), _)| after.is_empty() || name != after)
            .take_while(|((parent, _), _)| *parent == directory.0)
            .take(limit + 1)
            .map(|((_, name), inode)| DirEntry { name: name.clone(), attr: names.inodes.get(inode).cloned() })
            .collect();
        let more = entries.len() > limit;
        entries.truncate(limit);
        Ok(ReadDirResponse { entries, more })
    }

    async fn create(&self, caller: Caller, parent: InodeId, name: &str, mode: u32) -> Result<Attr> {
        let mut names = self.shared.names.lock();
        names.free(parent, name)?;
        let container = names.draw();
        let attr = self.shared.file_attr(container, mode, &caller.user, &caller.group);
        File::create(self.shared.path(container.content(), 0)).map_err(|error| Error::io("create", error))?;
        names.insert(parent.0, name, attr.clone());
        self.shared.tell_own(Change { parent: parent.0, name: name.to_owned(), node: 0, session: 0 });
        Ok(attr)
    }

    async fn make_dir(&self, caller: Caller, parent: InodeId, name: &str, mode: u32) -> Result<Attr> {
        let mut names = self.shared.names.lock();
        names.free(parent, name)?;
        let container = names.draw();
        let file = self.shared.file_attr(container, mode, &caller.user, &caller.group);
        let attr = Attr { content: 0, kind: NodeKind::Directory.into(), completed: true, ..file };
        names.insert(parent.0, name, attr.clone());
        self.shared.tell_own(Change { parent: parent.0, name: name.to_owned(), node: 0, session: 0 });
        Ok(attr)
    }

    async fn symlink(&self, caller: Caller, parent: InodeId, name: &str, target: &str) -> Result<Attr> {
        let mut names = self.shared.names.lock();
        names.free(parent, name)?;
        let container = names.draw();
        let file = self.shared.file_attr(container, 0o777, &caller.user, &caller.group);
        let attr = Attr { content: 0, kind: NodeKind::Symlink.into(), target: target.to_owned(), ..file };
        names.insert(parent.0, name, attr.clone());
        self.shared.tell_own(Change { parent: parent.0, name: name.to_owned(), node: 0, session: 0 });
        Ok(attr)
    }

    async fn remove(&self, _: Caller, parent: InodeId, name: &str, directory: bool) -> Result<()> {
        let mut names = self.shared.names.lock();
        let attr = names.find(parent, name)?.clone();
        let is_directory = attr.kind() == NodeKind::Directory;
        if is_directory != directory {
            let code = if is_directory { Code::IsDirectory } else { Code::NotDirectory };
            return Err(Error::new(code, name));
        }
        let first = (attr.inode, String::new());
        if is_directory && names.entries.range(first..).next().is_some_and(|((of, _), _)| *of == attr.inode) {
            return Err(Error::new(Code::NotEmpty, name));
        }
        names.entries.remove(&(parent.0, name.to_owned()));
        names.inodes.remove(&attr.inode);
        names.contents.remove(&attr.content);
        let node = attr.content.max(attr.inode);
        self.shared.tell_own(Change { parent: parent.0, name: name.to_owned(), node, session: 0 });
        Ok(())
    }

    async fn rename(
        &self,
        _: Caller,
        from: (InodeId, &str),
        to: (InodeId, &str),
        no_replace: bool,
    ) -> Result<()> {
        let mut names = self.shared.names.lock();
        let inode = names.find(from.0, from.1)?.inode;
        if no_replace {
            names.free(to.0, to.1)?;
        }
        if let Ok(replaced) = names.find(to.0, to.1).cloned() {
            names.inodes.remove(&replaced.inode);
            names.contents.remove(&replaced.content);
        }
        names.entries.remove(&(from.0.0, from.1.to_owned()));
        names.entries.insert((to.0.0, to.1.to_owned()), inode);
        self.shared.tell_own(Change { parent: from.0.0, name: from.1.to_owned(), node: 0, session: 0 });
        self.shared.tell_own(Change { parent: to.0.0, name: to.1.to_owned(), node: 0, session: 0 });
        Ok(())
    }

    async fn set_attr(&self, _: Caller, node: u64, change: AttrChange) -> Result<Attr> {
        self.shared.update(node, |attr| {
            attr.mode = change.mode.unwrap_or(attr.mode);
            attr.mtime_ms = change.mtime_ms.unwrap_or(attr.mtime_ms);
            attr.atime_ms = change.atime_ms.unwrap_or(attr.atime_ms);
            if let Some(owner) = change.owner {
                attr.owner = owner;
            }
            if let Some(group) = change.group {
                attr.group = group;
            }
        })
    }

    async fn truncate(&self, _: Caller, content: ContentId) -> Result<Attr> {
        let now = self.shared.clock.now_ms();
        let attr = self.shared.update(content.0, |attr| {
            attr.generation += 1;
            attr.length = 0;
            attr.completed = false;
            attr.mtime_ms = now;
        })?;
        File::create(self.shared.path(content, attr.generation))
            .map_err(|error| Error::io("create", error))?;
        Ok(attr)
    }

    async fn finish(&self, _: Caller, content: ContentId, length: u64) -> Result<Attr> {
        self.shared.update(content.0, |attr| {
            attr.length = length;
            attr.completed = true;
        })
    }

    async fn stat_fs(&self) -> Result<StatFsResponse> {
        let files = self.shared.names.lock().inodes.len() as u64;
        Ok(StatFsResponse { capacity: 1 << 30, used: 1 << 20, files })
    }

    fn changes(&self) -> Box<dyn Feed> {
        Box::new(TestFeed(self.shared.changed.subscribe()))
    }

    async fn local_file(&self, attr: &Attr) -> Result<Option<LocalFile>> {
        self.shared.local_calls.fetch_add(1, Ordering::SeqCst);
        if !self.shared.cache.load(Ordering::SeqCst) {
            return Ok(None);
        }
        let Ok(file) = File::open(self.shared.path(ContentId(attr.content), attr.generation)) else {
            return Ok(None);
        };
        let length = file.metadata().map_err(|error| Error::io("stat", error))?.len();
        self.shared.leases.fetch_add(1, Ordering::SeqCst);
        Ok(Some(LocalFile { file: Arc::new(file), length, lease: Box::new(TestLease(self.shared.clone())) }))
    }

    fn source(&self, attr: &Attr) -> Arc<dyn Source> {
        let path = self.shared.path(ContentId(attr.content), attr.generation);
        Arc::new(TestSource { file: File::open(path).ok(), length: attr.length, shared: self.shared.clone() })
    }

    async fn sink(&self, _: Caller, attr: &Attr) -> Result<Box<dyn Sink>> {
        let path = self.shared.path(ContentId(attr.content), attr.generation);
        let file = File::create(path).map_err(|error| Error::io("open for writing", error))?;
        let content = ContentId(attr.content);
        Ok(Box::new(TestSink {
            file,
            written: 0,
            dirty: true,
            failed: false,
            content,
            shared: self.shared.clone(),
        }))
    }
}

struct TestFeed(broadcast::Receiver<Event>);

#[async_trait]
impl Feed for TestFeed {
    async fn next(&mut self) -> Option<Event> {
        match self.0.recv().await {
            Ok(event) => Some(event),
            Err(broadcast::error::RecvError::Lagged(_)) => Some(Event::Overrun),
            Err(broadcast::error::RecvError::Closed) => None,
        }
    }
}

struct TestSource {
    file: Option<File>,
    length: u64,
    shared: Arc<Shared>,
}

#[async_trait]
impl Source for TestSource {
    async fn read(&self, offset: u64, length: u32) -> Result<Bytes> {
        let mut held = self.shared.hold_reads.subscribe();
        drop(held.wait_for(|held| !*held).await);
        let Some(file) = &self.file else { return Err(Error::new(Code::Stale, "not cached any more")) };
        let length = u64::from(length).min(self.length.saturating_sub(offset));
        let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
        file.read_exact_at(&mut bytes, offset).map_err(|error| Error::io("read", error))?;
        Ok(bytes.into())
    }
}

struct TestSink {
    file: File,
    written: u64,
    dirty: bool,
    failed: bool,
    content: ContentId,
    shared: Arc<Shared>,
}

impl TestSink {
    fn check(&self) -> Result<()> {
        match self.failed {
            true => Err(Error::new(Code::Io, "the disk is on fire")),
            false => Ok(()),
        }
    }
}

#[async_trait]
impl Sink for TestSink {
    async fn write(&mut self, data: Bytes) -> Result<()> {
        self.failed |= self.shared.fail_writes.load(Ordering::SeqCst);
        self.check()?;
        self.file.write_all_at(&data, self.written).map_err(|error| Error::io("write", error))?;
        self.written += data.len() as u64;
        self.dirty = true;
        Ok(())
    }

    async fn commit(&mut self) -> Result<()> {
        self.check()
    }

    async fn persist(&mut self) -> Result<()> {
        self.check()?;
        if std::mem::take(&mut self.dirty) {
            self.shared.persists.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    async fn complete(&mut self) -> Result<Attr> {
        self.persist().await?;
        let left = &self.shared.fail_completes;
        if left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
            return Err(Error::new(Code::Unavailable, "no master leads at the moment"));
        }
        let (length, now) = (self.written, self.shared.clock.now_ms());
        self.shared.update(self.content.0, |attr| {
            attr.length = length;
            attr.completed = true;
            attr.mtime_ms = now;
        })
    }
}
