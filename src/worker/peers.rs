//! The other workers: where they are, one framed connection to each, and what of a persisted content they have cached.
//!
//! A missing range is asked of the peers that own it on the ring before a storage is: a worker that was away, or a
//! reader that met only some of the workers, then costs the storage nothing. A content that no peer had is not asked
//! for again for a while, so a cold file costs one question.

use bytes::Bytes;
use futures::stream::{self, BoxStream, StreamExt};
use goosefs_core::block::Mark;
use goosefs_core::clock::Clock;
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::proto::internal::{
    Caller, ClusterMark, HelloRequest, ReadContentRequest, WorkersRequest, WorkersResponse,
};
use goosefs_core::proto::method;
use goosefs_core::ring::{Member, Ring};
use goosefs_core::rpc::frame::{Channel, Payloads};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// A list of workers that is older has the masters asked for another one, and is used until that comes.
const AGE: Duration = Duration::from_secs(1);

/// How many of a content's owners on the ring are asked for it.
const OWNERS: usize = 2;

/// How long a content that no peer had is not asked for again.
const LACKING: Duration = Duration::from_secs(10);

/// Most contents that are remembered to be lacking.
const MOST_LACKING: usize = 4096;

/// How long a peer may be silent before it has sent all that was asked for and it has cached: a storage is asked then.
const SILENCE: Duration = Duration::from_secs(2);

/// How long a worker may take to say hello.
const CONNECT: Duration = Duration::from_secs(2);

/// The cluster as it is said on the wire.
pub(crate) fn wire_mark(mark: Mark) -> ClusterMark {
    ClusterMark { cluster_id: mark.cluster.0.as_bytes().to_vec().into(), epoch: mark.epoch.0 }
}

/// The cluster as the wire says it; none when the peer does not know it yet.
pub(crate) fn mark_of(wire: Option<&ClusterMark>) -> Option<Mark> {
    let wire = wire?;
    let id = uuid::Uuid::from_slice(&wire.cluster_id).ok().filter(|id| !id.is_nil())?;
    Some(Mark { cluster: goosefs_core::id::ClusterId(id), epoch: goosefs_core::id::Epoch(wire.epoch) })
}

/// The other workers.
pub(crate) struct Peers {
    masters: Masters,
    mark: Mark,
    user: String,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    own: WorkerId,
    known: Mutex<Arc<Known>>,
    /// Held while the masters are asked for their list.
    asking: tokio::sync::Mutex<()>,
    channels: Mutex<HashMap<WorkerId, Channel>>,
    /// Contents that no peer had, and until when they are not asked for.
    lacking: Mutex<HashMap<ContentId, Duration>>,
}

/// A range of a content.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wanted {
    pub(crate) content: ContentId,
    pub(crate) generation: u64,
    pub(crate) offset: u64,
    pub(crate) length: u64,
}

/// The masters' list of workers.
#[derive(Default)]
struct Known {
    /// When it was asked for; none before the first one.
    asked: Option<Duration>,
    addresses: HashMap<WorkerId, String>,
    /// The living ones.
    ring: Ring,
}

impl Known {
    fn new(asked: Duration, list: WorkersResponse) -> Known {
        let members = list.workers.iter().filter(|entry| entry.live).filter_map(|entry| {
            entry.address.as_ref()?;
            // Hosts are not compared: a peer on the same machine is the nearest of all.
            Some(Member {
                worker: WorkerId(entry.worker),
                host: String::new(),
                virtual_nodes: entry.virtual_nodes,
            })
        });
        let ring = Ring::new(members);
        let addresses = list.workers.into_iter().filter_map(|entry| {
            let address = entry.address?;
            Some((WorkerId(entry.worker), format!("{}:{}", address.host, address.rpc_port)))
        });
        Known { asked: Some(asked), addresses: addresses.collect(), ring }
    }
}

