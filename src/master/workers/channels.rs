//! Framed connections from this master to workers, one each, kept while they work.

use super::Worker;
use goosefs_core::Result;
use goosefs_core::id::WorkerId;
use goosefs_core::proto::internal::{Caller, HelloRequest};
use goosefs_core::proto::method::Method;
use goosefs_core::raft::Node;
use goosefs_core::rpc::frame::{Channel, Target};
use goosefs_core::task::Tasks;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::time::Duration;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Calls workers.
pub(crate) struct Channels {
    node: Node,
    tasks: Tasks,
    open: Mutex<BTreeMap<WorkerId, (String, Channel)>>,
}

impl Channels {
    pub(crate) fn new(node: Node, tasks: Tasks) -> Channels {
        Channels { node, tasks, open: Mutex::default() }
    }

    /// One request to `worker`, connected to and answered within `timeout`.
    ///
    /// # Errors
    /// The worker's; `Unavailable` or `DeadlineExceeded` when it did not answer.
    pub(crate) async fn call<Q: prost::Message, A: prost::Message + Default>(
        &self,
        worker: &Worker,
        method: Method,
        request: &Q,
        timeout: Duration,
    ) -> Result<A> {
        let asked = async { self.channel(worker).await?.call(method, request).await };
        match tokio::time::timeout(timeout, asked).await {
            Ok(answer) => answer,
            Err(_) => Err(goosefs_core::Error::new(
                goosefs_core::Code::DeadlineExceeded,
                format!("worker {} did not answer {} within {timeout:?}", worker.id, method.name),
            )),
        }
    }

    async fn channel(&self, worker: &Worker) -> Result<Channel> {
        let address = format!("{}:{}", worker.address.host, worker.address.rpc_port);
        if let Some((known, channel)) = self.open.lock().get(&worker.id)
            && *known == address
            && !channel.is_closed()
        {
            return Ok(channel.clone());
        }
        let hello = HelloRequest {
            version: 1,
            cluster: self.node.mark().map(Into::into),
            role: "master".to_owned(),
            caller: Some(Caller::default()),
        };
        let channel =
            Channel::connect(&Target::Tcp(address.clone()), hello, &self.tasks, CONNECT_TIMEOUT).await?;
        self.open.lock().insert(worker.id, (address, channel.clone()));
        Ok(channel)
    }
}
