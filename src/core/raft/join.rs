//! How a master becomes part of a cluster: by the first start, or by taking the place of its slot's lost directory.
//!
//! A cluster is founded once, by slot 0, and only after *every* peer has answered that its directory is new. A new or
//! damaged directory whose peers have a cluster asks the leader to take it in: as learner first, and in place of the
//! slot's old node id once it has caught up, so that it never votes with amnesia. Runs on the node's own tasks.

use super::ClusterMark;
use super::addresses::Addresses;
use super::log::LogStore;
use super::me::{Me, wrong_cluster};
use super::network::Network;
use super::state::StateMachine;
use super::types::{Slot, Types};
use crate::error::{Code, Error, Result};
use crate::id::{ClusterId, Epoch};
use crate::proto::raft as wire;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

type Raft = openraft::Raft<Types, StateMachine>;

/// Between two rounds of asking peers.
const ROUND: Duration = Duration::from_millis(200);

/// How long masters that start together may take to find each other.
const USUAL: Duration = Duration::from_secs(2);

/// Brings this master into its cluster.
pub(super) struct Join {
    pub(super) me: Arc<Me>,
    pub(super) raft: Raft,
    pub(super) log: LogStore,
    pub(super) network: Network,
    /// What keeps us waiting, for people.
    pub(super) problem: watch::Sender<Option<String>>,
}