impl Peers {
    pub(crate) fn new(
        masters: Masters,
        mark: Mark,
        own: WorkerId,
        user: String,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Peers {
        Peers {
            masters,
            mark,
            user,
            clock,
            tasks,
            own,
            known: Mutex::default(),
            asking: tokio::sync::Mutex::default(),
            channels: Mutex::default(),
            lacking: Mutex::default(),
        }
    }

    /// A connection to `worker`.
    ///
    /// # Errors
    /// `Unavailable` when the masters do not know where it is, or it does not answer.
    pub(crate) async fn channel(self: &Arc<Peers>, worker: WorkerId) -> Result<Channel> {
        if let Some(channel) = self.connected(worker) {
            return Ok(channel);
        }
        let address = self.address(worker).await?;
        let hello = HelloRequest {
            version: 1,
            cluster: Some(wire_mark(self.mark)),
            role: "worker".to_owned(),
            caller: Some(Caller { user: self.user.clone(), group: String::new() }),
        };
        let connected = Channel::connect_worker(&address, hello, &self.tasks, CONNECT).await;
        let channel = connected.inspect_err(|_| self.ask_anew())?;
        if channel.hello().worker != worker.0 {
            self.ask_anew();
            return Err(away(worker).hint(format!("another worker answers at {address}")));
        }
        self.channels.lock().insert(worker, channel.clone());
        Ok(channel)
    }

    fn connected(&self, worker: WorkerId) -> Option<Channel> {
        let mut channels = self.channels.lock();
        channels.retain(|_, channel| !channel.is_closed());
        channels.get(&worker).cloned()
    }

    /// The bytes of `wanted` from a peer that has them cached; `None` when none has.
    pub(crate) async fn cached(
        self: &Arc<Peers>,
        wanted: Wanted,
    ) -> Option<BoxStream<'static, Result<Bytes>>> {
        let now = self.clock.monotonic();
        if self.lacking.lock().get(&wanted.content).is_some_and(|until| now < *until) {
            return None;
        }
        for peer in self.owners(wanted.content).await {
            match tokio::time::timeout(SILENCE, self.ask(peer, wanted)).await {
                Ok(Ok(bytes)) => return Some(bytes),
                Ok(Err(error)) => {
                    tracing::trace!(%peer, content = %wanted.content, %error, "a peer lacks it")
                }
                Err(_) => tracing::debug!(%peer, "a peer takes too long to send what it has cached"),
            }
        }
        self.lacks(wanted.content);
        None
    }

    /// No peer has this content, or the one that did has failed.
    pub(crate) fn lacks(&self, content: ContentId) {
        let now = self.clock.monotonic();
        let mut lacking = self.lacking.lock();
        if lacking.len() >= MOST_LACKING {
            lacking.retain(|_, until| now < *until);
        }
        if lacking.len() < MOST_LACKING {
            lacking.insert(content, now + LACKING);
        }
    }

    async fn owners(self: &Arc<Peers>, content: ContentId) -> Vec<WorkerId> {
        let mut known = self.latest();
        if known.asked.is_none() {
            match tokio::time::timeout(SILENCE, self.refresh()).await {
                Ok(Ok(first)) => known = first,
                Ok(Err(error)) => tracing::debug!(%error, "the list of workers is not known"),
                Err(_) => tracing::debug!("no master tells who the other workers are"),
            }
        }
        // One more, since we may be among them.
        let owners = known.ring.candidates(content.block(0), OWNERS + 1);
        owners.into_iter().filter(|owner| *owner != self.own).take(OWNERS).collect()
    }

    async fn ask(
        self: &Arc<Peers>,
        peer: WorkerId,
        wanted: Wanted,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let channel = self.channel(peer).await?;
        let request = ReadContentRequest {
            content: wanted.content.0,
            offset: wanted.offset,
            length: wanted.length,
            sequential: false,
            cached_only: true,
            generation: wanted.generation,
            in_file: false,
        };
        let mut payloads = channel.read(method::READ_CONTENT, &request).await?;
        let first = payloads.next().await?.ok_or_else(|| away(peer))?;
        let rest = stream::try_unfold(payloads, move |mut payloads: Payloads| async move {
            let next = tokio::time::timeout(SILENCE, payloads.next()).await;
            let bytes = next.map_err(|_| away(peer))??;
            Ok(bytes.map(|bytes| (bytes, payloads)))
        });
        Ok(stream::once(async move { Ok(first) }).chain(rest).boxed())
    }

    /// The list as it is known. Nobody waits for another one while there is one: without masters, too, bytes are served.
    fn latest(self: &Arc<Peers>) -> Arc<Known> {
        let known = self.known.lock().clone();
        if known.asked.is_some_and(|asked| self.clock.monotonic() >= asked + AGE) {
            self.ask_anew();
        }
        known
    }

