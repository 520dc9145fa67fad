//! Fake masters: one namespace, one of them leads, and the leader can die between doing and answering.

use super::worker::FakeWorker;
use super::{Cluster, Server, file_attr, mark, within};
use async_trait::async_trait;
use goosefs_core::id::{ContainerId, InodeId};
use goosefs_core::proto::internal::{
    Attr, AttrResponse, BlockHolders, Caller, Change, ChangesRequest, ChangesResponse, CommitBlockRequest,
    CompleteRequest, CreateRequest, Empty, GetAttrRequest, HelloRequest, HelloResponse, OpenSessionRequest,
    OpenSessionResponse, PersistRequest, PersistResponse, SessionOp, StatFsResponse, VersionRequest,
    VersionResponse, WorkerAddress, WorkerEntry, WorkersResponse,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::{Call, FrameService, Peer};
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use tokio::sync::Notify;

/// The masters of one fake cluster.
pub(super) struct FakeMasters {
    servers: Mutex<Vec<Server>>,
    leader: AtomicUsize,
    /// The leader dies after it did the next operation and before it answers.
    pub(super) die_before_answer: AtomicBool,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Default)]
struct State {
    sessions: BTreeSet<u64>,
    answers: BTreeMap<(u64, u64), Attr>,
    files: BTreeMap<u64, Attr>,
    names: BTreeMap<(u64, String), u64>,
    creates: usize,
    workers: Vec<WorkerEntry>,
    holders: BTreeMap<u64, (u64, Vec<u64>)>,
    changes: Vec<Change>,
    persisted: Vec<u64>,
}

impl FakeMasters {
    pub(super) async fn start(count: usize) -> Arc<FakeMasters> {
        let masters = Arc::new(FakeMasters {
            servers: Mutex::default(),
            leader: AtomicUsize::new(0),
            die_before_answer: AtomicBool::new(false),
            state: Mutex::default(),
            changed: Notify::new(),
        });
        for slot in 0..count {
            let service = Arc::new(FakeMaster { slot, masters: masters.clone() });
            let server = Server::start("127.0.0.1", service).await;
            masters.servers.lock().push(server);
        }
        masters
    }

    pub(super) fn addresses(&self) -> Vec<String> {
        self.servers.lock().iter().map(|server| server.address.clone()).collect()
    }

    pub(super) fn add_worker(&self, worker: &FakeWorker) {
        self.state.lock().workers.push(WorkerEntry {
            worker: worker.id,
            address: Some(WorkerAddress {
                host: worker.host(),
                rpc_port: worker.server().port(),
                ..WorkerAddress::default()
            }),
            virtual_nodes: 100,
            live: true,
            capacity: 1 << 30,
            ..WorkerEntry::default()
        });
    }

    /// The worker answers at another port now.
    pub(super) fn move_worker(&self, worker: &FakeWorker) {
        for entry in &mut self.state.lock().workers {
            if entry.worker == worker.id {
                entry.address.as_mut().unwrap().rpc_port = worker.server().port();
            }
        }
    }

    pub(super) fn put(&self, attr: Attr) {
        self.state.lock().files.insert(attr.content, attr);
    }

    pub(super) fn commit(&self, request: &CommitBlockRequest) {
        let mut state = self.state.lock();
        let held = state.holders.entry(request.block).or_default();
        held.0 = held.0.max(request.length);
        if !held.1.contains(&request.worker) {
            held.1.push(request.worker);
        }
    }

    pub(super) fn holders(&self, block: u64) -> Vec<u64> {
        self.state.lock().holders.get(&block).map(|held| held.1.clone()).unwrap_or_default()
    }

    pub(super) fn persisted(&self) -> Vec<u64> {
        self.state.lock().persisted.clone()
    }

    fn forget_sessions(&self) {
        self.state.lock().sessions.clear();
    }

    fn change(&self, change: Change) {
        self.state.lock().changes.push(change);
        self.changed.notify_waiters();
    }

    async fn kill_leader(&self) {
        let leader = self.leader.fetch_add(1, Ordering::SeqCst);
        let server = self.servers.lock()[leader].clone();
        server.kill().await;
    }

