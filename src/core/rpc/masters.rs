//! Finding the leading master and staying with it: what our clients and workers call masters through.
//!
//! All masters are dialled in parallel and asked the cheapest question that the leader alone answers; leader hints are
//! followed. A leader that leaves a call and a ping unanswered for 300 ms is doubted, since one that was stopped or cut off
//! sends no reset: all are asked who leads, and the call moves when that is another.
//!
//! **What may be called.** A call that gets lost on the way (broken connection, leader gone) is made again, though it may
//! have been carried out. So [`Masters::call`] is for requests that may be repeated: reads, idempotent ones (heartbeats,
//! commits of blocks) and operations that carry a `SessionOp`, which take effect once. Everything else goes over one
//! [`Masters::channel`] and its caller decides.

use super::control::ControlKey;
use super::frame::{Channel, Target, check_cluster};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{Caller, ClusterMark, HelloRequest, StatFsRequest, StatFsResponse};
use crate::proto::method::{self, Method};
use crate::task::Tasks;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use prost::Message;
use rand::Rng;
use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// A call that takes longer is followed by a ping.
const LULL: Duration = Duration::from_millis(50);

/// A leader that leaves a ping unanswered for so long is doubted.
const PATIENCE: Duration = Duration::from_millis(300);

/// Pings of a leader that answers them are at most this far apart while a call is under way; the longer it takes, the
/// further.
const PING_AGAIN: Duration = Duration::from_secs(1);

/// A master that does not take a connection or answer a probe within this is passed over.
const PROBE: Duration = Duration::from_secs(1);

/// A kept connection that leaves a probe unanswered for so long is not waited for alone.
const SILENCE: Duration = Duration::from_millis(200);

/// Back-off between rounds: doubled from the first to the last, each with up to half of it at random. An election takes
/// about half a second, so the last is short.
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_millis(200);

/// Who we are and how patient.
#[derive(Clone, Debug)]
pub struct MastersConfig {
    /// `host:port` of every master's RPC port.
    pub addresses: Vec<String>,
    /// "client", "fuse" or "worker".
    pub role: String,
    /// On whose behalf.
    pub caller: Caller,
    /// The cluster we belong to; none before we have met it.
    pub cluster: Option<ClusterMark>,
    /// A call is given up after so long without a leader that answers (`goosefs.user.rpc.retry.max.duration`).
    pub deadline: Duration,
    /// For who administers masters; none otherwise.
    pub control: Option<ControlKey>,
}

/// The masters of one cluster. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Masters {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: MastersConfig,
    tasks: Tasks,
    state: Mutex<State>,
    /// One search at a time; others wait for its outcome.
    search: tokio::sync::Mutex<()>,
    /// One dial of an address at a time.
    dials: Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>,
}

/// A search for the leader that goes on.
#[derive(Clone, Debug)]
pub struct Search {
    /// When it began.
    pub since: Instant,
    /// Why it has not found one yet.
    pub last: Error,
}

#[derive(Debug, Default)]
struct State {
    channels: HashMap<String, Channel>,
    leader: Option<Leader>,
    searching: Option<Search>,
    /// Raised whenever a leader is found.
    generation: u64,
    cluster: Option<ClusterMark>,
    /// Masters that the configuration does not name; see [`Masters::learn`].
    added: Vec<String>,
}

#[derive(Clone, Debug)]
struct Leader {
    address: Arc<str>,
    channel: Channel,
    generation: u64,
}

impl Masters {
    /// Starts to look for the leader in the background.
    #[must_use]
    pub fn new(config: MastersConfig, tasks: &Tasks) -> Masters {
        let state = State { cluster: config.cluster.clone(), ..State::default() };
        let masters = Masters {
            inner: Arc::new(Inner {
                config,
                tasks: tasks.clone(),
                state: Mutex::new(state),
                search: tokio::sync::Mutex::default(),
                dials: Mutex::default(),
            }),
        };
        let (searching, stop) = (masters.clone(), tasks.stop());
        tasks.spawn("look for the leading master", async move {
            tokio::select! {
                () = stop.cancelled() => {}
                found = searching.leader() => if let Err(error) = found {
                    tracing::debug!(%error, "no leading master yet");
                }
            }
        });
        masters
    }

