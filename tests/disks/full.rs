//! Disks without room.

use crate::writers::{Writers, make, names};
use crate::{end_whole, start};
use goosefs_core::Code;
use goosefs_harness::{LONG, MASTERS, wait_until};
use std::time::Instant;

/// Less than the margin that a master keeps free, more than what makes it give up its reserve.
const LITTLE: u64 = 16 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_disk_is_full_hands_over_and_no_writer_sees_an_error() {
    let Some((mut masters, observer)) = start(&[]).await else { return };
    let writers = Writers::start(&masters, 4);
    writers.wait_for(50).await;
    let full = masters.leader(&observer).await.unwrap();
    let reserve = masters.journal(full).join("reserve");
    assert!(reserve.exists());
    let begun = Instant::now();
    masters.disk(full).leave(LITTLE);
    wait_until("another master leads", || async { masters.leader(&observer).await.unwrap() != full })
        .await
        .unwrap();
    println!("the lead was handed over {:?} after the disk was full", begun.elapsed());
    writers.wait_for(100).await;
    // Now there is no room at all: the reserve goes, so that what the master still writes has a place.
    masters.disk(full).leave(1 << 20);
    wait_until("the reserve is given up", || async { !reserve.exists() }).await.unwrap();
    writers.wait_for(100).await;
    masters.disk(full).give_room();
    wait_until("the reserve is made again", || async { reserve.exists() }).await.unwrap();
    let expected = writers.finish().await;
    end_whole(&mut masters, &observer, &expected).await;
    observer.shutdown(LONG).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_every_disk_is_full_changes_are_refused_with_the_reason_and_reads_are_answered() {
    let Some((mut masters, observer)) = start(&[]).await else { return };
    make(&observer, "before").await.unwrap();
    for id in 0..MASTERS {
        masters.disk(id).leave(LITTLE);
    }
    let mut made = vec!["before".to_owned()];
    let until = Instant::now() + LONG;
    let error = loop {
        let name = format!("meanwhile{}", made.len());
        match make(&observer, &name).await {
            Ok(()) => made.push(name),
            Err(error) => break error,
        }
        assert!(Instant::now() < until, "no change is refused");
    };
    println!("{error}");
    assert_eq!(error.code, Code::NoSpace, "{error}");
    assert!(error.message.contains("the disk of the master's journal"), "{error}");
    assert!(error.hint.contains("free at least"), "{error}");
    assert!(names(&observer).await.contains("before"));
    for id in 0..MASTERS {
        masters.disk(id).give_room();
    }
    wait_until("changes are taken again", || async { make(&observer, "after").await.is_ok() }).await.unwrap();
    made.push("after".to_owned());
    end_whole(&mut masters, &observer, &made.into_iter().collect()).await;
    observer.shutdown(LONG).await;
}
