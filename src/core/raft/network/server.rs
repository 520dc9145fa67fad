//! What peers ask of us: the Raft service on the Raft port, beside whatever else is served there.

use super::client::MAX_MESSAGE;
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use crate::proto::raft::raft_server::{Raft as RaftApi, RaftServer};
use crate::raft::ClusterMark;
use crate::raft::addresses::Addresses;
use crate::raft::ground::{Ground, Line, blocking};
use crate::raft::log::LogStore;
use crate::raft::me::Me;
use crate::raft::members::Members;
use crate::raft::observe::Lease;
use crate::raft::snapshot::{self, Snapshots};
use crate::raft::state::StateMachine;
use crate::raft::types::{
    Malformed, Types, entry_from_wire, log_id_from_wire, log_id_to_wire, need_vote, vote_to_wire,
};
use openraft::errors::{Fatal, RaftError};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, TransferLeaderRequest, VoteRequest, VoteResponse,
};
use openraft::storage::Snapshot;
use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio_stream::StreamExt;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status, Streaming};
use tower::util::BoxCloneSyncService;
use tower::{Service as Tower, ServiceExt};

type Raft = openraft::Raft<Types, StateMachine>;

/// Answers peers.
#[derive(Clone)]
pub(in crate::raft) struct Service {
    inner: Arc<Inner>,
}

struct Inner {
    me: Arc<Me>,
    raft: Raft,
    log: LogStore,
    snapshots: Arc<Snapshots>,
    members: Members,
    lease: Arc<Lease>,
    incoming: tokio::sync::Mutex<Option<Incoming>>,
}

/// A snapshot that is being received.
struct Incoming {
    id: String,
    length: u64,
    crc32c: u32,
    file: Arc<File>,
    received: u64,
}

impl Service {
    pub(in crate::raft) fn new(
        me: Arc<Me>,
        raft: Raft,
        log: LogStore,
        snapshots: Arc<Snapshots>,
        members: Members,
        lease: Arc<Lease>,
    ) -> Service {
        Service {
            inner: Arc::new(Inner {
                me,
                raft,
                log,
                snapshots,
                members,
                lease,
                incoming: tokio::sync::Mutex::default(),
            }),
        }
    }
}

fn fatal(error: &dyn std::error::Error) -> Status {
    Error::new(Code::Unavailable, format!("Raft has stopped on this master: {error}")).into()
}

fn raft_error(error: RaftError<Types>) -> Status {
    fatal(&error)
}

fn fatal_error(error: Fatal<Types>) -> Status {
    fatal(&error)
}

fn vote_request(request: &wire::VoteRequest) -> Result<VoteRequest<Types>, Malformed> {
    Ok(VoteRequest {
        vote: need_vote(request.vote.as_ref())?,
        last_log_id: request.last_log.as_ref().map(log_id_from_wire),
        leadership_transfer: request.leadership_transfer,
    })
}

fn vote_response(response: &VoteResponse<Types>) -> Response<wire::VoteResponse> {
    Response::new(wire::VoteResponse {
        vote: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last_log: response.last_log_id.as_ref().map(log_id_to_wire),
    })
}

#[tonic::async_trait]
impl RaftApi for Service {
    async fn append(
        &self,
        request: Request<wire::AppendRequest>,
    ) -> Result<Response<wire::AppendResponse>, Status> {
        let request = request.into_inner();
        self.inner.me.admit(request.cluster.as_ref(), request.target).await?;
        let entries = request.entries.into_iter().map(entry_from_wire).collect::<Result<_, _>>()?;
        let request = AppendEntriesRequest {
            vote: need_vote(request.vote.as_ref())?,
            prev_log_id: request.previous.as_ref().map(log_id_from_wire),
            entries,
            leader_commit: request.committed.as_ref().map(log_id_from_wire),
        };
        use wire::append_response::Outcome;
        let outcome = match self.inner.raft.append_entries(request).await.map_err(raft_error)? {
            AppendEntriesResponse::Success => Outcome::Success(true),
            AppendEntriesResponse::PartialSuccess(Some(id)) => Outcome::Partial(log_id_to_wire(&id)),
            AppendEntriesResponse::PartialSuccess(None) => Outcome::PartialNone(true),
            AppendEntriesResponse::Conflict => Outcome::Conflict(true),
            AppendEntriesResponse::HigherVote(vote) => Outcome::HigherVote(vote_to_wire(&vote)),
        };
        Ok(Response::new(wire::AppendResponse { outcome: Some(outcome) }))
    }