    /// Calls the leader, whoever that is by then; retried as long as that helps and the deadline allows. Only for
    /// requests that may be repeated (see above). A leader that answers pings is waited for as long as it takes.
    ///
    /// # Errors
    /// The leader's, or `Unavailable` / `DeadlineExceeded` naming the masters that were tried; `WrongCluster`, and
    /// `PermissionDenied` for another control key, at once.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: Method, request: &Q) -> Result<A> {
        let mut until = Instant::now() + self.inner.config.deadline;
        let mut pause = FIRST_PAUSE;
        let (mut stale, mut followed) = (None, false);
        loop {
            let leader = self.find(stale, until).await?;
            let error = match self.ask(&leader, method, request, &mut until).await {
                Ok(answer) => return Ok(answer),
                Err(error) if !error.code.retryable() => return Err(error),
                Err(error) => error,
            };
            match error.code {
                // The leader is busy: it is still the one to ask.
                Code::Busy | Code::DeadlineExceeded => stale = None,
                _ => {
                    stale = Some(leader.generation);
                    // Once without a pause: masters that name each other would make a storm of it.
                    if self.follow(&leader, &error.leader).await && !std::mem::replace(&mut followed, true) {
                        continue;
                    }
                }
            }
            if Instant::now() + pause >= until {
                return Err(self.given_up(method.name, &error));
            }
            tokio::time::sleep(jittered(&mut pause)).await;
        }
    }

    /// A channel to the master at `address`, whether it leads or not (heartbeats go to every master).
    ///
    /// # Errors
    /// `Unavailable`, `WrongCluster`.
    pub async fn channel(&self, address: &str) -> Result<Channel> {
        if let Some(channel) = self.inner.open_channel(address) {
            return Ok(channel);
        }
        let dial = Arc::clone(self.inner.dials.lock().entry(address.to_owned()).or_default());
        let _alone = dial.lock().await;
        if let Some(channel) = self.inner.open_channel(address) {
            return Ok(channel);
        }
        self.dial(address).await
    }

    /// A new connection, which is used from now on.
    async fn dial(&self, address: &str) -> Result<Channel> {
        let config = &self.inner.config;
        let hello = HelloRequest {
            version: 1,
            cluster: self.cluster(),
            role: config.role.clone(),
            caller: Some(config.caller.clone()),
        };
        let target = Target::Tcp(address.to_owned());
        let key = self.inner.config.control.as_ref();
        let channel = Channel::connect_proven(&target, hello, key, &self.inner.tasks, PROBE).await?;
        self.inner.remember(address, &channel)?;
        Ok(channel)
    }

    /// `host:port` of the leader, once there is one.
    ///
    /// # Errors
    /// `Unavailable` after the deadline.
    pub async fn leader(&self) -> Result<String> {
        let until = Instant::now() + self.inner.config.deadline;
        Ok(self.find(None, until).await?.address.to_string())
    }

    /// The configured addresses.
    #[must_use]
    pub fn addresses(&self) -> &[String] {
        &self.inner.config.addresses
    }

    /// Where the masters are by now, as one of them says: what the configuration does not name is asked as well from now
    /// on, because masters are added and move while their clients run.
    pub fn learn(&self, masters: Vec<String>) {
        // One that names none is of another version.
        if !masters.is_empty() {
            let configured = &self.inner.config.addresses;
            let added = masters.into_iter().filter(|master| !configured.contains(master)).collect();
            self.inner.state.lock().added = added;
        }
    }

    /// Waits until the master at `address` cannot be reached or leaves pings unanswered: for a call that goes to it on
    /// another connection, which may never end then.
    pub async fn silence(&self, address: &str) {
        let (mut pause, mut missed) = (LULL, 0);
        while missed < 2 {
            tokio::time::sleep(pause).await;
            let alive = match self.channel(address).await {
                Ok(channel) => channel.ping(PATIENCE).await.is_ok(),
                Err(_) => false,
            };
            (pause, missed) = if alive { (PING_AGAIN, 0) } else { (LULL, missed + 1) };
        }
    }

    /// The search for the leader that is under way, if one is: what somebody who waits may be told.
    #[must_use]
    pub fn searching(&self) -> Option<Search> {
        self.inner.state.lock().searching.clone()
    }

    /// The cluster that was met.
    #[must_use]
    pub fn cluster(&self) -> Option<ClusterMark> {
        self.inner.state.lock().cluster.clone()
    }

    /// One call of `leader`, watched by pings; `until` moves on with every sign of life.
    async fn ask<Q: Message, A: Message + Default>(
        &self,
        leader: &Leader,
        method: Method,
        request: &Q,
        until: &mut Instant,
    ) -> Result<A> {
        let mut call = std::pin::pin!(leader.channel.call(method, request));
        let mut patience = LULL;
        loop {
            if let Ok(outcome) = tokio::time::timeout(patience, call.as_mut()).await {
                return outcome;
            }
            let alive = tokio::select! {
                outcome = call.as_mut() => return outcome,
                alive = leader.channel.ping(PATIENCE) => alive.is_ok(),
            };
            if alive {
                *until = (*until).max(Instant::now() + self.inner.config.deadline);
                // Soon again at first: a leader may stop just after it has answered.
                patience = (patience * 2).min(PING_AGAIN);
                continue;
            }
            // The others may be in the middle of an election: they are asked until one leads or this one answers.
            let found = tokio::select! {
                outcome = call.as_mut() => return outcome,
                found = self.find(Some(leader.generation), *until) => found?,
            };
            if found.address != leader.address {
                return Err(Error::new(Code::Unavailable, format!("{} does not answer", leader.address)));
            }
            patience = LULL;
        }
    }

    /// The leader; a search when none is known or the known one is of generation `stale` or older.
    async fn find(&self, stale: Option<u64>, until: Instant) -> Result<Leader> {
        if let Some(leader) = self.inner.leader_after(stale) {
            return Ok(leader);
        }
        let late =
            |_| self.given_up("looking for the leader", &Error::new(Code::Unavailable, "no time left"));
        let _alone = tokio::time::timeout_at(until, self.inner.search.lock()).await.map_err(late)?;
        if let Some(leader) = self.inner.leader_after(stale) {
            return Ok(leader);
        }
        self.search(until).await
    }

    /// Asks every master again and again, each at its own pace, so that one that hangs delays nobody.
    async fn search(&self, until: Instant) -> Result<Leader> {
        let addresses = self.inner.all_addresses();
        let mut answers = FuturesUnordered::new();
        for address in &addresses {
            answers.push(self.probe_after(Duration::ZERO, FIRST_PAUSE, address.clone()));
        }
        let mut last = Error::new(Code::Unavailable, "none answered yet");
        let since = Instant::now();
        let _over = SearchIsOver(&self.inner);
        let mut foreign = BTreeSet::new();
        loop {
            self.inner.state.lock().searching = Some(Search { since, last: last.clone() });
            let answer = tokio::time::timeout_at(until, answers.next()).await;
            let Ok(Some((address, mut pause, answer))) = answer else {
                return Err(self.given_up("looking for the leader", &last));
            };
            let error = match answer {
                Ok(channel) => return Ok(self.inner.crown(address, channel)),
                // It will not do better elsewhere or later.
                Err(error) if error.code == Code::PermissionDenied => return Err(error),
                Err(error) => error,
            };
            if error.code != Code::WrongCluster {
                foreign.remove(&address);
            } else if addresses.contains(&address) {
                // One that strayed to the address of ours is not the end of the others.
                foreign.insert(address.clone());
                if foreign.len() * 2 > addresses.len() {
                    return Err(error);
                }
            }
            // A named leader that is not of our list is asked once for each time that it is named.
            if !error.leader.is_empty() && !addresses.contains(&error.leader) {
                answers.push(self.probe_after(Duration::ZERO, LAST_PAUSE, error.leader.clone()));
            }
            if addresses.contains(&address) {
                answers.push(self.probe_after(jittered(&mut pause), pause, address));
            }
            last = error;
        }
    }

    async fn probe_after(
        &self,
        wait: Duration,
        pause: Duration,
        address: String,
    ) -> (String, Duration, Result<Channel>) {
        tokio::time::sleep(wait).await;
        let (address, answer) = self.probe(address).await;
        (address, pause, answer)
    }

    /// Whether the master at `address` leads: the cheapest call that only the leader answers. A kept connection that is
    /// silent for a moment gets company by a new one: it may still wait for what a broken network has lost.
    async fn probe(&self, address: String) -> (String, Result<Channel>) {
        let kept = self.inner.open_channel(&address);
        let moment = if kept.is_some() { SILENCE } else { Duration::ZERO };
        let by_kept = async {
            match &kept {
                Some(channel) => self.question(&address, channel.clone()).await,
                None => std::future::pending().await,
            }
        };
        let by_new = async {
            tokio::time::sleep(moment).await;
            self.question(&address, self.dial(&address).await?).await
        };
        let answer = async {
            tokio::select! {
                answer = by_kept => answer,
                answer = by_new => answer,
            }
        };
        let late =
            |_| Err(Error::new(Code::Unavailable, format!("{address} did not answer within {PROBE:?}")));
        let answer = tokio::time::timeout(PROBE, answer).await.unwrap_or_else(late);
        (address, answer)
    }

    async fn question(&self, address: &str, channel: Channel) -> Result<Channel> {
        channel.call::<_, StatFsResponse>(method::STAT_FS, &StatFsRequest {}).await?;
        if !knows_cluster(&channel) {
            let text = format!("{address} greeted us before its cluster was founded");
            return Err(Error::new(Code::Unavailable, text));
        }
        Ok(channel)
    }

    /// `old` does not lead any more: takes the leader that it named, if that one does. Says whether a newer one is known.
    async fn follow(&self, old: &Leader, hint: &str) -> bool {
        self.inner.depose(old);
        let newer = || self.inner.leader_after(Some(old.generation)).is_some();
        if hint.is_empty() || hint == &*old.address {
            return newer();
        }
        let _alone = self.inner.search.lock().await;
        if !newer()
            && let (address, Ok(channel)) = self.probe(hint.to_owned()).await
        {
            self.inner.crown(address, channel);
        }
        newer()
    }

    fn given_up(&self, what: &str, last: &Error) -> Error {
        let config = &self.inner.config;
        let text = format!(
            "{what}: no leading master among {} answered within {:?}: {}",
            self.inner.all_addresses().join(", "),
            config.deadline,
            last.message
        );
        let code =
            if last.code == Code::DeadlineExceeded { Code::DeadlineExceeded } else { Code::Unavailable };
        Error::new(code, text).hint("are the masters running, and a majority of them reachable?")
    }
}

