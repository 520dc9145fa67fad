//! What a Raft node counts.

use crate::metrics::{Counter, Gauge, Histogram, Metrics};

/// Counters of one node, under `goosefs_raft_`.
#[derive(Clone)]
pub(super) struct Counters {
    pub(super) term: Gauge,
    /// 0 starting, 1 learner, 2 follower, 3 leader, 4 failed, 5 stopped.
    pub(super) role: Gauge,
    pub(super) voters: Gauge,
    pub(super) last_log: Gauge,
    pub(super) committed: Gauge,
    pub(super) applied: Gauge,
    pub(super) leader_changes: Counter,
    pub(super) proposals: Counter,
    pub(super) proposals_in_flight: Gauge,
    pub(super) proposals_refused: Counter,
    pub(super) commit_seconds: Histogram,
    pub(super) fsyncs: Counter,
    pub(super) fsync_seconds: Histogram,
    pub(super) entries_written: Counter,
    pub(super) log_bytes: Gauge,
    pub(super) snapshots_taken: Counter,
    pub(super) snapshots_sent: Counter,
    pub(super) snapshots_installed: Counter,
    pub(super) snapshot_bytes: Gauge,
    pub(super) lease_refusals: Counter,
    pub(super) disk_free_bytes: Gauge,
}

impl Counters {
    /// Registers them.
    pub(super) fn new(metrics: &Metrics) -> Counters {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        let gauge = |name: &str, help: &str| metrics.register(name, help, Gauge::default());
        let seconds = |name: &str, help: &str| {
            // 100 us to 6.5 s, doubling.
            let buckets = (0..17).map(|i| 0.0001 * f64::from(1 << i));
            metrics.register(name, help, Histogram::new(buckets))
        };
        Counters {
            term: gauge("goosefs_raft_term", "Raft term"),
            role: gauge(
                "goosefs_raft_role",
                "0 starting, 1 learner, 2 follower, 3 leader, 4 failed, 5 stopped",
            ),
            voters: gauge(
                "goosefs_raft_voters",
                "Masters that vote; one that is being replaced counts twice until that is done",
            ),
            last_log: gauge("goosefs_raft_last_log_index", "Index of the last entry in the log"),
            committed: gauge("goosefs_raft_committed_index", "Index of the last entry known to be committed"),
            applied: gauge("goosefs_raft_applied_index", "Index of the last applied entry"),
            leader_changes: counter("goosefs_raft_leader_changes", "Times another leader was seen"),
            proposals: counter("goosefs_raft_proposals", "Commands proposed here"),
            proposals_in_flight: gauge(
                "goosefs_raft_proposals_in_flight",
                "Commands that wait for their answer",
            ),
            proposals_refused: counter(
                "goosefs_raft_proposals_refused",
                "Commands refused or of unknown outcome",
            ),
            commit_seconds: seconds("goosefs_raft_commit_seconds", "From propose to answer"),
            fsyncs: counter("goosefs_raft_fsyncs", "Durable writes of the log"),
            fsync_seconds: seconds("goosefs_raft_fsync_seconds", "Duration of one durable write"),
            entries_written: counter("goosefs_raft_entries_written", "Entries written to the log"),
            log_bytes: gauge("goosefs_raft_log_bytes", "Bytes the log takes on disk"),
            snapshots_taken: counter("goosefs_raft_snapshots_taken", "Snapshots written from local state"),
            snapshots_sent: counter("goosefs_raft_snapshots_sent", "Snapshots sent to another master"),
            snapshots_installed: counter(
                "goosefs_raft_snapshots_installed",
                "Snapshots received and installed",
            ),
            snapshot_bytes: gauge("goosefs_raft_snapshot_bytes", "Size of the last snapshot"),
            lease_refusals: counter(
                "goosefs_raft_lease_refusals",
                "Local reads refused because the lease had run out",
            ),
            disk_free_bytes: gauge("goosefs_raft_disk_free_bytes", "Bytes free where the log lies"),
        }
    }
}
