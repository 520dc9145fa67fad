//! A worker of the tests: it registers, holds contents, uploads and drops them.

use super::cluster::Cluster;
use async_trait::async_trait;
use goosefs_core::proto::internal::{
    CachedRequest, CachedResponse, CommitBlockRequest, DropContentsRequest, DropContentsResponse, Empty,
    Fingerprint, HeartbeatRequest, HeartbeatResponse, HelloRequest, HelloResponse, TierUsage,
    UploadContentRequest, UploadContentResponse, WorkerAddress,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::{Call, FrameService, Peer};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::rpc::server;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// A worker whose bytes are all `x`.
pub(super) struct TestWorker {
    pub(super) id: u64,
    address: WorkerAddress,
    ufs: PathBuf,
    pub(super) uploads: AtomicUsize,
    /// Uploads that fail before one succeeds.
    pub(super) failures: AtomicUsize,
    /// The next upload is done but never answered.
    pub(super) silent: AtomicBool,
    pub(super) dropped: Mutex<Vec<u64>>,
    /// What it says that it has cached of every content.
    pub(super) cached: u64,
}

impl TestWorker {
    /// A worker that listens; it is not known to anybody yet.
    pub(super) async fn start(cluster: &Cluster, id: u64) -> Arc<TestWorker> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let address = WorkerAddress {
            host: "127.0.0.1".to_owned(),
            rpc_port: u32::from(port),
            web_port: 0,
            socket: String::new(),
        };
        let worker = Arc::new(TestWorker {
            id,
            address,
            ufs: cluster.ufs(),
            uploads: AtomicUsize::new(0),
            failures: AtomicUsize::new(0),
            silent: AtomicBool::new(false),
            dropped: Mutex::default(),
            cached: 5,
        });
        let routes = tonic::service::Routes::default();
        let frames: Arc<dyn FrameService> = Arc::new(Answers(worker.clone()));
        server::serve("worker", listener, routes, Some(frames), &cluster.tasks).unwrap();
        worker
    }

    pub(super) fn heartbeat(&self, dropped_after: u64) -> HeartbeatRequest {
        HeartbeatRequest {
            worker: self.id,
            address: Some(self.address.clone()),
            virtual_nodes: 5000,
            tiers: vec![TierUsage { alias: "SSD".to_owned(), capacity: 1000, used: 100 }],
            unpersisted: 10,
            dropped_after,
            ..HeartbeatRequest::default()
        }
    }

    /// Tells every master that it is alive, once.
    pub(super) async fn beat(&self, client: &Masters) -> Vec<HeartbeatResponse> {
        let mut answers = Vec::new();
        for address in client.addresses() {
            let Ok(channel) = client.channel(address).await else { continue };
            let answer: HeartbeatResponse =
                channel.call(method::HEARTBEAT, &self.heartbeat(0)).await.unwrap();
            answers.push(answer);
        }
        answers
    }

    /// Commits that it has `length` bytes of a block.
    pub(super) async fn commit(&self, client: &Masters, block: u64, length: u64) {
        let request = CommitBlockRequest { block, worker: self.id, length, generation: 1 };
        let _: Empty = client.call(method::COMMIT_BLOCK, &request).await.unwrap();
    }

    fn upload(&self, request: &UploadContentRequest) -> Result<UploadContentResponse> {
        self.uploads.fetch_add(1, Ordering::SeqCst);
        let left = self.failures.load(Ordering::SeqCst);
        if left > 0 {
            self.failures.store(left - 1, Ordering::SeqCst);
            return Err(Error::new(Code::Ufs, "the storage is in a bad mood"));
        }
        let path = self.ufs.join(&request.ufs_path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, vec![b'x'; usize::try_from(request.length).unwrap()]).unwrap();
        let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
        let mtime_ms = modified.duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let fingerprint = Fingerprint {
            length: request.length,
            mtime_ms: u64::try_from(mtime_ms).ok(),
            etag: String::new(),
        };
        Ok(UploadContentResponse { fingerprint: Some(fingerprint) })
    }
}

struct Answers(Arc<TestWorker>);

#[async_trait]
impl FrameService for Answers {
    fn hello(&self, _: &Peer, _: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse {
            version: 1,
            cluster: None,
            worker: self.0.id,
            node: 0,
            ..HelloResponse::default()
        })
    }

    async fn call(&self, call: Call) {
        match call.method {
            method::UPLOAD_CONTENT => {
                let silent = self.0.silent.swap(false, Ordering::SeqCst);
                let outcome = call.request().and_then(|request| self.0.upload(&request));
                if silent {
                    call.cancelled().cancelled().await;
                }
                call.answer(outcome).await;
            }
            method::DROP_CONTENTS => {
                let request: DropContentsRequest = call.request().unwrap();
                assert!(!request.unpersisted_too);
                self.0.dropped.lock().extend(request.contents);
                call.answer(Ok(DropContentsResponse { freed: 1 })).await;
            }
            method::CACHED => {
                let request: CachedRequest = call.request().unwrap();
                let bytes = request.contents.iter().map(|_| self.0.cached).collect();
                call.answer(Ok(CachedResponse { bytes })).await;
            }
            other => call.answer::<Empty>(Err(Error::new(Code::Unimplemented, other.name))).await,
        }
    }
}