impl Inner {
    /// Those of the configuration, and those that were added.
    fn all_addresses(&self) -> Vec<String> {
        let added = self.state.lock().added.clone();
        self.config.addresses.iter().cloned().chain(added).collect()
    }

    fn open_channel(&self, address: &str) -> Option<Channel> {
        self.state.lock().channels.get(address).filter(|channel| !channel.is_closed()).cloned()
    }

    /// Keeps a new channel, and the cluster it belongs to if that is the first we meet.
    fn remember(&self, address: &str, channel: &Channel) -> Result<()> {
        let mut state = self.state.lock();
        let theirs = channel.hello().cluster.clone();
        check_cluster(state.cluster.as_ref(), theirs.as_ref()).map_err(|e| e.context(address))?;
        // A master that knows no cluster yet is greeted again next time, so that its word on the cluster is heard.
        if knows_cluster(channel) {
            state.cluster = theirs;
            state.channels.insert(address.to_owned(), channel.clone());
        }
        Ok(())
    }

    fn leader_after(&self, stale: Option<u64>) -> Option<Leader> {
        let state = self.state.lock();
        let leader = state.leader.as_ref()?;
        let fresh = stale.is_none_or(|stale| leader.generation > stale) && !leader.channel.is_closed();
        fresh.then(|| leader.clone())
    }

