//! What a Raft node is told when it starts.

use super::Roster;
use super::ground::{Ground, System};
use crate::id::ClusterId;
use crate::rpc::control::KeyFile;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// Configuration of one [`Node`](super::Node). Plain fields; [`RaftConfig::new`] fills in the timing that was measured.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// The data directory: identity, log, snapshots. Made when it does not exist.
    pub dir: PathBuf,
    /// Our place in `peers`, the `--id` of the master.
    pub slot: u32,
    /// Raft addresses, `host:port`, by slot.
    pub peers: Vec<String>,
    /// What clients dial, `host:port`, by slot: goes into errors that name the leader.
    pub rpc_addresses: Vec<String>,
    /// The cluster id that a first start must use; drawn at random when not set.
    pub cluster: Option<ClusterId>,
    /// Who the masters shall be, where that changes while they run: then it says when a cluster may be begun, and in which
    /// epoch, and `peers` are those it listed at the start.
    pub roster: Option<watch::Receiver<Roster>>,
    /// How often a leader makes itself heard.
    pub heartbeat: Duration,
    /// Shortest time before a follower calls an election, after the lease has run out.
    pub election_min: Duration,
    /// Longest such time, and the length of the leader's lease.
    pub election_max: Duration,
    /// A snapshot is taken after so many entries.
    pub snapshot_entries: u64,
    /// Entries that stay in the log behind a snapshot, for followers that are a little late.
    pub keep_entries: u64,
    /// Bytes of a snapshot sent in one message.
    pub snapshot_chunk: usize,
    /// Recent log entries kept in memory for followers and for applying.
    pub cache_bytes: usize,
    /// Size of the file that is given up when the disk is full, so that there is room to step down in order.
    pub reserve_bytes: u64,
    /// Starts a new epoch of the cluster from this master's data alone, when a quorum of directories is lost for good.
    /// What this log has not seen is gone; the other masters must come back with empty directories. Set it for one start
    /// only.
    pub force_new_cluster: bool,
    /// Founds the cluster with the state of a backup, in a new epoch.
    pub restore: Option<Restore>,
    /// The key that an offered backup is fetched with.
    pub control: Option<KeyFile>,
    /// Threads and the way to the peers: those of this machine, unless a simulation brings others.
    pub ground: Arc<dyn Ground>,
}

/// A backup to found a cluster with.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restore {
    /// The file that [`Node::backup`](super::Node::backup) wrote.
    pub file: PathBuf,
    /// It is fetched first, from where the roster says.
    pub offered: bool,
    /// Where there is a cluster already, this directory's or the peers', go on with that instead of refusing: for
    /// settings that stay from one start to the next.
    pub if_new: bool,
}

impl RaftConfig {
    /// The measured defaults (DESIGN §3, Timing) for a node that lives in `dir` and is `peers[slot]`.
    #[must_use]
    pub fn new(dir: PathBuf, slot: u32, peers: Vec<String>, rpc_addresses: Vec<String>) -> RaftConfig {
        RaftConfig {
            dir,
            slot,
            peers,
            rpc_addresses,
            cluster: None,
            roster: None,
            heartbeat: Duration::from_millis(50),
            election_min: Duration::from_millis(150),
            election_max: Duration::from_millis(300),
            snapshot_entries: 200_000,
            keep_entries: 20_000,
            snapshot_chunk: 1 << 20,
            cache_bytes: 16 << 20,
            reserve_bytes: 32 << 20,
            force_new_cluster: false,
            restore: None,
            control: None,
            ground: Arc::new(System),
        }
    }

    /// What the roster says now, if there is one.
    pub(super) fn listed(&self) -> Option<Roster> {
        self.roster.as_ref().map(|roster| roster.borrow().clone())
    }
}