    fn operation(
        &self,
        op: Option<SessionOp>,
        act: impl FnOnce(&mut State) -> Result<Attr>,
    ) -> Result<AttrResponse> {
        let op = op.expect("every operation is numbered");
        let mut state = self.state.lock();
        if !state.sessions.contains(&op.session) {
            return Err(Error::new(Code::Unauthenticated, "no such session"));
        }
        if let Some(attr) = state.answers.get(&(op.session, op.sequence)) {
            return Ok(AttrResponse { attr: Some(attr.clone()) });
        }
        let attr = act(&mut state)?;
        state.answers.insert((op.session, op.sequence), attr.clone());
        Ok(AttrResponse { attr: Some(attr) })
    }

    fn create(&self, request: CreateRequest) -> Result<AttrResponse> {
        self.operation(request.op, |state| {
            let name = (request.parent, request.name.clone());
            if state.names.contains_key(&name) {
                return Err(Error::new(Code::AlreadyExists, format!("{} exists", request.name)));
            }
            state.creates += 1;
            let content = ContainerId(1000 + state.creates as u64).content();
            let attr = Attr {
                completed: false,
                persistence: 0,
                write_type: request.write_type,
                block_size: request.block_size,
                ..file_attr(content, 0)
            };
            state.names.insert(name, content.0);
            state.files.insert(content.0, attr.clone());
            Ok(attr)
        })
    }

    fn complete(&self, request: CompleteRequest) -> Result<AttrResponse> {
        self.operation(request.op, |state| {
            let file = state.files.get_mut(&request.content).ok_or_else(gone)?;
            file.completed = true;
            file.length = request.length;
            Ok(file.clone())
        })
    }

    fn version(&self, request: VersionRequest) -> Result<VersionResponse> {
        let state = self.state.lock();
        let file = state.files.get(&request.content).ok_or_else(gone)?;
        let container = goosefs_core::id::ContentId(request.content).container();
        let blocks = state
            .holders
            .iter()
            .filter(|(block, _)| goosefs_core::id::BlockId(**block).container() == container);
        Ok(VersionResponse {
            content: request.content,
            length: file.length,
            persistence: file.persistence,
            generation: file.generation,
            blocks: blocks
                .map(|(block, held)| BlockHolders { block: *block, length: held.0, workers: held.1.clone() })
                .collect(),
            ..VersionResponse::default()
        })
    }

    async fn changes(&self, request: ChangesRequest) -> ChangesResponse {
        let wait = std::time::Duration::from_millis(u64::from(request.wait_ms));
        let until = tokio::time::Instant::now() + wait;
        loop {
            let changed = self.changed.notified();
            {
                let state = self.state.lock();
                // Numbers start at 1, so that 0 stays "at the start".
                let last = state.changes.len() as u64 + 1;
                if request.after != last {
                    let from = request.after.saturating_sub(1) as usize;
                    let changes =
                        if request.after == 0 { Vec::new() } else { state.changes[from..].to_vec() };
                    return ChangesResponse { last, changes, overrun: false };
                }
            }
            if tokio::time::timeout_at(until, changed).await.is_err() {
                return ChangesResponse { last: request.after, ..ChangesResponse::default() };
            }
        }
    }
}

fn gone() -> Error {
    Error::new(Code::NotFound, "no such content")
}

struct FakeMaster {
    slot: usize,
    masters: Arc<FakeMasters>,
}

