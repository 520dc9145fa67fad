//! Between openraft and a [`Machine`]: commands are applied on a thread of their own, in batches.
//!
//! The state lives in memory. It is what the newest snapshot says plus the committed entries after it, which openraft
//! applies again at start.

use super::ground::{Ground, Worker, blocking};
use super::metrics::Counters;
use super::snapshot::{SnapshotFile, Snapshots};
use super::space::Space;
use super::types::{LogId, SnapshotMeta, StoredMembership, Types};
use super::{Frozen, Machine};
use crate::error::{Error, Result};
use bytes::Bytes;
use futures::{Stream, StreamExt};
use openraft::EntryPayload;
use openraft::storage::{ApplyResponder, EntryResponder, RaftSnapshotBuilder, RaftStateMachine, Snapshot};
use parking_lot::Mutex;
use std::io;
use std::sync::mpsc::TryRecvError;
use std::sync::{Arc, mpsc};
use tokio::sync::oneshot;

/// Entries handed to the machine at once; answers leave after each such batch.
const BATCH: usize = 1024;

/// What an image covers, and the image.
pub(super) type Image = (SnapshotMeta, Box<dyn Frozen>);
type Responder = Option<ApplyResponder<Types>>;

/// Where the state stands.
#[derive(Clone, Default)]
struct Position {
    applied: Option<LogId>,
    membership: StoredMembership,
}

enum Work {
    Apply(Vec<(LogId, Option<Bytes>, Responder)>, oneshot::Sender<()>),
    Freeze(oneshot::Sender<Box<dyn Frozen>>),
    Restore(SnapshotFile, oneshot::Sender<Result<()>>),
}

/// The state machine as openraft sees it.
pub(super) struct StateMachine {
    work: mpsc::Sender<Work>,
    snapshots: Arc<Snapshots>,
    space: Arc<Space>,
    position: Arc<Mutex<Position>>,
    counters: Counters,
    ground: Arc<dyn Ground>,
}

impl StateMachine {
    /// Starts the thread that calls `machine`.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn start(
        machine: Arc<dyn Machine>,
        snapshots: Arc<Snapshots>,
        space: Arc<Space>,
        counters: Counters,
        ground: Arc<dyn Ground>,
    ) -> Result<StateMachine> {
        let (work, queue) = mpsc::channel();
        ground
            .employ("raft-apply", Box::new(Applier { machine, queue }))
            .map_err(|e| Error::io("start the thread that applies commands", e))?;
        Ok(StateMachine { work, snapshots, space, position: Arc::default(), counters, ground })
    }

    /// The image of the state now, what it covers and who votes.
    pub(super) async fn freeze(&self) -> io::Result<Image> {
        self.freezing().await
    }

    /// As [`StateMachine::freeze`], to be awaited elsewhere while nothing is applied.
    pub(super) fn freezing(&self) -> impl Future<Output = io::Result<Image>> + Send + use<> {
        let (done, wait) = oneshot::channel();
        let sent = self.work.send(Work::Freeze(done)).is_ok();
        let position = self.position.clone();
        async move {
            let gone = || io::Error::other("the thread that applies commands ended");
            if !sent {
                return Err(gone());
            }
            let frozen = wait.await.map_err(|_| gone())?;
            let position = position.lock().clone();
            Ok((SnapshotMeta { last_log_id: position.applied, last_membership: position.membership }, frozen))
        }
    }

    async fn ask<T>(&self, work: impl FnOnce(oneshot::Sender<T>) -> Work) -> io::Result<T> {
        let gone = || io::Error::other("the thread that applies commands ended");
        let (done, wait) = oneshot::channel();
        self.work.send(work(done)).map_err(|_| gone())?;
        wait.await.map_err(|_| gone())
    }

    async fn apply_batch(&self, batch: Vec<(LogId, Option<Bytes>, Responder)>) -> io::Result<()> {
        let Some(last) = batch.last().map(|(id, _, _)| *id) else { return Ok(()) };
        self.ask(|done| Work::Apply(batch, done)).await?;
        self.position.lock().applied = Some(last);
        Ok(())
    }
}

/// Calls the machine, one thing after the other.
struct Applier {
    machine: Arc<dyn Machine>,
    queue: mpsc::Receiver<Work>,
}

impl Worker for Applier {
    fn turn(&mut self, wait: bool) -> bool {
        let first = if wait {
            self.queue.recv().map_err(|_| TryRecvError::Disconnected)
        } else {
            self.queue.try_recv()
        };
        match first {
            Ok(work) => {
                self.work(work);
                true
            }
            Err(TryRecvError::Empty) => true,
            Err(TryRecvError::Disconnected) => false,
        }
    }
}