impl Join {
    /// Goes on until this master has a place in a cluster, or `stop`.
    pub(super) async fn run(self, stop: CancellationToken) {
        let begun = Instant::now();
        loop {
            match self.round().await {
                Ok(true) => {
                    self.say(None);
                    return;
                }
                Ok(false) => {}
                // Masters that start together meet each other half-way: only what lasts is worth a person's time.
                Err(error) if begun.elapsed() < USUAL => tracing::debug!(%error, "not in a cluster yet"),
                Err(error) => self.say(Some(error.to_string())),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ROUND) => {}
            }
        }
    }

    fn say(&self, problem: Option<String>) {
        self.problem.send_if_modified(|before| {
            let changed = *before != problem;
            *before = problem;
            changed
        });
    }

    /// One attempt; true when done.
    async fn round(&self) -> Result<bool> {
        let identity = self.me.identity();
        if !self.log.is_empty() {
            // A log means that somebody founded the cluster or took us in; a founder may have died before noting it.
            if let Some(mark) = identity.mark {
                self.me.settle(mark, true)?;
            }
            return Ok(true);
        }
        let listed = self.me.config.listed();
        if let Some(roster) = &listed {
            self.me.follow(roster).await;
        }
        let others: Vec<u32> = self.me.others().collect();
        if others.is_empty() {
            if identity.member {
                return Err(lost());
            }
            listed.map_or(Ok(()), |roster| roster.check_bootstrap(&[]))?;
            self.found(BTreeMap::from([(identity.node.0, Slot(identity.slot))])).await?;
            return Ok(true);
        }
        let asked = futures::future::join_all(others.iter().map(|slot| self.network.identify(*slot))).await;
        let answers: Vec<(u32, Result<wire::IdentifyResponse>)> = others.into_iter().zip(asked).collect();
        for (slot, answer) in &answers {
            if let Ok(answer) = answer {
                self.check(*slot, answer)?;
                // Somebody may have moved since our configuration was written.
                self.me.learn(&Addresses::from_wire(&answer.addresses)).await;
            }
        }
        if identity.member || answers.iter().any(|(_, answer)| answer.as_ref().is_ok_and(|a| !a.empty)) {
            return self.ask(&answers).await;
        }
        self.found_with(&answers).await
    }

    /// A peer must be who we think it is.
    fn check(&self, slot: u32, answer: &wire::IdentifyResponse) -> Result<()> {
        let address = self.me.raft_address(slot).unwrap_or_default();
        if answer.slot != slot {
            return Err(Error::new(
                Code::InvalidArgument,
                format!("{address} is master {}, not master {slot}", answer.slot),
            )
            .hint("the list of masters must be the same everywhere, and each --id must be used once"));
        }
        let theirs = ClusterMark::from_wire(answer.cluster.as_ref());
        let ours = self.me.mark();
        if let (Some(theirs), Some(ours)) = (theirs, ours)
            && theirs != ours
        {
            return Err(wrong_cluster(ours, theirs).context(format!("master {slot} at {address}")));
        }
        if let (Some(theirs), Some(roster)) = (theirs, self.me.config.listed()) {
            roster.check(theirs).map_err(|e| e.context(format!("master {slot} at {address}")))?;
        }
        if let (Some(theirs), Some(wanted)) = (theirs, self.me.config.cluster)
            && theirs.id != wanted
        {
            return Err(Error::new(
                Code::WrongCluster,
                format!(
                    "master {slot} at {address} belongs to cluster {}, {wanted} is configured",
                    theirs.id
                ),
            ));
        }
        Ok(())
    }

    /// Founds the cluster if every directory is new and it is ours to do.
    async fn found_with(&self, answers: &[(u32, Result<wire::IdentifyResponse>)]) -> Result<bool> {
        let identity = self.me.identity();
        let mut members = BTreeMap::from([(identity.node.0, Slot(identity.slot))]);
        let mut silent = Vec::new();
        for (slot, answer) in answers {
            match answer {
                Ok(answer) => drop(members.insert(answer.node, Slot(*slot))),
                Err(_) => silent.push(self.me.raft_address(*slot).unwrap_or_default()),
            }
        }
        self.me.config.listed().map_or(Ok(()), |roster| roster.check_bootstrap(&silent))?;
        if !silent.is_empty() {
            return Err(Error::new(
                Code::Unavailable,
                format!("a first start needs every master; no answer from {}", silent.join(", ")),
            ));
        }
        if identity.slot == 0 {
            self.found(members).await?;
        }
        // The others hear of it from the founder, when it asks for their vote.
        Ok(false)
    }

    async fn found(&self, members: BTreeMap<u64, Slot>) -> Result<()> {
        let config = &self.me.config;
        let drawn = || ClusterMark {
            id: config.cluster.unwrap_or_else(|| ClusterId(uuid::Uuid::new_v4())),
            epoch: Epoch(1),
        };
        let wanted = || config.listed().map_or_else(drawn, |roster| roster.mark);
        let mark = self.me.mark().unwrap_or_else(wanted);
        self.me.settle(mark, false)?;
        let slots = members.len();
        self.raft
            .initialize(members)
            .await
            .map_err(|e| Error::new(Code::Unavailable, format!("the cluster could not be founded: {e}")))?;
        self.me.settle(mark, true)?;
        tracing::info!(cluster = %mark.id, epoch = %mark.epoch, masters = slots, "a new cluster was founded");
        Ok(())
    }

    /// Asks the leader to take us in. Done when the first entry or snapshot has arrived.
    async fn ask(&self, answers: &[(u32, Result<wire::IdentifyResponse>)]) -> Result<bool> {
        let (mut refusal, mut leads) = (None, None);
        for (slot, answer) in answers {
            if !answer.as_ref().is_ok_and(|answer| !answer.empty) {
                continue;
            }
            match self.network.join(*slot).await {
                Ok(taken) => {
                    let mark = ClusterMark::from_wire(taken.cluster.as_ref())
                        .ok_or_else(|| Error::new(Code::Internal, "a leader without cluster id"))?;
                    self.me.settle(mark, true)?;
                    self.say(None);
                    return self.wait_for_log().await;
                }
                Err(e) if e.code == Code::NotLeader => {
                    leads = Some(e.leader).filter(|l| !l.is_empty()).or(leads)
                }
                Err(e) => refusal = Some(e),
            }
        }
        if let (None, Some(leader)) = (&refusal, leads)
            && let Some(twin) = self.twin(&leader, answers).await
        {
            return Err(twin);
        }
        let there = answers.iter().filter(|(_, answer)| answer.as_ref().is_ok_and(|a| !a.empty)).count();
        Err(refusal.unwrap_or_else(|| {
            Error::new(
                Code::Unavailable,
                format!(
                    "this master's directory is new or was damaged; {there} of {} masters have the cluster's data, \
                     but none leads",
                    self.me.others().count() + 1
                ),
            )
            .hint("start the other masters with their directories; if most are lost for good, stop all and start the one with the \
                   most recent data by --force-new-cluster")
        }))
    }

    /// What to say when the master at the RPC address `leader`, which is none of the others, runs with our id. What peers
    /// name may also be the one that had our directory before it was lost: whoever is there is asked.
    async fn twin(&self, leader: &str, answers: &[(u32, Result<wire::IdentifyResponse>)]) -> Option<Error> {
        let slot = self.me.config.slot;
        let known = answers.iter().filter_map(|(_, answer)| answer.as_ref().ok()).flat_map(|a| &a.addresses);
        let raft: BTreeSet<&str> = known.filter(|at| at.rpc == leader).map(|at| at.raft.as_str()).collect();
        for address in raft {
            let answer = self.network.identify_at(address).await;
            if answer.is_ok_and(|answer| answer.slot == slot && answer.node != self.me.identity().node.0) {
                let text = format!(
                    "{leader} leads, and is none of the other masters: it runs as master {slot}, as this does"
                );
                return Some(Error::new(Code::InvalidArgument, text).hint("each --id must be used once"));
            }
        }
        None
    }

    async fn wait_for_log(&self) -> Result<bool> {
        let arrived = async {
            while self.log.is_empty() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        Ok(tokio::time::timeout(Duration::from_secs(10), arrived).await.is_ok())
    }
}

fn lost() -> Error {
    Error::new(Code::Lost, "the log of the only master is gone or damaged")
        .hint("restore the data directory from a backup, or start a new cluster with --force-new-cluster")
}
