//! The client against small fake masters and workers over real loopback frames, which fail on demand.

mod master;
mod reading;
mod worker;
mod writing;

use crate::{Client, Config};
use goosefs_core::Result;
use goosefs_core::id::ContentId;
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::{Attr, ClusterMark, NodeKind, Persistence, WriteType};
use goosefs_core::rpc::frame::FrameService;
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use master::FakeMasters;
use std::sync::Arc;
use std::time::Duration;
use worker::FakeWorker;

const LONG: Duration = Duration::from_secs(60);

fn mark() -> ClusterMark {
    ClusterMark { cluster_id: vec![7; 16].into(), epoch: 1 }
}

/// A server that can be killed: its connections break in the middle of whatever they carry.
#[derive(Clone, Debug)]
struct Server {
    tasks: Tasks,
    address: String,
}

impl Server {
    async fn start(host: &str, service: Arc<dyn FrameService>) -> Server {
        let tasks = Tasks::new("fake");
        let listener = server::bind("fake", &format!("{host}:0")).await.unwrap();
        let routes = tonic::service::Routes::default();
        let address = server::serve("fake", listener, routes, Some(service), &tasks).unwrap();
        Server { tasks, address: address.to_string() }
    }

    async fn kill(&self) {
        self.tasks.shutdown(Duration::ZERO).await;
    }

    fn port(&self) -> u32 {
        self.address.rsplit(':').next().unwrap().parse().unwrap()
    }
}

/// Three masters that share their state, workers on hosts of their own, and a client that meets them.
struct Cluster {
    masters: Arc<FakeMasters>,
    workers: Vec<Arc<FakeWorker>>,
    client: Client,
}

impl Cluster {
    async fn start(workers: usize) -> Cluster {
        Cluster::with(workers, |_| {}).await
    }

    async fn with(workers: usize, tune: impl FnOnce(&mut Config)) -> Cluster {
        let masters = FakeMasters::start(3).await;
        let mut started = Vec::new();
        for number in 1..=workers as u64 {
            let worker = FakeWorker::start(number, masters.clone()).await;
            masters.add_worker(&worker);
            started.push(worker);
        }
        let mut config = Config::new(masters.addresses());
        config.deadline = LONG;
        config.caller.user = "ann".to_owned();
        tune(&mut config);
        let client = Client::new(config, &Metrics::new());
        Cluster { masters, workers: started, client }
    }

    /// A persisted file of these bytes, whole at every worker.
    fn file(&self, container: u64, bytes: &[u8]) -> Attr {
        let content = goosefs_core::id::ContainerId(container).content();
        for worker in &self.workers {
            worker.put(content, bytes);
        }
        let attr = file_attr(content, bytes.len() as u64);
        self.masters.put(attr.clone());
        attr
    }
}

fn file_attr(content: ContentId, length: u64) -> Attr {
    Attr {
        inode: content.container().inode().0,
        content: content.0,
        kind: NodeKind::File.into(),
        length,
        block_size: 4 << 20,
        completed: true,
        persistence: Persistence::Persisted.into(),
        write_type: WriteType::MustCache.into(),
        generation: 1,
        ..Attr::default()
    }
}

/// Bytes that differ at every offset, so that a piece from the wrong place is noticed.
fn pattern(length: usize) -> Vec<u8> {
    (0..length as u64).map(|at| (at.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 56) as u8).collect()
}

async fn within<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    tokio::time::timeout(LONG, Box::pin(work)).await.expect("took too long")
}
