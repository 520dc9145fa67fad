//! Which worker to ask for which block, and who failed lately.
//!
//! The list of live workers comes from the leader, again and again; the ring is built anew only when the set changes.
//! For a block the order is: workers on this machine, the holders of an unpersisted block, the block's candidates on
//! the ring. Workers that failed lately are asked last, so that one that is back is found and one that is gone costs
//! nothing.

use crate::config::Config;
use crate::waits::Waits;
use arc_swap::ArcSwap;
use goosefs_core::id::{BlockId, WorkerId};
use goosefs_core::proto::internal::{WorkerAddress, WorkersRequest, WorkersResponse};
use goosefs_core::proto::method;
use goosefs_core::ring::{Member, Ring};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Candidates of the ring that are asked for one block.
const RING_CANDIDATES: usize = 3;

/// A worker as the masters know it.
#[derive(Clone, PartialEq, Debug)]
pub struct Worker {
    /// Its id.
    pub id: WorkerId,
    /// Where it listens.
    pub address: WorkerAddress,
    /// Points it has on the ring; 0 for the default.
    pub virtual_nodes: u32,
    /// Whether it answers its masters.
    pub live: bool,
    /// Bytes it may cache.
    pub capacity: u64,
    /// Bytes it caches.
    pub used: u64,
}

impl Worker {
    /// `host:port` for gRPC and frames.
    #[must_use]
    pub fn rpc(&self) -> String {
        if self.address.host.contains(':') {
            return format!("[{}]:{}", self.address.host, self.address.rpc_port);
        }
        format!("{}:{}", self.address.host, self.address.rpc_port)
    }
}

/// One list of workers and its ring.
#[derive(Debug, Default)]
struct Table {
    workers: BTreeMap<WorkerId, Worker>,
    ring: Arc<Ring>,
    /// The first list has come.
    known: bool,
}

impl Table {
    /// The table after another list; the ring is taken over when the set on it is the same.
    fn next(&self, answer: WorkersResponse) -> Table {
        let workers: BTreeMap<WorkerId, Worker> = answer
            .workers
            .into_iter()
            .map(|entry| {
                let id = WorkerId(entry.worker);
                let worker = Worker {
                    id,
                    address: entry.address.unwrap_or_default(),
                    virtual_nodes: entry.virtual_nodes,
                    live: entry.live,
                    capacity: entry.capacity,
                    used: entry.used,
                };
                (id, worker)
            })
            .collect();
        let members: Vec<Member> = workers
            .values()
            .filter(|worker| worker.live)
            .map(|worker| Member {
                worker: worker.id,
                host: worker.address.host.clone(),
                virtual_nodes: worker.virtual_nodes,
            })
            .collect();
        let ring =
            if self.ring.members() == members { self.ring.clone() } else { Arc::new(Ring::new(members)) };
        Table { workers, ring, known: true }
    }
}

/// Which worker to ask. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Router {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    masters: Masters,
    table: ArcSwap<Table>,
    local: ArcSwap<Vec<WorkerId>>,
    failed: Mutex<BTreeMap<WorkerId, Instant>>,
    avoid_for: Duration,
    /// Held while a list is being fetched, so that many who need one share it.
    refreshing: tokio::sync::Mutex<Option<Instant>>,
    waits: Waits,
}

impl Router {
    pub(crate) fn new(masters: Masters, config: &Config) -> Router {
        Router {
            inner: Arc::new(Inner {
                masters,
                table: ArcSwap::default(),
                local: ArcSwap::default(),
                failed: Mutex::default(),
                avoid_for: config.failed_worker,
                refreshing: tokio::sync::Mutex::default(),
                waits: Waits::default(),
            }),
        }
    }

    /// Keeps the list fresh until the client is shut down.
    pub(crate) fn keep_fresh(&self, period: Duration, tasks: &Tasks) {
        let router = self.clone();
        tasks.ask_every("workers", period, move || {
            let router = router.clone();
            async move {
                if let Err(error) = router.refresh().await {
                    tracing::debug!(%error, "no fresh list of workers");
                }
            }
        });
    }

    /// Asks for the list of workers now. Callers that come while a list is on its way share it.
    ///
    /// # Errors
    /// When no leader answers.
    pub async fn refresh(&self) -> Result<()> {
        let asked = Instant::now();
        let mut last = self.inner.refreshing.lock().await;
        if last.is_some_and(|fetched| fetched >= asked) {
            return Ok(());
        }
        let begun = Instant::now();
        let mut answer: WorkersResponse =
            self.inner.masters.call(method::WORKERS, &WorkersRequest {}).await?;
        self.inner.masters.learn(std::mem::take(&mut answer.masters));
        self.update(answer);
        *last = Some(begun);
        Ok(())
    }

