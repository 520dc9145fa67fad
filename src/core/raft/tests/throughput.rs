//! How fast: run by hand, `cargo test --release -p goosefs-core raft::tests::throughput -- --ignored --nocapture`.

use super::cluster::Cluster;
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a check"]
async fn proposals_per_second() {
    for size in [1, 3] {
        let cluster = Cluster::started(size, |_| ()).await;
        for proposers in [1, 8, 64, 512] {
            let leader = cluster.leader().await;
            let node = cluster.node(leader).clone();
            let fsyncs = || cluster.metric(leader, "goosefs_raft_fsyncs_total");
            let (done, before) = (Arc::new(AtomicU64::new(0)), fsyncs());
            let (start, length) = (Instant::now(), Duration::from_secs(4));
            let work = (0..proposers).map(|_| {
                let (node, done) = (node.clone(), done.clone());
                tokio::spawn(async move {
                    let command = Bytes::from(vec![b'x'; 200]);
                    let mut slowest = Duration::ZERO;
                    while start.elapsed() < length {
                        let begun = Instant::now();
                        if node.propose(command.clone()).await.is_ok() {
                            done.fetch_add(1, Ordering::Relaxed);
                        }
                        slowest = slowest.max(begun.elapsed());
                    }
                    slowest
                })
            });
            let slowest =
                futures::future::join_all(work).await.into_iter().map(Result::unwrap).max().unwrap();
            let rate = done.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
            let mean = proposers as f64 / rate * 1000.0;
            let per_fsync = done.load(Ordering::Relaxed) as f64 / (fsyncs() - before).max(1) as f64;
            println!(
                "{size} masters, {proposers:3} proposers: {rate:6.0}/s, mean {mean:.2} ms, slowest {slowest:?}, \
                 {per_fsync:.1} commands an fsync"
            );
        }
        println!("term {}", cluster.status(cluster.leader().await).term);
    }
}
