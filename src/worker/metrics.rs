//! What a worker counts.

use goosefs_core::metrics::{Counter, Metrics};

/// The worker's counters; cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct WorkerMetrics {
    /// Bytes served from this worker's disks.
    pub(crate) read_cache: Counter,
    /// Bytes served that came from other workers.
    pub(crate) read_peer: Counter,
    /// Bytes served that came from under-storages.
    pub(crate) read_ufs: Counter,
}

impl WorkerMetrics {
    pub(crate) fn new(metrics: &Metrics) -> WorkerMetrics {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        WorkerMetrics {
            read_cache: counter("goosefs_worker_read_cache_bytes", "Bytes served from this worker's disks"),
            read_peer: counter("goosefs_worker_read_peer_bytes", "Bytes served that came from other workers"),
            read_ufs: counter("goosefs_worker_read_ufs_bytes", "Bytes served that came from under-storages"),
        }
    }
}
