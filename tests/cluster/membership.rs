//! Masters that are lost, forced, added, taken out and moved: real processes.

use super::{path, read, write};
use goosefs_client::Client;
use goosefs_core::proto::internal::{Persistence, WriteType};
use goosefs_harness::{LONG, MasterProcesses, pattern, wait_for, wait_until};
use std::time::Duration;

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

/// What the identity file of a master says.
fn identity(masters: &MasterProcesses, id: usize, field: &str) -> String {
    let text = std::fs::read_to_string(masters.dir(id).join("identity")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='));
    line.unwrap_or_default().to_owned()
}

fn epoch(masters: &MasterProcesses, id: usize) -> u64 {
    identity(masters, id, "epoch").parse().unwrap_or_default()
}

fn makes(masters: &MasterProcesses, ask: &[usize], directory: &str) {
    let said = masters.ask(ask, &["fs", "mkdir", directory]);
    assert_eq!(said.lines(), [format!("Successfully created directory {directory}")], "{said:?}");
}

fn has(masters: &MasterProcesses, ask: &[usize], names: &[&str]) {
    let said = masters.ask(ask, &["fs", "ls", "/"]);
    let found: Vec<&str> = said.lines().iter().filter_map(|line| line.rsplit(' ').next()).collect();
    for name in names {
        assert!(found.contains(name), "{name} is missing: {said:?}");
    }
}

#[test]
fn two_wiped_of_three_refuse_to_start_a_new_cluster_and_say_so() {
    let mut masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    makes(&masters, &[0, 1, 2], "/precious");
    let before = epoch(&masters, 2);
    for id in 0..3 {
        masters.kill(id).unwrap();
    }
    for id in [0, 1] {
        masters.wipe(id).unwrap();
    }
    for id in 0..3 {
        masters.start(id, &[]).unwrap();
    }
    for id in [0, 1] {
        wait_for("the wiped ones to say what is missing", || {
            let log = masters.log(id);
            log.contains("1 of 3 masters have the cluster's data") && log.contains("--force-new-cluster")
        });
    }
    let said = masters.goosefs(&["fs", "-Dgoosefs.user.rpc.retry.max.duration=2s", "mkdir", "/new"]);
    assert!(said.code != Some(0), "{said:?}");
    // The third one's data is untouched, and nobody founded anything.
    assert_eq!(epoch(&masters, 2), before);
    assert_eq!((epoch(&masters, 0), epoch(&masters, 1)), (0, 0));
}

#[test]
fn a_second_master_of_one_id_gets_no_seat_and_is_told_why() {
    let mut masters = MasterProcesses::new(GOOSEFS, 4).unwrap();
    for id in 0..3 {
        masters.start_listing(id, &[0, 1, 2], &[]).unwrap();
    }
    for id in 0..3 {
        masters.ready(id).unwrap();
    }
    makes(&masters, &[0, 1, 2], "/precious");
    // The one that is doubled leads, then another one does.
    for leader in [0, 1] {
        let elect = ["fsadmin", "journal", "quorum", "elect", "-address", &masters.raft(leader)];
        let _led_already = masters.ask(&[0, 1, 2], &elect);
        wait_for("the elected one to lead", || masters.leader(&[0, 1, 2]) == Some(leader));
        let before = masters.log(3).len();
        masters.start_as(3, 0, &[3, 1, 2], &[]).unwrap();
        wait_for("the second one to say what is wrong", || {
            let log = &masters.log(3)[before..];
            log.contains("each --id must be used once") && log.contains("this master waits")
        });
        masters.kill(3).unwrap();
        masters.wipe(3).unwrap();
        makes(&masters, &[0, 1, 2], &format!("/led-by-{leader}"));
        let said = masters.ask(&[0, 1, 2], &["fsadmin", "journal", "quorum", "info"]);
        assert_eq!(said.stdout.matches("AVAILABLE   |").count(), 3, "{said:?}");
        assert!(said.stdout.contains(&masters.raft(0)), "{said:?}");
    }
}

#[test]
fn a_new_cluster_is_forced_from_the_surviving_directory_in_a_higher_epoch() {
    let mut masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    makes(&masters, &[0, 1, 2], "/precious");
    // So that the survivor has it for sure.
    has(&masters, &[2], &["/precious"]);
    let (cluster, before) = (identity(&masters, 2, "cluster"), epoch(&masters, 2));
    for id in 0..3 {
        masters.stop(id).unwrap();
    }
    for id in [0, 1] {
        masters.wipe(id).unwrap();
        // From an empty directory nothing can be forced.
        masters.start(id, &["--force-new-cluster"]).unwrap();
        let said = masters.wait_end(id).unwrap();
        assert!(
            said.code == Some(1) && said.stderr.contains("has no data to start a new cluster from"),
            "{said:?}"
        );
        masters.wipe(id).unwrap();
    }
    masters.start(2, &["--force-new-cluster"]).unwrap();
    masters.ready(2).unwrap();
    let after = epoch(&masters, 2);
    assert!(after > before, "{after} {before}");
    makes(&masters, &[2], "/alone");
    for id in [0, 1] {
        masters.start(id, &[]).unwrap();
        masters.ready(id).unwrap();
    }
    for id in 0..3 {
        wait_for("all in the new epoch", || epoch(&masters, id) == after);
        assert_eq!(identity(&masters, id, "cluster"), cluster);
    }
    // Three again: each may die, the survivor as well.
    for id in [2, 0, 1] {
        wait_for("three voters that answer", || masters.voters(&[0, 1, 2]) == 3);
        masters.kill(id).unwrap();
        let others: Vec<usize> = (0..3).filter(|other| *other != id).collect();
        makes(&masters, &others, &format!("/without-{id}"));
        masters.start(id, &[]).unwrap();
        masters.ready(id).unwrap();
    }
    has(&masters, &[0], &["/precious", "/alone", "/without-0", "/without-1", "/without-2"]);
    assert_eq!(epoch(&masters, 2), after, "once only");
}

#[test]
fn masters_that_move_to_other_addresses_are_found_while_the_rest_runs() {
    let mut masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    makes(&masters, &[0, 1, 2], "/before");
    for id in 0..3 {
        masters.kill(id).unwrap();
        masters.move_master(id).unwrap();
        masters.start(id, &[]).unwrap();
        masters.ready(id).unwrap();
        let address = masters.raft(id);
        for other in 0..3 {
            wait_for("everybody to know", || {
                let said = masters.ask(&[other], &["fsadmin", "journal", "quorum", "info"]);
                said.lines().contains(&format!("AVAILABLE   | 0        | {address}").as_str())
            });
        }
        makes(&masters, &[(id + 1) % 3], &format!("/moved-{id}"));
    }
    has(&masters, &[0], &["/before", "/moved-0", "/moved-1", "/moved-2"]);
}

/// A worker within this process that knows these masters only.
async fn worker(masters: &MasterProcesses, known: &[usize]) -> goosefs_worker::Running {
    let addresses = known.iter().map(|id| masters.rpc(*id)).collect();
    let folder = masters.scratch().join("worker");
    let mut config = goosefs_worker::Config::new("127.0.0.1", addresses, &folder, 256 << 20);
    config.socket = None;
    goosefs_worker::start(config, goosefs_worker::Deps::default()).await.unwrap()
}

async fn served_by_a_worker(client: &Client) {
    wait_until("a worker to serve", || async {
        client.workers().await.is_ok_and(|workers| workers.iter().any(|worker| worker.live))
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_grew_goes_on_with_its_workers_when_the_first_master_is_taken_out() {
    let mut masters = MasterProcesses::new(GOOSEFS, 3).unwrap();
    masters.start_listing(0, &[0], &[]).unwrap();
    masters.ready(0).unwrap();
    let worker = worker(&masters, &[0]).await;
    // Neither is told of the others by its configuration.
    let client = masters.client_of(&[0]);
    served_by_a_worker(&client).await;
    let bytes = pattern(1, 3 << 20);
    let operator = masters.client();
    write(&client, "/only-in-the-cache", &bytes, WriteType::MustCache).await.unwrap();
    for id in [1, 2] {
        masters.start(id, &[]).unwrap();
        operator.admin().add_master(&masters.raft(id)).await.unwrap();
        masters.ready(id).unwrap();
    }
    for id in [1, 2] {
        operator.admin().elect(&masters.raft(id)).await.unwrap();
        served_by_a_worker(&client).await;
    }
    operator.admin().remove_master(&masters.raft(0)).await.unwrap();
    masters.stop(0).unwrap();
    served_by_a_worker(&client).await;
    assert!(read(&client, "/only-in-the-cache").await.unwrap() == bytes);
    write(&client, "/later", &bytes, WriteType::CacheThrough).await.unwrap();
    assert!(read(&client, "/later").await.unwrap() == bytes);
    operator.shutdown(LONG).await;
    client.shutdown(LONG).await;
    worker.shutdown(Duration::from_secs(5)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_namespace_has_its_mounts_and_knows_what_only_the_cache_had() {
    let old = MasterProcesses::started(GOOSEFS, 3).unwrap();
    let worker_of_old = worker(&old, &[0, 1, 2]).await;
    let client = old.client();
    served_by_a_worker(&client).await;
    let second = old.scratch().join("second");
    std::fs::create_dir(&second).unwrap();
    std::fs::write(second.join("from-there"), pattern(3, 70_000)).unwrap();
    let uri = second.display().to_string();
    client.admin().mount(&path("/second"), &uri, Default::default()).await.unwrap();
    write(&client, "/persisted", &pattern(1, 3 << 20), WriteType::CacheThrough).await.unwrap();
    write(&client, "/cached", &pattern(2, 3 << 20), WriteType::MustCache).await.unwrap();
    assert!(read(&client, "/second/from-there").await.unwrap() == pattern(3, 70_000));
    let names = ["/persisted", "/cached", "/second/from-there"];
    let folder = old.scratch().join("backups").display().to_string();
    let backup = client.admin().backup(Some(&folder), true).await.unwrap();
    let mut before = Vec::new();
    for name in names {
        before.push(client.paths().stat(&path(name)).await.unwrap());
    }
    let mounts = client.admin().mounts().await.unwrap();

    let mut new = MasterProcesses::new(GOOSEFS, 3).unwrap();
    for id in [1, 2] {
        new.start(id, &[]).unwrap();
    }
    new.start(0, &["--restore", &backup.uri]).unwrap();
    new.all_ready().unwrap();
    let restored = new.client();
    let after = restored.admin().mounts().await.unwrap();
    assert_eq!(after.keys().collect::<Vec<_>>(), mounts.keys().collect::<Vec<_>>());
    assert_eq!(after["/second"].ufs_uri, mounts["/second"].ufs_uri);
    for (name, before) in names.iter().zip(&before) {
        assert_eq!(&restored.paths().stat(&path(name)).await.unwrap(), before, "{name}");
    }
    assert_eq!(before[1].persistence(), Persistence::NotPersisted);
    // The worker of the old epoch is not taken for one of the new, so its only copy is no longer served, and never as
    // zeros. What lies in the storage is read by a worker of the new epoch.
    let worker_of_new = worker(&new, &[0, 1, 2]).await;
    served_by_a_worker(&restored).await;
    assert!(read(&restored, "/persisted").await.unwrap() == pattern(1, 3 << 20));
    assert!(read(&restored, "/second/from-there").await.unwrap() == pattern(3, 70_000));
    let lost = tokio::time::timeout(LONG, read(&restored, "/cached")).await.unwrap();
    assert!(lost.is_err(), "{} bytes", lost.unwrap().len());
    for (client, worker) in [(client, worker_of_old), (restored, worker_of_new)] {
        client.shutdown(LONG).await;
        worker.shutdown(Duration::from_secs(5)).await;
    }
}
