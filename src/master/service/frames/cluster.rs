//! Versions, mounts, workers, heartbeats, news; and what this master says of itself and its peers.

use super::caller;
use crate::authority::Who;
use crate::desired::Outcome;
use crate::journal::Op;
use crate::master::Master;
use crate::namespace::MountPoint;
use crate::workers::{Worker, Workers, drain, register};
use goosefs_core::Result;
use goosefs_core::id::{BlockId, ContentId, WorkerId};
use goosefs_core::proto::internal::{
    ChangesRequest, ChangesResponse, ClusterRequest, ClusterResponse, CommitBlockRequest, DrainRequest,
    DrainResponse, Empty, HeartbeatRequest, HeartbeatResponse, MasterEntry, MountEntry, MountFailure,
    MountsRequest, MountsResponse, StatFsRequest, StatFsResponse, VersionRequest, VersionResponse,
    WorkerEntry, WorkersRequest, WorkersResponse,
};
use goosefs_core::proto::journal::{CommitBlock, entry::Command};
use goosefs_core::rpc::frame::check_cluster;
use goosefs_core::{Code, Error};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Changes in one answer.
const MOST_CHANGES: usize = 10_000;

/// Dropped contents in one answer.
const MOST_DROPS: usize = 50_000;

/// A poll that is held asks so often whether this master still leads and hears of changes.
const LEADS_STILL: Duration = Duration::from_secs(1);

/// The longest a poll for changes is held.
const LONGEST_POLL: Duration = Duration::from_secs(60);

pub(super) async fn version(master: Arc<Master>, request: VersionRequest) -> Result<VersionResponse> {
    let content = ContentId(request.content);
    if let Some(suspect) = &request.suspect {
        master.finder.doubt(content, suspect).await?;
    }
    let version = master.journal.read()?.version(content);
    version.map_err(|error| match error.code {
        // Workers drop what they are told does not exist, be it removed or replaced.
        Code::Stale => Error { code: Code::NotFound, ..error },
        _ => error,
    })
}

pub(super) async fn mounts(master: Arc<Master>, _: MountsRequest) -> Result<MountsResponse> {
    let mounts = master.journal.read()?.mounts();
    let troubles = troubles(&mounts, &master.workers.live());
    let entry = |mount: MountPoint| MountEntry {
        // Who cannot connect for want of them is told by the storage.
        options: master.desired.told_options_of(&mount).unwrap_or_default().into_iter().collect(),
        mount: mount.id.0,
        path: mount.path,
        ufs: mount.ufs,
        read_only: mount.read_only,
        shared: mount.shared,
    };
    let Outcome { generation, failures } = master.desired.outcome();
    let failures = failures.into_iter().map(|(path, error)| MountFailure { path, error }).collect();
    Ok(MountsResponse { mounts: mounts.into_iter().map(entry).collect(), generation, failures, troubles })
}

/// Of each mount what one worker met there, which names how many others met something.
fn troubles(mounts: &[MountPoint], workers: &[Worker]) -> Vec<MountFailure> {
    let of_mount = |mount: &MountPoint| {
        let mut met = workers.iter().filter_map(|worker| Some((worker, worker.troubles.get(&mount.id.0)?)));
        let (worker, text) = met.next()?;
        let others = match met.count() {
            0 => String::new(),
            others => format!(", and {others} more"),
        };
        let error = format!("worker {}{others}: {text}", worker.address.host);
        Some(MountFailure { path: mount.path.clone(), error })
    };
    mounts.iter().filter_map(of_mount).collect()
}

pub(super) async fn workers(master: Arc<Master>, _: WorkersRequest) -> Result<WorkersResponse> {
    master.journal.check_lease()?;
    let ring = master.workers.ring();
    let generation = Workers::generation(&ring);
    let entry = |worker: Worker| WorkerEntry {
        worker: worker.id.0,
        virtual_nodes: worker.virtual_nodes,
        live: worker.live && !worker.leaving,
        capacity: worker.capacity(),
        used: worker.used(),
        silent_ms: u64::try_from(master.workers.silent_for(worker.id).as_millis()).unwrap_or(u64::MAX),
        tiers: worker.tiers,
        traffic: Some(worker.traffic),
        address: Some(worker.address),
    };
    let workers = master.workers.all().into_iter().map(entry).collect();
    Ok(WorkersResponse { workers, generation, masters: all_masters(&master) })
}

fn all_masters(master: &Master) -> Vec<String> {
    master.journal.node().rpc_addresses().into_iter().map(|(_, rpc)| rpc).collect()
}

