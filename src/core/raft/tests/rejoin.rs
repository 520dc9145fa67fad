//! First starts and lost directories.

use super::cluster::{Cluster, wait_until};
use crate::error::Code;
use crate::id::ClusterId;
use crate::raft::{RaftConfig, Role};
use openraft::ChangeMembers;
use std::time::Duration;

fn often(config: &mut RaftConfig) {
    config.snapshot_entries = 50;
    config.keep_entries = 10;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_is_broken_off_leaves_nothing_behind() {
    let mut cluster = Cluster::new(1, |_| ()).await;
    {
        let mut start = std::pin::pin!(cluster.start(0));
        assert!(futures::poll!(start.as_mut()).is_pending());
    }
    // Its threads end in the background; until then they hold the directory.
    let until = std::time::Instant::now() + Duration::from_secs(30);
    while let Err(error) = cluster.start(0).await {
        assert!(std::time::Instant::now() < until, "{error}");
    }
    assert_eq!(cluster.leader().await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_first_start_waits_for_every_master_and_says_so() {
    let mut cluster = Cluster::new(3, |_| ()).await;
    cluster.start(0).await.unwrap();
    cluster.start(1).await.unwrap();
    wait_until("a word about who is missing", || {
        let missing = cluster.config(0).peers[2].clone();
        cluster.status(0).problem.is_some_and(|problem| problem.contains(&missing))
    })
    .await;
    // Longer than an election takes.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!((cluster.status(0).role, cluster.status(1).role), (Role::Starting, Role::Starting));
    assert_eq!(cluster.node(0).mark(), None);
    cluster.start(2).await.unwrap();
    let leader = cluster.leader().await;
    wait_until("all to belong to one cluster", || {
        (0..3).all(|slot| cluster.node(slot).mark().is_some() && cluster.status(slot).problem.is_none())
    })
    .await;
    assert_eq!(cluster.node(leader).mark(), cluster.node((leader + 1) % 3).mark());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wiped_master_takes_its_place_again_under_a_new_node_id() {
    for purged in [false, true] {
        let mut cluster = Cluster::started(3, if purged { often } else { |_| () }).await;
        for i in 0..120 {
            cluster.propose(&i.to_string()).await;
        }
        // Slot 0 founded the cluster; it must not found another.
        for wiped in [0, 2] {
            let old = cluster.node(wiped).node_id();
            cluster.kill(wiped).await;
            std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
            cluster.propose(&format!("without {wiped}")).await;
            cluster.start(wiped).await.unwrap();
            let new = cluster.node(wiped).node_id();
            assert_ne!(old, new);
            wait_until("the new node to vote in place of the old one", || {
                let others: Vec<_> = (0..3).map(|slot| cluster.status(slot).voters).collect();
                others.iter().all(|voters| {
                    voters.len() == 3
                        && voters.iter().any(|v| v.node == new && v.slot == wiped as u32)
                        && voters.iter().all(|v| v.node != old)
                })
            })
            .await;
        }
        cluster.propose("at last").await;
        let agreed = cluster.agreed().await;
        assert_eq!(agreed.len(), 123);
        assert!((0..3).all(|slot| cluster.node(slot).mark() == cluster.node(0).mark()));
    }
}

/// A leader that does not hear of its quorum for a moment refuses the second step of its own change.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_of_the_quorum_that_its_leader_left_half_way_is_finished() {
    let cluster = Cluster::started(3, |_| ()).await;
    let leader = cluster.leader().await;
    let dropped = (leader + 1) % 3;
    let voters = cluster.status(leader).voters;
    let rest = voters.iter().filter(|voter| voter.slot != dropped as u32).map(|voter| voter.node.0).collect();
    {
        let raft = cluster.node(leader).raft();
        let mut change = std::pin::pin!(raft.change_membership(ChangeMembers::ReplaceAllVoters(rest), false));
        // Its first step is on its way, and nobody waits for it to take the second.
        assert!(futures::poll!(change.as_mut()).is_pending());
    }
    wait_until("two voters in one configuration", || {
        let status = cluster.status(leader);
        status.voters.len() == 2 && status.votes
    })
    .await;
    cluster.propose("by two").await;
}

/// As a StatefulSet without claims does, when each pod is made anew while it leads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_leader_may_be_wiped_once_the_one_before_votes() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    for round in 0..12 {
        cluster.propose(&round.to_string()).await;
        let killed = cluster.leader().await;
        cluster.kill(killed).await;
        cluster.start(killed).await.unwrap();
        let wiped = cluster.leader().await;
        let old = cluster.node(wiped).node_id();
        match round % 2 {
            0 => cluster.shut_down(wiped).await,
            _ => cluster.kill(wiped).await,
        }
        std::fs::remove_dir_all(cluster.dir(wiped)).unwrap();
        cluster.start(wiped).await.unwrap();
        wait_until("three voters, none of them lost", || {
            (0..3).all(|slot| {
                let voters = cluster.status(slot).voters;
                voters.len() == 3 && voters.iter().all(|voter| voter.node != old)
            })
        })
        .await;
    }
    assert_eq!(cluster.agreed().await.len(), 12);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_quorum_never_founds_a_second_cluster() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("precious").await;
    let mark = cluster.node(0).mark();
    for slot in 0..3 {
        cluster.kill(slot).await;
    }
    for slot in [0, 1] {
        std::fs::remove_dir_all(cluster.dir(slot)).unwrap();
    }
    for slot in 0..3 {
        cluster.start(slot).await.unwrap();
    }
    wait_until("a word about what is missing", || {
        cluster.status(0).problem.is_some_and(|problem| problem.contains("--force-new-cluster"))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!((0..3).all(|slot| cluster.status(slot).role != Role::Leader));
    assert_eq!(cluster.node(2).mark(), mark);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_lost_what_was_acknowledged_is_set_aside() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    for i in 0..50 {
        cluster.propose(&i.to_string()).await;
    }
    cluster.agreed().await;
    let damaged = (cluster.leader().await + 1) % 3;
    let old = cluster.node(damaged).node_id();
    let log = cluster.life(damaged).join("log");
    cluster.kill(damaged).await;
    let file = std::fs::read_dir(&log)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|e| e == "raftlog"))
        .unwrap();
    // The end of a log that was fsynced, gone: raft-engine takes that for a torn tail.
    let bytes = std::fs::read(&file).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    std::fs::write(&file, &bytes[..end - 200]).unwrap();
    cluster.start(damaged).await.unwrap();
    let new = cluster.node(damaged).node_id();
    assert_ne!(old, new);
    wait_until("the damaged master to vote again", || {
        cluster.status(damaged).voters.iter().any(|voter| voter.node == new)
    })
    .await;
    assert_eq!(cluster.agreed().await.len(), 50);
    assert!(log.exists(), "people may want to look at it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_of_another_slot_or_cluster_is_refused() {
    let mut cluster = Cluster::started(1, |_| ()).await;
    assert_eq!(cluster.start(0).await.unwrap_err().code, Code::Busy);
    cluster.kill(0).await;
    let mut other = Cluster::new(3, |_| ()).await;
    std::fs::rename(cluster.dir(0), other.dir(1)).unwrap();
    let error = other.start(1).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    assert!(error.message.contains("belongs to master 0"), "{error}");
    std::fs::rename(other.dir(1), cluster.dir(0)).unwrap();
    cluster.tune(|config| config.cluster = Some(ClusterId(uuid::Uuid::from_u128(1))));
    assert_eq!(cluster.start(0).await.unwrap_err().code, Code::WrongCluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_cluster_can_be_forced_from_one_directory_and_the_others_join_it() {
    for purged in [false, true] {
        let tune: fn(&mut RaftConfig) = if purged { often } else { |_| () };
        let mut cluster = Cluster::started(3, tune).await;
        for i in 0..120 {
            cluster.propose(&i.to_string()).await;
        }
        cluster.agreed().await;
        let before = cluster.node(1).mark().unwrap();
        for slot in 0..3 {
            cluster.kill(slot).await;
        }
        for slot in [0, 2] {
            std::fs::remove_dir_all(cluster.dir(slot)).unwrap();
        }
        cluster.tune(|config| config.force_new_cluster = true);
        assert_eq!(cluster.start(0).await.unwrap_err().code, Code::InvalidArgument);
        std::fs::remove_dir_all(cluster.dir(0)).unwrap();
        cluster.start(1).await.unwrap();
        assert_eq!(cluster.leader().await, 1);
        let after = cluster.node(1).mark().unwrap();
        assert_eq!(after.id, before.id);
        assert!(after.epoch > before.epoch);
        cluster.propose("new epoch").await;
        cluster.tune(tune);
        // What was forced stays.
        cluster.kill(1).await;
        cluster.start(1).await.unwrap();
        for slot in [0, 2] {
            cluster.start(slot).await.unwrap();
        }
        wait_until("three voters", || (0..3).all(|slot| cluster.status(slot).voters.len() == 3)).await;
        cluster.propose("three again").await;
        let agreed = cluster.agreed().await;
        assert_eq!(agreed.len(), 122);
        assert_eq!(&agreed[119..], ["119", "new epoch", "three again"]);
        // A flag that was left in place splits nothing.
        cluster.tune(|config| config.force_new_cluster = true);
        cluster.kill(1).await;
        let error = cluster.start(1).await.unwrap_err();
        assert!(
            error.code == Code::InvalidArgument && error.message.contains("nothing is forced"),
            "{error}"
        );
        cluster.tune(tune);
        cluster.start(1).await.unwrap();
        assert_eq!(cluster.agreed().await.len(), 122);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_of_two_epochs_stay_apart() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("old epoch").await;
    cluster.agreed().await;
    for slot in 0..3 {
        cluster.kill(slot).await;
    }
    cluster.tune(|config| config.force_new_cluster = true);
    cluster.start(1).await.unwrap();
    cluster.tune(|_| ());
    for slot in [0, 2] {
        // They have a quorum of the old epoch and go on as that, apart: a person chose to force too early.
        cluster.start(slot).await.unwrap();
    }
    cluster.propose("somewhere").await;
    assert_eq!(cluster.status(1).voters.len(), 1);
    assert!([0, 2].iter().all(|slot| cluster.node(*slot).mark() != cluster.node(1).mark()));
}

/// Masters that have data are taken for masters whose data counts: those that were wiped must say that they have none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_majority_takes_no_wiped_master_in() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("agreed").await;
    let left = cluster.leader().await;
    let lost = [(left + 1) % 3, (left + 2) % 3];
    for slot in lost {
        cluster.kill(slot).await;
    }
    wait_until("the leader to doubt itself", || cluster.node(left).check_lease().is_err()).await;
    for slot in lost {
        std::fs::remove_dir_all(cluster.dir(slot)).unwrap();
        cluster.start(slot).await.unwrap();
    }
    wait_until("both to say what they wait for", || {
        lost.iter().all(|slot| cluster.status(*slot).problem.is_some())
    })
    .await;
    // Longer than they would take to join.
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(lost.iter().all(|slot| cluster.node(*slot).mark().is_none()));
    assert!(cluster.node(left).mark().is_some());
}
