//! What the plugin counts.

use goosefs_core::metrics::{Counter, Metrics};

/// The counters, registered once.
#[derive(Clone, Debug)]
pub(super) struct CsiMetrics {
    /// Volumes shown to pods.
    pub(super) published: Counter,
    /// Volumes taken away from pods.
    pub(super) unpublished: Counter,
    /// Calls that failed.
    pub(super) failures: Counter,
}

impl CsiMetrics {
    pub(super) fn new(metrics: &Metrics) -> CsiMetrics {
        let counter = |name, help| metrics.register(name, help, Counter::default());
        CsiMetrics {
            published: counter("goosefs_csi_published", "Times that a volume was shown to a pod"),
            unpublished: counter("goosefs_csi_unpublished", "Times that it was taken away"),
            failures: counter("goosefs_csi_failures", "Calls of kubelet that failed"),
        }
    }
}
