//! Workers as this master sees them: who is alive, what each holds, and the list that placement rings are built from.
//!
//! Workers send heartbeats to every master, so a new leader knows them at once. What must outlive a restart (which ids
//! exist, where they listen) goes through Raft as `RegisterWorker`; the rest lives here and is lost with the process.
//! Called by the framed service (heartbeats), the public worker service (reports) and the effects (who can upload).

mod channels;
pub(crate) mod drain;
mod duties;
mod spread;

pub(crate) use channels::Channels;
pub(crate) use duties::{give_up_gone, register};
pub(crate) use spread::{cached_bytes, drop_everywhere};

use drain::Asked;
use goosefs_core::clock::Clock;
use goosefs_core::id::WorkerId;
use goosefs_core::proto::internal::{HeartbeatRequest, TierUsage, Traffic, WorkerAddress};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// What is known of one worker.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Worker {
    pub(crate) id: WorkerId,
    pub(crate) address: WorkerAddress,
    pub(crate) virtual_nodes: u32,
    pub(crate) started_ms: u64,
    pub(crate) tiers: Vec<TierUsage>,
    /// Bytes that eviction must leave.
    pub(crate) unpersisted: u64,
    pub(crate) cached_by_mount: BTreeMap<u64, u64>,
    pub(crate) leaving: bool,
    pub(crate) lost_storage: Vec<String>,
    pub(crate) traffic: Traffic,
    /// Storages that refused it or were silent, by mount.
    pub(crate) troubles: BTreeMap<u64, String>,
    /// [`Clock::monotonic`] of the last heartbeat.
    pub(crate) last_seen: Duration,
    /// It was heard within the time-out. Lost workers keep what they last said.
    pub(crate) live: bool,
}

impl Worker {
    pub(crate) fn capacity(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.capacity).sum()
    }

    pub(crate) fn used(&self) -> u64 {
        self.tiers.iter().map(|tier| tier.used).sum()
    }
}

/// The workers that were heard since this master started.
pub(crate) struct Workers {
    clock: Arc<dyn Clock>,
    timeout: Duration,
    default_virtual_nodes: u32,
    /// When this master started, [`Clock::monotonic`].
    started: Duration,
    heard: Mutex<BTreeMap<WorkerId, Worker>>,
    /// Those that somebody wants to go.
    asked: Mutex<BTreeMap<WorkerId, Asked>>,
}

impl Workers {
    pub(crate) fn new(clock: Arc<dyn Clock>, timeout: Duration, default_virtual_nodes: u32) -> Workers {
        let started = clock.monotonic();
        Workers {
            clock,
            timeout,
            default_virtual_nodes,
            started,
            heard: Mutex::default(),
            asked: Mutex::default(),
        }
    }

    /// Takes note of a heartbeat.
    pub(crate) fn heartbeat(&self, request: HeartbeatRequest) {
        let virtual_nodes = match request.virtual_nodes {
            0 => self.default_virtual_nodes,
            given => given,
        };
        let worker = Worker {
            id: WorkerId(request.worker),
            address: request.address.unwrap_or_default(),
            virtual_nodes,
            started_ms: request.started_ms,
            tiers: request.tiers,
            unpersisted: request.unpersisted,
            cached_by_mount: request.cached_by_mount.into_iter().collect(),
            leaving: request.leaving,
            lost_storage: request.lost_storage,
            traffic: request.traffic.unwrap_or_default(),
            troubles: request.troubles.into_iter().collect(),
            last_seen: self.clock.monotonic(),
            live: true,
        };
        let before = self.heard.lock().insert(worker.id, worker.clone());
        if before.is_none_or(|before| !self.in_time(&before)) {
            let address = format!("{}:{}", worker.address.host, worker.address.rpc_port);
            tracing::info!(worker = worker.id.0, address, "worker is there");
        }
    }

    /// Everyone who was heard, by id; [`Worker::live`] is as of now.
    pub(crate) fn all(&self) -> Vec<Worker> {
        let heard = self.heard.lock();
        heard.values().map(|worker| self.as_of_now(worker)).collect()
    }

    /// Those who are alive, by id.
    pub(crate) fn live(&self) -> Vec<Worker> {
        self.all().into_iter().filter(|worker| worker.live).collect()
    }

    /// The workers that new data may be placed on: alive and not about to leave.
    pub(crate) fn ring(&self) -> Vec<Worker> {
        self.live().into_iter().filter(|worker| !worker.leaving).collect()
    }

    /// One worker, if it was heard.
    pub(crate) fn get(&self, id: WorkerId) -> Option<Worker> {
        let heard = self.heard.lock();
        heard.get(&id).map(|worker| self.as_of_now(worker))
    }

    fn as_of_now(&self, worker: &Worker) -> Worker {
        let now = self.clock.monotonic();
        let leaves = self.asked.lock().get(&worker.id).is_some_and(|asked| asked.counts(now));
        Worker { live: self.in_time(worker), leaving: worker.leaving || leaves, ..worker.clone() }
    }