    fn update(&self, answer: WorkersResponse) {
        let next = self.inner.table.load().next(answer);
        self.inner.failed.lock().retain(|id, _| next.workers.contains_key(id));
        self.inner.table.store(Arc::new(next));
    }

    /// Asks for the list if none has come yet.
    pub(crate) async fn ensure(&self) -> Result<()> {
        if self.is_known() { Ok(()) } else { self.refresh().await }
    }

    /// Whether a list has come.
    pub(crate) fn is_known(&self) -> bool {
        self.inner.table.load().known
    }

    /// Every known worker, by id, those that do not answer their masters included.
    #[must_use]
    pub fn workers(&self) -> Vec<Worker> {
        self.inner.table.load().workers.values().cloned().collect()
    }

    /// One worker.
    #[must_use]
    pub fn worker(&self, id: WorkerId) -> Option<Worker> {
        self.inner.table.load().workers.get(&id).cloned()
    }

    /// The workers on this machine that hand out descriptors.
    #[must_use]
    pub fn local(&self) -> Vec<WorkerId> {
        self.inner.local.load().as_ref().clone()
    }

    pub(crate) fn set_local(&self, local: Vec<WorkerId>) {
        self.inner.local.store(Arc::new(local));
    }

    /// Whom to ask for a block, best first: a worker on this machine, `holders`, the ring's candidates, and whoever of
    /// these failed lately at the end.
    #[must_use]
    pub fn candidates(&self, block: BlockId, holders: &[WorkerId]) -> Vec<Worker> {
        let table = self.inner.table.load();
        let mut ids: Vec<WorkerId> = Vec::new();
        // One local worker takes a whole file, so that it can hand out the file: it is chosen by the first block.
        let local = self.inner.local.load();
        let first = block.container().block(0);
        ids.extend(nearest(&table.ring, first, &local));
        ids.extend_from_slice(holders);
        ids.extend(table.ring.candidates(block, RING_CANDIDATES));
        self.ordered(&table, ids)
    }

    /// Whom to ask to take a new content, best first: as [`Router::candidates`], then every other live worker.
    #[must_use]
    pub fn takers(&self, block: BlockId) -> Vec<Worker> {
        let table = self.inner.table.load();
        let mut ids: Vec<WorkerId> = Vec::new();
        ids.extend(nearest(&table.ring, block.container().block(0), &self.inner.local.load()));
        ids.extend(table.ring.candidates(block, RING_CANDIDATES));
        ids.extend(table.workers.values().filter(|worker| worker.live).map(|worker| worker.id));
        self.ordered(&table, ids)
    }

    /// Each known worker once, in the order of `ids`, but those that failed lately last, the longest ago first, and
    /// behind them those that their masters do not hear of.
    fn ordered(&self, table: &Table, ids: Vec<WorkerId>) -> Vec<Worker> {
        let now = Instant::now();
        let failed = self.inner.failed.lock();
        let mut good: Vec<Worker> = Vec::with_capacity(ids.len());
        let mut bad: Vec<((bool, Instant), Worker)> = Vec::new();
        for id in ids {
            let Some(worker) = table.workers.get(&id) else { continue };
            if good.iter().any(|w| w.id == id) || bad.iter().any(|(_, w)| w.id == id) {
                continue;
            }
            match failed.get(&id) {
                Some(&at) if now.duration_since(at) < self.inner.avoid_for => {
                    bad.push(((!worker.live, at), worker.clone()));
                }
                _ if !worker.live => bad.push(((true, now), worker.clone())),
                _ => good.push(worker.clone()),
            }
        }
        bad.sort_by_key(|(order, _)| *order);
        good.extend(bad.into_iter().map(|(_, worker)| worker));
        good
    }

    /// This worker did not answer: it is asked last for a while.
    pub fn failed(&self, id: WorkerId) {
        self.inner.failed.lock().insert(id, Instant::now());
    }

    /// This worker answered.
    pub fn answered(&self, id: WorkerId) {
        let mut failed = self.inner.failed.lock();
        if !failed.is_empty() {
            failed.remove(&id);
        }
    }

    /// Who waits for a worker.
    pub(crate) fn waits(&self) -> &Waits {
        &self.inner.waits
    }

    /// What to say when there is nobody to ask.
    pub(crate) fn nobody(&self) -> Error {
        let known = self.inner.table.load().workers.len();
        Error::new(Code::Unavailable, format!("no worker can be asked, {known} are known to the masters"))
            .hint("start a worker, or see `goosefs fsadmin report capacity`")
    }
}

