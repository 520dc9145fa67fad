//! Which workers take a file, and whether they have room for it.
//!
//! Files go where readers look first: to the ring's owners of their first block. A preload gives no worker more than it can
//! hold, lest it throw out what it has just loaded.

use crate::workers::{Worker, Workers};
use goosefs_core::id::{ContentId, WorkerId};
use goosefs_core::proto::internal::PreloadPlaced;
use goosefs_core::ring::{Member, Ring};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Of a worker's capacity, in tenths, that one preload fills: the rest is above what eviction leaves alone.
const TENTHS: u64 = 9;

/// What one preload has given to workers.
pub(super) struct Place {
    workers: Arc<Workers>,
    /// Go on when they are full.
    beyond: bool,
    placed: Mutex<BTreeMap<WorkerId, u64>>,
    /// The ring of one generation of workers: making one takes milliseconds.
    ring: Mutex<(u64, Arc<Ring>)>,
}

impl Place {
    pub(super) fn new(workers: Arc<Workers>, beyond: bool, placed: &[PreloadPlaced]) -> Place {
        let placed = placed.iter().map(|one| (WorkerId(one.worker), one.bytes)).collect();
        Place { workers, beyond, placed: Mutex::new(placed), ring: Mutex::default() }
    }

    /// Every worker that may take a content, best first.
    pub(super) fn candidates(&self, content: ContentId) -> Vec<Worker> {
        let workers = self.workers.ring();
        let ring = self.ring(&workers);
        let first = ring.candidates(content.block(0), workers.len());
        let by_id = |id: &WorkerId| workers.iter().find(|worker| worker.id == *id).cloned();
        let mut ordered: Vec<Worker> = first.iter().filter_map(by_id).collect();
        // Several workers of one host: the ring names one of them.
        ordered.extend(workers.iter().filter(|worker| !first.contains(&worker.id)).cloned());
        ordered
    }

    /// Whether no worker takes anything.
    pub(super) fn is_nowhere(&self) -> bool {
        self.workers.ring().is_empty()
    }

    /// Sets `bytes` aside on a worker; false when it has no room for them.
    pub(super) fn reserve(&self, worker: &Worker, bytes: u64) -> bool {
        let mut placed = self.placed.lock();
        let given = placed.entry(worker.id).or_default();
        if !self.beyond && *given + bytes > worker.capacity() / 10 * TENTHS {
            return false;
        }
        *given += bytes;
        true
    }

    /// They did not get there.
    pub(super) fn give_back(&self, worker: WorkerId, bytes: u64) {
        if let Some(given) = self.placed.lock().get_mut(&worker) {
            *given = given.saturating_sub(bytes);
        }
    }

    fn ring(&self, workers: &[Worker]) -> Arc<Ring> {
        let generation = Workers::generation(workers);
        let mut known = self.ring.lock();
        if known.0 != generation || known.1.is_empty() {
            let member = |worker: &Worker| Member {
                worker: worker.id,
                host: worker.address.host.clone(),
                virtual_nodes: worker.virtual_nodes,
            };
            *known = (generation, Arc::new(Ring::new(workers.iter().map(member))));
        }
        known.1.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::clock::ManualClock;
    use goosefs_core::id::ContainerId;
    use goosefs_core::proto::internal::{HeartbeatRequest, TierUsage, WorkerAddress};
    use std::time::Duration;

    fn workers(capacity: u64) -> Arc<Workers> {
        let workers = Workers::new(ManualClock::at(0), Duration::from_secs(10), 50);
        for worker in 1..=3 {
            let address =
                Some(WorkerAddress { host: format!("w{worker}"), rpc_port: 1, ..Default::default() });
            let tiers = vec![TierUsage { alias: "SSD".into(), capacity, used: 0 }];
            workers.heartbeat(HeartbeatRequest { worker, address, tiers, ..Default::default() });
        }
        Arc::new(workers)
    }

    #[test]
    fn every_worker_is_a_candidate_once_and_files_are_spread() {
        let place = Place::new(workers(1000), false, &[]);
        let mut first = BTreeMap::new();
        for container in 1..100 {
            let candidates = place.candidates(ContainerId(container).content());
            let mut ids: Vec<u64> = candidates.iter().map(|worker| worker.id.0).collect();
            *first.entry(ids[0]).or_insert(0) += 1;
            ids.sort_unstable();
            assert_eq!(ids, [1, 2, 3]);
        }
        assert!(first.len() == 3 && first.values().all(|files| *files > 10), "{first:?}");
    }

    #[test]
    fn no_worker_is_given_more_than_it_holds_unless_asked() {
        let all = workers(1000);
        let place = Place::new(all.clone(), false, &[PreloadPlaced { worker: 1, bytes: 500 }]);
        let worker = all.get(WorkerId(1)).unwrap();
        assert!(place.reserve(&worker, 400));
        assert!(!place.reserve(&worker, 1));
        place.give_back(worker.id, 100);
        assert!(place.reserve(&worker, 100));
        assert!(Place::new(all, true, &[]).reserve(&worker, 5000));
    }
}
