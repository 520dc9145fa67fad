//! For tests: a master of frames in this process, local storages, workers and a client.

use crate::{Config, Deps, Running, start};
use async_trait::async_trait;
use goosefs_core::id::{BlockId, ContainerId, ContentId, WorkerId};
use goosefs_core::proto::internal::{
    BlockHolders, Caller, ClusterMark, CommitBlockRequest, Empty, Fingerprint, HeartbeatRequest,
    HeartbeatResponse, HelloRequest, HelloResponse, MountEntry, MountsResponse, Persistence,
    ReadContentRequest, StatFsResponse, VersionRequest, VersionResponse, WorkerEntry, WorkersResponse,
    WriteContentRequest, WriteContentResponse, WriteFlush,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::{Call, Channel, FrameService, Peer, Target, check_cluster};
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::Ufs;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What the fake master knows; tests change it at will.
#[derive(Default)]
pub(crate) struct Facts {
    pub(crate) versions: HashMap<ContentId, VersionResponse>,
    pub(crate) workers: BTreeMap<u64, WorkerEntry>,
    pub(crate) beats: BTreeMap<u64, HeartbeatRequest>,
    pub(crate) dropped: Vec<u64>,
    pub(crate) dropped_up_to: u64,
    pub(crate) version_calls: usize,
    /// What it was asked to look at again.
    pub(crate) suspects: Vec<Fingerprint>,
    pub(crate) commits: Vec<CommitBlockRequest>,
    pub(crate) silent: bool,
}

pub(crate) struct Master {
    mark: Mutex<ClusterMark>,
    own: Mutex<String>,
    ufs: Mutex<String>,
    pub(crate) facts: Mutex<Facts>,
}

impl Master {
    fn version(&self, request: &VersionRequest) -> Result<VersionResponse> {
        let mut facts = self.facts.lock();
        facts.version_calls += 1;
        facts.suspects.extend(request.suspect.clone());
        let content = ContentId(request.content);
        facts
            .versions
            .get(&content)
            .cloned()
            .ok_or_else(|| Error::new(Code::NotFound, format!("no content {content}")))
    }

    fn commit(&self, request: CommitBlockRequest) -> Result<Empty> {
        let mut facts = self.facts.lock();
        let content = BlockId(request.block).content();
        let version = facts
            .versions
            .get_mut(&content)
            .ok_or_else(|| Error::new(Code::NotFound, format!("no content {content}")))?;
        if version.generation != request.generation {
            return Err(Error::new(Code::Stale, "another generation"));
        }
        version.blocks.retain(|holders| holders.block != request.block);
        version.blocks.push(BlockHolders {
            block: request.block,
            length: request.length,
            workers: vec![request.worker],
        });
        facts.commits.push(request);
        Ok(Empty {})
    }

    fn heartbeat(&self, request: HeartbeatRequest) -> HeartbeatResponse {
        let mut facts = self.facts.lock();
        let entry = WorkerEntry {
            worker: request.worker,
            address: request.address.clone(),
            virtual_nodes: request.virtual_nodes,
            live: true,
            ..WorkerEntry::default()
        };
        facts.workers.insert(request.worker, entry);
        facts.beats.insert(request.worker, request);
        HeartbeatResponse {
            masters: Vec::new(),
            cluster: Some(self.mark.lock().clone()),
            leader: self.own.lock().clone(),
            dropped_contents: facts.dropped.clone(),
            interval_ms: 50,
            dropped_up_to: facts.dropped_up_to,
            dropped_overrun: false,
        }
    }
}

#[async_trait]
impl FrameService for Master {
    fn hello(&self, _peer: &Peer, request: &HelloRequest) -> Result<HelloResponse> {
        let mark = self.mark.lock().clone();
        check_cluster(Some(&mark), request.cluster.as_ref())?;
        Ok(HelloResponse { version: 1, cluster: Some(mark), node: 1, ..HelloResponse::default() })
    }

    async fn call(&self, call: Call) {
        if self.facts.lock().silent {
            return call.answer::<Empty>(Err(Error::not_leader(""))).await;
        }
        match call.method {
            method::STAT_FS => call.answer(Ok(StatFsResponse::default())).await,
            method::VERSION => {
                let answer = call.request().and_then(|request| self.version(&request));
                call.answer(answer).await;
            }
            method::COMMIT_BLOCK => {
                let answer = call.request().and_then(|request| self.commit(request));
                call.answer(answer).await;
            }
            method::HEARTBEAT => {
                let answer = call.request().map(|request| self.heartbeat(request));
                call.answer(answer).await;
            }
            method::MOUNTS => {
                let mount = MountEntry {
                    mount: 1,
                    path: "/".to_owned(),
                    ufs: self.ufs.lock().clone(),
                    ..MountEntry::default()
                };
                call.answer(Ok(MountsResponse { mounts: vec![mount], ..Default::default() })).await;
            }
            method::WORKERS => {
                let workers = self.facts.lock().workers.values().cloned().collect();
                call.answer(Ok(WorkersResponse { workers, generation: 1, masters: Vec::new() })).await;
            }
            other => {
                call.answer::<Empty>(Err(Error::new(Code::Unimplemented, other.name))).await;
            }
        }
    }
}

/// A storage with a counter of reads and a switch for errors, around a real one.
#[derive(Debug)]
pub(crate) struct Watched {
    inner: Arc<dyn Ufs>,
    pub(crate) reads: AtomicUsize,
    pub(crate) failing: Mutex<Option<Code>>,
    /// Reads are never answered.
    pub(crate) silent: AtomicBool,
}

#[async_trait]
impl Ufs for Watched {
    fn capabilities(&self) -> goosefs_ufs::Capabilities {
        self.inner.capabilities()
    }

    async fn stat(&self, path: &str) -> Result<goosefs_ufs::Entry> {
        self.inner.stat(path).await
    }

    async fn list(
        &self,
        path: &str,
    ) -> Result<futures::stream::BoxStream<'static, Result<goosefs_ufs::Entry>>> {
        self.inner.list(path).await
    }

    async fn read(
        &self,
        path: &str,
        range: std::ops::Range<u64>,
        expected: &Fingerprint,
    ) -> Result<futures::stream::BoxStream<'static, Result<bytes::Bytes>>> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        if self.silent.load(Ordering::SeqCst) {
            return std::future::pending().await;
        }
        if let Some(code) = *self.failing.lock() {
            return Err(Error::new(code, "the storage is told to fail"));
        }
        self.inner.read(path, range, expected).await
    }

    async fn create(
        &self,
        path: &str,
        attributes: &goosefs_ufs::Attributes,
    ) -> Result<Box<dyn goosefs_ufs::Writer>> {
        self.inner.create(path, attributes).await
    }

    async fn make_directory(&self, path: &str, attributes: &goosefs_ufs::Attributes) -> Result<()> {
        self.inner.make_directory(path, attributes).await
    }

    async fn remove(&self, path: &str, kind: goosefs_core::proto::internal::NodeKind) -> Result<()> {
        self.inner.remove(path, kind).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        self.inner.remove_all(path).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        self.inner.rename(from, to, replace).await
    }

    async fn set_attributes(&self, path: &str, attributes: &goosefs_ufs::Attributes) -> Result<()> {
        self.inner.set_attributes(path, attributes).await
    }

    async fn space(&self) -> Result<goosefs_ufs::Space> {
        self.inner.space().await
    }
}

