//! Masters that are added and taken out, by operators or because a roster says so: what a leader does for one of them.

use super::{LATELY, Members, ROUND};
use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use crate::raft::ClusterMark;
use crate::raft::me::wrong_cluster;
use openraft::ChangeMembers;
use openraft::async_runtime::watch::WatchReceiver;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

/// For a master that was just started to answer.
const STARTING: Duration = Duration::from_secs(5);
/// For a new master to get a snapshot and catch up.
const CATCHING_UP: Duration = Duration::from_secs(90);

impl Members {
    /// Takes in the master that was started at `address`, and waits until it votes. Its slot.
    ///
    /// # Errors
    /// `NotLeader`; `WrongCluster`; `InvalidArgument` when nobody answers there or its id is taken; `DeadlineExceeded` when it does not catch up in time.
    pub(in crate::raft) async fn add(&self, address: &str) -> Result<u32> {
        self.check_leads()?;
        let who = self.answer_of(address).await?;
        self.take_in_who(&who, address).await?;
        let until = Instant::now() + CATCHING_UP;
        while !self.votes(who.node) {
            self.check_leads()?;
            if Instant::now() >= until {
                let text = format!("{address} has not caught up within {CATCHING_UP:?}");
                return Err(Error::new(Code::DeadlineExceeded, text).hint("it votes as soon as it has"));
            }
            tokio::time::sleep(ROUND / 4).await;
        }
        tracing::info!(slot = who.slot, address, "a master was added to the quorum");
        Ok(who.slot)
    }

    /// As leader, makes the master at `address` a learner of `slot` if it runs; [`Members::keep`] does the rest.
    ///
    /// # Errors
    /// As [`Members::add`], at once; `InvalidArgument` when another master is there.
    pub(in crate::raft) async fn take_in_at(&self, slot: u32, address: &str) -> Result<()> {
        self.check_leads()?;
        let who = self.network.identify_at(address).await?;
        if who.slot != slot {
            let text = format!("{address} is master {}, not master {slot}", who.slot);
            return Err(Error::new(Code::InvalidArgument, text));
        }
        self.take_in_who(&who, address).await
    }

    async fn take_in_who(&self, who: &wire::IdentifyResponse, address: &str) -> Result<()> {
        let mark = self.me.mark().ok_or_else(|| Error::not_leader(""))?;
        if let Some(theirs) = ClusterMark::from_wire(who.cluster.as_ref())
            && theirs != mark
        {
            return Err(wrong_cluster(mark, theirs).context(format!("the master at {address}")));
        }
        if let Some(other) = self.me.other_in(who.slot, who.node, address, LATELY) {
            let text = format!("{address} is master {} as is {other}; each --id must be used once", who.slot);
            return Err(Error::new(Code::InvalidArgument, text));
        }
        self.take_in(who.node, who.slot, address, &who.rpc).await?;
        self.me.heard(who.slot, who.node);
        Ok(())
    }

    /// Who is at `address`; waits a moment for a master that was just started.
    async fn answer_of(&self, address: &str) -> Result<wire::IdentifyResponse> {
        let until = Instant::now() + STARTING;
        loop {
            match self.network.identify_at(address).await {
                Err(error) if error.code == Code::InvalidArgument => return Err(error),
                Err(_) if Instant::now() >= until => {
                    let text = format!("no master answers at {address}");
                    return Err(Error::new(Code::InvalidArgument, text)
                        .hint("start it first, with an --id of its own and the list of all masters"));
                }
                Err(_) => tokio::time::sleep(ROUND).await,
                Ok(answer) => return Ok(answer),
            }
        }
    }

    /// Slots that take part, voting or not.
    pub(in crate::raft) fn slots(&self) -> BTreeSet<u32> {
        let metrics = self.metrics.borrow_watched();
        metrics.membership_config.membership().nodes().map(|(_, place)| place.0).collect()
    }

    /// No change of the members is under way.
    pub(in crate::raft) fn settled(&self) -> bool {
        let metrics = self.metrics.borrow_watched();
        metrics.membership_config == metrics.committed_membership_config
            && metrics.membership_config.membership().get_joint_config().len() == 1
    }

    fn votes(&self, node: u64) -> bool {
        let voting = self.voters().iter().any(|(voter, _)| *voter == node);
        voting && self.settled()
    }

