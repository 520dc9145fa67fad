//! What the masters of a runtime say: asked by their pods' addresses, so that it needs neither DNS nor a member list.

use goosefs_core::proto::internal::{
    Attr, Caller, ClusterRequest, ClusterResponse, DrainRequest, DrainResponse, Draining, HelloRequest,
    MountsRequest, MountsResponse, NodeKind, ReadDirRequest, ReadDirResponse, WorkersRequest,
    WorkersResponse,
};
use goosefs_core::proto::method;
use goosefs_core::raft::ClusterMark;
use goosefs_core::rpc::control::ControlKey;
use goosefs_core::rpc::frame::{Channel, Target};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// A master that takes longer is passed over.
const PATIENCE: Duration = Duration::from_secs(2);

/// Listing one directory may load it from the storage.
const LISTING: Duration = Duration::from_secs(60);

/// An election takes less, though the first look meets one who is gone and costs [`PATIENCE`].
const ELECTION: Duration = Duration::from_secs(4);

/// How soon masters without a leader are asked again.
const AGAIN: Duration = Duration::from_millis(300);

/// Entries of one listing.
const PAGE: u32 = 1000;

/// Where a master is asked, and in whose name: that of the user who runs it, to whom it refuses nothing.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Master {
    pub(super) address: String,
    pub(super) user: String,
}

/// What is known of a running cluster.
#[derive(Clone, PartialEq, Debug, Default)]
pub(super) struct Cluster {
    /// Slot of the leading master and its name as masters know it.
    pub(super) leader: Option<String>,
    /// Slots up to the highest master that takes part.
    pub(super) slots: usize,
    /// Bytes that live workers can cache, and do.
    pub(super) capacity: u64,
    pub(super) used: u64,
    /// Bytes that were read through live workers: out of caches, and out of storages.
    pub(super) hit: u64,
    pub(super) missed: u64,
    /// Where storages are mounted.
    pub(super) mounts: Vec<String>,
    /// What is not mounted as that file says, and why.
    pub(super) failures: Vec<String>,
    /// What workers met at storages, by path of the mount: refusals, silence.
    pub(super) troubles: Vec<(String, String)>,
    /// The leader that answered.
    pub(super) master: Master,
    /// Epoch of the cluster.
    pub(super) epoch: i64,
}

/// What a master that need not lead says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Alone {
    pub(crate) slot: usize,
    /// Epoch of the data that it has; none when its folder is new.
    pub(crate) epoch: Option<i64>,
    /// How much of the log it has carried out.
    pub(crate) applied: u64,
}

/// Size of what is in the storages.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Total {
    pub(super) files: u64,
    pub(super) bytes: u64,
}

async fn dial(master: &Master, tasks: &Tasks) -> Result<Channel> {
    dial_with(master, None, tasks).await
}

/// To administer masters takes their control key.
async fn dial_with(master: &Master, key: Option<&ControlKey>, tasks: &Tasks) -> Result<Channel> {
    let caller = Caller { user: master.user.clone(), ..Caller::default() };
    let hello =
        HelloRequest { version: 1, cluster: None, role: "controller".to_owned(), caller: Some(caller) };
    let target = Target::Tcp(master.address.clone());
    Channel::connect_proven(&target, hello, key, tasks, PATIENCE).await
}

async fn soon<T>(call: impl Future<Output = Result<T>>) -> Option<T> {
    tokio::time::timeout(PATIENCE, call).await.ok()?.ok()
}

/// As [`cluster`], but masters that have had a leader are given a moment to agree on the next.
pub(super) async fn settled_cluster(masters: &[Master], tasks: &Tasks) -> Option<Cluster> {
    let until = Instant::now() + ELECTION;
    loop {
        let found = cluster(masters, tasks).await;
        if found.is_some() || Instant::now() + AGAIN >= until {
            return found;
        }
        tokio::time::sleep(AGAIN).await;
    }
}

/// The master that leads.
pub(super) struct Leader {
    pub(super) master: Master,
    /// Its name as masters know it, `pod:port`.
    pub(super) name: String,
    pub(super) channel: Channel,
    /// Slots up to the highest master that takes part.
    slots: usize,
    /// Epoch of the cluster.
    epoch: i64,
}

