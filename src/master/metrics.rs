//! What a master counts.

use goosefs_core::metrics::{Counter, Family, Gauge, Histogram, Metrics};
use std::sync::atomic::AtomicU64;
use std::time::Duration;

/// Counters of one master, registered in its [`Metrics`].
#[derive(Debug)]
pub struct MasterMetrics {
    rpcs: Family<[(&'static str, &'static str); 2], Counter>,
    rpc_seconds: Histogram,
    proposals: Counter,
    proposals_failed: Counter,
    proposal_seconds: Histogram,
    /// Listings of the under-storage that were begun.
    pub(crate) listings: Counter,
    /// Listings that failed.
    pub(crate) listings_failed: Counter,
    /// Entries that listings brought.
    pub(crate) listed_entries: Counter,
    /// Side effects that ended well.
    pub(crate) effects: Counter,
    /// Side effects that failed for good.
    pub(crate) effects_failed: Counter,
    /// Calls that this master handed to the leader.
    pub(crate) forwarded: Counter,
    files: Gauge<f64, AtomicU64>,
    directories: Gauge<f64, AtomicU64>,
    bytes: Gauge<f64, AtomicU64>,
    live_workers: Gauge<f64, AtomicU64>,
    lost_workers: Gauge<f64, AtomicU64>,
}

/// From 50 microseconds to 26 seconds.
fn seconds() -> Histogram {
    Histogram::new(std::iter::successors(Some(50e-6), |bound| Some(bound * 2.0)).take(20))
}

impl MasterMetrics {
    /// Registers them in `metrics`.
    pub fn new(metrics: &Metrics) -> MasterMetrics {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        let gauge = |name: &str, help: &str| metrics.register(name, help, Gauge::<f64, AtomicU64>::default());
        MasterMetrics {
            rpcs: metrics.register(
                "goosefs_master_rpcs",
                "Calls answered, by method and outcome",
                Family::default(),
            ),
            rpc_seconds: metrics.register("goosefs_master_rpc_seconds", "Time to answer a call", seconds()),
            proposals: counter("goosefs_master_proposals", "Entries proposed to the log"),
            proposals_failed: counter("goosefs_master_proposals_failed", "Proposals that Raft did not take"),
            proposal_seconds: metrics.register(
                "goosefs_master_proposal_seconds",
                "Time until an entry was applied",
                seconds(),
            ),
            listings: counter("goosefs_master_ufs_listings", "Directory listings begun"),
            listings_failed: counter("goosefs_master_ufs_listings_failed", "Directory listings that failed"),
            listed_entries: counter("goosefs_master_ufs_listed_entries", "Entries that listings brought"),
            effects: counter("goosefs_master_ufs_effects", "Side effects on under-storages that ended well"),
            effects_failed: counter("goosefs_master_ufs_effects_failed", "Side effects that failed for good"),
            forwarded: counter("goosefs_master_forwarded_calls", "Calls handed to the leader"),
            files: gauge("goosefs_master_files", "Files in the namespace"),
            directories: gauge("goosefs_master_directories", "Directories in the namespace"),
            bytes: gauge("goosefs_master_file_bytes", "Sum of all files' lengths"),
            live_workers: gauge("goosefs_master_live_workers", "Workers heard within the time-out"),
            lost_workers: gauge("goosefs_master_lost_workers", "Workers that fell silent"),
        }
    }

    /// One call was answered.
    pub(crate) fn rpc(&self, method: &'static str, took: Duration, ok: bool) {
        let outcome = if ok { "ok" } else { "error" };
        self.rpcs.get_or_create(&[("method", method), ("outcome", outcome)]).inc();
        self.rpc_seconds.observe(took.as_secs_f64());
    }

    /// One proposal came back.
    pub(crate) fn proposal(&self, took: Duration, ok: bool) {
        self.proposals.inc();
        if !ok {
            self.proposals_failed.inc();
        }
        self.proposal_seconds.observe(took.as_secs_f64());
    }

    /// How much there is, looked at now and then.
    pub(crate) fn sizes(&self, counts: &crate::namespace::Counts, live_workers: usize, lost_workers: usize) {
        self.files.set(counts.files as f64);
        self.directories.set(counts.directories as f64);
        self.bytes.set(counts.bytes as f64);
        self.live_workers.set(live_workers as f64);
        self.lost_workers.set(lost_workers as f64);
    }
}