    /// Has the masters asked for their list, unless that is under way.
    fn ask_anew(self: &Arc<Peers>) {
        if self.asking.try_lock().is_err() {
            return;
        }
        let peers = self.clone();
        let stop = self.tasks.stop();
        self.tasks.spawn_request("peers", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                asked = peers.refresh() => if let Err(error) = asked {
                    tracing::debug!(%error, "no fresh list of workers");
                }
            }
        });
    }

    /// The masters' list of now. Who comes while they are being asked shares the answer.
    async fn refresh(&self) -> Result<Arc<Known>> {
        let wanted = self.clock.monotonic();
        let _one_at_a_time = self.asking.lock().await;
        let known = self.known.lock().clone();
        if known.asked.is_some_and(|asked| asked >= wanted) {
            return Ok(known);
        }
        let asked = self.clock.monotonic();
        let list: WorkersResponse = self.masters.call(method::WORKERS, &WorkersRequest {}).await?;
        let known = Arc::new(Known::new(asked, list));
        *self.known.lock() = known.clone();
        Ok(known)
    }

    async fn address(self: &Arc<Peers>, worker: WorkerId) -> Result<String> {
        if let Some(address) = self.latest().addresses.get(&worker) {
            return Ok(address.clone());
        }
        self.refresh().await?.addresses.get(&worker).cloned().ok_or_else(|| away(worker))
    }
}

fn away(worker: WorkerId) -> Error {
    Error::new(Code::Unavailable, format!("worker {worker} is away"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Cluster;
    use async_trait::async_trait;
    use goosefs_core::clock::ManualClock;
    use goosefs_core::id::{ClusterId, Epoch};
    use goosefs_core::proto::internal::{HelloResponse, WorkerAddress, WorkerEntry};
    use goosefs_core::rpc::frame::{Call, FrameService, Peer};
    use goosefs_core::rpc::server;
    use std::time::Instant;

    const OWN: WorkerId = WorkerId(1);
    const OTHER: WorkerId = WorkerId(2);

    /// A worker that sends a first piece and then only answers pings.
    struct Stuck;

    #[async_trait]
    impl FrameService for Stuck {
        fn hello(&self, _peer: &Peer, request: &HelloRequest) -> Result<HelloResponse> {
            let cluster = request.cluster.clone();
            Ok(HelloResponse { version: 1, cluster, worker: OTHER.0, ..HelloResponse::default() })
        }

        async fn call(&self, mut call: Call) {
            // Who asked may be gone.
            let _ = call.send(Bytes::from_static(b"first")).await;
            std::future::pending().await
        }
    }

    async fn peers(cluster: &Cluster, clock: Arc<ManualClock>) -> Arc<Peers> {
        let listener = server::bind("worker", "127.0.0.1:0").await.unwrap();
        let routes = tonic::service::Routes::default();
        let address =
            server::serve("worker", listener, routes, Some(Arc::new(Stuck)), &cluster.tasks).unwrap();
        let entry = WorkerEntry {
            worker: OTHER.0,
            address: Some(WorkerAddress {
                host: address.ip().to_string(),
                rpc_port: u32::from(address.port()),
                ..WorkerAddress::default()
            }),
            live: true,
            ..WorkerEntry::default()
        };
        cluster.master.facts.lock().workers.insert(OTHER.0, entry);
        let mark = Mark { cluster: ClusterId(uuid::Uuid::from_bytes([7; 16])), epoch: Epoch(1) };
        let masters =
            Masters::new(crate::start::masters_config(&cluster.config("w1", 1 << 20), None), &cluster.tasks);
        Arc::new(Peers::new(masters, mark, OWN, "u".to_owned(), clock, cluster.tasks.clone()))
    }

    fn wanted(content: u64) -> Wanted {
        Wanted { content: ContentId(content), generation: 1, offset: 0, length: 10 }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn a_peer_that_stops_sending_is_an_error_before_a_reader_minds() {
        let cluster = Cluster::start().await;
        let peers = peers(&cluster, ManualClock::at(0)).await;
        let mut bytes = peers.cached(wanted(1)).await.expect("the peer sends");
        assert_eq!(bytes.next().await.unwrap().unwrap(), "first");
        let asked = Instant::now();
        let error = bytes.next().await.unwrap().unwrap_err();
        assert_eq!(error.code, Code::Unavailable, "{error}");
        assert!(asked.elapsed() < 2 * SILENCE, "{:?}", asked.elapsed());
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn nobody_waits_for_masters_while_a_list_is_known() {
        let cluster = Cluster::start().await;
        let clock = ManualClock::at(0);
        let peers = peers(&cluster, clock.clone()).await;
        assert!(peers.cached(wanted(1)).await.is_some());
        cluster.master.facts.lock().silent = true;
        clock.advance(2 * AGE);
        let asked = Instant::now();
        assert!(peers.cached(wanted(2)).await.is_some(), "by the old list");
        assert!(asked.elapsed() < SILENCE, "{:?}", asked.elapsed());
    }
}