#[async_trait]
impl FrameService for FakeMaster {
    fn hello(&self, _peer: &Peer, _request: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse {
            version: 1,
            cluster: Some(mark()),
            worker: 0,
            node: self.slot as u64 + 1,
            ..HelloResponse::default()
        })
    }

    async fn call(&self, call: Call) {
        let masters = &self.masters;
        let leader = masters.leader.load(Ordering::SeqCst);
        if leader != self.slot {
            let address = masters.servers.lock().get(leader).map(|server| server.address.clone());
            return call.answer::<Empty>(Err(Error::not_leader(address.unwrap_or_default()))).await;
        }
        match call.method {
            method::OPEN_SESSION => {
                let request: OpenSessionRequest = call.request().unwrap();
                masters.state.lock().sessions.insert(request.session);
                call.answer(Ok(OpenSessionResponse { cluster: Some(mark()) })).await;
            }
            method::CREATE => {
                let answer = masters.create(call.request().unwrap());
                if masters.die_before_answer.swap(false, Ordering::SeqCst) {
                    let masters = masters.clone();
                    tokio::spawn(async move { masters.kill_leader().await });
                    return std::future::pending().await;
                }
                call.answer(answer).await;
            }
            method::COMPLETE => {
                let answer = masters.complete(call.request().unwrap());
                call.answer(answer).await;
            }
            method::PERSIST => {
                let request: PersistRequest = call.request().unwrap();
                masters.state.lock().persisted.push(request.length);
                call.answer(Ok(PersistResponse::default())).await;
            }
            method::GET_ATTR => {
                let request: GetAttrRequest = call.request().unwrap();
                let attr = masters.state.lock().files.get(&request.node).cloned();
                call.answer(attr.map(|attr| AttrResponse { attr: Some(attr) }).ok_or_else(gone)).await;
            }
            method::VERSION => {
                let answer = masters.version(call.request().unwrap());
                call.answer(answer).await;
            }
            method::WORKERS => {
                let workers = masters.state.lock().workers.clone();
                call.answer(Ok(WorkersResponse { workers, generation: 1, masters: Vec::new() })).await;
            }
            method::CHANGES => {
                let answer = masters.changes(call.request().unwrap()).await;
                call.answer(Ok(answer)).await;
            }
            method::STAT_FS => call.answer(Ok(StatFsResponse::default())).await,
            other => {
                let unserved = Error::new(Code::Unimplemented, other.name);
                call.answer::<Empty>(Err(unserved)).await;
            }
        }
    }
}

async fn create(cluster: &Cluster, name: &str) -> Result<Attr> {
    let options = crate::meta::CreateOptions {
        block_size: 4 << 20,
        write_type: goosefs_core::proto::internal::WriteType::MustCache,
    };
    within(cluster.client.inodes().create(InodeId(0), name, 0o644, options, &Caller::default())).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_create_whose_leader_dies_before_it_answers_takes_effect_once() {
    let cluster = Cluster::start(0).await;
    create(&cluster, "before").await.unwrap();
    cluster.masters.die_before_answer.store(true, Ordering::SeqCst);
    let made = create(&cluster, "during").await.unwrap();
    assert_eq!(cluster.masters.state.lock().creates, 2, "one for each name");
    assert_eq!(cluster.masters.leader.load(Ordering::SeqCst), 1, "the first leader is dead");
    assert_eq!(cluster.client.inodes().attr(made.content).await.unwrap(), made);
    assert_eq!(create(&cluster, "during").await.unwrap_err().code, Code::AlreadyExists, "a new operation");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_session_that_the_masters_forgot_is_opened_anew() {
    let cluster = Cluster::start(0).await;
    create(&cluster, "a").await.unwrap();
    cluster.masters.forget_sessions();
    let made = futures::future::join_all(["b", "c", "d", "e"].map(|name| create(&cluster, name))).await;
    for attr in made {
        attr.unwrap();
    }
    assert_eq!(cluster.masters.state.lock().creates, 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_reach_listeners_across_a_change_of_leader() {
    let cluster = Cluster::start(0).await;
    let mut listener = cluster.client.changes();
    assert_eq!(listener.next().await, Some(crate::Event::Overrun));
    let change = |name: &str| Change { parent: 1, name: name.to_owned(), node: 5, session: 0 };
    cluster.masters.change(change("a"));
    assert_eq!(listener.next().await, Some(crate::Event::Changed(change("a"))));
    cluster.masters.kill_leader().await;
    cluster.masters.change(change("b"));
    assert_eq!(listener.next().await, Some(crate::Event::Changed(change("b"))));
    cluster.client.shutdown(super::LONG).await;
}
