//! One Raft node.

mod follow;
mod lead;

use super::acquaint::Acquaint;
use super::backup;
use super::ground::{Line, blocking};
use super::join::Join;
use super::log::LogStore;
use super::me::Me;
use super::members::Members;
use super::metrics::Counters;
use super::network::{self, Service};
use super::observe::{self, Lease};
use super::open::{Parts, open};
use super::proposals::Proposals;
use super::space::Space;
use super::state::StateMachine;
use super::types::{MetricsWatch, Types};
use super::{Backup, ClusterMark, Leader, Machine, Quorum, RaftConfig, Role, Status};
use crate::error::{Code, Error, Result};
use crate::id::NodeId;
use crate::metrics::Metrics;
use crate::task::Tasks;
use bytes::Bytes;
use openraft::async_runtime::watch::WatchReceiver;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;

type Raft = openraft::Raft<Types, StateMachine>;

/// How long a master that is to write a backup may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(20);
/// Tasks get so long to end.
const GRACE: Duration = Duration::from_secs(2);

/// One member of the Raft group. Cheap to clone.
#[derive(Clone)]
pub struct Node {
    inner: Arc<Inner>,
}

struct Inner {
    // First, so that nothing runs any more when the others are dropped.
    threads: Mutex<Threads>,
    me: Arc<Me>,
    raft: Raft,
    log: LogStore,
    service: Service,
    members: Members,
    proposals: Proposals,
    lease: Arc<Lease>,
    space: Arc<Space>,
    metrics: MetricsWatch,
    status: watch::Receiver<Status>,
    in_touch: watch::Receiver<bool>,
    tasks: Tasks,
    handle: Handle,
}

/// Raft's own threads. Dropping a runtime inside another one is not allowed, so they end in the background, also when a
/// start is broken off.
struct Threads(Option<Runtime>);

impl Threads {
    fn end(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        self.end();
    }
}

impl Node {
    /// Opens or makes the data directory, restores the state machine and starts Raft on threads of its own; joining the
    /// cluster goes on in the background. Peers need [`Node::serve`] to be called.
    ///
    /// # Errors
    /// When the directory cannot be used, belongs to another slot or is in use by another process.
    pub async fn start(
        config: RaftConfig,
        machine: Arc<dyn Machine>,
        tasks: &Tasks,
        metrics: &Metrics,
    ) -> Result<Node> {
        let runtime = config.ground.runtime().map_err(|e| Error::io("start the threads of Raft", e))?;
        let handle = runtime.as_ref().map_or_else(Handle::current, |runtime| runtime.handle().clone());
        let threads = Threads(runtime);
        let counters = Counters::new(metrics);
        let starting = handle.spawn(open(config, machine, counters.clone()));
        let started =
            starting.await.map_err(|e| Error::new(Code::Internal, "starting Raft panicked").caused_by(e));
        let node = Node::assemble(started.flatten()?, counters, threads, handle);
        node.watch_over(tasks);
        node.watch_space();
        node.watch_disk();
        node.follow_roster();
        Ok(node)
    }