/// Asks every master who leads; takes no longer than [`PATIENCE`].
pub(super) async fn leader(masters: &[Master], tasks: &Tasks) -> Option<Leader> {
    let ask = async |master: &Master| {
        let channel = dial(master, tasks).await.ok()?;
        let answer: ClusterResponse = channel.call(method::CLUSTER, &ClusterRequest {}).await.ok()?;
        let name = answer.masters.iter().find(|master| master.leader && master.self_)?.rpc.clone();
        let highest = answer.masters.iter().map(|master| master.slot).max()?;
        let epoch = answer.cluster.map(|mark| mark.epoch).unwrap_or_default();
        let (master, slots) = (master.clone(), highest as usize + 1);
        Some(Leader { master, name, channel, slots, epoch: i64::try_from(epoch).unwrap_or(i64::MAX) })
    };
    let asked = masters.iter().map(async |master| tokio::time::timeout(PATIENCE, ask(master)).await.ok()?);
    futures::future::join_all(asked).await.into_iter().flatten().next()
}

/// Asks every master who leads, and the leader for the rest; nothing when none leads.
pub(super) async fn cluster(masters: &[Master], tasks: &Tasks) -> Option<Cluster> {
    let Leader { master, name, channel, slots, epoch } = leader(masters, tasks).await?;
    let workers: WorkersResponse = soon(channel.call(method::WORKERS, &WorkersRequest {})).await?;
    let mounts: MountsResponse = soon(channel.call(method::MOUNTS, &MountsRequest {})).await?;
    let live = || workers.workers.iter().filter(|worker| worker.live);
    let traffic = || live().filter_map(|worker| worker.traffic);
    Some(Cluster {
        leader: Some(name),
        slots,
        capacity: live().map(|worker| worker.capacity).sum(),
        used: live().map(|worker| worker.used).sum(),
        hit: traffic().map(|traffic| traffic.hit).sum(),
        missed: traffic().map(|traffic| traffic.missed).sum(),
        failures: mounts
            .failures
            .iter()
            .map(|failure| format!("mount {}: {}", failure.path, failure.error))
            .collect(),
        troubles: mounts.troubles.into_iter().map(|trouble| (trouble.path, trouble.error)).collect(),
        mounts: mounts.mounts.into_iter().map(|mount| mount.path).collect(),
        master,
        epoch,
    })
}

/// What each master says of itself that answers.
pub(super) async fn each(masters: &[Master], tasks: &Tasks) -> Vec<Alone> {
    let asked = masters.iter().map(|master| async move {
        let channel = dial(master, tasks).await.ok()?;
        let answer: ClusterResponse = soon(channel.call(method::CLUSTER, &ClusterRequest {})).await?;
        let slot = answer.masters.iter().find(|master| master.self_)?.slot as usize;
        let epoch = ClusterMark::from_wire(answer.cluster.as_ref()).map(|mark| mark.epoch.0);
        let epoch = epoch.map(|epoch| i64::try_from(epoch).unwrap_or(i64::MAX));
        Some(Alone { slot, epoch, applied: answer.applied })
    });
    futures::future::join_all(asked).await.into_iter().flatten().collect()
}

/// Has the leader drain the workers at `hosts`; how far it is, for those that it knows.
pub(super) async fn drain(
    leader: &Master,
    key: Option<&ControlKey>,
    hosts: &[String],
    tasks: &Tasks,
) -> Result<Vec<Draining>> {
    let channel = dial_with(leader, key, tasks).await?;
    let request = DrainRequest { hosts: hosts.to_vec() };
    let late = |_| Error::new(Code::DeadlineExceeded, "the leading master does not answer");
    let answer: DrainResponse =
        tokio::time::timeout(PATIENCE, channel.call(method::DRAIN, &request)).await.map_err(late)??;
    Ok(answer.workers)
}

/// Walks all directories, which loads what is not known yet.
pub(super) async fn total(leader: &Master, tasks: &Tasks) -> Result<Total> {
    let channel = dial(leader, tasks).await?;
    let (mut total, mut directories) = (Total::default(), VecDeque::from([0_u64]));
    while let Some(directory) = directories.pop_front() {
        let mut after = String::new();
        loop {
            let request = ReadDirRequest { directory, after, limit: PAGE, sync_interval_ms: None };
            let page = tokio::time::timeout(LISTING, channel.call(method::READ_DIR, &request)).await;
            let late = |_| {
                goosefs_core::Error::new(
                    goosefs_core::Code::DeadlineExceeded,
                    "a directory takes too long to list",
                )
            };
            let page: ReadDirResponse = page.map_err(late)??;
            for attr in page.entries.iter().filter_map(|entry| entry.attr.as_ref()) {
                count(attr, &mut total, &mut directories);
            }
            match page.entries.last() {
                Some(last) if page.more => after = last.name.clone(),
                _ => break,
            }
        }
    }
    Ok(total)
}

fn count(attr: &Attr, total: &mut Total, directories: &mut VecDeque<u64>) {
    match attr.kind() {
        NodeKind::Directory => directories.push_back(attr.inode),
        NodeKind::File => {
            total.files += 1;
            total.bytes += attr.length;
        }
        _ => {}
    }
}