/// The one of `ids` that comes first for a block; the ring's order spreads files over several workers of one machine.
fn nearest(ring: &Ring, block: BlockId, ids: &[WorkerId]) -> Option<WorkerId> {
    match ids {
        [] => None,
        [only] => Some(*only),
        many => {
            ring.candidates_where(block, 1, |id| many.contains(&id)).first().or_else(|| many.first()).copied()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::id::ContainerId;
    use goosefs_core::proto::internal::WorkerEntry;
    use goosefs_core::rpc::masters::MastersConfig;

    fn list(workers: &[u64], dead: &[u64]) -> WorkersResponse {
        let entry = |&worker: &u64| WorkerEntry {
            worker,
            address: Some(WorkerAddress {
                host: format!("host-{worker}"),
                rpc_port: 9203,
                ..Default::default()
            }),
            virtual_nodes: 50,
            live: !dead.contains(&worker),
            ..WorkerEntry::default()
        };
        WorkersResponse { workers: workers.iter().map(entry).collect(), generation: 1, masters: Vec::new() }
    }

    fn router(workers: &[u64], dead: &[u64]) -> Router {
        let config = Config::new(vec!["127.0.0.1:1".to_owned()]);
        let masters = MastersConfig {
            addresses: config.masters.clone(),
            role: "test".to_owned(),
            caller: config.caller.clone(),
            cluster: None,
            deadline: Duration::ZERO,
            control: None,
        };
        let router = Router::new(Masters::new(masters, &Tasks::new("test")), &config);
        router.update(list(workers, dead));
        router
    }

    fn ids(workers: Vec<Worker>) -> Vec<u64> {
        workers.into_iter().map(|worker| worker.id.0).collect()
    }

    #[tokio::test]
    async fn local_workers_come_first_then_holders_then_the_ring() {
        let router = router(&[1, 2, 3, 4, 5, 6], &[]);
        let block = ContainerId(9).block(3);
        let ring = ids(router.candidates(block, &[]));
        assert_eq!(ring.len(), RING_CANDIDATES);
        let outside: Vec<u64> = (1..=6).filter(|id| !ring.contains(id)).collect();
        router.set_local(vec![WorkerId(outside[0])]);
        let order = ids(router.candidates(block, &[WorkerId(outside[1]), WorkerId(77)]));
        assert_eq!(order, [&outside[..2], &ring].concat(), "a holder that nobody knows is left out");
    }

    #[tokio::test]
    async fn every_block_of_a_file_goes_to_the_same_local_worker_and_files_are_spread() {
        let router = router(&[1, 2, 3, 4], &[]);
        router.set_local(vec![WorkerId(2), WorkerId(3)]);
        let mut chosen = BTreeMap::new();
        for container in 1..100 {
            let first = ids(router.candidates(ContainerId(container).block(0), &[]))[0];
            for index in 1..10 {
                assert_eq!(ids(router.candidates(ContainerId(container).block(index), &[]))[0], first);
            }
            *chosen.entry(first).or_insert(0) += 1;
        }
        assert_eq!(chosen.keys().copied().collect::<Vec<_>>(), [2, 3]);
        assert!(chosen.values().all(|&files| files > 10), "{chosen:?}");
    }

    #[tokio::test]
    async fn workers_that_failed_or_are_dead_are_asked_last_and_again_once_they_answered() {
        let router = router(&[1, 2, 3], &[3]);
        let block = ContainerId(1).block(0);
        let holders = [WorkerId(3), WorkerId(1), WorkerId(2)];
        assert_eq!(
            ids(router.candidates(block, &holders)).last(),
            Some(&3),
            "dead, though it holds the block"
        );
        let first = router.candidates(block, &[WorkerId(1), WorkerId(2)])[0].id;
        router.failed(first);
        let order = ids(router.candidates(block, &holders));
        assert_eq!(order[1..], [first.0, 3]);
        router.answered(first);
        assert_eq!(ids(router.candidates(block, &[first]))[0], first.0);
    }

    #[tokio::test]
    async fn the_ring_is_kept_while_its_workers_are_the_same() {
        let router = router(&[1, 2, 3], &[]);
        let ring = |router: &Router| router.inner.table.load().ring.clone();
        let before = ring(&router);
        router.update(list(&[3, 1, 2], &[]));
        assert!(Arc::ptr_eq(&before, &ring(&router)));
        router.update(list(&[1, 2, 3], &[2]));
        assert_eq!(ring(&router).members().len(), 2);
        assert!(router.worker(WorkerId(2)).is_some_and(|worker| !worker.live));
    }

    #[test]
    fn addresses_of_both_kinds_can_be_dialled() {
        let worker = |host: &str| Worker {
            id: WorkerId(1),
            address: WorkerAddress { host: host.to_owned(), rpc_port: 9203, ..Default::default() },
            virtual_nodes: 0,
            live: true,
            capacity: 0,
            used: 0,
        };
        assert_eq!(worker("10.0.0.1").rpc(), "10.0.0.1:9203");
        assert_eq!(worker("fd00::1").rpc(), "[fd00::1]:9203");
    }
}
