//! The counters of a client.

use goosefs_core::metrics::{Counter, Metrics};

/// The counters of a client. Clones share them.
#[derive(Clone, Debug)]
pub struct ClientMetrics {
    /// Bytes read from descriptors of the local worker's files.
    pub read_local: Counter,
    /// Bytes that workers streamed.
    pub read_streamed: Counter,
    /// Reads that went on at another worker after one failed.
    pub read_fallbacks: Counter,
    /// Bytes sent to workers.
    pub written: Counter,
    /// Write streams that went on at another worker after one failed.
    pub write_fallbacks: Counter,
    /// Changes of the namespace that masters told us of.
    pub changes: Counter,
}

impl ClientMetrics {
    /// Counters registered with `metrics`.
    #[must_use]
    pub fn register(metrics: &Metrics) -> ClientMetrics {
        let counter = |name: &str, help: &str| metrics.register(name, help, Counter::default());
        ClientMetrics {
            read_local: counter(
                "goosefs_client_read_local_bytes",
                "Bytes read from the local worker's files",
            ),
            read_streamed: counter("goosefs_client_read_streamed_bytes", "Bytes that workers streamed"),
            read_fallbacks: counter("goosefs_client_read_fallbacks", "Reads that went on at another worker"),
            written: counter("goosefs_client_written_bytes", "Bytes sent to workers"),
            write_fallbacks: counter(
                "goosefs_client_write_fallbacks",
                "Writes that went on at another worker",
            ),
            changes: counter("goosefs_client_changes", "Changes of the namespace that masters told of"),
        }
    }
}