    fn assemble(parts: Parts, counters: Counters, threads: Threads, handle: Handle) -> Node {
        let Parts { me, raft, log, snapshots, network, space, recovered } = parts;
        let own = Tasks::new(format!("raft-{}", me.config.slot));
        let metrics = raft.metrics();
        let lease = Arc::new(Lease::new(me.clone(), metrics.clone(), counters.clone()));
        let members = Members {
            me: me.clone(),
            raft: raft.clone(),
            network: network.clone(),
            metrics: metrics.clone(),
            lease: lease.clone(),
            changing: Arc::default(),
        };
        let service =
            Service::new(me.clone(), raft.clone(), log.clone(), snapshots, members.clone(), lease.clone());
        keep_quiet(&me, &raft, &handle, &own);
        let (status_out, status) = watch::channel(observe::starting());
        let (touch_out, in_touch) = watch::channel(true);
        let (problem, problem_seen) = watch::channel(None);
        let acquaint = Acquaint {
            me: me.clone(),
            network: network.clone(),
            raft: raft.clone(),
            problem: problem.clone(),
            strangers: Mutex::default(),
        };
        let join = Join { me: me.clone(), raft: raft.clone(), log: log.clone(), network, problem };
        {
            let _on = handle.enter();
            own.spawn(
                "observe",
                observe::watch(
                    me.clone(),
                    metrics.clone(),
                    status_out,
                    problem_seen,
                    counters.clone(),
                    recovered,
                ),
            );
            own.spawn("touch", lease.clone().watch_touch(touch_out, own.stop()));
            own.spawn("join", join.run(own.stop()));
            own.spawn("members", members.clone().keep(own.stop()));
            own.spawn("acquaint", acquaint.run(own.stop()));
        }
        let proposals = Proposals::new(me.clone(), raft.clone(), space.clone(), counters);
        Node {
            inner: Arc::new(Inner {
                me,
                raft,
                log,
                service,
                members,
                proposals,
                lease,
                space,
                metrics,
                status,
                in_touch,
                tasks: own,
                threads: Mutex::new(threads),
                handle,
            }),
        }
    }

