//! Our own framed service: what FUSE, our clients and our workers ask of masters.
//!
//! | file | methods |
//! |---|---|
//! | `nodes` | the inode service: lookups, listings, changes by inode |
//! | `cluster` | versions, mounts, workers, heartbeats, the cluster itself |
//! | `preloads` | trees that are to be cached |
//! | `backups` | backups that go to the caller |
//! | `digest` | what this master's own copy of the namespace is |
//!
//! Lookups and attributes that are in memory are answered on the connection's own task, under the same lease as all reads.
//! Heartbeats, digests and questions about the cluster are answered by every master, all else by the leader; the others say
//! `NotLeader` and who it is.

pub(crate) mod backups;
mod cluster;
mod digest;
mod nodes;
mod preloads;

use crate::authority::Who;
use crate::journal::Op;
use crate::master::Master;
use crate::namespace::Namespace;
use async_trait::async_trait;
use goosefs_core::proto::internal::{Caller, HelloRequest, HelloResponse, SessionOp};
use goosefs_core::proto::journal::{Applied, entry::Command};
use goosefs_core::proto::method::{self, Method};
use goosefs_core::raft::send_backup;
use goosefs_core::rpc::control::KeyFile;
use goosefs_core::rpc::frame::{BriefCall, Call, FrameService, Peer, check_cluster};
use goosefs_core::{Code, Error, Result};
use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

/// Answers frames.
pub(crate) struct Frames {
    master: Arc<Master>,
}

impl Frames {
    pub(crate) fn new(master: Arc<Master>) -> Arc<Frames> {
        Arc::new(Frames { master })
    }

    /// Decodes, works, answers, counts.
    async fn answer<Q, A, W>(&self, call: Call, work: impl FnOnce(Arc<Master>, Q) -> W)
    where
        Q: prost::Message + Default,
        A: prost::Message,
        W: Future<Output = Result<A>> + Send,
    {
        let started = Instant::now();
        let (method, cancelled) = (call.method, call.cancelled());
        let outcome = match call.request::<Q>() {
            Ok(request) => tokio::select! {
                biased;
                outcome = self.work(method, request, work) => outcome,
                () = cancelled.cancelled() => return,
            },
            Err(error) => Err(error),
        };
        self.master.metrics.rpc(method.name, started.elapsed(), outcome.is_ok());
        call.answer(outcome).await;
    }

    /// Answers what `work` finds in the namespace, if this master leads, knows the caller and `work` need not wait. Any
    /// doubt leaves the call to [`FrameService::call`].
    fn answer_at_once<Q, A>(
        &self,
        call: &mut BriefCall<'_>,
        work: impl FnOnce(&Master, &Namespace, &Who, &Q) -> Option<Result<A>>,
    ) where
        Q: prost::Message + Default,
        A: prost::Message,
    {
        let started = Instant::now();
        let Some(who) = self.master.authority.of_known_peer(call.peer) else { return };
        let Ok(request) = call.request::<Q>() else { return };
        let found = match self.master.journal.read() {
            Ok(namespace) => work(&self.master, &namespace, &who, &request),
            Err(_) => None,
        };
        if let Some(outcome) = found {
            self.master.metrics.rpc(call.method.name, started.elapsed(), outcome.is_ok());
            call.answer(outcome);
        }
    }

    /// As [`Frames::answer`], for what not everybody may.
    async fn answer_for<Q, A, W>(&self, call: Call, work: impl FnOnce(Arc<Master>, Who, Q) -> W)
    where
        Q: prost::Message + Default,
        A: prost::Message,
        W: Future<Output = Result<A>> + Send,
    {
        let who = self.master.authority.of_peer(&call.peer).await;
        self.answer(call, |master, request| work(master, who, request)).await;
    }

    async fn send_backup(&self, call: Call) {
        let started = Instant::now();
        let (method, cancelled) = (call.method, call.cancelled());
        let who = self.master.authority.of_peer(&call.peer).await;
        let written = tokio::select! {
            biased;
            written = self.work(method, (), |master, ()| backups::write(master, who)) => written,
            () = cancelled.cancelled() => return,
        };
        self.master.metrics.rpc(method.name, started.elapsed(), written.is_ok());
        match written {
            Ok(file) => send_backup(call, file).await,
            Err(error) => call.finish(Err(error)).await,
        }
    }

    /// Works as the leader, or says who leads: a caller that comes while the lead is handed over hears of it when it is.
    async fn work<Q, A, W>(
        &self,
        method: Method,
        request: Q,
        work: impl FnOnce(Arc<Master>, Q) -> W,
    ) -> Result<A>
    where
        W: Future<Output = Result<A>> + Send,
    {
        if answered_by_all(method) {
            return work(self.master.clone(), request).await;
        }
        let node = self.master.journal.node();
        node.settle().await;
        let mut outcome = node.in_touch(work(self.master.clone(), request)).await;
        if let Err(error) = &mut outcome
            && error.code == Code::NotLeader
        {
            node.settle().await;
            let status = node.status();
            let status = status.borrow();
            if let Some(leader) = status.leader.as_ref().filter(|leader| leader.node != node.node_id()) {
                error.leader.clone_from(&leader.rpc);
            }
        }
        outcome
    }
}

