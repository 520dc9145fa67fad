//! The power of all masters fails at once.

use crate::writers::Writers;
use crate::{end_whole, plan, seed, start};
use goosefs_harness::{LONG, Lost, MASTERS, Masters};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Duration;

const ROUNDS: usize = 6;
const WRITERS: usize = 6;

/// Kills all masters at once and takes from their disks what was not fsynced; in every second round some of it survives.
fn cut(masters: &mut Masters, dice: &mut StdRng, round: usize) -> Lost {
    for id in 0..MASTERS {
        masters.signal(id, Signal::SIGKILL).unwrap();
    }
    let mut all = Lost::default();
    for id in 0..MASTERS {
        masters.kill(id).unwrap();
    }
    for id in 0..MASTERS {
        let lost = masters.disk(id).power_cut((round % 2 == 1).then(|| dice.random()));
        all = Lost { pages: all.pages + lost.pages, folders: all.folders + lost.folders };
    }
    all
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_power_cuts_of_all_masters_at_once() {
    let mut dice = StdRng::seed_from_u64(seed());
    // Snapshots and purges of the log are in the middle of it.
    let Some((mut masters, observer)) = start(&["-Dgoosefs.master.raft.snapshot.entries=300"]).await else {
        return;
    };
    let writers = Writers::start(&masters, WRITERS);
    let mut lost = Lost::default();
    for round in 0..ROUNDS {
        writers.wait_for(dice.random_range(20..400)).await;
        let of_round = cut(&mut masters, &mut dice, round);
        lost = Lost { pages: lost.pages + of_round.pages, folders: lost.folders + of_round.folders };
        println!("round {round}: {} operations so far; lost {of_round:?}", writers.acknowledged());
        for id in 0..MASTERS {
            masters.launch(id).unwrap();
        }
    }
    writers.wait_for(20).await;
    let acknowledged = writers.acknowledged();
    let expected = writers.finish().await;
    end_whole(&mut masters, &observer, &expected).await;
    println!("{acknowledged} operations, {} files, {ROUNDS} power cuts, lost {lost:?}", expected.len());
    assert!(lost.pages > 0, "nothing was lost: the disks are not frail");
    let damaged: Vec<_> =
        masters.errors().unwrap().into_iter().filter(|line| line.contains("lost acknowledged")).collect();
    assert_eq!(damaged, [""; 0], "a power cut alone is no damage");
    observer.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_whose_power_fails_while_it_is_founded_is_founded_all_the_same() {
    let mut dice = StdRng::seed_from_u64(seed());
    let Some(mut masters) = plan(&[]) else { return };
    for round in 0..8 {
        for id in 0..MASTERS {
            masters.launch(id).unwrap();
        }
        // A moment drawn from the time that founding takes, not a wait for anything.
        tokio::time::sleep(Duration::from_millis(dice.random_range(20..900))).await;
        println!("round {round}: lost {:?}", cut(&mut masters, &mut dice, round));
    }
    masters.launch_all().await.unwrap();
    let observer = masters.observer();
    masters.agreed(&observer).await.unwrap();
    observer.shutdown(LONG).await;
}
