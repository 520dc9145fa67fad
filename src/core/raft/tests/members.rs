//! Masters that are added, taken out, replaced and moved while the others run.

use super::cluster::{Cluster, PATIENCE, wait_until};
use super::toy::Toy;
use crate::error::{Code, Error};
use crate::metrics::Metrics;
use crate::raft::members::electorate;
use crate::raft::types::{Membership, Slot};
use crate::raft::{Node, RaftConfig, Role};
use crate::task::Tasks;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

/// Addresses that nobody listens at.
async fn free(count: usize) -> Vec<String> {
    let mut held = Vec::new();
    for _ in 0..count {
        held.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
    }
    held.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

impl Cluster {
    /// Makes an operator's change wherever a leader is, as forwarding masters do.
    async fn operate<T>(
        &self,
        change: impl AsyncFn(usize) -> crate::error::Result<T>,
    ) -> crate::error::Result<T> {
        let deadline = Instant::now() + PATIENCE;
        let mut last = Error::not_leader("");
        while Instant::now() < deadline {
            match change(self.leader().await).await {
                Err(error) if error.code == Code::NotLeader => last = error,
                outcome => return outcome,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(last)
    }

    async fn add(&self, address: &str) -> crate::error::Result<u32> {
        self.operate(async |leader| self.node(leader).add_master(address).await).await
    }

    async fn remove(&self, address: &str) -> crate::error::Result<()> {
        self.operate(async |leader| self.node(leader).remove_master(address).await).await
    }

    /// Waits until every running master of `slots` sees just these voting.
    async fn voters(&self, slots: &[u32]) {
        let wanted: BTreeSet<u32> = slots.iter().copied().collect();
        wait_until("the voters", || {
            self.running().into_iter().filter(|slot| wanted.contains(&(*slot as u32))).all(|slot| {
                let voters = self.status(slot).voters;
                voters.len() == wanted.len() && voters.iter().all(|voter| wanted.contains(&voter.slot))
            })
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_master_grows_to_three_and_five_and_shrinks_to_one_without_a_restart() {
    let all = free(5).await;
    let mut cluster = Cluster::new(0, |_| ()).await;
    cluster.list(0, &all[..1]);
    cluster.start(0).await.unwrap();
    cluster.propose("one").await;
    let mut said = vec!["one".to_owned()];
    for slot in 1..5 {
        cluster.list(slot, &all);
        cluster.start(slot).await.unwrap();
        wait_until("a word on what to do", || {
            cluster.status(slot).problem.is_some_and(|problem| problem.contains("quorum add"))
        })
        .await;
        assert_eq!(cluster.add(&all[slot]).await.unwrap(), slot as u32);
        cluster.voters(&(0..=slot as u32).collect::<Vec<_>>()).await;
        wait_until("the new master to serve without a complaint", || {
            let status = cluster.status(slot);
            status.serving && status.problem.is_none()
        })
        .await;
        cluster.propose(&format!("{} masters", slot + 1)).await;
        said.push(format!("{} masters", slot + 1));
    }
    assert_eq!(cluster.agreed().await, said);
    // All five count: any two may be gone.
    for slot in [0, 3] {
        cluster.kill(slot).await;
    }
    cluster.propose("three of five").await;
    said.push("three of five".to_owned());
    // What the first was started with does not name the others; what it has learned does.
    for slot in [0, 3] {
        cluster.start(slot).await.unwrap();
    }
    assert_eq!(cluster.agreed().await, said);
    // The leader among them, wherever that is by now; slot 4 is what stays.
    for (slot, address) in all[..4].iter().enumerate() {
        wait_until("every master to answer", || {
            let leader =
                cluster.running().into_iter().find(|slot| cluster.status(*slot).role == Role::Leader);
            leader.is_some_and(|leader| cluster.node(leader).quorum().servers.iter().all(|s| s.available))
        })
        .await;
        cluster.remove(address).await.unwrap();
        cluster.voters(&(slot as u32 + 1..5).collect::<Vec<_>>()).await;
        wait_until("the master to know that it is out", || {
            let status = cluster.status(slot);
            !status.serving && status.problem.is_some_and(|problem| problem.contains("taken out"))
        })
        .await;
        cluster.propose(&format!("without {slot}")).await;
        cluster.kill(slot).await;
        cluster.propose(&format!("without {slot}, which is gone")).await;
    }
    let error = cluster.remove(&all[4]).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains("last master"), "{error}");
    assert_eq!(cluster.agreed().await.len(), said.len() + 8);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_was_taken_out_comes_back_when_it_is_added_again_and_not_before() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    let out = (cluster.leader().await + 1) % 3;
    let address = cluster.config(out).peers[out].clone();
    cluster.propose("all three").await;
    wait_until("every master to answer", || {
        cluster.node((out + 2) % 3).quorum().servers.iter().all(|server| server.available)
    })
    .await;
    cluster.remove(&address).await.unwrap();
    // Neither as it is nor with an empty directory.
    cluster.kill(out).await;
    cluster.start(out).await.unwrap();
    wait_until("a word", || cluster.status(out).problem.is_some_and(|p| p.contains("quorum add"))).await;
    cluster.kill(out).await;
    std::fs::remove_dir_all(cluster.dir(out)).unwrap();
    cluster.start(out).await.unwrap();
    wait_until("a word", || cluster.status(out).problem.is_some_and(|p| p.contains("quorum add"))).await;
    cluster.propose("two").await;
    assert!(!cluster.status(out).serving);
    assert_eq!(cluster.node((out + 1) % 3).quorum().servers.len(), 2);
    cluster.add(&address).await.unwrap();
    cluster.voters(&[0, 1, 2]).await;
    cluster.propose("three again").await;
    assert_eq!(cluster.agreed().await, ["all three", "two", "three again"]);
    wait_until("no complaint", || cluster.status(out).problem.is_none() && cluster.status(out).serving).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_that_moved_are_found_again_though_nobody_else_was_told() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    let first = cluster.config(0).peers;
    cluster.propose("before").await;
    cluster.agreed().await;
    // One after the other, each with a list in which only its own address is new.
    let new = free(3).await;
    for slot in 0..3 {
        cluster.kill(slot).await;
        let mut list = first.clone();
        list[slot] = new[slot].clone();
        cluster.list(slot, &list);
        cluster.start(slot).await.unwrap();
        cluster.propose(&format!("{slot} moved")).await;
        wait_until("the moved master to follow", || {
            let status = cluster.status(slot);
            status.serving && status.applied >= cluster.status((slot + 1) % 3).applied
        })
        .await;
        wait_until("the others to know", || {
            (0..3).all(|other| cluster.node(other).quorum().servers.iter().any(|s| s.raft == new[slot]))
        })
        .await;
    }
    assert_eq!(cluster.agreed().await, ["before", "0 moved", "1 moved", "2 moved"]);
    // At once, and everybody's list is right but for what they have learned.
    let newest = free(3).await;
    for slot in 0..3 {
        cluster.kill(slot).await;
        cluster.list(slot, &newest);
    }
    for slot in 0..3 {
        cluster.start(slot).await.unwrap();
    }
    cluster.propose("all moved").await;
    assert_eq!(cluster.agreed().await.len(), 5);
    let leader = cluster.leader().await;
    assert!(newest.contains(&cluster.status(leader).leader.unwrap().raft));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_master_is_replaced_by_a_new_machine_at_another_address() {
    let mut cluster = Cluster::started(3, |config: &mut RaftConfig| config.snapshot_entries = 50).await;
    for i in 0..120 {
        cluster.propose(&i.to_string()).await;
    }
    let dead = cluster.leader().await;
    let mut list = cluster.config(dead).peers;
    cluster.kill(dead).await;
    std::fs::remove_dir_all(cluster.dir(dead)).unwrap();
    list[dead] = free(1).await.remove(0);
    cluster.list(dead, &list);
    cluster.start(dead).await.unwrap();
    let new = cluster.node(dead).node_id();
    wait_until("the new machine to vote", || {
        cluster.running().into_iter().all(|slot| {
            let voters = cluster.status(slot).voters;
            voters.len() == 3 && voters.iter().any(|voter| voter.node == new)
        })
    })
    .await;
    cluster.propose("three").await;
    assert_eq!(cluster.agreed().await.len(), 121);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changes_that_would_stop_the_cluster_or_mix_masters_up_are_refused() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    let peers = cluster.config(0).peers;
    let leader = cluster.leader().await;
    let (follower, other) = ((leader + 1) % 3, (leader + 2) % 3);
    wait_until("every master to answer", || {
        cluster.node(leader).quorum().servers.iter().all(|server| server.available)
    })
    .await;
    // Nobody is there; somebody of another cluster is; the id is taken.
    let nowhere = free(1).await.remove(0);
    let error = cluster.add(&nowhere).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains(&nowhere), "{error}");
    let stranger = Cluster::started(1, |_| ()).await;
    let error = cluster.add(&stranger.config(0).peers[0]).await.unwrap_err();
    assert!(error.code == Code::WrongCluster, "{error}");
    let mut twin = Cluster::new(0, |_| ()).await;
    let mut list = peers.clone();
    list[follower] = nowhere.clone();
    twin.list(follower, &list);
    twin.start(follower).await.unwrap();
    let error = cluster.add(&nowhere).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains("--id"), "{error}");
    wait_until("the second of that id to be refused", || {
        twin.status(follower).problem.is_some_and(|problem| problem.contains("runs at"))
    })
    .await;
    twin.kill(follower).await;
    assert_eq!(cluster.add(&peers[leader]).await.unwrap(), leader as u32, "it is in already");

    let error = cluster.remove("nobody:1").await.unwrap_err();
    assert!(error.code == Code::NotFound && error.hint.contains(&peers[0]), "{error}");
    let rpc = cluster.config(follower).rpc_addresses[follower].clone();
    let error = cluster.remove(&rpc).await.unwrap_err();
    assert!(error.hint.contains(&peers[follower]), "{error}");
    // A dead one is taken out, and then the last but one cannot be while the other is away.
    cluster.kill(other).await;
    wait_until("the dead one to be missed", || {
        cluster.node(leader).quorum().servers.iter().any(|server| !server.available)
    })
    .await;
    let error = cluster.remove(&peers[follower]).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains("majority"), "{error}");
    // Nor when somebody answers in its place who has no vote yet, as a master that lost its directory.
    let nobody = cluster.node(leader).node_id().0.wrapping_add(1);
    cluster.node(leader).me().heard(other as u32, nobody);
    let error = cluster.remove(&peers[follower]).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains("majority"), "{error}");
    cluster.remove(&peers[other]).await.unwrap();
    cluster.voters(&[leader as u32, follower as u32]).await;
    cluster.propose("two masters").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_goes_where_an_operator_wants_it() {
    let cluster = Cluster::started(3, |_| ()).await;
    let peers = cluster.config(0).peers;
    for wanted in [0, 1, 2, 2, 0] {
        wait_until("every master to answer", || {
            (0..3).all(|slot| cluster.node(slot).quorum().servers.iter().all(|server| server.available))
        })
        .await;
        let elected = cluster.operate(async |leader| cluster.node(leader).elect(&peers[wanted]).await).await;
        // A hand-over on a machine that is busy may take another try.
        elected.unwrap_or_else(|error| assert_eq!(error.code, Code::Unavailable, "{error}"));
        if cluster.leader().await == wanted {
            assert!(cluster.node(wanted).quorum().servers[wanted].leads);
        }
        cluster.propose(&format!("{wanted}")).await;
    }
    let leader = cluster.leader().await;
    let error = cluster.node((leader + 1) % 3).elect(&peers[0]).await.unwrap_err();
    assert_eq!((error.code, error.leader), (Code::NotLeader, cluster.status(leader).leader.unwrap().rpc));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_a_directory_is_refused_while_its_master_runs() {
    let mut cluster = Cluster::started(3, |_| ()).await;
    let folder = tempfile::tempdir().unwrap();
    let mut config = cluster.config(1);
    let kept = config.dir.join("addresses");
    wait_until("the master has written down where it is", || kept.exists()).await;
    config.dir = folder.path().join("copy");
    let copied = std::process::Command::new("cp").arg("-r").arg(cluster.dir(1)).arg(&config.dir).status();
    assert!(copied.unwrap().success());
    config.peers[1] = free(1).await.remove(0);
    let start = async |config: RaftConfig| {
        let (toy, tasks) = (Arc::new(Toy::default()), Tasks::new("copy"));
        Node::start(config, toy, &tasks, &Metrics::new()).await
    };
    let refused = start(config.clone()).await.err().expect("two processes would be one node");
    assert_eq!(refused.code, Code::InvalidArgument);
    assert!(refused.message.contains(&cluster.config(1).peers[1]), "{}", refused.message);
    // A move is what it is once the other has stopped.
    cluster.kill(1).await;
    start(config).await.unwrap().abort().await;
}

/// A leader that died between the two steps of taking in master 1, and between those of replacing master 0.
#[test]
fn while_a_change_is_half_way_only_who_votes_before_and_after_it_counts() {
    let membership = |configs: &[&[u64]]| {
        let configs = configs.iter().map(|set| set.iter().copied().collect()).collect::<Vec<BTreeSet<u64>>>();
        // Node 7 filled slot 0 before node 0 did.
        let slot_of = |node: u64| if node == 7 { 0 } else { node as u32 };
        let nodes =
            configs.iter().flatten().map(|node| (*node, Slot(slot_of(*node)))).collect::<BTreeMap<_, _>>();
        electorate(&Membership::new(configs, nodes).unwrap())
    };
    assert_eq!(membership(&[&[0, 1, 2]]), (BTreeSet::from([0, 1, 2]), vec![(0, 0), (1, 1), (2, 2)]));
    assert_eq!(membership(&[&[0, 2], &[0, 1, 2]]), (BTreeSet::from([0, 2]), vec![(0, 0), (2, 2)]));
    assert_eq!(membership(&[&[7, 1, 2], &[0, 1, 2]]), (BTreeSet::from([0, 1, 2]), vec![(1, 1), (2, 2)]));
}
