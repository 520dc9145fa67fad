//! What the FUSE role counts.

use goosefs_core::metrics::{Counter, Family, Gauge, Metrics};

/// The counters of one mount; cheap to clone.
#[derive(Clone, Debug)]
pub struct FuseMetrics {
    /// READ requests that reached the daemon; passthrough reads do not.
    pub reads: Counter,
    /// Bytes those were answered with.
    pub read_bytes: Counter,
    /// WRITE requests.
    pub writes: Counter,
    /// Bytes they carried.
    pub written_bytes: Counter,
    /// Opens by the way they took: passthrough, through, cached, direct.
    pub opens: Family<Vec<(String, String)>, Counter>,
    /// Requests that were answered with an error other than "no such file".
    pub errors: Counter,
    /// Requests that were given up because their process was told to end.
    pub interrupted: Counter,
    /// Files that are open.
    pub handles: Gauge,
    /// Backing files kept for the next open.
    pub kept: Gauge,
}

impl FuseMetrics {
    /// Registers the counters.
    #[must_use]
    pub fn new(metrics: &Metrics) -> FuseMetrics {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        FuseMetrics {
            reads: counter("goosefs_fuse_reads", "READ requests that reached the daemon"),
            read_bytes: counter("goosefs_fuse_read_bytes", "Bytes that READ requests were answered with"),
            writes: counter("goosefs_fuse_writes", "WRITE requests"),
            written_bytes: counter("goosefs_fuse_written_bytes", "Bytes that WRITE requests carried"),
            opens: metrics.register("goosefs_fuse_opens", "Opens by the way they took", Family::default()),
            errors: counter("goosefs_fuse_errors", "Requests answered with an error, but for ENOENT"),
            interrupted: counter("goosefs_fuse_interrupted", "Requests given up because of a signal"),
            handles: metrics.register("goosefs_fuse_open_files", "Files that are open", Gauge::default()),
            kept: metrics.register(
                "goosefs_fuse_kept_files",
                "Closed backing files kept for the next open",
                Gauge::default(),
            ),
        }
    }

    pub(crate) fn opened(&self, way: &str) {
        self.opens.get_or_create(&vec![("way".to_owned(), way.to_owned())]).inc();
    }
}
