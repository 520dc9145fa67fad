//! Writers, against workers that fail.

use super::worker::{FakeWorker, Fault};
use super::{Cluster, pattern, within};
use crate::Writer;
use crate::meta::CreateOptions;
use bytes::Bytes;
use goosefs_core::Code;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{Attr, Caller, WriteType};
use std::sync::Arc;
use std::time::Duration;

const BLOCK: u64 = 4 << 20;

async fn create(cluster: &Cluster, write_type: WriteType) -> (Attr, Writer) {
    let options = CreateOptions { block_size: BLOCK, write_type };
    let name = format!("file {}", rand::random::<u64>());
    let caller = Caller::default();
    let made = cluster.client.inodes().create(InodeId(0), &name, 0o644, options, &caller);
    let attr = within(made).await.unwrap();
    let writer = cluster.client.writer(&attr, &caller).unwrap();
    (attr, writer)
}

async fn write(writer: &mut Writer, bytes: &[u8], piece: usize) -> goosefs_core::Result<()> {
    for part in bytes.chunks(piece) {
        within(writer.write(writer.position(), Bytes::copy_from_slice(part))).await?;
    }
    Ok(())
}

/// The worker that would take this content first, and the others.
async fn first_taker<'c>(cluster: &'c Cluster, attr: &Attr) -> &'c Arc<FakeWorker> {
    within(cluster.client.ready()).await.unwrap();
    let takers = cluster.client.router().takers(ContentId(attr.content).block(0));
    cluster.workers.iter().find(|worker| worker.id == takers[0].id.0).unwrap()
}