impl Applier {
    fn work(&self, work: Work) {
        let machine = self.machine.as_ref();
        // Nobody waits any more when a send fails: Raft was shut down.
        match work {
            Work::Apply(batch, done) => {
                apply(machine, batch);
                let _gone = done.send(());
            }
            Work::Freeze(done) => drop(done.send(machine.freeze())),
            Work::Restore(file, done) => drop(done.send(file.image(|image| machine.restore(image)))),
        }
    }
}

fn apply(machine: &dyn Machine, batch: Vec<(LogId, Option<Bytes>, Responder)>) {
    let commands: Vec<(u64, Bytes)> =
        batch.iter().filter_map(|(id, command, _)| Some((id.index, command.clone()?))).collect();
    let mut answers = if commands.is_empty() { Vec::new() } else { machine.apply(&commands) }.into_iter();
    for (_, command, responder) in batch {
        let answer = if command.is_some() { answers.next().unwrap_or_default() } else { Bytes::new() };
        if let Some(responder) = responder {
            responder.send(answer);
        }
    }
}

impl RaftStateMachine<Types> for StateMachine {
    type SnapshotData = SnapshotFile;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, StoredMembership)> {
        let position = self.position.lock().clone();
        Ok((position.applied, position.membership))
    }

    async fn apply<S>(&mut self, mut entries: S) -> io::Result<()>
    where
        S: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + Send,
    {
        let mut batch = Vec::new();
        while let Some(next) = entries.next().await {
            let (entry, responder) = next?;
            let command = match entry.payload {
                EntryPayload::Normal(command) => Some(command.0),
                EntryPayload::Blank => None,
                EntryPayload::Membership(membership) => {
                    self.position.lock().membership = StoredMembership::new(Some(entry.log_id), membership);
                    None
                }
            };
            batch.push((entry.log_id, command, responder));
            if batch.len() == BATCH {
                self.apply_batch(std::mem::take(&mut batch)).await?;
            }
        }
        self.apply_batch(batch).await
    }

    async fn try_create_snapshot_builder(&mut self, force: bool) -> Option<Builder> {
        let size = self.snapshots.current().map_or(0, |(_, file)| file.length);
        // A snapshot that cannot be written would stop Raft; one that comes later does no harm.
        if !force && self.space.low_for(size) {
            tracing::warn!("no snapshot is taken: the disk is nearly full");
            return None;
        }
        Some(self.get_snapshot_builder().await)
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        // No command is applied meanwhile: openraft calls from the task that applies.
        Builder {
            frozen: Mutex::new(Some(self.freeze().await)),
            snapshots: self.snapshots.clone(),
            counters: self.counters.clone(),
            ground: self.ground.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotFile) -> io::Result<()> {
        let snapshots = self.snapshots.clone();
        let head = meta.clone();
        let received = snapshot.path == snapshots.incoming();
        let file = blocking(&self.ground, move || snapshots.adopt(&head, snapshot))
            .await
            .map_err(io::Error::other)?
            .map_err(io::Error::other)?;
        self.ask(|done| Work::Restore(file, done)).await?.map_err(io::Error::other)?;
        if received {
            self.counters.snapshots_installed.inc();
        }
        *self.position.lock() =
            Position { applied: meta.last_log_id, membership: meta.last_membership.clone() };
        Ok(())
    }

    async fn get_current_snapshot(
        &mut self,
    ) -> io::Result<Option<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>>> {
        Ok(self.snapshots.current().map(|(meta, snapshot)| Snapshot { meta, snapshot }))
    }
}

/// Writes a frozen image while further commands are applied.
pub(super) struct Builder {
    // Taken by the first build; there is only one.
    frozen: Mutex<Option<io::Result<Image>>>,
    snapshots: Arc<Snapshots>,
    counters: Counters,
    ground: Arc<dyn Ground>,
}

impl RaftSnapshotBuilder<Types> for Builder {
    type SnapshotData = SnapshotFile;

    async fn build_snapshot(
        &mut self,
    ) -> io::Result<openraft::type_config::alias::SnapshotOf<Types, SnapshotFile>> {
        let (meta, frozen) =
            self.frozen.lock().take().ok_or_else(|| io::Error::other("a builder builds once"))??;
        let (snapshots, head) = (self.snapshots.clone(), meta.clone());
        let written = blocking(&self.ground, move || snapshots.write(&head, frozen.as_ref()));
        let snapshot = written.await.map_err(io::Error::other)?.map_err(io::Error::other)?;
        self.counters.snapshots_taken.inc();
        self.counters.snapshot_bytes.set(i64::try_from(snapshot.length).unwrap_or(i64::MAX));
        tracing::info!(path = %snapshot.path.display(), bytes = snapshot.length, "snapshot taken");
        Ok(Snapshot { meta, snapshot })
    }
}
