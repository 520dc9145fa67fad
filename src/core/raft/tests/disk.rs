//! A disk that fills up. Needs the right to mount a tmpfs.

use super::cluster::{Cluster, wait_until};
use crate::error::Code;
use crate::raft::Role;
use std::io::Write;
use std::path::{Path, PathBuf};

/// Whether a directory can be a small file system of its own here.
fn small_disk(at: &Path, megabytes: u32) -> bool {
    std::fs::create_dir_all(at).unwrap();
    let options = format!("size={megabytes}m");
    nix::mount::mount(Some("tmpfs"), at, Some("tmpfs"), nix::mount::MsFlags::empty(), Some(options.as_str()))
        .is_ok()
}

struct Unmount(PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        if let Err(error) = nix::mount::umount2(&self.0, nix::mount::MntFlags::MNT_DETACH) {
            eprintln!("{} stays mounted: {error}", self.0.display());
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_fills_hands_over_and_comes_back_when_there_is_room() {
    let mut cluster = Cluster::new(3, |config| config.reserve_bytes = 8 << 20).await;
    // raft-engine keeps files of up to 32 MiB.
    if !small_disk(&cluster.dir(0), 200) {
        eprintln!("SKIPPED: mounting a tmpfs is not allowed here");
        return;
    }
    let _unmount = Unmount(cluster.dir(0));
    for slot in 0..3 {
        cluster.start(slot).await.unwrap();
    }
    cluster.leader().await;
    while cluster.leader().await != 0 {
        let leader = cluster.leader().await;
        // Whoever is most up to date takes over; sooner or later that is master 0.
        let _elsewhere = cluster.node(leader).transfer_leadership().await;
    }
    cluster.propose("before").await;
    let filler = cluster.dir(0).join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 1 << 20]).is_ok() {}
    wait_until("another leader", || cluster.status(0).role == Role::Follower).await;
    let reserve = cluster.dir(0).join("reserve");
    wait_until("the reserve to be given up", || !reserve.exists()).await;
    cluster.propose("meanwhile").await;
    drop(file);
    std::fs::remove_file(&filler).unwrap();
    wait_until("the reserve to be made again", || reserve.exists()).await;
    cluster.propose("after").await;
    assert_eq!(cluster.agreed().await, ["before", "meanwhile", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_cannot_be_written_stops_the_master_and_says_why() {
    // No margin, so that nothing is noticed in time.
    let mut cluster = Cluster::new(1, |config| config.reserve_bytes = 0).await;
    if !small_disk(&cluster.dir(0), 48) {
        eprintln!("SKIPPED: mounting a tmpfs is not allowed here");
        return;
    }
    let _unmount = Unmount(cluster.dir(0));
    cluster.start(0).await.unwrap();
    cluster.propose("first").await;
    let filler = cluster.dir(0).join("filler");
    let mut file = std::fs::File::create(&filler).unwrap();
    while file.write_all(&[1; 1 << 16]).is_ok() {}
    drop(file);
    let mut acknowledged = 1;
    let big = bytes::Bytes::from(rand::random_iter::<u8>().take(1 << 20).collect::<Vec<u8>>());
    let error = loop {
        match cluster.node(0).propose(big.clone()).await {
            Ok(_) => acknowledged += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(error.code, Code::Unavailable, "{error}");
    wait_until("the master to say that it failed", || cluster.status(0).role == Role::Failed).await;
    let problem = cluster.status(0).problem.unwrap();
    assert!(problem.contains("no space left"), "{problem}");
    assert!(cluster.node(0).check_lease().is_err());
    cluster.kill(0).await;
    std::fs::remove_file(&filler).unwrap();
    cluster.start(0).await.unwrap();
    cluster.leader().await;
    assert!(cluster.member(0).toy.commands().len() >= acknowledged);
}
