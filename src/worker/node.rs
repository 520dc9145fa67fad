//! The rooms of one worker, for each other.

use crate::config::Config;
use crate::fill::Fill;
use crate::metrics::WorkerMetrics;
use crate::mounts::Mounts;
use crate::peers::Peers;
use crate::versions::Versions;
use goosefs_core::block::{Mark, Store};
use goosefs_core::clock::Clock;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use std::sync::Arc;
use tokio::sync::Notify;

/// One worker.
pub(crate) struct Node {
    pub(crate) config: Config,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) tasks: Tasks,
    pub(crate) metrics: WorkerMetrics,
    /// The cluster it belongs to.
    pub(crate) mark: Mark,
    pub(crate) store: Store,
    pub(crate) masters: Masters,
    pub(crate) versions: Versions,
    pub(crate) mounts: Arc<Mounts>,
    pub(crate) peers: Arc<Peers>,
    pub(crate) fill: Fill,
    /// Something that was held may be persisted now.
    pub(crate) uploaded: Notify,
    /// Held by the writer that asks what of the only copies may go.
    pub(crate) making_way: tokio::sync::Mutex<()>,
}