/// A fake master, a storage and any number of workers.
pub(crate) struct Cluster {
    pub(crate) master: Arc<Master>,
    pub(crate) root: tempfile::TempDir,
    pub(crate) ufs: Arc<Watched>,
    pub(crate) tasks: Tasks,
    address: String,
    next: AtomicUsize,
}

pub(crate) const BLOCK: u64 = 4 << 20;

impl Cluster {
    pub(crate) async fn start() -> Cluster {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("ufs");
        std::fs::create_dir(&folder).unwrap();
        let uri = folder.display().to_string();
        let inner = goosefs_ufs::connect(&uri, &BTreeMap::new()).unwrap();
        let ufs = Arc::new(Watched {
            inner,
            reads: AtomicUsize::new(0),
            failing: Mutex::default(),
            silent: AtomicBool::default(),
        });
        let master = Arc::new(Master {
            mark: Mutex::new(mark(7)),
            own: Mutex::default(),
            ufs: Mutex::new(uri),
            facts: Mutex::default(),
        });
        let tasks = Tasks::new("test");
        let listener = server::bind("master", "127.0.0.1:0").await.unwrap();
        let frames = master.clone() as Arc<dyn FrameService>;
        let routes = tonic::service::Routes::default();
        let address = server::serve("master", listener, routes, Some(frames), &tasks).unwrap().to_string();
        master.own.lock().clone_from(&address);
        Cluster { master, root, ufs, tasks, address, next: AtomicUsize::new(1) }
    }

    pub(crate) fn config(&self, name: &str, quota: u64) -> Config {
        let dir = self.root.path().join(name);
        Config {
            room_timeout: Duration::from_secs(1),
            heartbeat: Duration::from_millis(50),
            master_deadline: Duration::from_secs(10),
            sync_after: Duration::from_millis(50),
            ..Config::new("127.0.0.1", vec![self.address.clone()], &dir, quota)
        }
    }

    pub(crate) async fn worker(&self, name: &str, quota: u64) -> Running {
        self.worker_with(self.config(name, quota)).await
    }

    pub(crate) async fn worker_with(&self, config: Config) -> Running {
        let ufs = self.ufs.clone();
        let deps = Deps { connect: Arc::new(move |_, _| Ok(ufs.clone())), ..Deps::default() };
        let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
        let running = loop {
            match start(config.clone(), deps.clone()).await {
                Ok(running) => break running,
                // A killed worker's last thread may still be in the store.
                Err(error) if error.code == Code::Busy && tokio::time::Instant::now() < deadline => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                Err(error) => panic!("{error}"),
            }
        };
        running.ready().await.unwrap();
        running
    }

