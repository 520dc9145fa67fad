//! Electing, replicating, failing over, coming back.

use super::cluster::{Cluster, wait_until};
use crate::error::{Code, Error};
use crate::proto::raft as wire;
use crate::proto::raft::raft_client::RaftClient;
use crate::raft::Role;
use bytes::Bytes;
use std::time::{Duration, Instant};

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("command {i}")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_master_founds_a_cluster_alone_and_comes_back() {
    let mut cluster = Cluster::started(1, |_| ()).await;
    for command in numbers(20) {
        cluster.propose(&command).await;
    }
    let (mark, node) = (cluster.node(0).mark(), cluster.node(0).node_id());
    assert!(mark.is_some());
    cluster.node(0).check_lease().unwrap();
    for _ in 0..2 {
        cluster.kill(0).await;
        cluster.start(0).await.unwrap();
        cluster.leader().await;
        assert_eq!(cluster.agreed().await, numbers(20));
        assert_eq!((cluster.node(0).mark(), cluster.node(0).node_id()), (mark, node));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_masters_replicate_and_come_back_from_disk() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    for (i, command) in numbers(50).iter().enumerate() {
        assert_eq!(cluster.propose(command).await, Bytes::from((i + 1).to_string()));
    }
    assert_eq!(cluster.agreed().await, numbers(50));
    let leader = cluster.leader().await;
    assert_eq!(cluster.status(leader).voters.len(), 3);
    let standby = (leader + 1) % 3;
    wait_until("the standby to know the leader", || cluster.status(standby).leader.is_some()).await;
    let refused = cluster.node(standby).propose(Bytes::from_static(b"x")).await.unwrap_err();
    assert_eq!((refused.code, refused.leader), (Code::NotLeader, format!("master{leader}:9200")));
    assert_eq!(cluster.node(standby).check_lease().unwrap_err().code, Code::NotLeader);
    for slot in 0..3 {
        cluster.kill(slot).await;
    }
    for slot in 0..3 {
        cluster.start(slot).await.unwrap();
    }
    cluster.leader().await;
    assert_eq!(cluster.agreed().await, numbers(50));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_is_replaced_and_nothing_acknowledged_is_lost() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    let mut acknowledged = Vec::new();
    for round in 0..5 {
        for i in 0..20 {
            let command = format!("round {round} command {i}");
            cluster.propose(&command).await;
            acknowledged.push(command);
        }
        let leader = cluster.leader().await;
        cluster.kill(leader).await;
        let start = Instant::now();
        let command = format!("after {round}");
        cluster.propose(&command).await;
        acknowledged.push(command);
        println!("round {round}: a write succeeded {:?} after the leader was gone", start.elapsed());
        cluster.start(leader).await.unwrap();
    }
    // A retry after an unknown outcome may have been done twice, never zero times.
    let agreed = cluster.agreed().await;
    for command in &acknowledged {
        assert!(agreed.contains(command), "{command} is lost");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_over_before_a_shutdown() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("before").await;
    let leader = cluster.leader().await;
    let start = Instant::now();
    cluster.shut_down(leader).await;
    cluster.propose("after").await;
    println!("a write succeeded {:?} after the shutdown began", start.elapsed());
    assert_eq!(cluster.agreed().await, ["before", "after"]);
    cluster.start(leader).await.unwrap();
    wait_until("the old leader to follow", || cluster.status(leader).role == Role::Follower).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_without_a_quorum_refuses_reads_and_writes() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("before").await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader).clone();
    wait_until("a lease", || node.check_lease().is_ok()).await;
    for slot in 0..3 {
        if slot != leader {
            cluster.kill(slot).await;
        }
    }
    let start = Instant::now();
    wait_until("the lease to end", || node.check_lease().is_err()).await;
    assert!(start.elapsed() < Duration::from_secs(5));
    let unknown = node.propose(Bytes::from_static(b"lonely")).await.unwrap_err();
    assert!(matches!(unknown.code, Code::Unavailable | Code::NotLeader), "{unknown:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restarted_master_keeps_out_of_elections_for_a_lease() {
    fn slow(config: &mut crate::raft::RaftConfig) {
        config.election_min = Duration::from_millis(1000);
        config.election_max = Duration::from_millis(2000);
    }
    let mut cluster = Cluster::started(3, slow).await;
    cluster.propose("before").await;
    let leader = cluster.leader().await;
    let (asked, asks) = ((leader + 1) % 3, (leader + 2) % 3);
    wait_until("everybody to belong", || (0..3).all(|slot| cluster.node(slot).mark().is_some())).await;
    let mark = cluster.node(asks).mark();
    cluster.kill(asked).await;
    let start = Instant::now();
    cluster.start(asked).await.unwrap();
    let mut client =
        RaftClient::connect(format!("http://{}", cluster.config(asked).peers[asked])).await.unwrap();
    let request = wire::VoteRequest {
        vote: Some(wire::Vote { term: 1000, node: cluster.node(asks).node_id().0, committed: false }),
        last_log: Some(wire::LogId { term: 1000, node: 1, index: 1000 }),
        cluster: mark.map(Into::into),
        target: cluster.node(asked).node_id().0,
        ..Default::default()
    };
    let answer = client.vote(request).await;
    // On a machine that stalled for a whole lease there is nothing to see.
    if start.elapsed() < Duration::from_millis(1500) {
        assert_eq!(Error::from(answer.unwrap_err()).code, Code::Busy);
    }
    cluster.propose("after").await;
    assert_eq!(cluster.leader().await, leader);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handover_to_a_master_that_dies_leaves_a_leader_all_the_same() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("before").await;
    let leader = cluster.leader().await;
    let node = cluster.node(leader).clone();
    wait_until("a successor", || node.successor().is_some()).await;
    let heir = node.successor().unwrap();
    let heir = (0..3).find(|slot| cluster.node(*slot).node_id().0 == heir).unwrap();
    cluster.kill(heir).await;
    let handed = node.transfer_leadership().await;
    println!("handed over to a dead master: {handed:?}");
    cluster.propose("after").await;
    assert_eq!(cluster.agreed().await.last().unwrap(), "after");
}
