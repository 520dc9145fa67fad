//! Preloads carried out: whoever leads has workers cache the trees that people asked for.
//!
//! What is to be done and how far it has come is in the namespace (`namespace/preloads`), so the next leader goes on where
//! this one stopped: files that were loaded and not yet reported are asked for again and found to be cached.
//!
//! | file | owns |
//! |---|---|
//! | `run` | one preload: counting, loading, reporting, its end |
//! | `walk` | a tree's files, always in the same order, from any of them on |
//! | `place` | which workers take a file, and whether they have room for it |
//! | `pace` | not more bytes a second than asked for |
//!
//! Called by `start`; guarded by leadership: every report goes through the journal, which refuses it from who does not
//! lead any more.

mod pace;
mod place;
mod run;
mod walk;

use crate::master::Master;
use goosefs_core::proto::internal::PreloadState;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// A preload that broke off is taken up again after so long, and so is one that an earlier leader began.
const PERIOD: Duration = Duration::from_secs(1);

/// Starts to carry out preloads; acts while this master leads.
pub(crate) fn start(master: &Arc<Master>) {
    let (master, stop) = (master.clone(), master.tasks.stop());
    let tasks = master.tasks.clone();
    let under_way = Arc::new(Mutex::new(BTreeSet::new()));
    tasks.spawn("preloads", async move {
        loop {
            for id in due(&master) {
                if under_way.lock().insert(id) {
                    begin(&master, id, under_way.clone());
                }
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = master.journal.state().new_preload() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    });
}

/// Preloads that run, if this master leads.
fn due(master: &Master) -> Vec<u64> {
    let Ok(namespace) = master.journal.read() else { return Vec::new() };
    namespace.preloads().filter(|one| one.state() == PreloadState::Running).map(|one| one.id).collect()
}

fn begin(master: &Arc<Master>, id: u64, under_way: Arc<Mutex<BTreeSet<u64>>>) {
    let (master, stop) = (master.clone(), master.tasks.stop());
    let tasks = master.tasks.clone();
    tasks.spawn(format!("preload/{id}"), async move {
        tokio::select! {
            () = stop.cancelled() => {}
            outcome = run::carry_out(&master, id) => {
                if let Err(error) = outcome {
                    tracing::debug!(job = id, %error, "a preload broke off");
                }
            }
        }
        under_way.lock().remove(&id);
    });
}
