//! Taking snapshots, purging the log, starting from a snapshot, sending one to a master that is too late.

use super::cluster::{Cluster, wait_until};
use crate::error::{Code, Error};
use crate::proto::raft as wire;
use crate::proto::raft::raft_client::RaftClient;
use crate::raft::RaftConfig;

fn often(config: &mut RaftConfig) {
    config.snapshot_entries = 100;
    config.keep_entries = 20;
    config.snapshot_chunk = 256;
}

fn numbers(range: std::ops::Range<usize>) -> Vec<String> {
    range.map(|i| format!("command {i}")).collect()
}

/// What all have applied; a command that was proposed again because its outcome was not known counts once.
async fn agreed(cluster: &Cluster) -> Vec<String> {
    let mut commands = cluster.agreed().await;
    commands.dedup();
    commands
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
    assert_eq!(agreed(&cluster).await, numbers(0..350));
    write(&cluster, 350..360).await;
    assert_eq!(agreed(&cluster).await, numbers(0..360));
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
    assert_eq!(agreed(&cluster).await, numbers(0..900));
    assert!(cluster.metric(late, "goosefs_raft_snapshots_installed_total") >= 1);
    // It goes on from what it was given.
    write(&cluster, 900..910).await;
    cluster.kill(late).await;
    cluster.start(late).await.unwrap();
    assert_eq!(agreed(&cluster).await, numbers(0..910));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broken_transfer_goes_on_where_it_stopped() {
    let cluster = Cluster::started(1, |_| ()).await;
    let head = |offset: u64, data: &'static [u8]| wire::SnapshotChunk {
        vote: Some(wire::Vote { term: 1, node: 5, committed: true }),
        meta: Some(wire::SnapshotMeta { id: "1-5-90".to_owned(), length: 1000, ..Default::default() }),
        cluster: cluster.node(0).mark().map(Into::into),
        target: cluster.node(0).node_id().0,
        offset,
        data: data.into(),
    };
    let address = format!("http://{}", cluster.config(0).peers[0]);
    for (offset, data, received) in [
        (0, b"".as_slice(), 0),
        (0, b"the first bytes".as_slice(), 15),
        // Twice the same, and one too far.
        (0, b"the first bytes".as_slice(), 15),
        (20, b"too far".as_slice(), 15),
        (0, b"".as_slice(), 15),
        (15, b"the next".as_slice(), 23),
    ] {
        // A connection of its own each time, as after a break.
        let mut client = RaftClient::connect(address.clone()).await.unwrap();
        let chunks = futures::stream::iter([head(offset, data)]);
        let answer = client.snapshot(chunks).await.unwrap().into_inner();
        assert_eq!((answer.received, answer.installed), (received, false));
    }
    // Another snapshot begins at its beginning.
    let mut other = head(0, b"x");
    other.meta = Some(wire::SnapshotMeta { id: "1-5-95".to_owned(), length: 4, ..Default::default() });
    let mut client = RaftClient::connect(address).await.unwrap();
    let answer = client.snapshot(futures::stream::iter([other.clone()])).await.unwrap().into_inner();
    assert_eq!(answer.received, 1);
    // What is complete but no snapshot is never installed.
    other.offset = 1;
    other.data = b"yz!".as_slice().into();
    let refused = client.snapshot(futures::stream::iter([other])).await.unwrap_err();
    assert_eq!(Error::from(refused).code, Code::Corrupt);
    cluster.propose("unharmed").await;
}
