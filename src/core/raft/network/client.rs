//! Calls to peers. Connections are kept, one for each kind of traffic, so that no heartbeat waits behind a batch of
//! entries or a snapshot.

use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use crate::proto::raft::raft_client::RaftClient;
use crate::raft::ground::{Ground, Line, blocking};
use crate::raft::me::Me;
use crate::raft::metrics::Counters;
use crate::raft::snapshot::{SnapshotFile, meta_to_wire};
use crate::raft::types::{
    Slot, Types, Vote, entry_to_wire, log_id_from_wire, log_id_to_wire, need_vote, vote_from_wire,
    vote_to_wire,
};
use bytes::Bytes;
use hyper_util::rt::TokioIo;
use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes, RaftNetworkFactory, RaftNetworkV2};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::type_config::alias::SnapshotOf;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tower::ServiceExt;
use tower::util::BoxCloneSyncService;

/// Messages are bounded by the sender; this only keeps a broken peer from taking all memory.
pub(super) const MAX_MESSAGE: usize = 64 << 20;
/// For a batch of entries to be received and fsynced.
const APPEND_TIMEOUT: Duration = Duration::from_secs(3);
/// For one portion of a snapshot.
const PORTION_TIMEOUT: Duration = Duration::from_secs(30);
/// For a whole snapshot to be checked and restored.
const INSTALL_TIMEOUT: Duration = Duration::from_secs(900);
/// Chunks of a snapshot in one call.
const PORTION: usize = 16;

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Traffic {
    Entries,
    Heartbeats,
    Snapshots,
}

/// A connection and the address it leads to.
type Kept = (String, Line);

/// Makes clients for openraft and for the join.
#[derive(Clone)]
pub(in crate::raft) struct Network {
    me: Arc<Me>,
    counters: Counters,
    /// By slot and traffic.
    lines: Arc<Mutex<HashMap<(u32, Traffic), Kept>>>,
}

impl Network {
    pub(in crate::raft) fn new(me: Arc<Me>, counters: Counters) -> Network {
        Network { me, counters, lines: Arc::default() }
    }

    fn line(&self, slot: u32, traffic: Traffic) -> Result<Line> {
        let address = self.me.raft_address(slot).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("no address is known of master {slot}"))
        })?;
        let mut lines = self.lines.lock();
        if let Some((to, line)) = lines.get(&(slot, traffic))
            && *to == address
        {
            return Ok(line.clone());
        }
        let line = self.me.config.ground.line(&address, self.me.patience())?;
        lines.insert((slot, traffic), (address, line.clone()));
        Ok(line)
    }

    fn client(&self, slot: u32, traffic: Traffic) -> Result<RaftClient<Line>> {
        Ok(RaftClient::new(self.line(slot, traffic)?)
            .max_decoding_message_size(MAX_MESSAGE)
            .max_encoding_message_size(MAX_MESSAGE))
    }

    fn peer(&self, target: u64, slot: Slot, traffic: Traffic) -> Peer {
        Peer { network: self.clone(), target, slot: slot.0, traffic }
    }

    /// Asks the master in `slot` who it is, and tells it where the masters are.
    ///
    /// # Errors
    /// When it cannot be reached in time.
    pub(in crate::raft) async fn identify(&self, slot: u32) -> Result<wire::IdentifyResponse> {
        let mut client = self.client(slot, Traffic::Heartbeats)?;
        within(self.me.patience(), client.identify(self.identify_request())).await
    }

    /// As [`Network::identify`], of whoever is at `address`.
    ///
    /// # Errors
    /// When nobody can be reached in time, or `InvalidArgument` when it is no address.
    pub(in crate::raft) async fn identify_at(&self, address: &str) -> Result<wire::IdentifyResponse> {
        identify_at(&self.me.config.ground, address, self.identify_request(), self.me.patience()).await
    }

    fn identify_request(&self) -> wire::IdentifyRequest {
        wire::IdentifyRequest {
            slot: self.me.config.slot,
            node: self.me.node().0,
            cluster: self.me.wire_mark(),
            addresses: self.me.addresses().to_wire(),
        }
    }

    /// How far everything goes that was acknowledged before, as the leader `target` in `slot` says.
    ///
    /// # Errors
    /// `NotLeader`, or when it cannot be reached in time.
    pub(in crate::raft) async fn read_index(&self, slot: u32, target: u64) -> Result<u64> {
        let request = wire::ReadIndexRequest { cluster: self.me.wire_mark(), target };
        let mut client = self.client(slot, Traffic::Heartbeats)?;
        Ok(within(self.me.patience(), client.read_index(request)).await?.index)
    }

    /// Asks the master in `slot`, as leader, to take us in.
    ///
    /// # Errors
    /// `NotLeader`, or when it cannot be reached in time.
    pub(in crate::raft) async fn join(&self, slot: u32) -> Result<wire::JoinResponse> {
        let place = self.me.place(self.me.config.slot).unwrap_or_default();
        let request = wire::JoinRequest {
            slot: self.me.config.slot,
            node: self.me.node().0,
            cluster: self.me.wire_mark(),
            raft: place.raft,
            rpc: place.rpc,
        };
        let mut client = self.client(slot, Traffic::Heartbeats)?;
        within(Duration::from_secs(5), client.join(request)).await
    }
}