    fn crown(&self, address: String, channel: Channel) -> Leader {
        let mut state = self.state.lock();
        state.generation += 1;
        let leader = Leader { address: address.into(), channel, generation: state.generation };
        if state.leader.as_ref().is_none_or(|known| known.address != leader.address) {
            tracing::debug!(leader = %leader.address, "found the leading master");
        }
        state.leader = Some(leader.clone());
        leader
    }

    fn depose(&self, old: &Leader) {
        let mut state = self.state.lock();
        if state.leader.as_ref().is_some_and(|known| known.generation == old.generation) {
            state.leader = None;
        }
    }
}

/// Ends what [`Masters::searching`] tells, however the search ends.
struct SearchIsOver<'a>(&'a Inner);

impl Drop for SearchIsOver<'_> {
    fn drop(&mut self) {
        self.0.state.lock().searching = None;
    }
}

/// Whether the master at the other end belonged to a cluster when it greeted us.
fn knows_cluster(channel: &Channel) -> bool {
    channel.hello().cluster.as_ref().is_some_and(|mark| mark.cluster_id.iter().any(|byte| *byte != 0))
}

/// The pause with some chance in it; doubles it for the next time.
fn jittered(pause: &mut Duration) -> Duration {
    let chance = rand::rng().random_range(0.5..1.0);
    let now = pause.mul_f64(chance);
    *pause = (*pause * 2).min(LAST_PAUSE);
    now
}

#[cfg(test)]
mod tests;
