//! The other workers: where they are, and one framed connection to each.

use goosefs_core::block::Mark;
use goosefs_core::clock::Clock;
use goosefs_core::id::WorkerId;
use goosefs_core::proto::internal::{Caller, ClusterMark, HelloRequest, WorkersRequest, WorkersResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::{Channel, Target};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How old the list of workers may be.
const AGE: Duration = Duration::from_secs(10);

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
}

#[derive(Default)]
struct State {
    addresses: HashMap<WorkerId, String>,
    fetched: Option<Duration>,
    channels: HashMap<WorkerId, Channel>,
}

impl Peers {
    pub(crate) fn new(
        masters: Masters,
        mark: Mark,
        user: String,
        clock: Arc<dyn Clock>,
        tasks: Tasks,
    ) -> Peers {
        Peers { masters, mark, user, clock, tasks, state: tokio::sync::Mutex::default() }
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

    async fn address(&self, state: &mut State, worker: WorkerId) -> Result<String> {
        let now = self.clock.monotonic();
        let fresh = state.fetched.is_some_and(|fetched| now < fetched + AGE);
        if !fresh || !state.addresses.contains_key(&worker) {
            let response: WorkersResponse = self.masters.call(method::WORKERS, &WorkersRequest {}).await?;
            let known = response.workers.into_iter().filter_map(|entry| {
                let address = entry.address?;
                Some((WorkerId(entry.worker), format!("{}:{}", address.host, address.rpc_port)))
            });
            state.addresses = known.collect();
            state.fetched = Some(now);
        }
        state.addresses.get(&worker).cloned().ok_or_else(|| away(worker))
    }
}

fn away(worker: WorkerId) -> Error {
    Error::new(Code::Unavailable, format!("worker {worker} is away"))
}
