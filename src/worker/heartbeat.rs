//! Telling every master how this worker is, and hearing what it must drop.
//!
//! Every master is told, not the leader alone, so that a new leader knows its workers at once. Deleted, replaced and
//! truncated contents come back in the answers; what is void of them is dropped before the next heartbeat says that it
//! was heard.

use crate::disk::blocking;
use crate::node::Node;
use crate::peers::{mark_of, wire_mark};
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{HeartbeatRequest, HeartbeatResponse, TierUsage, WorkerAddress};
use goosefs_core::proto::method;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// How long a master may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

/// For the last word at the end.
const GOODBYE: Duration = Duration::from_millis(300);

/// What the heartbeats of all masters share.
pub(crate) struct Heartbeats {
    node: Arc<Node>,
    address: WorkerAddress,
    started_ms: u64,
    dropped_after: AtomicU64,
    /// One answer at a time is worked on.
    dropping: tokio::sync::Mutex<()>,
    ready: watch::Sender<bool>,
    answered: Vec<AtomicBool>,
    /// Masters that are told though the configuration does not name them: the others say that they were added.
    added: Mutex<BTreeSet<String>>,
    /// Masters that turned out to be another cluster's.
    foreign: Mutex<BTreeSet<String>>,
    failure: watch::Sender<Option<Error>>,
}

impl Heartbeats {
    /// Starts to tell every master. `ready` is set once the leading one has answered, `failure` when most masters turn
    /// out to be another cluster's.
    pub(crate) fn start(
        node: &Arc<Node>,
        address: WorkerAddress,
        ready: watch::Sender<bool>,
        failure: watch::Sender<Option<Error>>,
    ) {
        let masters = node.config.masters.clone();
        let heartbeats = Arc::new(Heartbeats {
            node: node.clone(),
            address,
            started_ms: node.clock.now_ms(),
            dropped_after: AtomicU64::new(0),
            dropping: tokio::sync::Mutex::new(()),
            ready,
            answered: masters.iter().map(|_| AtomicBool::new(false)).collect(),
            added: Mutex::default(),
            foreign: Mutex::default(),
            failure,
        });
        for (number, master) in masters.into_iter().enumerate() {
            heartbeats.spawn(Some(number), master);
        }
    }

    fn spawn(self: &Arc<Heartbeats>, number: Option<usize>, master: String) {
        let heartbeats = self.clone();
        self.node.tasks.spawn(format!("heartbeat-{master}"), async move {
            heartbeats.run(number, &master).await;
        });
    }

    /// Begins to tell masters that were added, and leaves those that were taken out.
    fn note(self: &Arc<Heartbeats>, masters: Vec<String>) {
        // One that knows none is of another version.
        if masters.is_empty() {
            return;
        }
        self.node.masters.learn(masters.clone());
        let configured = &self.node.config.masters;
        let now: BTreeSet<String> =
            masters.into_iter().filter(|master| !configured.contains(master)).collect();
        let before = std::mem::replace(&mut *self.added.lock(), now.clone());
        for master in now.difference(&before) {
            tracing::info!(master, "a master was added");
            self.spawn(None, master.clone());
        }
    }

    /// Tells one master until the worker stops, or until that master is none any more. `number` is its place in the
    /// configuration.
    async fn run(self: &Arc<Heartbeats>, number: Option<usize>, master: &str) {
        let stop = self.node.tasks.stop();
        let mut heard = true;
        loop {
            if number.is_none() && !self.added.lock().contains(master) {
                self.foreign.lock().remove(master);
                return;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                outcome = self.tell(number, master) => match outcome {
                    Ok(()) => {
                        heard = true;
                        self.foreign.lock().remove(master);
                    }
                    Err(error) if error.code == Code::WrongCluster && self.most_are_foreign(master) => {
                        self.failure.send_replace(Some(error));
                        stop.cancel();
                    }
                    Err(error) if heard => {
                        heard = false;
                        tracing::info!(master, %error, "a master does not hear this worker");
                    }
                    Err(_) => {}
                },
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(self.node.config.heartbeat) => {}
            }
        }
        let _whoever_hears_it = tokio::time::timeout(GOODBYE, self.send(master, true)).await;
    }

    /// Notes that `master` is another cluster's: one that strayed to the address of ours is not the end of the others.
    fn most_are_foreign(&self, master: &str) -> bool {
        let all = self.node.config.masters.len() + self.added.lock().len();
        let mut foreign = self.foreign.lock();
        foreign.insert(master.to_owned());
        foreign.len() * 2 > all
    }

