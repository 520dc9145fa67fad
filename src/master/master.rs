//! The rooms of a running master, as its services see them.

use crate::authority::Authority;
use crate::config::Config;
use crate::desired::Desired;
use crate::effects::Effects;
use crate::find::Finder;
use crate::journal::Journal;
use crate::metrics::MasterMetrics;
use crate::mounts::{Connectors, Freshness};
use crate::workers::{Channels, Workers};
use goosefs_core::clock::Clock;
use goosefs_core::task::Tasks;
use std::sync::Arc;
use tokio::sync::Semaphore;

/// Everything services call.
pub(crate) struct Master {
    pub(crate) config: Config,
    pub(crate) authority: Authority,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) journal: Arc<Journal>,
    pub(crate) finder: Finder,
    pub(crate) desired: Arc<Desired>,
    pub(crate) connectors: Arc<Connectors>,
    pub(crate) workers: Arc<Workers>,
    pub(crate) channels: Arc<Channels>,
    pub(crate) effects: Arc<Effects>,
    pub(crate) metrics: Arc<MasterMetrics>,
    pub(crate) tasks: Tasks,
    /// One digest of the namespace at a time.
    pub(crate) digests: Arc<Semaphore>,
    /// When this master started, milliseconds since 1970.
    pub(crate) started_ms: u64,
}

impl Master {
    /// How fresh metadata must be when a caller does not say.
    pub(crate) fn freshness(&self) -> Freshness {
        Freshness::of_interval(self.config.sync_interval)
    }
}