/// Asks whoever is at `address` who it is.
///
/// # Errors
/// When nobody can be reached within `patience`, or `InvalidArgument` when it is no address.
pub(in crate::raft) async fn identify_at(
    ground: &Arc<dyn Ground>,
    address: &str,
    request: wire::IdentifyRequest,
    patience: Duration,
) -> Result<wire::IdentifyResponse> {
    let mut client = RaftClient::new(ground.line(address, patience)?);
    within(patience, client.identify(request)).await
}

/// A connection that notices within seconds that the other side is gone without a word: its machine may come back under
/// another address.
///
/// What stays unacknowledged for `patience` ends it earlier. A network that was broken for seconds and is mended would
/// otherwise leave it waiting as long again, since TCP waits twice as long before each repetition; and an election that
/// comes in that time would fail for want of a vote.
///
/// # Errors
/// `InvalidArgument` when `address` is no address.
pub(in crate::raft) fn connection(address: &str, patience: Duration) -> Result<Line> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| Error::new(Code::InvalidArgument, format!("\"{address}\" is not host:port: {e}")))?;
    let connector = tower::service_fn(move |uri: http::Uri| connect(uri, patience));
    let channel = endpoint
        .connect_timeout(patience)
        .http2_keep_alive_interval(Duration::from_secs(1))
        .keep_alive_timeout(Duration::from_secs(2))
        .keep_alive_while_idle(true)
        .initial_stream_window_size(4 << 20)
        .initial_connection_window_size(16 << 20)
        .connect_with_connector_lazy(connector);
    Ok(BoxCloneSyncService::new(channel.map_err(|e| tonic::Status::from_error(Box::new(e)))))
}

async fn connect(uri: http::Uri, silence: Duration) -> io::Result<TokioIo<TcpStream>> {
    let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
    let stream = TcpStream::connect(authority).await?;
    stream.set_nodelay(true)?;
    socket2::SockRef::from(&stream).set_tcp_user_timeout(Some(silence))?;
    Ok(TokioIo::new(stream))
}

async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.into()),
        Err(_) => Err(Error::new(Code::DeadlineExceeded, format!("no answer within {limit:?}"))),
    }
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &Slot) -> Peer {
        self.peer(target, *node, Traffic::Entries)
    }

    async fn new_heartbeat_client(&mut self, target: u64, node: &Slot) -> Peer {
        self.peer(target, *node, Traffic::Heartbeats)
    }

    async fn new_snapshot_client(&mut self, target: u64, node: &Slot) -> Peer {
        self.peer(target, *node, Traffic::Snapshots)
    }
}