    async fn tell(self: &Arc<Heartbeats>, number: Option<usize>, master: &str) -> Result<()> {
        let response = match tokio::time::timeout(PATIENCE, self.send(master, false)).await {
            Ok(response) => response?,
            Err(_) => return Err(Error::new(Code::DeadlineExceeded, format!("{master} does not answer"))),
        };
        if let Some(theirs) = mark_of(response.cluster.as_ref())
            && theirs != self.node.mark
        {
            let message =
                format!("{master} leads cluster {theirs}, this worker belongs to {}", self.node.mark);
            return Err(Error::new(Code::WrongCluster, message));
        }
        self.follow(&response).await?;
        self.note(response.masters);
        if let Some(answered) = number.and_then(|number| self.answered.get(number)) {
            answered.store(true, Ordering::Release);
        }
        let all = self.answered.iter().all(|answered| answered.load(Ordering::Acquire));
        if !response.leader.is_empty() && (response.leader == master || all) {
            self.ready.send_if_modified(|ready| !std::mem::replace(ready, true));
        }
        Ok(())
    }

    async fn send(&self, master: &str, leaving: bool) -> Result<HeartbeatResponse> {
        let channel = self.node.masters.channel(master).await?;
        channel.call(method::HEARTBEAT, &self.request(leaving)).await
    }

    fn request(&self, leaving: bool) -> HeartbeatRequest {
        let usage = self.node.store.usage();
        let mut tiers: BTreeMap<&str, TierUsage> = BTreeMap::new();
        for dir in &usage.dirs {
            let tier = tiers.entry(&dir.tier).or_default();
            tier.alias.clone_from(&dir.tier);
            tier.capacity += dir.capacity;
            tier.used += dir.used;
        }
        let failed = usage.dirs.iter().filter(|dir| dir.failed);
        let lost_storage = failed.map(|dir| dir.path.display().to_string()).collect();
        HeartbeatRequest {
            worker: self.node.store.worker().0,
            cluster: Some(wire_mark(self.node.mark)),
            address: Some(self.address.clone()),
            virtual_nodes: self.node.config.virtual_nodes,
            started_ms: self.started_ms,
            tiers: tiers.into_values().collect(),
            unpersisted: usage.held,
            cached_by_mount: usage.by_mount.iter().map(|(mount, bytes)| (mount.0, *bytes)).collect(),
            leaving,
            lost_storage,
            dropped_after: self.dropped_after.load(Ordering::Acquire),
            traffic: Some(self.node.metrics.traffic()),
            troubles: self.node.mounts.troubles().into_iter().map(|(mount, text)| (mount.0, text)).collect(),
        }
    }

    /// Drops what the answer says, and only then remembers that it was heard.
    async fn follow(&self, response: &HeartbeatResponse) -> Result<()> {
        let before = self.dropped_after.load(Ordering::Acquire);
        if response.dropped_up_to <= before && !response.dropped_overrun {
            return Ok(());
        }
        let _one_at_a_time = self.dropping.lock().await;
        if response.dropped_up_to <= self.dropped_after.load(Ordering::Acquire) {
            return Ok(());
        }
        let named = response.dropped_contents.iter().copied().filter_map(ContentId::from_raw);
        let contents = if response.dropped_overrun { self.node.store.contents() } else { named.collect() };
        for content in contents {
            self.node.versions.forget(content);
            if self.node.store.content(content).is_some() {
                compare(&self.node, content).await?;
            }
        }
        self.dropped_after.fetch_max(response.dropped_up_to, Ordering::AcqRel);
        Ok(())
    }
}

/// Drops what the leading master says is void of `content`: all of it when it is gone, older generations when it was
/// truncated. Marks it as persisted when it is.
///
/// # Errors
/// When no leading master answers, or the disk fails.
pub(crate) async fn compare(node: &Node, content: ContentId) -> Result<()> {
    let version = match node.versions.get(content, 0).await {
        Ok(version) => Some(version),
        Err(error) if error.code == Code::NotFound => None,
        Err(error) => return Err(error),
    };
    let store = node.store.clone();
    blocking(move || {
        let Some(version) = version else { return store.drop_content(content, true).map(drop) };
        store.truncated(content, version.generation)?;
        if version.object().is_some() && !store.held_blocks(content).is_empty() {
            store.persisted(content, version.generation)?;
        }
        Ok(())
    })
    .await
}