    async fn vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let request = request.into_inner();
        self.inner.me.admit(request.cluster.as_ref(), request.target).await?;
        self.inner.keep_promise(request.leadership_transfer)?;
        let response = self.inner.raft.vote(vote_request(&request)?).await.map_err(raft_error)?;
        Ok(vote_response(&response))
    }

    async fn pre_vote(
        &self,
        request: Request<wire::VoteRequest>,
    ) -> Result<Response<wire::VoteResponse>, Status> {
        let request = request.into_inner();
        self.inner.me.admit(request.cluster.as_ref(), request.target).await?;
        self.inner.keep_promise(false)?;
        let response = self.inner.raft.pre_vote(vote_request(&request)?).await.map_err(raft_error)?;
        Ok(vote_response(&response))
    }

    async fn transfer_leader(
        &self,
        request: Request<wire::TransferLeaderRequest>,
    ) -> Result<Response<wire::TransferLeaderResponse>, Status> {
        let request = request.into_inner();
        self.inner.me.admit(request.cluster.as_ref(), request.target).await?;
        let from = need_vote(request.from.as_ref())?;
        let last = request.last_log.as_ref().map(log_id_from_wire);
        let transfer = TransferLeaderRequest::new(from, request.to, last);
        match self.inner.raft.handle_transfer_leader(transfer).await.map_err(fatal_error)? {
            Ok(()) => Ok(Response::new(wire::TransferLeaderResponse {})),
            Err(refused) => Err(Error::new(Code::Busy, refused.to_string()).into()),
        }
    }

    async fn snapshot(
        &self,
        request: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        let mut chunks = request.into_inner();
        let Some(first) = chunks.next().await.transpose()? else {
            return Err(Malformed("a snapshot call without chunks").into());
        };
        self.inner.me.admit(first.cluster.as_ref(), first.target).await?;
        let vote = need_vote(first.vote.as_ref())?;
        let meta = first.meta.clone().ok_or(Malformed("a snapshot without head"))?;
        let mut slot = self.inner.incoming.lock().await;
        let incoming = match slot.take() {
            Some(incoming) if incoming.is(&meta) => slot.insert(incoming),
            _ => slot.insert(self.inner.begin(&meta)?),
        };
        let mut next = Some(first);
        while let Some(chunk) = next {
            incoming.take(chunk, &self.inner.me.config.ground).await?;
            next = chunks.next().await.transpose()?;
        }
        if incoming.received < incoming.length {
            let received = incoming.received;
            return Ok(Response::new(wire::SnapshotResponse {
                vote: Some(vote_to_wire(&vote)),
                received,
                installed: false,
            }));
        }
        let (received, crc32c) = (incoming.received, incoming.crc32c);
        *slot = None;
        let path = self.inner.snapshots.incoming();
        let ground = &self.inner.me.config.ground;
        let checked = blocking(ground, move || snapshot::check(&path))
            .await
            .map_err(|e| Status::internal(e.to_string()))?;
        let (meta, file) = checked?;
        if file.crc32c != crc32c {
            return Err(Error::new(Code::Corrupt, "a snapshot arrived with another checksum").into());
        }
        let snapshot = Snapshot { meta, snapshot: file };
        let response = self.inner.raft.install_full_snapshot(vote, snapshot).await.map_err(fatal_error)?;
        Ok(Response::new(wire::SnapshotResponse {
            vote: Some(vote_to_wire(&response.vote)),
            received,
            installed: true,
        }))
    }

    async fn identify(
        &self,
        request: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        let me = &self.inner.me;
        let request = request.into_inner();
        let theirs = ClusterMark::from_wire(request.cluster.as_ref());
        if theirs.is_some() && theirs == me.mark() {
            me.learn(&Addresses::from_wire(&request.addresses)).await;
        }
        let identity = me.identity();
        let leader = self.inner.members.leader().map(|leader| leader.rpc);
        Ok(Response::new(wire::IdentifyResponse {
            slot: identity.slot,
            node: identity.node.0,
            cluster: me.wire_mark(),
            empty: self.inner.log.is_empty() && !identity.member,
            leader: leader.unwrap_or_default(),
            rpc: me.rpc_address(identity.slot).unwrap_or_default(),
            addresses: me.addresses().to_wire(),
        }))
    }

    async fn read_index(
        &self,
        request: Request<wire::ReadIndexRequest>,
    ) -> Result<Response<wire::ReadIndexResponse>, Status> {
        let request = request.into_inner();
        self.inner.me.admit(request.cluster.as_ref(), request.target).await?;
        self.inner.lease.check()?;
        // Entries that nobody acknowledged yet may be among these; that only makes the asker wait for them.
        Ok(Response::new(wire::ReadIndexResponse { index: self.inner.log.last_index() }))
    }

    async fn join(
        &self,
        request: Request<wire::JoinRequest>,
    ) -> Result<Response<wire::JoinResponse>, Status> {
        Ok(Response::new(self.inner.members.admit(request.into_inner()).await?))
    }
}