/// One peer, for one kind of traffic.
pub(in crate::raft) struct Peer {
    network: Network,
    target: u64,
    slot: u32,
    traffic: Traffic,
}

impl Peer {
    fn client(&self) -> Result<RaftClient<Line>, RPCError<Types>> {
        self.network.client(self.slot, self.traffic).map_err(|e| RPCError::Unreachable(Unreachable::new(&e)))
    }

    /// Makes one call; what kind of error it is decides how openraft goes on.
    async fn call<T>(
        &self,
        action: RPCTypes,
        limit: Duration,
        call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>,
    ) -> Result<T, RPCError<Types>> {
        match within(limit, call).await {
            Ok(answer) => Ok(answer),
            Err(e) if e.code == Code::DeadlineExceeded => Err(RPCError::Timeout(Timeout {
                action,
                id: self.network.me.node().0,
                target: self.target,
                timeout: limit,
            })),
            // Refused: another cluster, or another life of that slot. Trying again at once does not help.
            Err(e) => Err(RPCError::Unreachable(Unreachable::new(&e))),
        }
    }

    fn vote_request(&self, rpc: &VoteRequest<Types>) -> wire::VoteRequest {
        wire::VoteRequest {
            vote: Some(vote_to_wire(&rpc.vote)),
            last_log: rpc.last_log_id.as_ref().map(log_id_to_wire),
            leadership_transfer: rpc.leadership_transfer,
            cluster: self.network.me.wire_mark(),
            target: self.target,
        }
    }
}

fn malformed(e: crate::raft::types::Malformed) -> RPCError<Types> {
    RPCError::Network(NetworkError::new(&e))
}

fn vote_response(response: wire::VoteResponse) -> Result<VoteResponse<Types>, RPCError<Types>> {
    let vote = need_vote(response.vote.as_ref()).map_err(malformed)?;
    Ok(VoteResponse::new(vote, response.last_log.as_ref().map(log_id_from_wire), response.granted))
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotFile;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        // openraft gives every append the heartbeat's time, which an fsync under load outlasts.
        let limit = if self.traffic == Traffic::Heartbeats { option.hard_ttl() } else { APPEND_TIMEOUT };
        let request = wire::AppendRequest {
            vote: Some(vote_to_wire(&rpc.vote)),
            previous: rpc.prev_log_id.as_ref().map(log_id_to_wire),
            entries: rpc.entries.iter().map(entry_to_wire).collect(),
            committed: rpc.leader_commit.as_ref().map(log_id_to_wire),
            cluster: self.network.me.wire_mark(),
            target: self.target,
        };
        let mut client = self.client()?;
        let response = self.call(RPCTypes::AppendEntries, limit, client.append(request)).await?;
        use wire::append_response::Outcome;
        Ok(match response.outcome {
            Some(Outcome::Success(_)) => AppendEntriesResponse::Success,
            Some(Outcome::Partial(id)) => AppendEntriesResponse::PartialSuccess(Some(log_id_from_wire(&id))),
            Some(Outcome::PartialNone(_)) => AppendEntriesResponse::PartialSuccess(None),
            Some(Outcome::Conflict(_)) => AppendEntriesResponse::Conflict,
            Some(Outcome::HigherVote(vote)) => AppendEntriesResponse::HigherVote(vote_from_wire(&vote)),
            None => return Err(malformed(crate::raft::types::Malformed("append answered without outcome"))),
        })
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let request = self.vote_request(&rpc);
        vote_response(self.call(RPCTypes::Vote, option.hard_ttl(), client.vote(request)).await?)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let mut client = self.client()?;
        let request = self.vote_request(&rpc);
        vote_response(self.call(RPCTypes::Vote, option.hard_ttl(), client.pre_vote(request)).await?)
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
        cancel: impl Future<Output = ReplicationClosed> + Send + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let sending = self.send_snapshot(vote, snapshot);
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = sending => sent,
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let message = wire::TransferLeaderRequest {
            from: Some(vote_to_wire(request.from_leader())),
            to: *request.to_node_id(),
            last_log: request.last_log_id().map(log_id_to_wire),
            cluster: self.network.me.wire_mark(),
            target: self.target,
        };
        let mut client = self.client()?;
        self.call(RPCTypes::TransferLeader, option.hard_ttl(), client.transfer_leader(message)).await?;
        Ok(Ok(()))
    }
}