#[async_trait]
impl FrameService for Frames {
    fn hello(&self, _: &Peer, request: &HelloRequest) -> Result<HelloResponse> {
        let node = self.master.journal.node();
        let ours = node.mark();
        check_cluster(ours.map(Into::into).as_ref(), request.cluster.as_ref())?;
        Ok(HelloResponse {
            version: 1,
            cluster: ours.map(Into::into),
            worker: 0,
            node: node.node_id().0,
            ..HelloResponse::default()
        })
    }

    fn control(&self) -> Option<&KeyFile> {
        self.master.config.control.as_ref()
    }

    fn call_at_once(&self, call: &mut BriefCall<'_>) {
        match call.method {
            method::LOOKUP => self.answer_at_once(call, nodes::known_entry),
            method::GET_ATTR => {
                self.answer_at_once(call, |_, namespace, who, request| {
                    Some(nodes::attr(namespace, who, request))
                });
            }
            _ => {}
        }
    }

    async fn call(&self, call: Call) {
        match call.method {
            method::OPEN_SESSION => self.answer(call, nodes::open_session).await,
            method::LOOKUP => self.answer_for(call, nodes::lookup).await,
            method::GET_ATTR => self.answer_for(call, nodes::get_attr).await,
            method::READ_DIR => self.answer_for(call, nodes::read_dir).await,
            method::RESOLVE => self.answer_for(call, nodes::resolve).await,
            method::CREATE => self.answer_for(call, nodes::create).await,
            method::MAKE_DIR => self.answer_for(call, nodes::make_dir).await,
            method::SYMLINK => self.answer_for(call, nodes::symlink).await,
            method::REMOVE => self.answer_for(call, nodes::remove).await,
            method::RENAME => self.answer_for(call, nodes::rename).await,
            method::SET_ATTR => self.answer_for(call, nodes::set_attr).await,
            method::TRUNCATE => self.answer_for(call, nodes::truncate).await,
            method::COMPLETE => self.answer_for(call, nodes::complete).await,
            method::PERSIST => self.answer_for(call, nodes::persist).await,
            method::STAT_FS => self.answer(call, cluster::stat_fs).await,
            method::CHANGES => self.answer(call, cluster::changes).await,
            method::VERSION => self.answer(call, cluster::version).await,
            method::MOUNTS => self.answer(call, cluster::mounts).await,
            method::WORKERS => self.answer(call, cluster::workers).await,
            method::HEARTBEAT => self.answer(call, cluster::heartbeat).await,
            method::COMMIT_BLOCK => self.answer(call, cluster::commit_block).await,
            method::DRAIN => self.answer_for(call, cluster::drain).await,
            method::CLUSTER => self.answer(call, cluster::cluster).await,
            method::SUBMIT_PRELOAD => self.answer_for(call, preloads::submit).await,
            method::PRELOADS => self.answer(call, preloads::list).await,
            method::STOP_PRELOAD => self.answer_for(call, preloads::stop).await,
            method::BACKUP => self.send_backup(call).await,
            method::DIGEST => self.answer(call, digest::digest).await,
            other => {
                let error = Error::new(Code::Unimplemented, format!("masters do not serve {}", other.name));
                call.answer::<goosefs_core::proto::internal::Empty>(Err(error)).await;
            }
        }
    }
}

/// What every master answers, whatever it is at the moment.
fn answered_by_all(method: Method) -> bool {
    [method::HEARTBEAT, method::CLUSTER, method::DIGEST].contains(&method)
}

/// On whose behalf a request is made.
fn caller(caller: Option<Caller>) -> Caller {
    caller.unwrap_or_default()
}

/// In whose name a change is made.
fn acting(who: &Who, named: Option<Caller>) -> Result<Caller> {
    let acting = caller(named);
    who.act_for(&acting)?;
    Ok(acting)
}

/// The answer that an operation got before, when this is a retry.
async fn answered(master: &Master, op: Option<SessionOp>) -> Result<Option<Applied>> {
    master.journal.answered(session_op(op)).await
}

async fn numbered(
    master: &Master,
    command: Command,
    acting: Caller,
    op: Option<SessionOp>,
) -> Result<Applied> {
    master.journal.propose(command, &acting, session_op(op)).await
}

/// The number of an operation.
fn session_op(op: Option<SessionOp>) -> Op {
    op.map_or(Op::Unnumbered, Op::Session)
}