    /// A panic in one of our tasks brings the caller's role down.
    fn watch_over(&self, tasks: &Tasks) {
        let (failed, stop) = (self.inner.tasks.failed(), tasks.stop());
        tasks.spawn("raft", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = failed.cancelled() => panic!("a task of Raft panicked"),
            }
        });
    }

    /// Serves the Raft service on `listener`, on Raft's own threads; `others` (client calls that a standby forwards) are
    /// run on the caller's runtime.
    ///
    /// # Errors
    /// When the listener cannot be taken over.
    pub fn serve(&self, listener: TcpListener, others: Option<tonic::service::Routes>) -> Result<()> {
        let context = "take over the listener of the Raft port";
        let listener = listener.into_std().map_err(|e| Error::io(context, e))?;
        let others = others.map(|routes| (routes.prepare(), Handle::current()));
        let _on = self.inner.handle.enter();
        let listener = TcpListener::from_std(listener).map_err(|e| Error::io(context, e))?;
        let serving = network::serve(listener, self.inner.service.clone(), others, self.inner.tasks.stop());
        self.inner.tasks.spawn("serve", async move {
            if let Err(error) = serving.await {
                tracing::error!(%error, "peers cannot reach this master any more");
            }
        });
        Ok(())
    }

    /// The way to this node without a network: answers on the caller's threads what peers ask, as [`Node::serve`] does on
    /// the Raft port.
    #[must_use]
    pub fn line(&self) -> Line {
        network::line(self.inner.service.clone())
    }

    /// What the node is made around.
    #[cfg(test)]
    pub(super) fn raft(&self) -> Raft {
        self.inner.raft.clone()
    }

    #[cfg(test)]
    pub(super) fn me(&self) -> &Me {
        &self.inner.me
    }

    /// The cluster this directory belongs to; `None` before the first start is complete.
    #[must_use]
    pub fn mark(&self) -> Option<ClusterMark> {
        self.inner.me.mark()
    }

    /// The Raft node id, made with the data directory.
    #[must_use]
    pub fn node_id(&self) -> NodeId {
        self.inner.me.node()
    }

    /// Replicates `command` and gives back what the state machine answered: after a quorum has fsynced it and this node
    /// has applied it.
    ///
    /// # Errors
    /// `NotLeader` (with the leader's RPC address) when nothing was done; `Unavailable` when the outcome is not known.
    pub async fn propose(&self, command: Bytes) -> Result<Bytes> {
        if !*self.inner.in_touch.borrow() {
            return Err(Error::not_leader(""));
        }
        self.in_touch(self.inner.proposals.propose(command)).await
    }

    /// Waits while the lead is on its way, from this node to the one it hands over to or to this node, which was elected and
    /// catches up: then it is known who is to be asked. Does not wait for an election, which may take longer.
    pub async fn settle(&self) {
        let inner = &self.inner;
        let handing_over = inner.lease.handing_over.load(Ordering::SeqCst);
        let arriving = |status: &Status| status.role == Role::Leader && !status.serving;
        let mut status = inner.status.clone();
        if !handing_over && !arriving(&status.borrow()) {
            return;
        }
        let settled = status.wait_for(|status| match handing_over {
            true => status.role != Role::Leader && status.leader.is_some(),
            false => !arriving(status),
        });
        let mut in_touch = inner.in_touch.clone();
        let settled = async {
            tokio::select! {
                _ = settled => {}
                // Nothing will be known here.
                _ = in_touch.wait_for(|in_touch| !in_touch), if handing_over => {}
            }
        };
        // After that the caller is told what is known by then.
        let _late = tokio::time::timeout(inner.me.config.election_max * 2, settled).await;
    }

    /// Does `work` as long as this node, if it leads, hears from a quorum. Without one another master may lead by now,
    /// and what is waited for here may happen there alone.
    ///
    /// # Errors
    /// Those of `work`; `Unavailable` when the quorum was lost: whether anything was done is not known.
    pub async fn in_touch<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        let mut in_touch = self.inner.in_touch.clone();
        tokio::select! {
            biased;
            outcome = work => outcome,
            Ok(_) = in_touch.wait_for(|in_touch| !in_touch) => Err(Error::new(
                Code::Unavailable,
                "this master leads but has lost touch with the others; whether the change took effect is not known",
            )),
        }
    }

    /// What this node is, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.inner.status.clone()
    }

    /// Whether a read of local state is current: cheap, no message to anybody.
    ///
    /// # Errors
    /// `NotLeader` or `Unavailable`.
    pub fn check_lease(&self) -> Result<()> {
        self.inner.lease.check()
    }

    /// Waits until some master leads, at most `timeout`.
    pub async fn wait_leader(&self, timeout: Duration) -> Option<Leader> {
        let mut status = self.inner.status.clone();
        let found = status.wait_for(|status| status.leader.is_some() || status.role == Role::Failed);
        tokio::time::timeout(timeout, found).await.ok()?.ok()?.leader.clone()
    }

    /// The voting masters as this one sees them.
    #[must_use]
    pub fn quorum(&self) -> Quorum {
        self.inner.members.quorum()
    }

    /// Where the masters are: slot, RPC address.
    #[must_use]
    pub fn rpc_addresses(&self) -> Vec<(u32, String)> {
        let me = &self.inner.me;
        let addresses = me.addresses();
        addresses.slots().filter_map(|slot| Some((slot, me.rpc_address(slot)?))).collect()
    }

    /// As leader, takes in the master that was started at Raft address `address` and waits until it votes. Its slot.
    ///
    /// # Errors
    /// `NotLeader`; `WrongCluster`; `InvalidArgument` when nobody answers there or its id is taken; `DeadlineExceeded`
    /// when it does not catch up in time; `Busy` while another change is under way.
    pub async fn add_master(&self, address: &str) -> Result<u32> {
        self.inner.members.add(address).await
    }

    /// As leader, takes the master at Raft address `address` out of the quorum; it may be gone already. A leader that is
    /// to be taken out hands its leadership over and answers `NotLeader`: the next one does it.
    ///
    /// # Errors
    /// `NotLeader`, `NotFound`; `InvalidArgument` for the last one and when too few of the others answer; `Busy` while another change is under way.
    pub async fn remove_master(&self, address: &str) -> Result<()> {
        let outcome = self.inner.members.remove(address).await;
        let own = self.inner.me.config.slot;
        if outcome.as_ref().is_err_and(|error| error.code == Code::Busy)
            && self.inner.members.slot_at(address).is_ok_and(|slot| slot == own)
        {
            self.transfer_leadership().await?;
            return Err(Error::not_leader(
                self.inner.members.leader().map_or(String::new(), |leader| leader.rpc),
            ));
        }
        outcome
    }

    /// Takes a snapshot now and waits until it covers everything that is applied.
    ///
    /// # Errors
    /// `Unavailable` when none was taken within `limit`.
    pub async fn checkpoint(&self, limit: Duration) -> Result<()> {
        let applied = self.inner.status.borrow().applied;
        let until = std::time::Instant::now() + limit;
        loop {
            if self.inner.metrics.borrow_watched().snapshot.is_some_and(|id| id.index >= applied) {
                return Ok(());
            }
            if std::time::Instant::now() >= until {
                return Err(Error::new(Code::Unavailable, format!("no snapshot was taken within {limit:?}"))
                    .hint("the log of the master says why; the disk may be nearly full"));
            }
            // Again and again: one that is being written may have begun before.
            let asked = self.inner.raft.trigger().snapshot().await;
            asked.map_err(|e| {
                Error::new(Code::Unavailable, format!("Raft has stopped on this master: {e}"))
            })?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until this node has applied everything that was acknowledged before the call, whoever leads.
    ///
    /// # Errors
    /// `Unavailable` when that is not so within `limit`.
    pub async fn catch_up(&self, limit: Duration) -> Result<()> {
        let log = self.inner.log.clone();
        let index = self.inner.members.read_index(move || log.last_index(), limit).await?;
        let mut status = self.inner.status.clone();
        let reached = status.wait_for(|status| status.applied >= index);
        match tokio::time::timeout(limit, reached).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(Error::new(Code::Unavailable, "this master was stopped")),
            Err(_) => {
                Err(Error::new(Code::Unavailable, "this master lags behind and has not caught up in time"))
            }
        }
    }

    /// Writes the state, with everything that was acknowledged before the call, to a new file at `path`. Changes go on.
    ///
    /// # Errors
    /// `AlreadyExists`, `Unavailable` when this master cannot catch up, I/O errors.
    pub async fn backup(&self, path: std::path::PathBuf) -> Result<Backup> {
        self.catch_up(CATCH_UP).await?;
        let stopped = |e: &dyn std::fmt::Display| {
            Error::new(Code::Unavailable, format!("Raft has stopped on this master: {e}"))
        };
        let mark = self.mark().ok_or_else(|| stopped(&"it has no cluster"))?;
        let frozen = self.inner.raft.with_state_machine(|state| Box::pin(state.freezing())).await;
        let (meta, frozen) = frozen.map_err(|e| stopped(&e))?.map_err(|e| stopped(&e))?;
        let ground = &self.inner.me.config.ground;
        let writing = blocking(ground, move || backup::write(&path, &meta, mark, frozen.as_ref()));
        let written = writing.await;
        let backup =
            written.map_err(|e| Error::new(Code::Internal, "the backup panicked").caused_by(e))??;
        tracing::info!(path = %backup.path.display(), records = backup.records, bytes = backup.bytes, "backup written");
        Ok(backup)
    }

    /// Hands leadership over if this node leads, then stops Raft and closes the log.
    pub async fn shutdown(&self) {
        let leads = self.inner.status.borrow().role == Role::Leader;
        if leads && let Err(error) = self.transfer_leadership().await {
            tracing::info!(%error, "this master stops without a successor");
        }
        self.stop().await;
    }

    /// Stops Raft and closes the log at once, as far as others can tell like a kill: the lead is not handed over.
    pub async fn abort(&self) {
        self.stop().await;
    }

    pub(super) async fn stop(&self) {
        let inner = &self.inner;
        inner.me.stopping.store(true, Ordering::SeqCst);
        inner.tasks.stop().cancel();
        if let Err(error) = inner.raft.shutdown().await {
            tracing::warn!(%error, "Raft had stopped with an error");
        }
        inner.log.close().await;
        inner.tasks.shutdown(GRACE).await;
        inner.me.release();
        inner.threads.lock().end();
    }
}

/// Calls no election until what an earlier process of this master promised has run out.
fn keep_quiet(me: &Arc<Me>, raft: &Raft, handle: &Handle, tasks: &Tasks) {
    let quiet = me.quiet();
    if quiet.is_zero() {
        return;
    }
    raft.runtime_config().elect(false);
    let (me, raft) = (me.clone(), raft.clone());
    let _on = handle.enter();
    tasks.spawn("quiet", async move {
        tokio::time::sleep(quiet).await;
        raft.runtime_config().elect(!me.removed());
    });
}
