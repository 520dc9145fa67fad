//! The facade: one [`Client`] a cluster, cheap to clone.

use crate::admin::Admin;
use crate::changes::{self, Event, Listener};
use crate::config::Config;
use crate::meta::{CreateOptions, Inodes, Paths};
use crate::metrics::ClientMetrics;
use crate::preloads::Preloads;
use crate::read::channels::Channels;
use crate::read::fetch::Fetcher;
use crate::read::local::LocalFiles;
use crate::read::{LocalFile, Reader, Readers};
use crate::route::Router;
use crate::session::Session;
use crate::waits::WorkerWait;
use crate::write::{Writer, Writers};
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::{
    Attr, CachedRequest, CachedResponse, Caller, ClusterMark, ClusterRequest, ClusterResponse, DigestRequest,
    DigestResponse, FillContentRequest, FillContentResponse, NodeKind, WorkerEntry, WorkersRequest,
    WorkersResponse,
};
use goosefs_core::proto::method::{self, Method};
use goosefs_core::rpc::masters::{Masters, MastersConfig, Search};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, broadcast};

/// A client of one cluster. Cheap to clone. Nothing waits for the cluster until the first call; the tasks in the
/// background end with [`Client::shutdown`].
#[derive(Clone, Debug)]
pub struct Client {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: Config,
    tasks: Tasks,
    masters: Masters,
    session: Arc<Session>,
    inodes: Inodes,
    paths: Paths,
    admin: Admin,
    preloads: Preloads,
    router: Router,
    channels: Arc<Channels>,
    files: Arc<LocalFiles>,
    readers: Arc<Readers>,
    writers: Arc<Writers>,
    events: broadcast::Sender<Event>,
    metrics: ClientMetrics,
}

impl Client {
    /// A client that counts into `metrics`. Must be called within a tokio runtime.
    #[must_use]
    pub fn new(config: Config, metrics: &Metrics) -> Client {
        let tasks = Tasks::new(config.role.clone());
        let metrics = ClientMetrics::register(metrics);
        let masters = Masters::new(
            MastersConfig {
                addresses: config.masters.clone(),
                role: config.role.clone(),
                caller: config.caller.clone(),
                cluster: config.cluster.clone(),
                deadline: config.deadline,
                control: config.control.clone(),
            },
            &tasks,
        );
        let description =
            format!("{} of {} in process {}", config.role, config.caller.user, std::process::id());
        let session = Arc::new(Session::new(masters.clone(), description));
        session.keep(&tasks);
        let preloads = Preloads::new(masters.clone(), session.clone(), config.caller.clone());
        let inodes = Inodes::new(masters.clone(), session.clone(), config.sync_interval_ms);
        let defaults = CreateOptions { block_size: config.block_size, write_type: config.write_type };
        let router = Router::new(masters.clone(), &config);
        let channels = Arc::new(Channels::new(masters.clone(), &config, &tasks));
        let files = Arc::new(LocalFiles::new(router.clone(), channels.clone(), &config, &tasks));
        let readers = readers(&config, &inodes, &router, &channels, &files, &metrics, &tasks);
        let writers = Arc::new(Writers::new(
            inodes.clone(),
            router.clone(),
            channels.clone(),
            metrics.clone(),
            &config,
        ));
        let client = Client {
            inner: Arc::new(Inner {
                paths: Paths::new(inodes.clone(), config.caller.clone(), defaults),
                admin: Admin::new(&config, &masters),
                preloads,
                events: broadcast::Sender::new(changes::BACKLOG),
                config,
                tasks,
                masters,
                session,
                inodes,
                router,
                channels,
                files,
                readers,
                writers,
                metrics,
            }),
        };
        client.start();
        client
    }

    fn start(&self) {
        let inner = &self.inner;
        inner.router.keep_fresh(inner.config.workers_refresh, &inner.tasks);
        inner.files.keep_searching(&inner.tasks);
        let (masters, session) = (inner.masters.clone(), inner.session.clone());
        changes::watch(masters, session, inner.events.clone(), inner.metrics.clone(), &inner.tasks);
        let mut listener = self.changes();
        let files = inner.files.clone();
        let stop = inner.tasks.stop();
        inner.tasks.spawn("forget-files", async move {
            loop {
                let event = tokio::select! {
                    () = stop.cancelled() => return,
                    event = listener.next() => event,
                };
                match event {
                    Some(Event::Changed(change) | Event::Own(change)) => {
                        if let Some(content) = ContentId::from_raw(change.node) {
                            files.forget(content);
                        }
                    }
                    Some(Event::Overrun) => files.forget_all(),
                    None => return,
                }
            }
        });
    }

