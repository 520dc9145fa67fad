//! Whole workers against a fake master and a real local storage.

use crate::testing::{Cluster, bytes, eventually, read, read_as, write};
use goosefs_core::Code;
use goosefs_core::proto::internal::{
    CachedRequest, CachedResponse, DropContentsRequest, DropContentsResponse, FillContentRequest,
    FillContentResponse, Persistence, ReadContentRequest, UploadContentRequest, UploadContentResponse,
};
use goosefs_core::proto::method;
use std::time::Duration;

const MIB: u64 = 1 << 20;
const GRACE: Duration = Duration::from_secs(10);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cold_read_fills_the_cache_and_the_second_asks_the_storage_nothing() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(1, 9_500_001);
    let content = cluster.persisted("a", &all);
    assert_eq!(read_as(&channel, content, 0, u64::MAX, true, false).await.unwrap(), all);
    eventually("everything is cached", || worker.metrics().text().contains("fill_bytes_total 9500001")).await;
    let reads = cluster.reads();
    assert_eq!(read_as(&channel, content, 0, u64::MAX, true, false).await.unwrap(), all);
    assert_eq!(read(&channel, content, 4_000_000, 1_000_000).await.unwrap(), all[4_000_000..5_000_000]);
    assert_eq!(cluster.reads(), reads);
    let cached: CachedResponse =
        channel.call(method::CACHED, &CachedRequest { contents: vec![content.0] }).await.unwrap();
    assert_eq!(cached.bytes, [9_500_001]);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_random_read_fetches_its_pages_only() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(2, 20 << 20);
    let content = cluster.persisted("a", &all);
    let at = 10 * MIB + 123;
    assert_eq!(read(&channel, content, at, 4096).await.unwrap(), all[at as usize..at as usize + 4096]);
    // Across a page and a block.
    let at = 12 * MIB - 5;
    assert_eq!(read(&channel, content, at, 10).await.unwrap(), all[at as usize..at as usize + 10]);
    eventually("three pages", || worker.metrics().text().contains("fill_bytes_total 3145728\n")).await;
    assert_eq!(read(&channel, content, 20 * MIB, 10).await.unwrap(), b"");
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_readers_of_a_missing_page_cause_one_request() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(3, 1 << 20);
    let content = cluster.persisted("a", &all);
    let readers = (0..16).map(|n: u64| {
        let (channel, all) = (channel.clone(), &all);
        async move {
            let got = read(&channel, content, n * 1000, 5000).await.unwrap();
            assert_eq!(got, all[n as usize * 1000..n as usize * 1000 + 5000]);
        }
    });
    futures::future::join_all(readers).await;
    assert_eq!(cluster.reads(), 1);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_larger_than_the_cache_is_read_whole_and_the_quota_holds() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 6 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(4, 30 << 20);
    let content = cluster.persisted("a", &all);
    for _ in 0..2 {
        assert!(read_as(&channel, content, 0, u64::MAX, true, false).await.unwrap() == all);
    }
    eventually("heartbeat within quota", || {
        let beat = cluster.beat(worker.worker());
        beat.tiers.first().is_some_and(|tier| tier.used > 0 && tier.used <= 6 * MIB)
    })
    .await;
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_pass_by_a_cache_that_is_full_of_only_copies_and_writes_get_no_space() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 4 * MIB).await;
    let channel = cluster.client(&worker).await;
    let held = cluster.created();
    write(&channel, held, 1, 0, &bytes(5, 4 << 20)).await.unwrap();
    let all = bytes(6, 7_000_000);
    let content = cluster.persisted("a", &all);
    assert!(read_as(&channel, content, 0, u64::MAX, true, false).await.unwrap() == all);
    let more = cluster.created();
    assert_eq!(write(&channel, more, 1, 0, &bytes(7, 1 << 20)).await.unwrap_err().code, Code::NoSpace);
    let load: Result<FillContentResponse, _> =
        channel.call(method::FILL_CONTENT, &FillContentRequest { content: content.0 }).await;
    assert_eq!(load.unwrap_err().code, Code::NoSpace);
    assert!(read(&channel, held, 0, u64::MAX).await.unwrap() == bytes(5, 4 << 20));
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replaced_file_gives_old_bytes_or_stale_and_never_a_mix() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let (old, new) = (bytes(8, 8 << 20), bytes(9, 8 << 20));
    let content = cluster.persisted("a", &old);
    assert_eq!(read(&channel, content, 0, 100).await.unwrap(), old[..100]);
    tokio::time::sleep(Duration::from_millis(20)).await;
    std::fs::write(cluster.path("a"), &new).unwrap();
    assert_eq!(read(&channel, content, 5, 100).await.unwrap(), old[5..105], "what is cached stays");
    assert_eq!(cluster.master.facts.lock().suspects, [], "nobody has noticed yet");
    let known = cluster.master.facts.lock().versions[&content].fingerprint.clone().unwrap();
    assert_eq!(read(&channel, content, 5 * MIB, 100).await.unwrap_err().code, Code::Stale);
    assert_eq!(cluster.master.facts.lock().suspects.first(), Some(&known), "the masters are told");
    assert_eq!(read(&channel, content, 0, u64::MAX).await.unwrap_err().code, Code::Stale);
    // The masters noticed: another content.
    let next = cluster.persisted("b", &new);
    assert!(read(&channel, next, 0, u64::MAX).await.unwrap() == new);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn written_bytes_are_committed_at_the_master_and_survive_the_worker_being_killed() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let content = cluster.created();
    let all = bytes(10, 9_000_000);
    let answer = write(&channel, content, 1, 0, &all).await.unwrap();
    assert_eq!((answer.taken, answer.committed), (9_000_000, 9_000_000));
    {
        let facts = cluster.master.facts.lock();
        let lengths: Vec<u64> = facts.versions[&content].blocks.iter().map(|block| block.length).collect();
        assert_eq!(lengths.iter().sum::<u64>(), 9_000_000);
        assert!(facts.commits.iter().all(|commit| commit.worker == worker.worker().0));
    }
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == all, "readable before it is complete");
    let more = bytes(11, 100_000);
    write(&channel, content, 1, 9_000_000, &more).await.unwrap();
    let wrong = write(&channel, content, 2, 0, b"x").await.unwrap_err();
    assert_eq!(wrong.code, Code::Stale);
    let id = worker.worker();
    // No shutdown: as after a kill.
    worker.kill().await;
    drop((worker, channel));
    let worker = cluster.worker("w", 64 * MIB).await;
    assert_eq!(worker.worker(), id);
    let channel = cluster.client(&worker).await;
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == [all, more].concat());
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_only_copy_is_read_through_another_worker_and_uploaded_from_there() {
    let cluster = Cluster::start().await;
    let holder = cluster.worker("w1", 64 * MIB).await;
    let other = cluster.worker("w2", 64 * MIB).await;
    let content = cluster.created();
    let all = bytes(12, 6_000_000);
    write(&cluster.client(&holder).await, content, 1, 0, &all).await.unwrap();
    cluster.change(content, |version| {
        version.completed = true;
        version.length = 6_000_000;
    });
    let channel = cluster.client(&other).await;
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == all);
    let upload = UploadContentRequest {
        content: content.0,
        length: 6_000_000,
        generation: 1,
        mount: 1,
        ufs_path: "folder/up".to_owned(),
    };
    let uploaded: UploadContentResponse = channel.call(method::UPLOAD_CONTENT, &upload).await.unwrap();
    assert!(std::fs::read(cluster.path("folder/up")).unwrap() == all);
    assert_eq!(uploaded.fingerprint.clone().unwrap().length, 6_000_000);
    eventually("an only copy is told", || cluster.beat(holder.worker()).unpersisted > 0).await;
    cluster.change(content, |version| {
        version.persistence = Persistence::Persisted as i32;
        version.ufs_path = "folder/up".to_owned();
        version.fingerprint = uploaded.fingerprint.clone();
        version.blocks.clear();
    });
    eventually("the holder lets go", || cluster.beat(holder.worker()).unpersisted == 0).await;
    let wrong = UploadContentRequest { length: 7_000_000, ufs_path: "short".to_owned(), ..upload };
    let refused: Result<UploadContentResponse, _> = channel.call(method::UPLOAD_CONTENT, &wrong).await;
    assert!(refused.is_err());
    assert!(!cluster.path("short").exists());
    holder.shutdown(GRACE).await;
    other.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_only_copy_whose_worker_is_away_is_an_error_and_no_zeros() {
    let cluster = Cluster::start().await;
    let holder = cluster.worker("w1", 64 * MIB).await;
    let other = cluster.worker("w2", 64 * MIB).await;
    let content = cluster.created();
    write(&cluster.client(&holder).await, content, 1, 0, &bytes(13, 1000)).await.unwrap();
    cluster.change(content, |version| {
        version.completed = true;
        version.length = 1000;
    });
    holder.shutdown(GRACE).await;
    let channel = cluster.client(&other).await;
    let error = read(&channel, content, 0, 1000).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable, "{error}");
    other.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cached_files_stay_readable_while_no_master_leads_and_after_a_clean_restart() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(14, 3_000_000);
    let content = cluster.persisted("a", &all);
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == all);
    eventually("all on disk", || worker.metrics().text().contains("fill_seconds_count 1")).await;
    cluster.master.facts.lock().silent = true;
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == all);
    cluster.master.facts.lock().silent = false;
    worker.shutdown(GRACE).await;
    drop((worker, channel));
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let reads = cluster.reads();
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == all);
    assert_eq!(cluster.reads(), reads);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_masters_dropped_is_dropped_here() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let (gone, kept) =
        (cluster.persisted("a", &bytes(15, 100_000)), cluster.persisted("b", &bytes(16, 1000)));
    let cut = cluster.created();
    read(&channel, gone, 0, 1).await.unwrap();
    read(&channel, kept, 0, 1).await.unwrap();
    write(&channel, cut, 1, 0, b"old bytes").await.unwrap();
    let cached = async || {
        let request = CachedRequest { contents: vec![gone.0, kept.0, cut.0] };
        channel.call::<_, CachedResponse>(method::CACHED, &request).await.unwrap().bytes
    };
    assert_eq!(cached().await, [100_000, 1000, 9]);
    cluster.change(cut, |version| {
        version.generation = 2;
        version.blocks.clear();
    });
    {
        let mut facts = cluster.master.facts.lock();
        facts.versions.remove(&gone);
        facts.dropped = vec![gone.0, kept.0, cut.0];
        facts.dropped_up_to = 5;
    }
    eventually("heard", || cluster.beat(worker.worker()).dropped_after == 5).await;
    assert_eq!(cached().await, [0, 1000, 0]);
    let drop = DropContentsRequest { contents: vec![kept.0], unpersisted_too: false };
    let dropped: DropContentsResponse = channel.call(method::DROP_CONTENTS, &drop).await.unwrap();
    assert!(dropped.freed >= 1000);
    assert_eq!(cached().await, [0, 0, 0]);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_truncated_file_is_read_in_its_new_generation() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let content = cluster.created();
    write(&channel, content, 1, 0, b"the old text").await.unwrap();
    cluster.change(content, |version| {
        version.generation = 2;
        version.blocks.clear();
    });
    write(&channel, content, 2, 0, b"new").await.unwrap();
    assert_eq!(read(&channel, content, 0, 100).await.unwrap(), b"new");
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_fails_is_asked_again_a_few_times_and_then_its_error_is_told() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(17, 5000);
    let content = cluster.persisted("a", &all);
    *cluster.ufs.failing.lock() = Some(Code::Ufs);
    let error = read(&channel, content, 0, 10).await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("read a from its storage"), "{error}");
    assert_eq!(cluster.reads(), 3);
    *cluster.ufs.failing.lock() = None;
    assert_eq!(read(&channel, content, 0, u64::MAX).await.unwrap(), all);
    std::fs::remove_file(cluster.path("a")).unwrap();
    let other = cluster.persisted("c", b"abc");
    std::fs::remove_file(cluster.path("c")).unwrap();
    assert_eq!(read(&channel, other, 0, 3).await.unwrap_err().code, Code::Stale);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_passes_over_a_stray_master_and_ends_when_most_are_of_another_cluster() {
    let (cluster, stray, third) = (Cluster::start().await, Cluster::start().await, Cluster::start().await);
    let mut config = cluster.config("w", 64 * MIB);
    for other in [&stray, &third] {
        config.masters.extend(other.config("", 0).masters);
    }
    let worker = cluster.worker_with(config).await;
    stray.set_mark(9);
    let alive = async {
        for _ in 0..5 {
            for one in [&cluster, &stray] {
                one.master.facts.lock().beats.clear();
                while one.master.facts.lock().beats.is_empty() {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        }
    };
    tokio::select! {
        () = alive => {}
        ended = worker.join() => panic!("{ended:?}"),
    }
    third.set_mark(9);
    let ended = tokio::time::timeout(GRACE, worker.join()).await.unwrap().unwrap_err();
    assert_eq!(ended.code, Code::WrongCluster);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_joins_another_cluster_by_dropping_what_it_cached() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let content = cluster.persisted("a", &bytes(18, 5000));
    read(&channel, content, 0, 10).await.unwrap();
    let held = cluster.created();
    write(&channel, held, 1, 0, b"an only copy").await.unwrap();
    cluster.set_mark(9);
    let ended = tokio::time::timeout(GRACE, worker.join()).await.unwrap().unwrap_err();
    assert_eq!(ended.code, Code::WrongCluster);
    worker.shutdown(GRACE).await;
    drop((worker, channel));
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let request = CachedRequest { contents: vec![content.0, held.0] };
    let cached: CachedResponse = channel.call(method::CACHED, &request).await.unwrap();
    assert_eq!(cached.bytes, [0, 0]);
    assert!(cluster.root.path().join("w/quarantine").is_dir());
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_that_rotted_is_fetched_again_after_an_unclean_stop() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(19, 3 << 20);
    let content = cluster.persisted("a", &all);
    read_as(&channel, content, 0, u64::MAX, true, false).await.unwrap();
    eventually("all on disk", || worker.metrics().text().contains("fill_seconds_count 1")).await;
    // The index is written behind; without it the file is fetched again as a whole.
    tokio::time::sleep(Duration::from_millis(1500)).await;
    worker.kill().await;
    drop((worker, channel));
    let container = content.container().0;
    let file = cluster.root.path().join(format!("w/{:02x}/{container}", container & 0xff));
    let mut damaged = std::fs::read(&file).unwrap();
    damaged[(MIB + 77) as usize] ^= 1;
    std::fs::write(&file, damaged).unwrap();
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let reads = cluster.reads();
    assert!(read(&channel, content, 0, u64::MAX).await.unwrap() == all);
    assert_eq!(cluster.reads(), reads + 1);
    eventually("counted", || worker.metrics().text().contains("bad_pages_total 1")).await;
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_are_asked_for_once_however_many_read() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let content = cluster.persisted("a", &bytes(20, 4096));
    let readers = (0..32).map(|_| read(&channel, content, 0, 4096));
    assert!(futures::future::join_all(readers).await.into_iter().all(|got| got.is_ok()));
    assert_eq!(cluster.master.facts.lock().version_calls, 1);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn loading_caches_whole_files_and_says_when_they_were() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let content = cluster.persisted("a", &bytes(21, 10_000_000));
    let load = FillContentRequest { content: content.0 };
    let first: FillContentResponse = channel.call(method::FILL_CONTENT, &load).await.unwrap();
    assert_eq!((first.filled, first.was_cached), (10_000_000, false));
    let again: FillContentResponse = channel.call(method::FILL_CONTENT, &load).await.unwrap();
    assert_eq!((again.filled, again.was_cached), (0, true));
    let unpersisted = FillContentRequest { content: cluster.created().0 };
    let refused: Result<FillContentResponse, _> = channel.call(method::FILL_CONTENT, &unpersisted).await;
    assert_eq!(refused.unwrap_err().code, Code::Incomplete);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_fills_itself_from_another_that_has_the_file() {
    let cluster = Cluster::start().await;
    let (one, two) = (cluster.worker("w1", 64 * MIB).await, cluster.worker("w2", 64 * MIB).await);
    let all = bytes(50, 5_000_000);
    for n in 0..6 {
        let content = cluster.persisted(&format!("f{n}"), &all);
        // At either worker first: the ring makes each the owner of some.
        let (first, second) = if n % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let load = FillContentRequest { content: content.0 };
        let _: FillContentResponse =
            cluster.client(first).await.call(method::FILL_CONTENT, &load).await.unwrap();
        let reads = cluster.reads();
        let channel = cluster.client(second).await;
        assert!(read_as(&channel, content, 0, u64::MAX, true, false).await.unwrap() == all);
        assert_eq!(cluster.reads(), reads, "the storage was asked for what a worker has");
    }
    // The other one dies: the storage has everything.
    two.kill().await;
    let late = cluster.persisted("late", &all);
    let channel = cluster.client(&one).await;
    assert!(read_as(&channel, late, 0, u64::MAX, true, false).await.unwrap() == all);
    one.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reader_that_names_its_generation_costs_the_masters_nothing_until_the_file_is_truncated() {
    let cluster = Cluster::start().await;
    let worker = cluster.worker("w", 64 * MIB).await;
    let channel = cluster.client(&worker).await;
    let content = cluster.persisted("a", &bytes(51, 4096));
    let request = ReadContentRequest {
        content: content.0,
        offset: 0,
        length: 4096,
        sequential: false,
        cached_only: false,
        generation: 1,
        in_file: false,
    };
    let read = async |request: &ReadContentRequest| {
        let mut payloads = channel.read(method::READ_CONTENT, request).await?;
        let mut length = 0;
        while let Some(payload) = payloads.next().await? {
            length += payload.len();
        }
        Ok::<_, goosefs_core::Error>(length)
    };
    assert_eq!(read(&request).await.unwrap(), 4096);
    tokio::time::sleep(Duration::from_millis(1200)).await;
    assert_eq!(read(&request).await.unwrap(), 4096);
    assert_eq!(cluster.master.facts.lock().version_calls, 1);
    cluster.change(content, |version| {
        version.generation = 2;
        version.length = 0;
    });
    let newer = ReadContentRequest { generation: 2, ..request };
    assert_eq!(read(&newer).await.unwrap(), 0);
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_writer_waits_until_what_is_uploaded_by_then_can_make_room() {
    let cluster = Cluster::start().await;
    let config = crate::Config { room_timeout: Duration::from_secs(20), ..cluster.config("w", 6 * MIB) };
    let worker = cluster.worker_with(config).await;
    let channel = cluster.client(&worker).await;
    let first = cluster.created();
    write(&channel, first, 1, 0, &bytes(5, 4 << 20)).await.unwrap();
    let second = cluster.created();
    let writing = async {
        write(&channel, second, 1, 0, &bytes(6, 4 << 20)).await.unwrap();
    };
    let persisting = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        std::fs::write(cluster.path("first"), bytes(5, 4 << 20)).unwrap();
        let fingerprint = crate::testing::fingerprint(&cluster.path("first"));
        cluster.change(first, |version| {
            version.completed = true;
            version.length = 4 << 20;
            version.ufs_path = "first".to_owned();
            version.fingerprint = Some(fingerprint);
            version.persistence = Persistence::Persisted as i32;
        });
    };
    tokio::join!(writing, persisting);
    assert!(read(&channel, second, 0, u64::MAX).await.unwrap() == bytes(6, 4 << 20));
    assert!(read(&channel, first, 0, u64::MAX).await.unwrap() == bytes(5, 4 << 20));
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_cannot_fit_is_refused_at_once_and_the_error_names_the_limit() {
    let cluster = Cluster::start().await;
    let config = crate::Config { room_timeout: Duration::from_secs(600), ..cluster.config("w", 6 * MIB) };
    let worker = cluster.worker_with(config).await;
    let channel = cluster.client(&worker).await;
    let large = cluster.created();
    let error = write(&channel, large, 1, 0, &bytes(5, 9 << 20)).await.unwrap_err();
    assert_eq!(error.code, Code::NoSpace);
    assert!(error.message.contains("up to 6291456 bytes"), "{error}");
    worker.shutdown(GRACE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_storage_is_waited_for_once() {
    let cluster = Cluster::start().await;
    let patience = Duration::from_secs(4);
    let config = crate::Config { fill_timeout: patience, ..cluster.config("w", 64 * MIB) };
    let worker = cluster.worker_with(config).await;
    let channel = cluster.client(&worker).await;
    let all = bytes(18, 5000);
    let content = cluster.persisted("a", &all);
    cluster.ufs.silent.store(true, std::sync::atomic::Ordering::SeqCst);
    let begun = std::time::Instant::now();
    let error = read(&channel, content, 0, 10).await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("sent nothing for 4 s"), "{error}");
    assert_eq!(cluster.reads(), 1);
    // Whoever asks at once again does not wait so long.
    assert_eq!(read(&channel, content, 0, 10).await.unwrap_err().code, Code::Ufs);
    assert!(begun.elapsed() < 2 * patience, "{:?}", begun.elapsed());
    cluster.ufs.silent.store(false, std::sync::atomic::Ordering::SeqCst);
    assert_eq!(read(&channel, content, 0, u64::MAX).await.unwrap(), all);
    worker.shutdown(GRACE).await;
}