    /// Asks those who they are that have not said so lately.
    async fn listen(&self, slots: impl Iterator<Item = u32>) {
        let silent = slots.filter(|slot| !self.me.hears(*slot, LATELY));
        let asked = silent.map(async |slot| match self.network.identify(slot).await {
            Ok(answer)
                if answer.slot == slot
                    && ClusterMark::from_wire(answer.cluster.as_ref()) == self.me.mark() =>
            {
                self.me.heard(slot, answer.node);
            }
            Ok(_) | Err(_) => {}
        });
        futures::future::join_all(asked).await;
    }

    /// The slot of the master whose Raft address is `address`, if it takes part.
    ///
    /// # Errors
    /// `NotFound`, naming who takes part.
    pub(in crate::raft) fn slot_at(&self, address: &str) -> Result<u32> {
        let servers = self.quorum().servers;
        if let Some(server) = servers.iter().find(|server| server.raft == address) {
            return Ok(server.slot);
        }
        if let Some(server) = servers.iter().find(|server| server.rpc == address) {
            let text = format!("{address} is the RPC address of a master");
            return Err(Error::new(Code::NotFound, text)
                .hint(format!("its address in the quorum is {}", server.raft)));
        }
        let all: Vec<&str> = servers.iter().map(|server| server.raft.as_str()).collect();
        let text = format!("{address} is not in the quorum");
        Err(Error::new(Code::NotFound, text).hint(format!("the quorum is {}", all.join(", "))))
    }

    /// Takes the master at `address` out of the quorum. It may be gone already.
    ///
    /// # Errors
    /// `NotLeader`, `NotFound`; `InvalidArgument` for the last one and when too few of the others answer.
    pub(in crate::raft) async fn remove(&self, address: &str) -> Result<()> {
        self.check_leads()?;
        let slot = match self.slot_at(address) {
            // The answer to the first call was lost.
            Err(_) if self.me.addresses().is_removed(address) => return Ok(()),
            slot => slot?,
        };
        self.take_out(slot, address).await
    }

    /// As leader, takes the master of `slot`, which is or was at `address`, out of the quorum.
    ///
    /// # Errors
    /// As [`Members::remove`]; `Busy` when it is this master.
    pub(in crate::raft) async fn take_out(&self, slot: u32, address: &str) -> Result<()> {
        let rest: Vec<(u64, u32)> = self.voters().into_iter().filter(|(_, other)| *other != slot).collect();
        if rest.is_empty() {
            let text = format!("{address} is the last master of the quorum");
            return Err(Error::new(Code::InvalidArgument, text));
        }
        self.listen(rest.iter().map(|(_, other)| *other)).await;
        let answers = |(node, slot): &&(u64, u32)| self.me.hears_node(*slot, *node, LATELY);
        let answering = rest.iter().filter(answers).count();
        if answering * 2 <= rest.len() {
            let text = format!(
                "without {address} only {answering} of {} masters would answer, which is no majority",
                rest.len()
            );
            return Err(Error::new(Code::InvalidArgument, text).hint("start the others first"));
        }
        if slot == self.me.config.slot {
            let text = "this master leads; the next leader takes it out";
            return Err(Error::new(Code::Busy, text));
        }
        self.change(ChangeMembers::ReplaceAllVoters(rest.iter().map(|(node, _)| *node).collect())).await?;
        let learners: BTreeSet<u64> = {
            let metrics = self.metrics.borrow_watched();
            let membership = metrics.membership_config.membership();
            let of_slot = |node: &u64| membership.get_node(node).is_some_and(|place| place.0 == slot);
            membership.learner_ids().filter(of_slot).collect()
        };
        if !learners.is_empty() {
            self.change(ChangeMembers::RemoveNodes(learners)).await?;
        }
        self.me.edit_addresses(|ours, now_ms| ours.set_removed(slot, true, now_ms)).await;
        tracing::info!(slot, address, "a master was taken out of the quorum");
        Ok(())
    }

    /// The node that votes for the master at `address`.
    ///
    /// # Errors
    /// `NotFound`; `InvalidArgument` when it does not answer.
    pub(in crate::raft) async fn candidate(&self, address: &str) -> Result<u64> {
        let slot = self.slot_at(address)?;
        self.listen([slot].into_iter()).await;
        let found = self.voters().into_iter().find(|(_, other)| *other == slot).map(|(node, _)| node);
        let node = found.ok_or_else(|| Error::new(Code::NotFound, format!("{address} does not vote")))?;
        if !self.me.hears_node(slot, node, LATELY) {
            return Err(Error::new(Code::InvalidArgument, format!("{address} does not answer")));
        }
        Ok(node)
    }
}
