//! Taking snapshots, purging the log, starting from a snapshot, sending one to a master that is too late.

use super::cluster::{Cluster, wait_until};
use crate::raft::RaftConfig;

fn often(config: &mut RaftConfig) {
    config.snapshot_entries = 100;
    config.keep_entries = 20;
    config.snapshot_chunk = 256;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("command {i}")).collect()
}

async fn write(cluster: &Cluster, range: std::ops::Range<usize>) {
    for command in numbers(range) {
        cluster.propose(&command).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn masters_start_from_their_snapshots_and_the_rest_of_the_log() {
    let mut cluster = Cluster::started(3, often).await;
    write(&cluster, 0..350).await;
    for slot in 0..3 {
        wait_until("a snapshot", || cluster.metric(slot, "goosefs_raft_snapshots_taken_total") >= 2).await;
        assert_eq!(std::fs::read_dir(cluster.life(slot).join("snapshot")).unwrap().count(), 1);
    }
    for slot in 0..3 {
        cluster.kill(slot).await;
    }
    for slot in 0..3 {
        cluster.start(slot).await.unwrap();
    }
    cluster.leader().await;
    assert_eq!(cluster.agreed().await, numbers(0..350));
    write(&cluster, 350..360).await;
    assert_eq!(cluster.agreed().await, numbers(0..360));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_that_is_too_late_gets_a_snapshot_in_portions() {
    let mut cluster = Cluster::started(3, often).await;
    write(&cluster, 0..10).await;
    let late = (cluster.leader().await + 1) % 3;
    cluster.kill(late).await;
    // Several portions of 16 chunks of 256 bytes.
    write(&cluster, 10..900).await;
    cluster.start(late).await.unwrap();
    assert_eq!(cluster.agreed().await, numbers(0..900));
    assert!(cluster.metric(late, "goosefs_raft_snapshots_installed_total") >= 1);
    // It goes on from what it was given.
    write(&cluster, 900..910).await;
    cluster.kill(late).await;
    cluster.start(late).await.unwrap();
    assert_eq!(cluster.agreed().await, numbers(0..910));
}
