//! Roles that stop and start while a client works.

use super::{path, read, write};
use goosefs_core::proto::internal::WriteType;
use goosefs_harness::{InProcess, Options, pattern};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn acknowledged_creates_survive_their_leader_and_none_is_there_twice() {
    let mut cluster = InProcess::start(Options { workers: 0, ..Options::default() }).await.unwrap();
    let client = cluster.client(|_| {});
    client.paths().make_dir(&path("/d"), 0o755, false).await.unwrap();
    let mut made = 0;
    let mut longest = std::time::Duration::ZERO;
    for round in 0..3 {
        let leader = cluster.leader().await.unwrap();
        let killed = AtomicBool::new(false);
        let work = async {
            let mut after = 0;
            while after < 30 {
                if killed.load(Ordering::SeqCst) {
                    after += 1;
                }
                let at = path(&format!("/d/{made:05}"));
                let begun = Instant::now();
                let outcome = client.paths().make_dir(&at, 0o755, false).await;
                outcome.unwrap_or_else(|error| panic!("round {round}, {made}: {error}"));
                longest = longest.max(begun.elapsed());
                made += 1;
            }
        };
        let kill = async {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            cluster.stop_master(leader, false).await;
            killed.store(true, Ordering::SeqCst);
        };
        futures::future::join(work, kill).await;
        cluster.start_master(leader).await.unwrap();
        cluster.ready().await.unwrap();
    }
    let entries = client.paths().list(&path("/d")).await.unwrap();
    let names: Vec<String> = entries.into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, (0..made).map(|number| format!("{number:05}")).collect::<Vec<_>>());
    println!("{made} were made, the longest create took {longest:?}");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn reads_of_persisted_files_go_on_when_a_worker_dies() {
    let mut cluster = InProcess::start(Options::default()).await.unwrap();
    let client = cluster.client(|_| {});
    for number in 0..6 {
        let bytes = pattern(number, 6 << 20);
        std::fs::write(cluster.ufs().join(format!("f{number}")), bytes).unwrap();
    }
    let reads = async {
        for round in 0..4 {
            for number in 0..6 {
                let bytes = read(&client, &format!("/f{number}")).await;
                let bytes = bytes.unwrap_or_else(|error| panic!("round {round}, file {number}: {error}"));
                assert!(bytes == pattern(number, 6 << 20), "round {round}, file {number}");
            }
        }
    };
    let kill = async {
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        cluster.stop_worker(0, false).await;
    };
    futures::future::join(reads, kill).await;
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everything_comes_back_after_everything_was_stopped() {
    let mut cluster = InProcess::start(Options::default()).await.unwrap();
    let client = cluster.client(|_| {});
    let bytes = pattern(3, 5 << 20);
    write(&client, "/cached", &bytes, WriteType::MustCache).await.unwrap();
    client.shutdown(goosefs_harness::LONG).await;
    for number in 0..2 {
        cluster.stop_worker(number, true).await;
    }
    for id in 0..3 {
        cluster.stop_master(id, id == 0).await;
    }
    for id in 0..3 {
        cluster.start_master(id).await.unwrap();
    }
    for number in 0..2 {
        cluster.start_worker(number).await.unwrap();
    }
    cluster.ready().await.unwrap();
    let client = cluster.client(|_| {});
    assert!(read(&client, "/cached").await.unwrap() == bytes);
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}
