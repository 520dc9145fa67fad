//! Checkpoints, backups and clusters that are founded from one.

use super::cluster::{Cluster, PATIENCE, wait_until};
use crate::error::Code;
use crate::raft::{RaftConfig, Restore};
use parking_lot::Mutex;
use std::path::PathBuf;

/// Configurations are tuned by plain functions: what one test restores. Its tests take turns.
static RESTORE: Mutex<Option<Restore>> = Mutex::new(None);
static TURN: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

fn founder_restores(config: &mut RaftConfig) {
    config.restore = RESTORE.lock().clone().filter(|_| config.slot == 0);
}

fn restore(file: &std::path::Path, if_new: bool) {
    *RESTORE.lock() = Some(Restore { file: file.to_owned(), offered: false, if_new });
}

/// A cluster of three with `said`, and a backup of it by each master.
async fn backed_up(said: &[&str]) -> (Cluster, tempfile::TempDir, Vec<PathBuf>) {
    let cluster = Cluster::started(3, |_| ()).await;
    for command in said {
        cluster.propose(command).await;
    }
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for slot in 0..3 {
        let file = folder.path().join(format!("by-{slot}"));
        let backup = cluster.node(slot).backup(file.clone()).await.unwrap();
        assert_eq!((backup.records, &backup.path), (said.len() as u64, &file));
        assert_eq!(std::fs::metadata(&file).unwrap().len(), backup.bytes);
        files.push(file);
    }
    (cluster, folder, files)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_master_writes_a_backup_that_has_all_that_was_acknowledged_and_a_new_cluster_begins_with_it() {
    let _turn = TURN.lock().await;
    let said = ["a", "b", "c"];
    let (old, _folder, files) = backed_up(&said).await;
    let before = old.node(0).mark().unwrap();
    for file in &files {
        restore(file, false);
        let mut new = Cluster::new(3, founder_restores).await;
        // The founder waits for the others, who wait for it.
        new.start(1).await.unwrap();
        new.start(2).await.unwrap();
        new.start(0).await.unwrap();
        new.propose("d").await;
        wait_until("three voters", || (0..3).all(|slot| new.status(slot).voters.len() == 3)).await;
        assert_eq!(new.agreed().await, ["a", "b", "c", "d"]);
        let after = new.node(0).mark().unwrap();
        assert!(after.id == before.id && after.epoch > before.epoch, "{after:?} {before:?}");
        wait_until("all in the new epoch", || (0..3).all(|slot| new.node(slot).mark() == Some(after))).await;
        // It starts again from what was restored; the setting that stays does no harm then, the order is refused.
        new.kill(0).await;
        assert_eq!(new.start(0).await.unwrap_err().code, Code::AlreadyExists);
        restore(file, true);
        new.start(0).await.unwrap();
        new.propose("e").await;
        assert_eq!(new.agreed().await.len(), 5);
    }
    let error = old.node(0).backup(files[0].clone()).await.unwrap_err();
    assert_eq!(error.code, Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_backup_and_a_snapshot_are_named_and_refused() {
    let _turn = TURN.lock().await;
    let (old, folder, files) = backed_up(&["a", "b", "c"]).await;
    let whole = std::fs::read(&files[0]).unwrap();
    for (name, bytes) in [
        ("cut", whole[..whole.len() - 3].to_vec()),
        (
            "flipped",
            whole.iter().enumerate().map(|(i, b)| if i == whole.len() / 2 { b ^ 1 } else { *b }).collect(),
        ),
        ("empty", Vec::new()),
        ("text", b"this is no backup at all, though it is long enough to be one".to_vec()),
    ] {
        let damaged = folder.path().join(name);
        std::fs::write(&damaged, bytes).unwrap();
        restore(&damaged, false);
        let mut new = Cluster::new(1, founder_restores).await;
        let error = new.start(0).await.unwrap_err();
        assert!(error.code == Code::Corrupt && error.message.contains(damaged.to_str().unwrap()), "{error}");
    }
    restore(&folder.path().join("missing"), false);
    let mut new = Cluster::new(1, founder_restores).await;
    let error = new.start(0).await.unwrap_err();
    assert!(error.message.contains("missing"), "{error}");
    old.node(0).checkpoint(PATIENCE).await.unwrap();
    let snapshot = std::fs::read_dir(old.life(0).join("snapshot")).unwrap().next().unwrap().unwrap().path();
    restore(&snapshot, false);
    let error = new.start(0).await.unwrap_err();
    assert!(error.code == Code::InvalidArgument && error.message.contains("not a backup"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_restored_over_a_cluster_that_runs() {
    let _turn = TURN.lock().await;
    let (mut old, _folder, files) = backed_up(&["a", "b", "c"]).await;
    old.propose("d").await;
    // Over the founder's own directory, and over an empty one whose peers run.
    restore(&files[0], false);
    old.tune(founder_restores);
    old.kill(0).await;
    let error = old.start(0).await.unwrap_err();
    assert!(error.code == Code::AlreadyExists && error.message.contains("holds a cluster"), "{error}");
    std::fs::remove_dir_all(old.dir(0)).unwrap();
    let error = old.start(0).await.unwrap_err();
    let peers = old.config(0).peers;
    assert!(error.code == Code::AlreadyExists, "{error}");
    assert!(peers[1..].iter().any(|peer| error.message.contains(peer)), "{error}");
    // As a setting that stays it means: join the others.
    restore(&files[0], true);
    old.start(0).await.unwrap();
    wait_until("the wiped master to vote", || {
        let node = old.node(0).node_id();
        old.status(1).voters.iter().any(|voter| voter.node == node)
    })
    .await;
    assert_eq!(old.agreed().await, ["a", "b", "c", "d"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_covers_what_was_applied_and_a_second_one_is_no_work() {
    let cluster = Cluster::started(3, |_| ()).await;
    for i in 0..10 {
        cluster.propose(&i.to_string()).await;
    }
    cluster.agreed().await;
    for slot in 0..3 {
        for _ in 0..2 {
            cluster.node(slot).checkpoint(PATIENCE).await.unwrap();
            let taken = cluster.metric(slot, "goosefs_raft_snapshots_taken_total");
            assert!((1..=2).contains(&taken), "{taken}");
        }
    }
}
