//! Metrics: one registry an instance of a role, never a global one, so that several roles fit in one process.
//!
//! Each role has a `metrics.rs` with a struct of its counters, registered here by their Prometheus names
//! (`goosefs_<role>_<noun>_<unit>`), and increments them directly.

use parking_lot::Mutex;
use prometheus_client::registry::{Metric, Registry};
use std::fmt;
use std::sync::Arc;

pub use prometheus_client::metrics::counter::Counter;
pub use prometheus_client::metrics::family::Family;
pub use prometheus_client::metrics::gauge::Gauge;
pub use prometheus_client::metrics::histogram::Histogram;

/// The metrics of one role.
#[derive(Clone)]
pub struct Metrics {
    registry: Arc<Mutex<Registry>>,
}

impl Metrics {
    /// No metrics yet.
    #[must_use]
    pub fn new() -> Metrics {
        Metrics { registry: Arc::new(Mutex::new(Registry::default())) }
    }

    /// Registers `metric` and gives it back. `name` has no `_total`; the text format adds it to counters.
    pub fn register<M: Metric + Clone>(&self, name: &str, help: &str, metric: M) -> M {
        self.registry.lock().register(name, help, metric.clone());
        metric
    }

    /// Everything in the OpenMetrics text format.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let encoded = prometheus_client::encoding::text::encode(&mut text, &self.registry.lock());
        debug_assert!(encoded.is_ok(), "writing to a string does not fail");
        text
    }
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}