    pub(crate) fn set_mark(&self, id: u8) {
        *self.master.mark.lock() = mark(id);
    }

    /// A connection to a worker.
    pub(crate) async fn client(&self, worker: &Running) -> Channel {
        let hello = HelloRequest {
            version: 1,
            cluster: Some(self.master.mark.lock().clone()),
            role: "client".to_owned(),
            caller: Some(Caller { user: "u".to_owned(), group: "g".to_owned() }),
        };
        let target = Target::Tcp(worker.addresses().rpc.to_string());
        Channel::connect(&target, hello, &self.tasks, Duration::from_secs(10)).await.unwrap()
    }

    fn new_id(&self) -> ContentId {
        ContainerId(self.next.fetch_add(1, Ordering::SeqCst) as u64).content()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.root.path().join("ufs").join(name)
    }

    /// A file in the storage that the master knows.
    pub(crate) fn persisted(&self, name: &str, bytes: &[u8]) -> ContentId {
        std::fs::write(self.path(name), bytes).unwrap();
        let content = self.new_id();
        let version = VersionResponse {
            content: content.0,
            inode: 1,
            length: bytes.len() as u64,
            block_size: BLOCK,
            completed: true,
            persistence: Persistence::Persisted as i32,
            generation: 1,
            mount: 1,
            ufs_path: name.to_owned(),
            fingerprint: Some(fingerprint(&self.path(name))),
            blocks: Vec::new(),
        };
        self.master.facts.lock().versions.insert(content, version);
        content
    }

    /// A file that was just created.
    pub(crate) fn created(&self) -> ContentId {
        let content = self.new_id();
        let version = VersionResponse {
            content: content.0,
            inode: 1,
            block_size: BLOCK,
            generation: 1,
            mount: 1,
            ..VersionResponse::default()
        };
        self.master.facts.lock().versions.insert(content, version);
        content
    }

    pub(crate) fn change(&self, content: ContentId, change: impl FnOnce(&mut VersionResponse)) {
        change(self.master.facts.lock().versions.get_mut(&content).unwrap());
    }

    pub(crate) fn reads(&self) -> usize {
        self.ufs.reads.load(Ordering::SeqCst)
    }

    pub(crate) fn beat(&self, worker: WorkerId) -> HeartbeatRequest {
        self.master.facts.lock().beats.get(&worker.0).cloned().unwrap_or_default()
    }
}

pub(crate) fn fingerprint(path: &Path) -> Fingerprint {
    let metadata = std::fs::metadata(path).unwrap();
    let mtime = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH).duration_since(UNIX_EPOCH).unwrap();
    Fingerprint { length: metadata.len(), mtime_ms: Some(mtime.as_millis() as u64), etag: String::new() }
}

fn mark(id: u8) -> ClusterMark {
    ClusterMark { cluster_id: vec![id; 16].into(), epoch: 1 }
}

/// Bytes that differ at every offset and from file to file.
pub(crate) fn bytes(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut out = Vec::with_capacity(length + 8);
    while out.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(length);
    out
}

pub(crate) async fn read(channel: &Channel, content: ContentId, offset: u64, length: u64) -> Result<Vec<u8>> {
    read_as(channel, content, offset, length, false, false).await
}

pub(crate) async fn read_as(
    channel: &Channel,
    content: ContentId,
    offset: u64,
    length: u64,
    sequential: bool,
    cached_only: bool,
) -> Result<Vec<u8>> {
    let request = ReadContentRequest {
        content: content.0,
        offset,
        length,
        sequential,
        cached_only,
        generation: 0,
        in_file: false,
    };
    let mut payloads = channel.read(method::READ_CONTENT, &request).await?;
    let mut out = Vec::new();
    while let Some(payload) = payloads.next().await? {
        out.extend_from_slice(&payload);
    }
    Ok(out)
}

/// Writes and commits; answers with what the worker said last.
pub(crate) async fn write(
    channel: &Channel,
    content: ContentId,
    generation: u64,
    offset: u64,
    bytes: &[u8],
) -> Result<WriteContentResponse> {
    let request = WriteContentRequest { content: content.0, offset, block_size: BLOCK, generation };
    let mut stream = channel.open(method::WRITE_CONTENT, &request).await?;
    for chunk in bytes.chunks(1 << 20) {
        stream.send(chunk.to_vec().into()).await?;
    }
    stream.send_message(&WriteFlush {}).await?;
    stream.finish_sending().await?;
    let mut last = WriteContentResponse::default();
    while let Some(answer) = stream.receive::<WriteContentResponse>().await? {
        last = answer;
    }
    Ok(last)
}

/// Waits until `met`, with a generous deadline.
pub(crate) async fn eventually(what: &str, mut met: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !met() {
        assert!(tokio::time::Instant::now() < deadline, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