    /// A worker gets nothing new for a while: somebody wants it to go.
    fn drain(&self, id: WorkerId) -> Asked {
        let now = self.clock.monotonic();
        let mut all = self.asked.lock();
        let asked = all.entry(id).or_default();
        if !asked.counts(now) || asked.last.is_zero() {
            *asked = Asked { first: now, ..Asked::default() };
        }
        asked.last = now;
        asked.clone()
    }

    /// Those that are to go now.
    fn drained(&self) -> Vec<WorkerId> {
        let now = self.clock.monotonic();
        let mut all = self.asked.lock();
        all.retain(|_, asked| asked.counts(now));
        all.keys().copied().collect()
    }

    fn note_problem(&self, id: WorkerId, problem: String) {
        if let Some(asked) = self.asked.lock().get_mut(&id) {
            asked.problem = problem;
        }
    }

    /// How long a worker has been silent: since its last heartbeat, or since this master started.
    pub(crate) fn silent_for(&self, id: WorkerId) -> Duration {
        let last = self.heard.lock().get(&id).map_or(self.started, |worker| worker.last_seen);
        self.clock.monotonic().saturating_sub(last)
    }

    /// Forgets a worker that was removed.
    pub(crate) fn forget(&self, id: WorkerId) {
        self.heard.lock().remove(&id);
    }

    /// A number that changes whenever the ring does, alike on every master.
    pub(crate) fn generation(ring: &[Worker]) -> u64 {
        let mut text = String::new();
        for worker in ring {
            let WorkerAddress { host, rpc_port, .. } = &worker.address;
            text.push_str(&format!("{} {host}:{rpc_port} {};", worker.id, worker.virtual_nodes));
        }
        u64::from(goosefs_core::checksum::crc32c(text.as_bytes())) << 16 | ring.len() as u64
    }

    fn in_time(&self, worker: &Worker) -> bool {
        self.clock.monotonic().saturating_sub(worker.last_seen) < self.timeout
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::clock::ManualClock;

    fn heartbeat(worker: u64, leaving: bool) -> HeartbeatRequest {
        let address = Some(WorkerAddress { host: format!("w{worker}"), rpc_port: 1, ..Default::default() });
        HeartbeatRequest { worker, address, leaving, ..Default::default() }
    }

    #[test]
    fn a_silent_worker_leaves_the_ring_and_comes_back_with_its_next_heartbeat() {
        let clock = ManualClock::at(0);
        let workers = Workers::new(clock.clone(), Duration::from_secs(10), 5000);
        workers.heartbeat(heartbeat(1, false));
        workers.heartbeat(heartbeat(2, false));
        let both = Workers::generation(&workers.ring());
        clock.advance(Duration::from_secs(6));
        workers.heartbeat(heartbeat(2, false));
        clock.advance(Duration::from_secs(6));
        assert_eq!(workers.ring().iter().map(|w| w.id.0).collect::<Vec<_>>(), [2]);
        assert_eq!(workers.all().iter().map(|w| w.live).collect::<Vec<_>>(), [false, true]);
        assert_ne!(Workers::generation(&workers.ring()), both);
        assert_eq!(workers.silent_for(WorkerId(1)), Duration::from_secs(12));
        workers.heartbeat(heartbeat(1, false));
        assert_eq!(Workers::generation(&workers.ring()), both);
    }

    #[test]
    fn a_leaving_worker_is_alive_but_gets_nothing_new() {
        let workers = Workers::new(ManualClock::at(0), Duration::from_secs(10), 77);
        workers.heartbeat(heartbeat(1, true));
        assert!(workers.ring().is_empty());
        assert_eq!(workers.live()[0].virtual_nodes, 77);
    }

    #[test]
    fn a_worker_that_is_to_go_is_leaving_for_as_long_as_that_is_asked() {
        let clock = ManualClock::at(0);
        let workers = Workers::new(clock.clone(), Duration::from_secs(100), 1);
        workers.heartbeat(heartbeat(1, false));
        clock.advance(Duration::from_secs(1));
        workers.drain(WorkerId(1));
        clock.advance(Duration::from_secs(5));
        let asked = workers.drain(WorkerId(1));
        assert_eq!(asked.last - asked.first, Duration::from_secs(5));
        assert!(workers.ring().is_empty() && workers.live().len() == 1);
        assert_eq!(workers.drained(), [WorkerId(1)]);
        clock.advance(Duration::from_secs(21));
        assert_eq!(workers.ring().len(), 1, "it stays after all");
        assert!(workers.drained().is_empty());
        assert_eq!(workers.drain(WorkerId(1)).first, clock.monotonic(), "from the beginning");
    }

    #[test]
    fn a_worker_never_heard_is_silent_since_the_start() {
        let clock = ManualClock::at(5000);
        let workers = Workers::new(clock.clone(), Duration::from_secs(10), 1);
        clock.advance(Duration::from_secs(3));
        assert_eq!(workers.silent_for(WorkerId(9)), Duration::from_secs(3));
    }
}
