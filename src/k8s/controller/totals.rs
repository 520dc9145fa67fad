//! How much is in the storages of each cluster: walked in the background, told from memory.

use super::ask::{self, Master, Total};
use goosefs_core::task::Tasks;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A walk is made again after so long, or after ten times what it took when that is longer.
const AGAIN: Duration = Duration::from_secs(30);

/// What is known, by cluster and generation of its mounts.
#[derive(Clone, Default)]
pub(super) struct Totals {
    known: Arc<Mutex<BTreeMap<String, Known>>>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    total: Option<Total>,
    walking: bool,
    next: Option<Instant>,
}

impl Totals {
    /// The figures of the walk before; starts the next when it is time.
    pub(super) fn of(&self, cluster: &str, leader: &Master, tasks: &Tasks) -> Option<Total> {
        let mut all = self.known.lock();
        let known = all.entry(cluster.to_owned()).or_default();
        let due = known.next.is_none_or(|next| next <= Instant::now());
        if due && !known.walking {
            known.walking = true;
            let (totals, cluster, leader) = (self.clone(), cluster.to_owned(), leader.clone());
            let (walked, stop) = (tasks.clone(), tasks.stop());
            tasks.spawn("add up storages", async move {
                let began = Instant::now();
                let found = tokio::select! {
                    () = stop.cancelled() => return,
                    found = ask::total(&leader, &walked) => found,
                };
                totals.note(&cluster, found, began.elapsed());
            });
        }
        known.total
    }

    fn note(&self, cluster: &str, found: goosefs_core::Result<Total>, took: Duration) {
        let mut all = self.known.lock();
        let known = all.entry(cluster.to_owned()).or_default();
        known.walking = false;
        known.next = Some(Instant::now() + AGAIN.max(took * 10));
        match found {
            Ok(total) => known.total = Some(total),
            Err(error) => tracing::debug!(cluster, %error, "the storages were not added up"),
        }
    }
}
