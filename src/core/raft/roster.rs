//! Who the masters shall be, as somebody outside says: a file that the Kubernetes controller writes.
//!
//! A roster begins clusters and changes their membership, but has no vote: the membership in the log is what counts, and
//! the leader brings it to the roster, one change at a time (`node/follow`). Whoever has data that the roster is not about
//! is refused, never emptied.

use super::ClusterMark;
use crate::error::{Code, Error, Result};
use crate::id::Epoch;
use std::collections::BTreeSet;
use std::path::PathBuf;

/// The masters that there shall be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Roster {
    /// The file that says so, for messages.
    pub file: PathBuf,
    /// The cluster, and the epoch that a new one begins with. Data of an earlier epoch was given up.
    pub mark: ClusterMark,
    /// Masters with empty directories may begin the cluster.
    pub bootstrap: bool,
    /// They begin it with the backup that is offered at this address, `host:port`.
    pub restore: Option<String>,
    /// Whose data alone the cluster goes on with, when a quorum of directories is lost for good.
    pub force: Option<Force>,
    /// Raft addresses, `host:port`, by slot.
    pub raft: Vec<String>,
    /// What clients dial, `host:port`, by slot.
    pub rpc: Vec<String>,
}

/// An order to one master, carried out when it starts: as by `--force-new-cluster`. It counts once, because the epoch that
/// it begins is a later one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Force {
    /// The master.
    pub slot: u32,
    /// Data of a later epoch is not meant.
    pub epoch: Epoch,
}

/// One thing to do for a leader whose quorum is not what its roster says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// The master of this slot takes part from now on.
    TakeIn(u32),
    /// The master of this slot does no longer.
    TakeOut(u32),
    /// It is us who are to be taken out: by the next leader.
    HandOver,
}

impl Roster {
    /// Whether a cluster is the one that this is about, and was not given up.
    ///
    /// # Errors
    /// `WrongCluster` naming both and the file.
    pub(super) fn check(&self, mark: ClusterMark) -> Result<()> {
        let (file, wanted) = (self.file.display(), self.mark);
        if mark.id != wanted.id {
            let text = format!("cluster {} is not cluster {}, which {file} is about", mark.id, wanted.id);
            return Err(Error::new(Code::WrongCluster, text).hint(format!(
                "a data directory of another cluster is never taken over: move it away, or put its cluster id into {file}"
            )));
        }
        if mark.epoch < wanted.epoch {
            let (had, epoch) = (mark.epoch, wanted.epoch);
            let text =
                format!("data of epoch {had} was given up: {file} says that the cluster is in epoch {epoch}");
            return Err(Error::new(Code::WrongCluster, text).hint(
                "nothing of it is destroyed: move the data directory away to begin or join the new epoch with an empty one, \
                 or go on with this data by --force-new-cluster",
            ));
        }
        Ok(())
    }

    /// Whether the master of `slot` with data of `mark` is to begin a new epoch alone.
    #[must_use]
    pub fn forces(&self, slot: u32, mark: Option<ClusterMark>) -> bool {
        let Some((force, mark)) = self.force.zip(mark) else { return false };
        force.slot == slot && mark.epoch <= force.epoch
    }

    /// Whether a slot is one of it.
    pub(super) fn lists(&self, slot: u32) -> bool {
        (slot as usize) < self.raft.len()
    }

    /// # Errors
    /// `Unavailable` when no cluster may be begun: who does not answer may have the data.
    pub(super) fn check_bootstrap(&self, silent: &[String]) -> Result<()> {
        if self.bootstrap {
            return Ok(());
        }
        let (file, id) = (self.file.display(), self.mark.id);
        let mut text = format!(
            "no master that answers has the data of cluster {id}, and {file} does not allow to begin it (bootstrap is false)"
        );
        if !silent.is_empty() {
            text += &format!("; no answer from {}", silent.join(", "));
        }
        Err(Error::new(Code::Unavailable, text).hint(format!(
            "start the masters that have the data; if it is lost for good, raise the epoch and set bootstrap to true in {file}"
        )))
    }