/// The one worker that has the content.
fn holder<'c>(cluster: &'c Cluster, attr: &Attr) -> &'c Arc<FakeWorker> {
    let holders = cluster.masters.holders(ContentId(attr.content).block(0).0);
    assert_eq!(holders.len(), 1, "{holders:?}");
    cluster.workers.iter().find(|worker| worker.id == holders[0]).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_written_is_committed_completed_and_reads_back() {
    let cluster = Cluster::with(2, |config| config.write_window = 2 << 20).await;
    let bytes = pattern(11_000_000);
    let (attr, mut writer) = create(&cluster, WriteType::MustCache).await;
    write(&mut writer, &bytes, 128 << 10).await.unwrap();
    let done = within(writer.close()).await.unwrap();
    assert_eq!((done.length, done.completed), (bytes.len() as u64, true));
    assert!(holder(&cluster, &attr).bytes(ContentId(attr.content)).unwrap() == bytes);
    let read = within(cluster.client.reader(&done).unwrap().read_at(0, done.length)).await.unwrap();
    assert!(read == bytes);
    assert_eq!(cluster.masters.persisted(), Vec::<u64>::new(), "the cache only");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_file_needs_no_worker() {
    let cluster = Cluster::start(0).await;
    let (_, mut writer) = create(&cluster, WriteType::CacheThrough).await;
    within(writer.sync()).await.unwrap();
    assert_eq!(within(writer.close()).await.unwrap().length, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sync_uploads_what_is_new_and_nothing_twice() {
    let cluster = Cluster::start(1).await;
    let (_, mut writer) = create(&cluster, WriteType::CacheThrough).await;
    write(&mut writer, b"abc", 3).await.unwrap();
    within(writer.sync()).await.unwrap();
    within(writer.sync()).await.unwrap();
    write(&mut writer, b"de", 2).await.unwrap();
    within(writer.sync()).await.unwrap();
    assert_eq!(cluster.masters.persisted(), [3, 5]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_write_elsewhere_is_refused_and_the_writer_goes_on() {
    let cluster = Cluster::start(1).await;
    let (attr, mut writer) = create(&cluster, WriteType::MustCache).await;
    write(&mut writer, b"abc", 3).await.unwrap();
    for offset in [0, 2, 4, 1000] {
        let refused = within(writer.write(offset, Bytes::from_static(b"x"))).await.unwrap_err();
        assert_eq!(refused.code, Code::InvalidArgument, "{offset}");
    }
    write(&mut writer, b"de", 2).await.unwrap();
    within(writer.close()).await.unwrap();
    assert_eq!(holder(&cluster, &attr).bytes(ContentId(attr.content)).unwrap(), b"abcde");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_survives_its_workers_death_before_the_commit() {
    let cluster = Cluster::start(3).await;
    let bytes = pattern(3_500_000);
    let (attr, mut writer) = create(&cluster, WriteType::MustCache).await;
    let first = first_taker(&cluster, &attr).await;
    first.break_by(Fault::DieWriting(2_000_000));
    write(&mut writer, &bytes, 300_000).await.unwrap();
    assert_eq!(within(writer.close()).await.unwrap().length, bytes.len() as u64);
    let taker = holder(&cluster, &attr);
    assert_ne!(taker.id, first.id);
    assert!(taker.bytes(ContentId(attr.content)).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_the_middle_of_a_committed_block_the_writer_waits_for_its_worker() {
    let cluster = Cluster::start(2).await;
    let bytes = pattern(3_000_000);
    let (attr, mut writer) = create(&cluster, WriteType::MustCache).await;
    write(&mut writer, &bytes[..1_000_000], 300_000).await.unwrap();
    within(writer.flush()).await.unwrap();
    let worker = holder(&cluster, &attr).clone();
    worker.kill().await;
    let revive = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        worker.restart().await;
        cluster.masters.move_worker(&worker);
    };
    let rest = async {
        write(&mut writer, &bytes[1_000_000..], 300_000).await.unwrap();
        within(writer.close()).await.unwrap()
    };
    let ((), done) = futures::future::join(revive, rest).await;
    assert_eq!(done.length, bytes.len() as u64);
    assert_eq!(holder(&cluster, &attr).id, worker.id, "nobody else took the rest of its block");
    assert!(worker.bytes(ContentId(attr.content)).unwrap() == bytes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_block_whose_worker_stays_away_fails_the_writer_in_time() {
    let cluster = Cluster::with(2, |config| config.worker_patience = Duration::from_millis(300)).await;
    let (attr, mut writer) = create(&cluster, WriteType::MustCache).await;
    write(&mut writer, b"abc", 3).await.unwrap();
    within(writer.flush()).await.unwrap();
    holder(&cluster, &attr).kill().await;
    let mut outcome = write(&mut writer, b"de", 2).await;
    if outcome.is_ok() {
        outcome = within(writer.flush()).await;
    }
    let error = outcome.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    assert_eq!(within(writer.close()).await.unwrap_err(), error, "it stays failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_worker_sends_the_writer_on_and_full_workers_end_it() {
    let cluster = Cluster::with(2, |config| config.worker_patience = Duration::from_secs(2)).await;
    let (attr, mut writer) = create(&cluster, WriteType::MustCache).await;
    let first = first_taker(&cluster, &attr).await;
    first.break_by(Fault::Break(Code::NoSpace));
    write(&mut writer, b"abc", 3).await.unwrap();
    within(writer.flush()).await.unwrap();
    assert_ne!(holder(&cluster, &attr).id, first.id);
    for worker in &cluster.workers {
        worker.break_by(Fault::Break(Code::NoSpace));
    }
    let (_, mut writer) = create(&cluster, WriteType::MustCache).await;
    let mut outcome = write(&mut writer, b"abc", 3).await;
    if outcome.is_ok() {
        outcome = within(writer.flush()).await;
    }
    assert_eq!(outcome.unwrap_err().code, Code::NoSpace);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_was_truncated_meanwhile_ends_its_writer_at_once() {
    let cluster = Cluster::start(2).await;
    for worker in &cluster.workers {
        worker.break_by(Fault::Break(Code::Stale));
    }
    let (_, mut writer) = create(&cluster, WriteType::MustCache).await;
    let mut outcome = write(&mut writer, b"abc", 3).await;
    if outcome.is_ok() {
        outcome = within(writer.flush()).await;
    }
    assert_eq!(outcome.unwrap_err().code, Code::Stale);
}