/// Every master answers; the leader also makes the worker part of the cluster.
pub(super) async fn heartbeat(master: Arc<Master>, request: HeartbeatRequest) -> Result<HeartbeatResponse> {
    if request.worker == 0 || request.worker > i64::MAX as u64 {
        return Err(Error::new(Code::InvalidArgument, format!("{} is no worker id", request.worker)));
    }
    let ours = master.journal.node().mark().map(Into::into);
    check_cluster(ours.as_ref(), request.cluster.as_ref())?;
    let (worker, dropped_after) = (WorkerId(request.worker), request.dropped_after);
    master.workers.heartbeat(request);
    if master.journal.leads()
        && let Some(worker) = master.workers.get(worker)
        && let Err(error) = register(&master.journal, &worker).await
    {
        tracing::debug!(worker = worker.id.0, %error, "worker could not be registered yet");
    }
    let dropped = master.journal.state().dropped_since(dropped_after, MOST_DROPS);
    let leader = master.journal.node().status().borrow().leader.clone();
    Ok(HeartbeatResponse {
        cluster: ours,
        leader: leader.map(|leader| leader.rpc).unwrap_or_default(),
        dropped_contents: dropped.items,
        interval_ms: u32::try_from(master.config.heartbeat.as_millis()).unwrap_or(u32::MAX),
        dropped_up_to: dropped.up_to,
        dropped_overrun: dropped.overrun,
        masters: all_masters(&master),
    })
}

pub(super) async fn commit_block(master: Arc<Master>, request: CommitBlockRequest) -> Result<Empty> {
    let command = Command::CommitBlock(CommitBlock {
        block: BlockId(request.block).0,
        worker: request.worker,
        length: request.length,
        generation: request.generation,
    });
    // It may be made again without harm, so it needs no number.
    master.journal.propose(command, &caller(None), Op::Unnumbered).await?;
    Ok(Empty {})
}

/// For who runs the cluster: a worker that is drained takes nothing new.
pub(super) async fn drain(master: Arc<Master>, who: Who, request: DrainRequest) -> Result<DrainResponse> {
    who.administer("drain workers")?;
    Ok(DrainResponse { workers: drain::drain(&master, &request.hosts)? })
}

pub(super) async fn stat_fs(master: Arc<Master>, _: StatFsRequest) -> Result<StatFsResponse> {
    let counts = master.journal.read()?.counts();
    let live = master.workers.live();
    Ok(StatFsResponse {
        capacity: live.iter().map(|worker| worker.capacity()).sum(),
        used: live.iter().map(|worker| worker.used()).sum(),
        files: counts.files + counts.directories + counts.symlinks,
    })
}

pub(super) async fn changes(master: Arc<Master>, request: ChangesRequest) -> Result<ChangesResponse> {
    let wait = Duration::from_millis(u64::from(request.wait_ms)).min(LONGEST_POLL);
    let deadline = Instant::now() + wait;
    let (state, stop) = (master.journal.state(), master.tasks.stop());
    loop {
        master.journal.check_lease()?;
        let some = deadline.saturating_duration_since(Instant::now()).min(LEADS_STILL);
        let since = tokio::select! {
            since = state.changes_since(request.after, some, MOST_CHANGES) => since,
            // Whoever leads next goes on with the poll.
            () = stop.cancelled() => return Err(Error::not_leader("")),
        };
        if !since.items.is_empty() || since.overrun || request.after == 0 || Instant::now() >= deadline {
            return Ok(ChangesResponse { last: since.up_to, changes: since.items, overrun: since.overrun });
        }
    }
}

/// Every master answers.
pub(super) async fn cluster(master: Arc<Master>, _: ClusterRequest) -> Result<ClusterResponse> {
    let node = master.journal.node();
    let status = node.status().borrow().clone();
    let leader = status.leader.as_ref().map(|leader| leader.slot);
    let config = &master.config;
    // Of masters that were added later only the addresses are known; their web ports follow as ours do by default.
    let next = |rpc: &str| {
        rpc.rsplit_once(':')
            .and_then(|(_, port)| port.parse().ok())
            .map_or(0, |port: u16| port.saturating_add(1))
    };
    let masters = node.rpc_addresses().into_iter().map(|(slot, rpc)| MasterEntry {
        slot,
        web_port: config.web_ports.get(slot as usize).copied().unwrap_or_else(|| next(&rpc)).into(),
        rpc,
        leader: leader == Some(slot),
        self_: slot == config.id,
    });
    Ok(ClusterResponse {
        cluster: node.mark().map(Into::into),
        masters: masters.collect(),
        started_ms: master.started_ms,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        problem: status.problem.unwrap_or_default(),
        serving: status.serving,
        term: status.term,
        applied: status.applied,
        voter: status.voters.iter().any(|voter| voter.node == node.node_id()),
    })
}