    /// What is to be done, most urgent first: who is missing comes in before anybody goes, and the leader itself goes last.
    pub(super) fn steps(&self, own: u32, members: &BTreeSet<u32>) -> Vec<Step> {
        let listed = u32::try_from(self.raft.len()).unwrap_or(u32::MAX);
        let missing = (0..listed).filter(|slot| !members.contains(slot)).map(Step::TakeIn);
        let surplus: Vec<u32> = members.range(listed..).rev().copied().collect();
        let others = surplus.iter().filter(|slot| **slot != own).map(|slot| Step::TakeOut(*slot));
        let last = (surplus == [own]).then_some(Step::HandOver);
        missing.chain(others).chain(last).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ClusterId;

    fn roster(masters: usize) -> Roster {
        let list = |port: u16| (0..masters).map(|slot| format!("m{slot}:{port}")).collect();
        let mark = ClusterMark { id: ClusterId(uuid::Uuid::from_u128(7)), epoch: Epoch(2) };
        Roster {
            file: "/c/cluster.json".into(),
            mark,
            bootstrap: false,
            restore: None,
            force: None,
            raft: list(2),
            rpc: list(0),
        }
    }

    fn steps(masters: usize, own: u32, members: &[u32]) -> Vec<Step> {
        roster(masters).steps(own, &members.iter().copied().collect())
    }

    #[test]
    fn the_quorum_is_brought_to_the_list() {
        use Step::{HandOver, TakeIn, TakeOut};
        assert_eq!(steps(3, 0, &[0, 1, 2]), []);
        assert_eq!(steps(3, 0, &[0]), [TakeIn(1), TakeIn(2)]);
        assert_eq!(steps(1, 0, &[0, 1, 2]), [TakeOut(2), TakeOut(1)]);
        assert_eq!(steps(1, 2, &[0, 1, 2]), [TakeOut(1)], "the leader goes last");
        assert_eq!(steps(1, 2, &[0, 2]), [HandOver]);
        assert_eq!(steps(2, 3, &[0, 3]), [TakeIn(1), HandOver]);
    }

    #[test]
    fn data_of_another_cluster_or_an_epoch_that_was_given_up_is_refused_by_name() {
        let roster = roster(3);
        let of = |epoch| ClusterMark { epoch: Epoch(epoch), ..roster.mark };
        roster.check(of(2)).unwrap();
        roster.check(of(1_790_000_000)).unwrap();
        let old = roster.check(of(1)).unwrap_err();
        assert!(old.message.contains("epoch 1") && old.message.contains("/c/cluster.json"), "{old}");
        assert!(old.hint.contains("move the data directory away"), "{old}");
        let other = ClusterMark { id: ClusterId(uuid::Uuid::from_u128(8)), ..roster.mark };
        assert_eq!(roster.check(other).unwrap_err().code, Code::WrongCluster);
    }

    #[test]
    fn an_order_to_go_on_alone_counts_for_one_master_and_once() {
        let forced = Roster { force: Some(Force { slot: 1, epoch: Epoch(2) }), ..roster(3) };
        let of = |epoch| Some(ClusterMark { epoch: Epoch(epoch), ..forced.mark });
        assert!(forced.forces(1, of(2)));
        assert!(!forced.forces(0, of(2)), "another master");
        assert!(!forced.forces(1, of(3)), "carried out already");
        assert!(!forced.forces(1, None), "nothing to go on with");
        assert!(!roster(3).forces(1, of(2)), "no order");
    }

    #[test]
    fn a_cluster_is_begun_only_when_the_file_allows_it() {
        let roster = roster(3);
        let refused = roster.check_bootstrap(&["m1:2".to_owned()]).unwrap_err();
        assert!(refused.message.contains("/c/cluster.json") && refused.message.contains("m1:2"), "{refused}");
        assert!(refused.hint.contains("bootstrap"), "{refused}");
        Roster { bootstrap: true, ..roster }.check_bootstrap(&[]).unwrap();
    }
}