impl Inner {
    /// No vote against a leader that an earlier process of this master may have promised to wait for.
    fn keep_promise(&self, leader_asked: bool) -> Result<()> {
        if leader_asked || self.me.quiet().is_zero() {
            return Ok(());
        }
        Err(Error::new(Code::Busy, "this master was just restarted and does not vote yet"))
    }

    fn begin(&self, meta: &wire::SnapshotMeta) -> Result<Incoming> {
        let path = self.snapshots.incoming();
        let file = File::options()
            .create(true)
            .truncate(true)
            .write(true)
            .open(&path)
            .map_err(|e| Error::io(format!("write {}", path.display()), e))?;
        tracing::info!(snapshot = %meta.id, bytes = meta.length, "receiving a snapshot");
        Ok(Incoming {
            id: meta.id.clone(),
            length: meta.length,
            crc32c: meta.crc32c,
            file: Arc::new(file),
            received: 0,
        })
    }
}

impl Incoming {
    fn is(&self, meta: &wire::SnapshotMeta) -> bool {
        self.id == meta.id && self.length == meta.length && self.crc32c == meta.crc32c
    }

    /// Writes a chunk that continues what is there; one that does not is left out, and the answer says where to go on.
    async fn take(&mut self, chunk: wire::SnapshotChunk, ground: &Arc<dyn Ground>) -> Result<()> {
        if chunk.data.is_empty() || chunk.offset != self.received {
            return Ok(());
        }
        let length = chunk.data.len() as u64;
        if self.received + length > self.length {
            return Err(Error::new(Code::InvalidArgument, "a snapshot is longer than its head says"));
        }
        let (file, at) = (self.file.clone(), self.received);
        blocking(ground, move || {
            file.write_all_at(&chunk.data, at)?;
            // In portions, so that the log's fsync does not wait for all of it.
            file.sync_data()
        })
        .await
        .map_err(|e| Error::new(Code::Internal, "writing a snapshot panicked").caused_by(e))?
        .map_err(|e| Error::io("write a received snapshot", e))?;
        self.received += length;
        Ok(())
    }
}

/// Tells our calls from the others': ours run on Raft's threads, the others on their owner's.
#[derive(Clone)]
struct Dispatch {
    raft: RaftServer<Service>,
    others: Option<(Routes, tokio::runtime::Handle)>,
}

const PREFIX: &str = "/goosefs.raft.Raft/";

impl Tower<http::Request<Body>> for Dispatch {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path().starts_with(PREFIX) {
            let raft = self.raft.clone();
            return Box::pin(raft.oneshot(request));
        }
        let Some((routes, handle)) = self.others.clone() else {
            return Box::pin(async { Ok(Status::unimplemented("not served on the Raft port").into_http()) });
        };
        // The handler ends with the connection: dropping this future aborts it.
        let call = AbortOnDrop(handle.spawn(routes.oneshot(request)));
        Box::pin(async move {
            match call.await {
                Ok(response) => response,
                Err(_) => Ok(Status::internal("the call panicked").into_http()),
            }
        })
    }
}

struct AbortOnDrop<T>(tokio::task::JoinHandle<T>);

impl<T> Future for AbortOnDrop<T> {
    type Output = Result<T, tokio::task::JoinError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx)
    }
}

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn server(service: Service) -> RaftServer<Service> {
    RaftServer::new(service).max_decoding_message_size(MAX_MESSAGE).max_encoding_message_size(MAX_MESSAGE)
}

/// Our calls without a port.
pub(in crate::raft) fn line(service: Service) -> Line {
    let calls = server(service).map_request(|request: http::Request<Body>| request);
    BoxCloneSyncService::new(calls.map_err(|never: Infallible| match never {}))
}

/// Serves until `stop`. Runs on Raft's runtime.
pub(in crate::raft) async fn serve(
    listener: TcpListener,
    service: Service,
    others: Option<(Routes, tokio::runtime::Handle)>,
    stop: CancellationToken,
) -> Result<()> {
    let raft = server(service);
    let incoming = TcpIncoming::from(listener).with_nodelay(Some(true));
    let serving = tonic::transport::Server::builder()
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .serve_with_incoming(Dispatch { raft, others }, incoming);
    tokio::select! {
        // Connections are cut: peers' calls must not outlive the log.
        () = stop.cancelled() => Ok(()),
        served = serving => served.map_err(|e| Error::new(Code::Io, format!("the Raft port failed: {e}")).caused_by(e)),
    }
}
