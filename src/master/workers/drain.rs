//! Workers that are to go: what they alone have is copied to others while the leader is asked for it.
//!
//! Nothing of it is remembered: who wants a worker to go asks again and again ([`Workers::drain`]), of whoever leads, and
//! a worker that is asked for no more is one like the others.

use super::{Worker, Workers};
use crate::master::Master;
use goosefs_core::Result;
use goosefs_core::id::{BlockId, ContentId, WorkerId};
use goosefs_core::proto::internal::{Draining, Empty, TakeOverRequest};
use goosefs_core::proto::method::TAKE_OVER;
use std::sync::Arc;
use std::time::Duration;

/// A worker is drained for so long after it was asked for.
const COUNTS: Duration = Duration::from_secs(20);

/// Between two rounds.
const PERIOD: Duration = Duration::from_secs(1);

/// Time that taking a file over may take beside the time for its bytes.
const BASE_TIME: Duration = Duration::from_secs(10);

/// Slower than this it is given up, bytes per second.
const SLOWEST: u64 = 1 << 20;

/// That a worker is to go.
#[derive(Clone, Debug, Default)]
pub(super) struct Asked {
    /// Without a pause since then.
    pub(super) first: Duration,
    pub(super) last: Duration,
    /// Why something could not be copied.
    pub(super) problem: String,
}

impl Asked {
    pub(super) fn counts(&self, now: Duration) -> bool {
        now.saturating_sub(self.last) < COUNTS
    }
}

/// Takes note that the workers at `hosts` are to go, and says how far that is.
///
/// # Errors
/// When this master does not lead.
pub(crate) fn drain(master: &Master, hosts: &[String]) -> Result<Vec<Draining>> {
    let registered = master.journal.read()?.workers();
    let mut all = Vec::new();
    for host in hosts {
        // A worker that came back with an empty folder has another id; what the former one had is lost with it.
        for known in registered.iter().filter(|known| known.address.host == *host) {
            let asked = master.workers.drain(known.id);
            all.push(Draining {
                host: host.clone(),
                left: master.journal.read()?.only_copies(known.id).len() as u64,
                since_ms: u64::try_from((asked.last - asked.first).as_millis()).unwrap_or(u64::MAX),
                problem: asked.problem,
            });
        }
    }
    Ok(all)
}

/// Starts the task that copies; it acts while this master leads.
pub(crate) fn start(master: &Arc<Master>) {
    let of = master.clone();
    let stop = master.tasks.stop();
    master.tasks.spawn("drain", async move {
        loop {
            for worker in of.workers.drained() {
                let problem = tokio::select! {
                    () = stop.cancelled() => return,
                    copied = copy_all(&of, worker) => copied.err().map(|error| error.to_string()),
                };
                of.workers.note_problem(worker, problem.unwrap_or_default());
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    });
}

/// Copies what `worker` alone has; files that are still being written are left for later.
async fn copy_all(master: &Master, worker: WorkerId) -> Result<()> {
    let mut outcome = Ok(());
    let contents = master.journal.read()?.only_copies(worker);
    for content in contents {
        if let Err(error) = copy(master, worker, content).await {
            tracing::warn!(worker = worker.0, content = content.0, %error, "an only copy could not be copied yet");
            outcome = Err(error);
        }
    }
    outcome
}

async fn copy(master: &Master, worker: WorkerId, content: ContentId) -> Result<()> {
    // It may have been removed, or persisted, meanwhile.
    let Ok(version) = master.journal.read()?.version(content) else { return Ok(()) };
    if !version.completed {
        return Ok(());
    }
    let blocks: Vec<_> = version.blocks.iter().filter(|block| block.workers == [worker.0]).collect();
    let bytes: u64 = blocks.iter().map(|block| block.length).sum();
    let request = TakeOverRequest {
        content: content.0,
        generation: version.generation,
        blocks: blocks.iter().map(|block| BlockId(block.block).index()).collect(),
    };
    let patience = BASE_TIME + Duration::from_secs(bytes / SLOWEST);
    let mut outcome = Err(no_other(worker));
    for other in by_room(&master.workers) {
        let answer: Result<Empty> = master.channels.call(&other, TAKE_OVER, &request, patience).await;
        outcome = answer.map(drop).map_err(|error| error.context(format!("copy to worker {}", other.id)));
        if outcome.is_ok() {
            break;
        }
    }
    outcome
}

fn no_other(worker: WorkerId) -> goosefs_core::Error {
    let message = format!("there is no other worker that could take what worker {worker} alone has");
    goosefs_core::Error::new(goosefs_core::Code::Unavailable, message)
}

/// Those that can take something, the emptiest first.
fn by_room(workers: &Workers) -> Vec<Worker> {
    let mut ring = workers.ring();
    ring.sort_by_key(|worker| std::cmp::Reverse(worker.capacity().saturating_sub(worker.used())));
    ring
}
