//! Preloads: whole trees cached by the masters, whatever becomes of leaders and files.

use super::path;
use goosefs_client::Client;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{NodeKind, Preload, PreloadOptions, PreloadState};
use goosefs_harness::{InProcess, LONG, Options, Processes, wait_until};
use std::fs;
use std::path::Path;
use std::time::Duration;

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

/// Directories of equal files; gives how many files there are.
fn tree(folder: &Path, directories: usize, files: usize, length: usize) -> u64 {
    for directory in 0..directories {
        let inside = folder.join(format!("d{directory:02}/x"));
        fs::create_dir_all(&inside).unwrap();
        for file in 0..files {
            fs::write(inside.join(format!("f{file:03}")), vec![7; length]).unwrap();
        }
    }
    (directories * files) as u64
}

async fn ended(client: &Client, id: u64) -> Preload {
    let over = || async {
        client.preloads().one(id, false).await.is_ok_and(|one| one.state() != PreloadState::Running)
    };
    wait_until("the job to end", over).await.unwrap();
    client.preloads().one(id, true).await.unwrap()
}

/// Bytes that workers have of the files in `directory`.
async fn cached(client: &Client, directory: &str) -> u64 {
    let mut contents = Vec::new();
    let mut left = vec![path(directory)];
    while let Some(directory) = left.pop() {
        for entry in client.paths().list(&directory).await.unwrap() {
            let (name, attr) = (entry.name, entry.attr.unwrap());
            match attr.kind() {
                NodeKind::Directory => left.push(directory.join(&name).unwrap()),
                _ => contents.push(ContentId(attr.content)),
            }
        }
    }
    let all = client.cached(&contents).await.unwrap();
    all.iter().flat_map(|(_, bytes)| bytes).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_is_loaded_whole_and_counted_exactly_while_leaders_are_killed() {
    let mut cluster = Processes::start(Path::new(GOOSEFS), &[]).unwrap();
    let files = tree(&cluster.folder().join("root"), 20, 100, 1000);
    let client = cluster.client();
    // Some seconds of work.
    let options = PreloadOptions { bandwidth: 300_000, ..PreloadOptions::default() };
    let id = client.preloads().submit(&path("/"), options).await.unwrap();
    for part in [1, 3] {
        let so_far = || async {
            let preload = client.preloads().one(id, false).await;
            preload.is_ok_and(|one| one.progress.unwrap_or_default().loaded >= files * part / 5)
        };
        wait_until("a part to be loaded", so_far).await.unwrap();
        let leader = client.leader().await.unwrap();
        let leader = cluster.masters().iter().position(|address| *address == leader).unwrap();
        cluster.kill_master(leader).unwrap();
        cluster.start_master(leader).unwrap();
    }
    let preload = ended(&client, id).await;
    let progress = preload.progress.clone().unwrap();
    assert_eq!((preload.state(), preload.reason.as_str()), (PreloadState::Succeeded, ""), "{preload:?}");
    assert_eq!((progress.files, progress.loaded, progress.failed), (files, files, 0));
    assert_eq!((progress.bytes, progress.loaded_bytes), (files * 1000, files * 1000));
    assert_eq!(cached(&client, "/").await, files * 1000);
    client.shutdown(LONG).await;
    cluster.stop_all().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_loaded_is_named_and_all_else_is_loaded_on_as_many_workers_as_asked() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let files = tree(&cluster.ufs(), 3, 10, 5000);
    let client = cluster.client(|_| ());
    // Known to the masters, and gone since.
    client.paths().list(&path("/d01/x")).await.unwrap();
    fs::remove_file(cluster.ufs().join("d01/x/f004")).unwrap();
    let options = PreloadOptions { replication: 2, ..PreloadOptions::default() };
    let id = client.preloads().submit(&path("/"), options).await.unwrap();
    let preload = ended(&client, id).await;
    let progress = preload.progress.clone().unwrap();
    assert_eq!(preload.state(), PreloadState::Failed);
    assert_eq!((progress.loaded, progress.failed), (files - 1, 1), "{preload:?}");
    assert_eq!(preload.failures.len(), 1);
    assert_eq!(preload.failures[0].path, "/d01/x/f004");
    assert!(preload.failures[0].reason.contains("does not exist"), "{preload:?}");
    assert_eq!(cached(&client, "/").await, 2 * (files - 1) * 5000);
    // Again: everything is there already, and nothing is asked of the storage.
    let again = client.preloads().submit(&path("/d00"), PreloadOptions::default()).await.unwrap();
    let progress = ended(&client, again).await.progress.unwrap();
    assert_eq!((progress.loaded, progress.cached_before, progress.filled_bytes), (10, 10, 0));
    client.shutdown(LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_added_behind_our_back_is_loaded_when_storages_are_to_be_asked_again() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let files = tree(&cluster.ufs(), 1, 3, 1000);
    let client = cluster.client(|_| ());
    let load = async |fresh: bool| {
        let options = PreloadOptions { fresh, ..PreloadOptions::default() };
        let id = client.preloads().submit(&path("/"), options).await.unwrap();
        ended(&client, id).await.progress.unwrap().loaded
    };
    assert_eq!(load(false).await, files);
    fs::write(cluster.ufs().join("d00/x/new"), "new").unwrap();
    assert_eq!(load(false).await, files, "nobody looked again");
    assert_eq!(load(true).await, files + 1);
    client.shutdown(LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_are_given_no_more_than_they_hold_unless_asked() {
    let quota = 32 << 20;
    let options = Options { workers: 1, quota, ..Options::default() };
    let cluster = InProcess::start(options).await.unwrap();
    let files = tree(&cluster.ufs(), 4, 3, 4 << 20);
    let client = cluster.client(|_| ());
    let id = client.preloads().submit(&path("/"), PreloadOptions::default()).await.unwrap();
    let preload = ended(&client, id).await;
    let progress = preload.progress.clone().unwrap();
    assert_eq!((preload.state(), progress.loaded + progress.failed), (PreloadState::Failed, files));
    assert_eq!(progress.loaded, 7, "{preload:?}");
    assert!(preload.failures[0].reason.contains("has no room"), "{preload:?}");
    let options = PreloadOptions { beyond_capacity: true, ..PreloadOptions::default() };
    let id = client.preloads().submit(&path("/"), options).await.unwrap();
    let preload = ended(&client, id).await;
    assert_eq!((preload.state(), preload.progress.unwrap().loaded), (PreloadState::Succeeded, files));
    client.shutdown(LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_stopped_or_takes_too_long_ends_and_says_which() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    tree(&cluster.ufs(), 1, 5, 1000);
    let client = cluster.client(|_| ());
    let slow = PreloadOptions { bandwidth: 1, ..PreloadOptions::default() };
    let id = client.preloads().submit(&path("/"), slow).await.unwrap();
    let refused = client.preloads().submit(&path("/"), slow).await.unwrap_err();
    assert_eq!(refused.code, goosefs_core::Code::AlreadyExists, "{refused}");
    client.preloads().stop(id).await.unwrap();
    assert_eq!(ended(&client, id).await.state(), PreloadState::Stopped);
    assert!(client.preloads().stop(id).await.is_err());
    let options = PreloadOptions { within_ms: 1500, ..slow };
    let id = client.preloads().submit(&path("/"), options).await.unwrap();
    let preload = tokio::time::timeout(Duration::from_secs(30), ended(&client, id)).await.unwrap();
    assert_eq!(preload.state(), PreloadState::Failed);
    assert!(preload.reason.contains("--expire-time"), "{preload:?}");
    client.shutdown(LONG).await;
    cluster.shutdown().await;
}
