//! What the leader does about workers: registers those it hears, and gives up those that are gone for good.

use super::{Worker, Workers};
use crate::journal::{Journal, Op};
use goosefs_core::Result;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::journal::{DeclareLost, RegisterWorker, RemoveWorker, entry::Command};
use std::time::Duration;

/// Contents that one log entry declares lost.
const LOST_PER_ENTRY: usize = 10_000;

/// Makes a heard worker part of the cluster, or notes that it moved. Does nothing when all is known.
///
/// # Errors
/// Those of [`Journal::propose`].
pub(crate) async fn register(journal: &Journal, worker: &Worker) -> Result<()> {
    let known = journal.read()?.workers().into_iter().any(|known| {
        known.id == worker.id
            && known.address == worker.address
            && known.virtual_nodes == worker.virtual_nodes
    });
    if known {
        return Ok(());
    }
    let command = Command::RegisterWorker(RegisterWorker {
        worker: worker.id.0,
        address: Some(worker.address.clone()),
        virtual_nodes: worker.virtual_nodes,
    });
    journal.propose(command, &Caller::default(), Op::Unnumbered).await.map(drop)
}

/// Declares lost what only workers had that were silent for `gone_after`, and strikes those workers off.
///
/// # Errors
/// Those of [`Journal::propose`].
pub(crate) async fn give_up_gone(journal: &Journal, workers: &Workers, gone_after: Duration) -> Result<()> {
    let registered = journal.read()?.workers();
    for worker in registered.into_iter().filter(|worker| workers.silent_for(worker.id) > gone_after) {
        let lost: Vec<u64> =
            journal.read()?.only_copies(worker.id).into_iter().map(|content| content.0).collect();
        if !lost.is_empty() {
            tracing::error!(
                worker = worker.id.0,
                files = lost.len(),
                "a worker with the only copy of unpersisted files is gone; they are lost"
            );
        }
        for contents in lost.chunks(LOST_PER_ENTRY) {
            let command = Command::DeclareLost(DeclareLost { contents: contents.to_vec() });
            journal.propose(command, &Caller::default(), Op::Unnumbered).await?;
        }
        let command = Command::RemoveWorker(RemoveWorker { worker: worker.id.0 });
        journal.propose(command, &Caller::default(), Op::Unnumbered).await?;
        workers.forget(worker.id);
    }
    Ok(())
}