impl Peer {
    /// Sends what the receiver does not have yet, portion by portion. A portion that fails is not repeated here: openraft
    /// calls again, and the receiver says where to go on.
    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: SnapshotOf<Types, SnapshotFile>,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let file = &snapshot.snapshot;
        let head = wire::SnapshotChunk {
            vote: Some(vote_to_wire(&vote)),
            meta: Some(wire::SnapshotMeta {
                length: file.length,
                crc32c: file.crc32c,
                ..meta_to_wire(&snapshot.meta)
            }),
            cluster: self.network.me.wire_mark(),
            target: self.target,
            offset: 0,
            data: Bytes::new(),
        };
        let mut offset = 0;
        let mut probe = true;
        loop {
            // The first call carries nothing and learns where to go on.
            let chunks = if probe { vec![head.clone()] } else { self.portion(&head, file, offset).await? };
            let last = !probe && chunks.iter().any(|c| c.offset + c.data.len() as u64 == file.length);
            let limit = if last { INSTALL_TIMEOUT } else { PORTION_TIMEOUT };
            let mut client = self.client()?;
            let call = client.snapshot(futures::stream::iter(chunks));
            let response = self.call(RPCTypes::InstallSnapshot, limit, call).await?;
            let theirs = need_vote(response.vote.as_ref()).map_err(malformed)?;
            if response.installed || theirs > vote {
                self.network.counters.snapshots_sent.inc();
                return Ok(SnapshotResponse::new(theirs));
            }
            if !probe && response.received <= offset {
                return Err(StreamingError::Network(NetworkError::from_string(
                    "a snapshot makes no progress",
                )));
            }
            offset = response.received;
            probe = false;
        }
    }

    async fn portion(
        &self,
        head: &wire::SnapshotChunk,
        file: &SnapshotFile,
        from: u64,
    ) -> Result<Vec<wire::SnapshotChunk>, StreamingError<Types>> {
        let (handle, length, size) = (file.file.clone(), file.length, self.network.me.config.snapshot_chunk);
        let read = blocking(&self.network.me.config.ground, move || {
            let mut pieces = Vec::new();
            let mut offset = from;
            while offset < length && pieces.len() < PORTION {
                let mut data = vec![0; size.min(usize::try_from(length - offset).unwrap_or(size))];
                handle.read_exact_at(&mut data, offset)?;
                let next = offset + data.len() as u64;
                pieces.push((offset, Bytes::from(data)));
                offset = next;
            }
            Ok::<_, std::io::Error>(pieces)
        });
        let failed = |e: &dyn std::fmt::Display| StreamingError::Network(NetworkError::from_string(e));
        let pieces = read.await.map_err(|e| failed(&e))?.map_err(|e| failed(&e))?;
        let chunk = |(offset, data)| wire::SnapshotChunk { offset, data, ..wire::SnapshotChunk::default() };
        let mut chunks: Vec<wire::SnapshotChunk> = pieces.into_iter().map(chunk).collect();
        // The first of a call says whose it is.
        if let Some(first) = chunks.first_mut() {
            *first = wire::SnapshotChunk { offset: first.offset, data: first.data.clone(), ..head.clone() };
        } else {
            chunks.push(wire::SnapshotChunk { offset: from, ..head.clone() });
        }
        Ok(chunks)
    }
}
