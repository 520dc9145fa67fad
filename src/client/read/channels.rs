//! Framed connections to workers, one each, made when first needed and made anew when broken.

use crate::config::Config;
use crate::route::Worker;
use goosefs_core::id::WorkerId;
use goosefs_core::proto::internal::{ClusterMark, HelloRequest};
use goosefs_core::rpc::frame::Channel;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Version of the frame protocol.
pub(crate) const FRAME_VERSION: u32 = 1;

/// How long a worker may take to say hello, at most: whoever waits can ask another one.
const CONNECT: Duration = Duration::from_secs(2);

/// Connections to workers.
#[derive(Debug)]
pub(crate) struct Channels {
    masters: Masters,
    hello: HelloRequest,
    timeout: Duration,
    tasks: Tasks,
    slots: Mutex<BTreeMap<String, Arc<Slot>>>,
}

/// Locked while a connection is being made, so that many callers make one or share its failure.
type Slot = tokio::sync::Mutex<State>;

#[derive(Debug, Default)]
struct State {
    channel: Option<Channel>,
    failed: Option<(Instant, Error)>,
}

impl Channels {
    pub(crate) fn new(masters: Masters, config: &Config, tasks: &Tasks) -> Channels {
        Channels {
            masters,
            hello: HelloRequest {
                version: FRAME_VERSION,
                cluster: config.cluster.clone(),
                role: config.role.clone(),
                caller: Some(config.caller.clone()),
            },
            timeout: config.connect_timeout.min(CONNECT),
            tasks: tasks.clone(),
            slots: Mutex::default(),
        }
    }

    /// A connection to `worker`.
    ///
    /// # Errors
    /// `Unavailable` when it does not answer or another worker does, `WrongCluster` when it is not ours.
    pub(crate) async fn to(&self, worker: &Worker) -> Result<Channel> {
        let address = worker.rpc();
        let slot = self.slots.lock().entry(address.clone()).or_default().clone();
        let asked = Instant::now();
        let mut held = slot.lock().await;
        if let Some(channel) = held.channel.as_ref().filter(|channel| !channel.is_closed()) {
            check(channel, worker.id, &address)?;
            return Ok(channel.clone());
        }
        if let Some((_, error)) = held.failed.as_ref().filter(|(at, _)| *at >= asked) {
            return Err(error.clone());
        }
        let connected = Channel::connect_worker(&address, self.hello(), &self.tasks, self.timeout).await;
        *held = match &connected {
            Ok(channel) => State { channel: Some(channel.clone()), failed: None },
            Err(error) => State { channel: None, failed: Some((Instant::now(), error.clone())) },
        };
        let channel = connected?;
        check(&channel, worker.id, &address)?;
        Ok(channel)
    }

    /// How we introduce ourselves, with the cluster's mark once we met its masters.
    pub(crate) fn hello(&self) -> HelloRequest {
        let cluster: Option<ClusterMark> = self.masters.cluster().or_else(|| self.hello.cluster.clone());
        HelloRequest { cluster, ..self.hello.clone() }
    }
}

/// An address may have passed to another worker than the masters' list says.
fn check(channel: &Channel, expected: WorkerId, address: &str) -> Result<()> {
    let found = channel.hello().worker;
    if found == expected.0 {
        return Ok(());
    }
    Err(Error::new(Code::Unavailable, format!("{address} is worker {found} now, not worker {expected}")))
}
