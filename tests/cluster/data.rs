//! File data through workers.

use super::{path, read, write};
use goosefs_core::Code;
use goosefs_core::id::ContentId;
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::{Persistence, WriteType};
use goosefs_harness::{InProcess, Options, pattern, wait_until};

/// Bytes that a client took from the local workers' files.
fn read_from_files(metrics: &Metrics) -> u64 {
    let text = metrics.text();
    let value = text.lines().find_map(|line| line.strip_prefix("goosefs_client_read_local_bytes_total "));
    value.unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn every_write_type_reads_back_and_through_types_reach_the_storage() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let client = cluster.client(|_| {});
    let types = [WriteType::MustCache, WriteType::CacheThrough, WriteType::Through, WriteType::AsyncThrough];
    for (number, write_type) in types.into_iter().enumerate() {
        for length in [0, 1, 1 << 20, (9 << 20) + 17] {
            let name = format!("{}-{length}", write_type.as_str_name());
            let bytes = pattern(number as u64, length);
            let attr = write(&client, &format!("/{name}"), &bytes, write_type).await.unwrap();
            assert_eq!((attr.length, attr.completed), (length as u64, true), "{name}");
            assert!(read(&client, &format!("/{name}")).await.unwrap() == bytes, "{name}");
            if matches!(write_type, WriteType::CacheThrough | WriteType::Through) {
                assert_eq!(attr.persistence(), Persistence::Persisted, "{name}");
                assert!(std::fs::read(cluster.ufs().join(&name)).unwrap() == bytes, "{name}");
            }
        }
    }
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_of_the_storage_is_cached_and_then_read_from_its_descriptor() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let bytes = pattern(5, 70 << 20);
    std::fs::write(cluster.ufs().join("big"), &bytes).unwrap();
    let client = cluster.client(|_| {});
    assert!(read(&client, "/big").await.unwrap() == bytes);
    let attr = client.paths().stat(&path("/big")).await.unwrap();
    let (_, filled) = client.load(ContentId(attr.content)).await.unwrap();
    assert!(filled.was_cached || filled.filled > 0);
    let whole = || async { client.local_file(&attr).await.is_some() };
    wait_until("a worker hands out the file", whole).await.unwrap();
    let file = client.local_file(&attr).await.unwrap();
    let mut part = vec![0; 1000];
    assert_eq!(file.read_at(&mut part, 65 << 20).unwrap(), 1000);
    assert!(part == bytes[65 << 20..(65 << 20) + 1000]);
    // From now on the storage is not needed.
    std::fs::remove_file(cluster.ufs().join("big")).unwrap();
    assert!(read(&client, "/big").await.unwrap() == bytes);
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cold_read_beside_the_worker_takes_its_bytes_from_the_file_that_is_being_filled() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let bytes = pattern(6, (30 << 20) + 4321);
    std::fs::write(cluster.ufs().join("cold"), &bytes).unwrap();
    let metrics = Metrics::new();
    let client = cluster.client_counting(&metrics, |_| {});
    assert!(read(&client, "/cold").await.unwrap() == bytes);
    let from_file = read_from_files(&metrics);
    assert!(from_file >= 25 << 20, "{from_file} bytes came from the file");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_read_that_the_cache_can_take_in_part_only_does_not_wait_for_the_rest() {
    let options = Options { workers: 1, quota: 2 << 20, ..Options::default() };
    let cluster = InProcess::start(options).await.unwrap();
    let bytes = pattern(8, 12 << 20);
    std::fs::write(cluster.ufs().join("f"), &bytes).unwrap();
    let metrics = Metrics::new();
    let client = cluster.client_counting(&metrics, |_| {});
    let attr = client.paths().stat(&path("/f")).await.unwrap();
    let reader = client.reader(&attr).unwrap();
    // What was named first is kept in place while the rest is read, so there is no room for that.
    let read = tokio::time::timeout(std::time::Duration::from_secs(15), reader.read_at(5 << 20, 4 << 20));
    assert!(read.await.expect("it ends soon").unwrap() == bytes[5 << 20..9 << 20]);
    assert!((1..4 << 20).contains(&read_from_files(&metrics)), "some came from the file and some did not");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn readers_beside_a_worker_whose_cache_is_far_too_small_get_right_bytes() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let options = Options { workers: 1, quota: 12 << 20, ..Options::default() };
    let cluster = InProcess::start(options).await.unwrap();
    let files: Vec<Vec<u8>> = (0..3).map(|number| pattern(seed ^ number, 10 << 20)).collect();
    for (number, bytes) in files.iter().enumerate() {
        std::fs::write(cluster.ufs().join(format!("f{number}")), bytes).unwrap();
    }
    let metrics = Metrics::new();
    let client = cluster.client_counting(&metrics, |_| {});
    let files = &files;
    let reads = (0..9).map(|number| {
        let client = client.clone();
        async move {
            for file in [number % 3, (number + 1) % 3, (number + 2) % 3] {
                assert!(read(&client, &format!("/f{file}")).await.unwrap() == files[file], "file {file}");
            }
        }
    });
    futures::future::join_all(reads).await;
    assert!(read_from_files(&metrics) > 0, "some of it came from files");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_replaced_in_the_storage_is_never_mixed() {
    let cluster =
        InProcess::start(Options { sync_interval: Some(std::time::Duration::ZERO), ..Options::default() });
    let cluster = cluster.await.unwrap();
    let (old, new) = (pattern(1, 12 << 20), pattern(2, 12 << 20));
    std::fs::write(cluster.ufs().join("f"), &old).unwrap();
    let client = cluster.client(|_| {});
    let attr = client.paths().stat(&path("/f")).await.unwrap();
    let reader = client.reader(&attr).unwrap();
    assert!(reader.read_at(0, 100_000).await.unwrap() == old[..100_000]);
    std::fs::write(cluster.ufs().join("g"), &new).unwrap();
    std::fs::rename(cluster.ufs().join("g"), cluster.ufs().join("f")).unwrap();
    for megabyte in 0..12 {
        match reader.read_at(megabyte << 20, 1 << 20).await {
            Ok(bytes) => assert!(bytes == old[(megabyte << 20) as usize..][..1 << 20], "MiB {megabyte}"),
            Err(error) => assert_eq!(error.code, Code::Stale, "{error}"),
        }
    }
    assert!(read(&client, "/f").await.unwrap() == new, "a new open sees the new file");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_small_files_written_at_once_keep_their_own_bytes() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let client = cluster.client(|_| {});
    let write_one = |number: u64| {
        let client = client.clone();
        async move {
            let bytes = pattern(number, 1000 + number as usize);
            write(&client, &format!("/s{number}"), &bytes, WriteType::MustCache).await.map(drop)
        }
    };
    futures::future::try_join_all((0..200).map(write_one)).await.unwrap();
    for number in 0..200 {
        let bytes = read(&client, &format!("/s{number}")).await.unwrap();
        assert!(bytes == pattern(number, 1000 + number as usize), "{number}");
    }
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_is_written_anew_never_gives_its_old_bytes() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let (writing, reading) = (cluster.client(|_| {}), cluster.client(|_| {}));
    let caller = writing.config().caller.clone();
    write(&writing, "/f", &pattern(0, 300_000), WriteType::MustCache).await.unwrap();
    for round in 1..12 {
        let old = pattern(round - 1, 300_000);
        // Both keep the file's descriptor, as far as a worker gives it.
        assert!(read(&writing, "/f").await.unwrap() == old, "round {round}");
        assert!(read(&reading, "/f").await.unwrap() == old, "round {round}");
        let attr = writing.paths().truncate(&path("/f")).await.unwrap();
        let mut writer = writing.writer(&attr, &caller).unwrap();
        let new = pattern(round, 300_000);
        writer.write(0, bytes::Bytes::from(new.clone())).await.unwrap();
        writer.close().await.unwrap();
        assert!(read(&writing, "/f").await.unwrap() == new, "round {round}");
        assert!(read(&reading, "/f").await.unwrap() == new, "round {round}");
    }
    writing.shutdown(goosefs_harness::LONG).await;
    reading.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_file_that_was_replaced_in_the_storage_is_stale_once_and_then_the_new_one() {
    // Nothing is looked at again by its age.
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let (old, new) = (pattern(1, 3 << 20), pattern(2, (3 << 20) + 5));
    std::fs::write(cluster.ufs().join("f"), &old).unwrap();
    let client = cluster.client(|_| {});
    assert_eq!(client.paths().stat(&path("/f")).await.unwrap().length, old.len() as u64);
    std::fs::write(cluster.ufs().join("f"), &new).unwrap();
    assert_eq!(read(&client, "/f").await.unwrap_err().code, Code::Stale);
    assert!(read(&client, "/f").await.unwrap() == new, "whoever opens it next gets what is there");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}
