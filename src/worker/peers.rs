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
use goosefs_core::rpc::frame::{Channel, Payloads, Target};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How old the list of workers may be.
const AGE: Duration = Duration::from_secs(1);

/// How many of a content's owners on the ring are asked for it.
const OWNERS: usize = 2;

/// How long a content that no peer had is not asked for again.
const LACKING: Duration = Duration::from_secs(10);

/// Most contents that are remembered to be lacking.
const MOST_LACKING: usize = 4096;

/// How long a peer may take to send the first bytes of what it has cached.
const FIRST_BYTES: Duration = Duration::from_secs(2);

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
    state: tokio::sync::Mutex<State>,
    own: WorkerId,
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

#[derive(Default)]
struct State {
    addresses: HashMap<WorkerId, String>,
    fetched: Option<Duration>,
    channels: HashMap<WorkerId, Channel>,
    /// The living workers.
    ring: Arc<Ring>,
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
            state: tokio::sync::Mutex::default(),
            own,
            lacking: Mutex::default(),
        }
    }

    /// A connection to `worker`.
    ///
    /// # Errors
    /// `Unavailable` when the masters do not know where it is, or it does not answer.
    pub(crate) async fn channel(&self, worker: WorkerId) -> Result<Channel> {
        let mut state = self.state.lock().await;
        state.channels.retain(|_, channel| !channel.is_closed());
        if let Some(channel) = state.channels.get(&worker) {
            return Ok(channel.clone());
        }
        let address = self.address(&mut state, worker).await?;
        drop(state);
        let hello = HelloRequest {
            version: 1,
            cluster: Some(wire_mark(self.mark)),
            role: "worker".to_owned(),
            caller: Some(Caller { user: self.user.clone(), group: String::new() }),
        };
        let connected = Channel::connect(&Target::Tcp(address.clone()), hello, &self.tasks, CONNECT).await;
        let mut state = self.state.lock().await;
        let channel = connected.inspect_err(|_| state.fetched = None)?;
        if channel.hello().worker != worker.0 {
            state.fetched = None;
            return Err(away(worker).hint(format!("another worker answers at {address}")));
        }
        state.channels.insert(worker, channel.clone());
        Ok(channel)
    }

    /// The bytes of `wanted` from a peer that has them cached; `None` when none has.
    pub(crate) async fn cached(&self, wanted: Wanted) -> Option<BoxStream<'static, Result<Bytes>>> {
        let now = self.clock.monotonic();
        if self.lacking.lock().get(&wanted.content).is_some_and(|until| now < *until) {
            return None;
        }
        for peer in self.owners(wanted.content).await {
            match tokio::time::timeout(FIRST_BYTES, self.ask(peer, wanted)).await {
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

    async fn owners(&self, content: ContentId) -> Vec<WorkerId> {
        let mut state = self.state.lock().await;
        if let Err(error) = self.refresh(&mut state).await {
            tracing::debug!(%error, "the list of workers is not known");
        }
        // One more, since we may be among them.
        let owners = state.ring.candidates(content.block(0), OWNERS + 1);
        owners.into_iter().filter(|owner| *owner != self.own).take(OWNERS).collect()
    }

    async fn ask(&self, peer: WorkerId, wanted: Wanted) -> Result<BoxStream<'static, Result<Bytes>>> {
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
        let rest = stream::try_unfold(payloads, |mut payloads: Payloads| async move {
            Ok(payloads.next().await?.map(|bytes| (bytes, payloads)))
        });
        Ok(stream::once(async move { Ok(first) }).chain(rest).boxed())
    }

    /// Asks for the list of workers if ours is old.
    async fn refresh(&self, state: &mut State) -> Result<()> {
        let now = self.clock.monotonic();
        if state.fetched.is_some_and(|fetched| now < fetched + AGE) {
            return Ok(());
        }
        let response: WorkersResponse = self.masters.call(method::WORKERS, &WorkersRequest {}).await?;
        let members = response.workers.iter().filter(|entry| entry.live).filter_map(|entry| {
            entry.address.as_ref()?;
            // Hosts are not compared: a peer on the same machine is the nearest of all.
            Some(Member {
                worker: WorkerId(entry.worker),
                host: String::new(),
                virtual_nodes: entry.virtual_nodes,
            })
        });
        state.ring = Arc::new(Ring::new(members));
        let known = response.workers.into_iter().filter_map(|entry| {
            let address = entry.address?;
            Some((WorkerId(entry.worker), format!("{}:{}", address.host, address.rpc_port)))
        });
        state.addresses = known.collect();
        state.fetched = Some(now);
        Ok(())
    }

    async fn address(&self, state: &mut State, worker: WorkerId) -> Result<String> {
        if !state.addresses.contains_key(&worker) {
            state.fetched = None;
        }
        self.refresh(state).await?;
        state.addresses.get(&worker).cloned().ok_or_else(|| away(worker))
    }
}

fn away(worker: WorkerId) -> Error {
    Error::new(Code::Unavailable, format!("worker {worker} is away"))
}
