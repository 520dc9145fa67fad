//! Disks that stop answering.

use crate::direct::ask;
use crate::writers::{Writers, make};
use crate::{end_whole, start};
use goosefs_client::Client;
use goosefs_core::Code;
use goosefs_core::task::Tasks;
use goosefs_harness::{LONG, MASTERS, Masters, wait_until};
use std::time::{Duration, Instant};

/// What a write may take when the leader's disk falls silent, on a machine that is busy with other tests: far less than
/// clients wait, far more than it takes on one that is not.
const GAP: Duration = Duration::from_secs(10);

/// Writes until `time` has passed, says how long the slowest took, and what is there now.
async fn slowest(client: &Client, tag: &str, time: Duration) -> (Duration, Vec<String>) {
    let begun = Instant::now();
    let (mut slowest, mut made) = (Duration::ZERO, Vec::new());
    while begun.elapsed() < time {
        let (name, moment) = (format!("{tag}{}", made.len()), Instant::now());
        make(client, &name).await.unwrap();
        slowest = slowest.max(moment.elapsed());
        made.push(name);
    }
    (slowest, made)
}

/// Master `id` alone is asked for what was just acknowledged: it may refuse, and must not say that it is not there.
async fn never_stale(masters: &Masters, id: usize, client: &Client, rounds: usize) -> usize {
    let tasks = Tasks::new("direct");
    let mut refused = 0;
    for round in 0..rounds {
        let name = format!("fresh{id}-{round}");
        make(client, &name).await.unwrap();
        match ask(&masters.rpc()[id], &name, &tasks).await {
            Ok(_) => {}
            Err(error) => {
                assert_ne!(error.code, Code::NotFound, "a stale read from master {id}: {error}");
                refused += 1;
            }
        }
    }
    tasks.shutdown(Duration::from_secs(1)).await;
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_falls_silent_is_relieved_and_comes_back_as_a_follower() {
    let Some((mut masters, observer)) = start(&[]).await else { return };
    let client = masters.client();
    let writers = Writers::start(&masters, 4);
    writers.wait_for(50).await;
    let silent = masters.leader(&observer).await.unwrap();
    masters.disk(silent).fall_silent();
    let begun = Instant::now();
    let (gap, mut made) = slowest(&client, "gap", Duration::from_secs(4)).await;
    println!("the leader's disk is silent: {} writes in 4 s, the slowest took {gap:?}", made.len());
    wait_until("another master leads", || async { masters.leader(&observer).await.unwrap() != silent })
        .await
        .unwrap();
    println!("another master led by {:?}", begun.elapsed());
    let refused = never_stale(&masters, silent, &client, 50).await;
    made.extend((0..50).map(|round| format!("fresh{silent}-{round}")));
    println!("50 reads from it alone: {refused} refused, none stale");
    assert!(gap < GAP, "{gap:?}");
    masters.disk(silent).answer();
    let mut expected = writers.finish().await;
    expected.extend(made);
    end_whole(&mut masters, &observer, &expected).await;
    for client in [observer, client] {
        client.shutdown(LONG).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_whose_disk_falls_silent_is_not_felt() {
    let Some((mut masters, observer)) = start(&[]).await else { return };
    let silent = (masters.leader(&observer).await.unwrap() + 1) % MASTERS;
    masters.disk(silent).fall_silent();
    let (gap, made) = slowest(&observer, "gap", Duration::from_secs(3)).await;
    println!("a follower's disk is silent: {} writes in 3 s, the slowest took {gap:?}", made.len());
    assert!(gap < GAP, "{gap:?}");
    masters.disk(silent).answer();
    end_whole(&mut masters, &observer, &made.into_iter().collect()).await;
    observer.shutdown(LONG).await;
}
