//! Disks whose fsyncs fail.

use crate::writers::Writers;
use crate::{end_whole, start};
use goosefs_harness::{LONG, MASTERS};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_master_whose_fsync_fails_ends_on_purpose_and_comes_back_on_a_good_disk() {
    let Some((mut masters, observer)) = start(&[]).await else { return };
    let writers = Writers::start(&masters, 4);
    writers.wait_for(50).await;
    let leader = masters.leader(&observer).await.unwrap();
    for bad in [leader, (leader + 1) % MASTERS] {
        masters.disk(bad).fail_fsync(true);
        let status = masters.ended_by_itself(bad).await.unwrap();
        assert!(!status.success(), "master {bad} ended with {status}");
        let said = masters.errors().unwrap();
        let ours = format!("master {bad}: ");
        let said: Vec<_> = said.into_iter().filter(|line| line.starts_with(&ours)).collect();
        println!("{status}: {said:#?}");
        assert!(said.iter().any(|line| line.contains("the process ends")), "{said:#?}");
        writers.wait_for(100).await;
        // What the failed fsyncs had is lost with the disk's power; nobody was told that it is durable.
        let lost = masters.disk(bad).power_cut(None);
        println!("lost {lost:?}");
        masters.disk(bad).fail_fsync(false);
        masters.launch(bad).unwrap();
        masters.all_serve(&observer).await.unwrap();
    }
    let expected = writers.finish().await;
    end_whole(&mut masters, &observer, &expected).await;
    let damaged: Vec<_> =
        masters.errors().unwrap().into_iter().filter(|line| line.contains("lost acknowledged")).collect();
    assert_eq!(damaged, [""; 0], "nothing that was acknowledged was on the bad disk alone");
    observer.shutdown(LONG).await;
}
