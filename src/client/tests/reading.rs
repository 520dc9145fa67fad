//! Readers, against workers that fail.

use super::worker::Fault;
use super::{Cluster, file_attr, pattern, within};
use bytes::Bytes;
use goosefs_core::Code;
use goosefs_core::id::ContainerId;
use goosefs_core::proto::internal::{Attr, Persistence};
use rand::{Rng, SeedableRng};
use std::time::Duration;

async fn read(cluster: &Cluster, attr: &Attr, offset: u64, length: u64) -> goosefs_core::Result<Bytes> {
    within(cluster.client.reader(attr)?.read_at(offset, length)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ranges_give_their_own_bytes_and_end_with_the_file() {
    let cluster = Cluster::start(2).await;
    let bytes = pattern(9_000_001);
    let attr = cluster.file(1, &bytes);
    let reader = cluster.client.reader(&attr).unwrap();
    for (offset, length) in [(0, 1), (4_194_300, 10), (8_999_990, 100), (9_000_001, 5), (0, 9_000_001)] {
        let read = within(reader.read_at(offset, length)).await.unwrap();
        let end = bytes.len().min((offset + length) as usize);
        assert!(read == bytes[offset as usize..end], "{length} at {offset}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_and_sequential_reads_from_many_tasks_never_mix_places() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let cluster = Cluster::with(3, |config| config.read_ahead = 3 << 20).await;
    let bytes = Bytes::from(pattern(20 << 20));
    let attr = cluster.file(2, &bytes);
    let reader = cluster.client.reader(&attr).unwrap();
    let tasks = (0..8).map(|task| {
        let (reader, bytes) = (reader.clone(), bytes.clone());
        tokio::spawn(async move {
            let mut random = rand::rngs::StdRng::seed_from_u64(seed ^ task);
            let mut at: u64 = 0;
            for _ in 0..60 {
                if random.random_bool(0.3) {
                    at = random.random_range(0..bytes.len() as u64);
                }
                let length = random.random_range(1..600_000);
                let read = within(reader.read_at(at, length)).await.unwrap();
                let end = bytes.len().min((at + length) as usize);
                assert!(read == bytes[at as usize..end], "{length} at {at}");
                at = end as u64;
            }
        })
    });
    for task in tasks.collect::<Vec<_>>() {
        task.await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_read_asks_for_its_own_bytes_alone() {
    let cluster = Cluster::start(1).await;
    let attr = cluster.file(3, &pattern(8 << 20));
    let reader = cluster.client.reader(&attr).unwrap();
    for offset in [5_000_000, 100_000, 3_000_000] {
        within(reader.read_at(offset, 4096)).await.unwrap();
    }
    let asked = cluster.workers[0].reads.lock().clone();
    assert_eq!(asked, [(5_000_000, 4096, false), (100_000, 4096, false), (3_000_000, 4096, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_survives_the_death_of_its_worker_in_the_middle() {
    let cluster = Cluster::start(2).await;
    let bytes = pattern(12 << 20);
    let attr = cluster.file(4, &bytes);
    // Whichever is asked first dies after a while; so does the second, and comes back elsewhere.
    for worker in &cluster.workers {
        worker.break_by(Fault::DieReading(3_000_000));
    }
    let mut copied = Vec::new();
    let revive = async {
        for worker in &cluster.workers {
            worker.server().tasks.stop().cancelled().await;
            worker.server().tasks.join().await;
            worker.restart().await;
            cluster.masters.move_worker(worker);
        }
        Ok(())
    };
    let reader = cluster.client.reader(&attr).unwrap();
    let copy = reader.copy_to(0, &mut copied, |_| {});
    let (copied_count, _) = within(async { futures::future::try_join(copy, revive).await }).await.unwrap();
    assert_eq!(copied_count, bytes.len() as u64);
    assert!(copied == bytes, "other bytes came");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_is_gone_is_not_asked_again_and_again() {
    let cluster = Cluster::start(2).await;
    let attr = cluster.file(5, &pattern(1 << 20));
    within(cluster.client.ready()).await.unwrap();
    let first = cluster.client.router().candidates(goosefs_core::id::ContentId(attr.content).block(0), &[]);
    let owner = cluster.workers.iter().find(|worker| worker.id == first[0].id.0).unwrap();
    owner.kill().await;
    for _ in 0..20 {
        read(&cluster, &attr, 500_000, 10).await.unwrap();
    }
    let after = cluster.client.router().candidates(goosefs_core::id::ContentId(attr.content).block(0), &[]);
    assert_eq!(after.last().unwrap().id.0, owner.id, "the dead one is asked last");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_is_gone_is_stale_and_never_mixed() {
    let cluster = Cluster::start(2).await;
    let bytes = pattern(2 << 20);
    let attr = cluster.file(6, &bytes);
    for worker in &cluster.workers {
        worker.break_by(Fault::Refuse(Code::Stale));
    }
    assert_eq!(read(&cluster, &attr, 0, 100).await.unwrap_err().code, Code::Stale);
    // One worker has the old version cached: it is served, whatever the other says.
    cluster.workers[1].restart().await;
    cluster.masters.move_worker(&cluster.workers[1]);
    within(cluster.client.ready()).await.unwrap();
    assert!(read(&cluster, &attr, 0, 2 << 20).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_any_worker_a_read_fails_clearly_and_in_time() {
    let cluster = Cluster::with(2, |config| config.worker_patience = Duration::from_millis(300)).await;
    let attr = cluster.file(7, &pattern(100));
    for worker in &cluster.workers {
        worker.kill().await;
    }
    let error = read(&cluster, &attr, 0, 100).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    assert!(error.message.contains("127.0.0."), "{error}");
    let nobody = Cluster::with(0, |config| config.worker_patience = Duration::from_millis(300)).await;
    let error = read(&nobody, &attr, 0, 100).await.unwrap_err();
    assert!(error.to_string().contains("no worker"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpersisted_blocks_are_read_from_their_holder() {
    let cluster = Cluster::start(6).await;
    let content = ContainerId(8).content();
    let bytes = pattern(1000);
    let block = content.block(0);
    within(cluster.client.ready()).await.unwrap();
    let ring: Vec<u64> =
        cluster.client.router().candidates(block, &[]).into_iter().map(|worker| worker.id.0).collect();
    let holder = cluster.workers.iter().find(|worker| !ring.contains(&worker.id)).unwrap();
    holder.put(content, &bytes);
    cluster.masters.commit(&goosefs_core::proto::internal::CommitBlockRequest {
        block: block.0,
        worker: holder.id,
        length: 1000,
        generation: 1,
    });
    let attr = Attr { persistence: Persistence::NotPersisted.into(), ..file_attr(content, 1000) };
    cluster.masters.put(attr.clone());
    assert!(read(&cluster, &attr, 0, 1000).await.unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_hangs_keeps_no_reader() {
    let cluster = Cluster::with(2, |config| config.worker_timeout = Duration::from_millis(300)).await;
    let bytes = pattern(1 << 20);
    let attr = cluster.file(9, &bytes);
    within(cluster.client.ready()).await.unwrap();
    let first = cluster.client.router().candidates(goosefs_core::id::ContentId(attr.content).block(0), &[]);
    let hanging = cluster.workers.iter().find(|worker| worker.id == first[0].id.0).unwrap();
    hanging.break_by(Fault::Hang);
    for _ in 0..3 {
        assert!(read(&cluster, &attr, 0, 1 << 20).await.unwrap() == bytes);
    }
    assert_eq!(hanging.reads.lock().len(), 1, "it was asked once and then passed over");
}