    /// What it was told at its start.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.inner.config
    }

    /// The namespace by inode.
    #[must_use]
    pub fn inodes(&self) -> &Inodes {
        &self.inner.inodes
    }

    /// The namespace by path, on behalf of the configured caller.
    #[must_use]
    pub fn paths(&self) -> &Paths {
        &self.inner.paths
    }

    pub(crate) fn calls(&self) -> &Masters {
        &self.inner.masters
    }

    pub(crate) fn deadline(&self) -> Duration {
        self.inner.config.deadline
    }

    /// Trees that the masters have workers cache.
    #[must_use]
    pub fn preloads(&self) -> &Preloads {
        &self.inner.preloads
    }

    /// What only the public protocol has.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.inner.admin
    }

    /// The workers and which of them to ask.
    #[must_use]
    pub fn router(&self) -> &Router {
        &self.inner.router
    }

    /// Listens to changes of the namespace from now on.
    #[must_use]
    pub fn changes(&self) -> Listener {
        Listener::new(self.inner.events.subscribe())
    }

    /// Waits until a leader and, if there is one, the list of workers are known.
    ///
    /// # Errors
    /// `Unavailable` or `DeadlineExceeded` naming the masters, `WrongCluster`.
    pub async fn ready(&self) -> Result<()> {
        self.inner.router.refresh().await
    }

    /// `host:port` of the leading master.
    ///
    /// # Errors
    /// `Unavailable` after the deadline.
    pub async fn leader(&self) -> Result<String> {
        self.inner.masters.leader().await
    }

    /// All masters and which of them leads, on the word of any that answers; rather one that knows a leader.
    ///
    /// # Errors
    /// `Unavailable` naming the masters that were asked.
    pub async fn describe(&self) -> Result<ClusterResponse> {
        let mut known = None;
        let mut last = None;
        for address in &self.inner.config.masters {
            let asked: Result<ClusterResponse> = match self.inner.masters.channel(address).await {
                Ok(channel) => channel.call(method::CLUSTER, &ClusterRequest {}).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(cluster) if cluster.masters.iter().any(|master| master.leader) => return Ok(cluster),
                Ok(cluster) => known = Some(cluster),
                Err(error) => last = Some(error),
            }
        }
        let nobody = || Error::new(Code::InvalidArgument, "no master is configured");
        known.ok_or_else(|| {
            last.map_or_else(nobody, |error| {
                error.context(format!("no master answers of {}", self.inner.config.masters.join(", ")))
            })
        })
    }

    /// What the leading master says about itself and the cluster.
    ///
    /// # Errors
    /// `Unavailable` when none leads within the deadline.
    pub async fn describe_leader(&self) -> Result<ClusterResponse> {
        let leader = self.leader().await?;
        self.inner.masters.channel(&leader).await?.call(method::CLUSTER, &ClusterRequest {}).await
    }

    /// Every worker the leading master knows, lost ones too.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn workers(&self) -> Result<Vec<WorkerEntry>> {
        let answer: WorkersResponse = self.inner.masters.call(method::WORKERS, &WorkersRequest {}).await?;
        Ok(answer.workers)
    }

    /// The configured masters.
    #[must_use]
    pub fn masters(&self) -> &[String] {
        &self.inner.config.masters
    }

    /// The cluster, once it was met.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterMark> {
        self.inner.masters.cluster()
    }

    /// What the master at `address` says of the cluster and itself, whether it leads or not.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer.
    pub async fn ask_master(&self, address: &str) -> Result<ClusterResponse> {
        self.ask_this(address, method::CLUSTER, &ClusterRequest {}).await
    }

    /// Index, length and checksum of the copy of the namespace that the master at `address` holds, whether it leads or
    /// not: copies of the same index must be the same.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer, `Busy` when it makes another digest already.
    pub async fn digest(&self, address: &str) -> Result<DigestResponse> {
        self.ask_this(address, method::DIGEST, &DigestRequest {}).await
    }

    /// Asks the master at `address` and no other.
    async fn ask_this<Q: Message, A: Message + Default>(
        &self,
        address: &str,
        method: Method,
        request: &Q,
    ) -> Result<A> {
        let asked = async { self.inner.masters.channel(address).await?.call(method, request).await };
        let limit = self.inner.config.connect_timeout;
        tokio::time::timeout(limit, asked).await.unwrap_or_else(|_| {
            Err(Error::new(Code::Unavailable, format!("master {address} did not answer within {limit:?}")))
        })
    }

    /// Reads the content that `attr` names, as it is now. Costs nothing until the first read.
    ///
    /// # Errors
    /// `IsDirectory` when `attr` is not a file's.
    pub fn reader(&self, attr: &Attr) -> Result<Reader> {
        file_only(attr)?;
        Ok(Reader::new(self.inner.readers.clone(), attr))
    }

    /// Writes the content that `attr` names (just created or truncated) from its first byte, on behalf of `caller`.
    ///
    /// # Errors
    /// `IsDirectory` when `attr` is not a file's.
    pub fn writer(&self, attr: &Attr, caller: &Caller) -> Result<Writer> {
        file_only(attr)?;
        Ok(Writer::new(self.inner.writers.clone(), attr, caller))
    }

    /// The whole file of `attr`'s content by descriptor, if a worker on this machine has it completely. Asks over a Unix
    /// socket unless a lease was kept.
    pub async fn local_file(&self, attr: &Attr) -> Option<LocalFile> {
        if !attr.completed || attr.kind() != NodeKind::File {
            return None;
        }
        self.inner.files.open(ContentId(attr.content), attr.generation, attr.length).await
    }

    /// Caches a whole content at the worker that should have it, one on this machine if there is any; answers when done.
    /// Returns which worker, the bytes it fetched, and whether it had everything before.
    ///
    /// # Errors
    /// `Ufs`, `NoSpace`, `Stale`; `Unavailable` when no worker answers.
    pub async fn load(&self, content: ContentId) -> Result<(WorkerId, FillContentResponse)> {
        self.inner.files.known().await;
        self.inner.router.ensure().await?;
        let mut last = self.inner.router.nobody();
        for worker in self.inner.router.candidates(content.block(0), &[]) {
            let request = FillContentRequest { content: content.0 };
            let filled = match self.inner.channels.to(&worker).await {
                Ok(channel) => channel.call(method::FILL_CONTENT, &request).await,
                Err(error) => Err(error),
            };
            match filled {
                Ok(filled) => return Ok((worker.id, filled)),
                Err(error) if error.code.retryable() => {
                    self.inner.router.failed(worker.id);
                    last = error;
                }
                Err(error) => return Err(error),
            }
        }
        Err(last)
    }

    /// How many bytes of each content each live worker has, workers in the order of their ids. A worker that does not
    /// answer is left out.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn cached(&self, contents: &[ContentId]) -> Result<Vec<(WorkerId, Vec<u64>)>> {
        self.inner.router.ensure().await?;
        let request = CachedRequest { contents: contents.iter().map(|content| content.0).collect() };
        let mut found = Vec::new();
        for worker in self.inner.router.workers().into_iter().filter(|worker| worker.live) {
            let asked: Result<CachedResponse> = match self.inner.channels.to(&worker).await {
                Ok(channel) => channel.call(method::CACHED, &request).await,
                Err(error) => Err(error),
            };
            match asked {
                Ok(answer) => found.push((worker.id, answer.bytes)),
                Err(error) => {
                    tracing::debug!(worker = %worker.rpc(), %error, "no word on what it has cached")
                }
            }
        }
        Ok(found)
    }

    /// The search for the leading master that calls wait for, if one is under way.
    #[must_use]
    pub fn searching(&self) -> Option<Search> {
        self.inner.masters.searching()
    }

    /// The read or write that has waited longest for a worker to take it, if one waits.
    #[must_use]
    pub fn waiting_for_worker(&self) -> Option<WorkerWait> {
        self.inner.router.waits().longest()
    }

    /// Ends the tasks in the background; calls after it fail. Returns the names of tasks that had to be cut off.
    pub async fn shutdown(&self, grace: Duration) -> Vec<String> {
        self.inner.files.forget_all();
        self.inner.tasks.shutdown(grace).await
    }

    /// As [`Client::shutdown`], for one who has no other clone and no reader or writer left: connections close at once,
    /// where they else wait a moment for calls that may come.
    pub async fn leave(self, grace: Duration) -> Vec<String> {
        self.inner.files.forget_all();
        let tasks = self.inner.tasks.clone();
        drop(self);
        tasks.shutdown(grace).await
    }
}

fn readers(
    config: &Config,
    inodes: &Inodes,
    router: &Router,
    channels: &Arc<Channels>,
    files: &Arc<LocalFiles>,
    metrics: &ClientMetrics,
    tasks: &Tasks,
) -> Arc<Readers> {
    let (router, channels, files) = (router.clone(), channels.clone(), files.clone());
    let fetcher = Fetcher::new(inodes.clone(), router, channels, files.clone(), metrics.clone(), config);
    let chunks = config.read_ahead_total.div_ceil(Readers::CHUNK);
    Arc::new(Readers {
        fetcher: Arc::new(fetcher),
        files,
        metrics: metrics.clone(),
        tasks: tasks.clone(),
        read_ahead: config.read_ahead,
        budget: Arc::new(Semaphore::new(usize::try_from(chunks).unwrap_or(Semaphore::MAX_PERMITS))),
    })
}

fn file_only(attr: &Attr) -> Result<()> {
    if attr.kind() == NodeKind::File {
        return Ok(());
    }
    Err(Error::new(Code::IsDirectory, format!("inode {} is not a file", attr.inode)))
}
