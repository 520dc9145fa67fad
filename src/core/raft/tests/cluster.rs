//! A cluster to start, kill and look at.

use super::toy::Toy;
use crate::error::{Code, Error, Result};
use crate::metrics::Metrics;
use crate::raft::{Node, RaftConfig, Role, Status};
use crate::task::Tasks;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Everything must have happened by then, on the slowest machine.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

pub(super) struct Member {
    pub(super) node: Node,
    pub(super) toy: Arc<Toy>,
    pub(super) metrics: Metrics,
    tasks: Tasks,
}

pub(super) struct Cluster {
    folder: tempfile::TempDir,
    peers: Vec<String>,
    /// What single masters are configured with instead.
    lists: BTreeMap<usize, Vec<String>>,
    pub(super) members: Vec<Option<Member>>,
    tune: fn(&mut RaftConfig),
}

impl Cluster {
    /// Addresses and folders for `size` masters; none runs.
    pub(super) async fn new(size: usize, tune: fn(&mut RaftConfig)) -> Cluster {
        let mut held = Vec::new();
        for _ in 0..size {
            held.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let peers = held.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        Cluster {
            folder: tempfile::tempdir().unwrap(),
            peers,
            lists: BTreeMap::new(),
            members: (0..size).map(|_| None).collect(),
            tune,
        }
    }

    /// As [`Cluster::new`], with every master started and one leading.
    pub(super) async fn started(size: usize, tune: fn(&mut RaftConfig)) -> Cluster {
        let mut cluster = Cluster::new(size, tune).await;
        for slot in 0..size {
            cluster.start(slot).await.unwrap();
        }
        cluster.leader().await;
        cluster
    }

    /// Masters that start from now on are configured so.
    pub(super) fn tune(&mut self, tune: fn(&mut RaftConfig)) {
        self.tune = tune;
    }

    pub(super) fn dir(&self, slot: usize) -> PathBuf {
        self.folder.path().join(slot.to_string())
    }

    /// Where log and snapshots of the node that runs in `slot` lie.
    pub(super) fn life(&self, slot: usize) -> PathBuf {
        self.dir(slot).join(format!("node-{}", self.node(slot).node_id()))
    }

    pub(super) fn config(&self, slot: usize) -> RaftConfig {
        let peers = self.lists.get(&slot).unwrap_or(&self.peers).clone();
        let rpc = (0..peers.len()).map(|slot| format!("master{slot}:9200")).collect();
        let mut config = RaftConfig::new(self.dir(slot), slot as u32, peers, rpc);
        config.reserve_bytes = 1 << 20;
        (self.tune)(&mut config);
        config
    }

    pub(super) async fn start(&mut self, slot: usize) -> Result<()> {
        self.start_with(slot, None).await
    }

    /// Starts a master that serves `others` on its Raft port, too.
    pub(super) async fn start_with(
        &mut self,
        slot: usize,
        others: Option<tonic::service::Routes>,
    ) -> Result<()> {
        let (toy, tasks, metrics) =
            (Arc::new(Toy::default()), Tasks::new(format!("master{slot}")), Metrics::new());
        let node = Node::start(self.config(slot), toy.clone(), &tasks, &metrics).await?;
        let listener = TcpListener::bind(&self.config(slot).peers[slot]).await.unwrap();
        node.serve(listener, others)?;
        self.members[slot] = Some(Member { node, toy, metrics, tasks });
        Ok(())
    }

    /// What the master in `slot` is configured with from its next start on.
    pub(super) fn list(&mut self, slot: usize, peers: &[String]) {
        self.lists.insert(slot, peers.to_vec());
        while self.members.len() <= slot {
            self.members.push(None);
        }
    }

    /// Ends a master without telling the others.
    pub(super) async fn kill(&mut self, slot: usize) {
        let member = self.members[slot].take().unwrap();
        member.node.stop().await;
        member.tasks.shutdown(PATIENCE).await;
    }

    /// Ends a master in order.
    pub(super) async fn shut_down(&mut self, slot: usize) {
        let member = self.members[slot].take().unwrap();
        member.node.shutdown().await;
        member.tasks.shutdown(PATIENCE).await;
    }

    pub(super) fn member(&self, slot: usize) -> &Member {
        self.members[slot].as_ref().unwrap()
    }

    pub(super) fn node(&self, slot: usize) -> &Node {
        &self.member(slot).node
    }

    pub(super) fn status(&self, slot: usize) -> Status {
        self.node(slot).status().borrow().clone()
    }

    /// The number that a metric shows.
    pub(super) fn metric(&self, slot: usize, name: &str) -> u64 {
        let text = self.member(slot).metrics.text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no metric {name} in\n{text}")).parse().unwrap()
    }

    /// The slots that run.
    pub(super) fn running(&self) -> Vec<usize> {
        (0..self.members.len()).filter(|slot| self.members[*slot].is_some()).collect()
    }

    /// Waits for a leader that serves, and its slot.
    pub(super) async fn leader(&self) -> usize {
        let leads = |slot: &usize| {
            let status = self.status(*slot);
            status.role == Role::Leader && status.serving
        };
        let find = || self.running().into_iter().find(leads);
        wait_until("a leader that serves", || find().is_some()).await;
        find().unwrap_or_else(|| panic!("the leader is gone again"))
    }

    /// Proposes wherever a leader is, again and again, until it is acknowledged.
    pub(super) async fn propose(&self, command: &str) -> Bytes {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Error::new(Code::Unavailable, "never tried");
        while Instant::now() < deadline {
            for slot in self.running() {
                match self.node(slot).propose(Bytes::copy_from_slice(command.as_bytes())).await {
                    Ok(answer) => return answer,
                    Err(e) => {
                        assert!(e.code.retryable(), "{e:?}");
                        last = e;
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("{command} was not acknowledged: {last:?}");
    }

    /// Waits until every running master has applied the same commands, and gives them.
    pub(super) async fn agreed(&self) -> Vec<String> {
        let lists = || -> Vec<Arc<Vec<Bytes>>> {
            self.running().into_iter().map(|slot| self.member(slot).toy.commands()).collect()
        };
        let top = self.running().into_iter().map(|slot| self.status(slot).last_log).max().unwrap();
        wait_until("all masters to agree", || {
            let applied = self.running().into_iter().all(|slot| self.status(slot).applied >= top);
            let lists = lists();
            applied && lists.iter().all(|list| list == &lists[0])
        })
        .await;
        lists()[0].iter().map(|c| String::from_utf8(c.to_vec()).unwrap()).collect()
    }
}

/// Waits for `what`, looking every few milliseconds.
pub(super) async fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
