//! Real processes, killed with -9 while clients work.

use super::{path, read, write};
use goosefs_client::Client;
use goosefs_core::proto::internal::WriteType;
use goosefs_harness::{LONG, Processes, pattern, wait_until};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// What DESIGN promises is one second; machines that run many tests at once get more.
const RESUME: Duration = Duration::from_secs(5);

fn start(more: &[&str]) -> Processes {
    Processes::start(Path::new(env!("CARGO_BIN_EXE_goosefs")), more).unwrap()
}

/// Creates numbered files from `first` on until `stop`; returns the next number and the longest time one took.
async fn create_until(client: &Client, first: usize, stop: &AtomicBool) -> (usize, Duration) {
    let mut longest = Duration::ZERO;
    let mut number = first;
    while !stop.load(Ordering::SeqCst) {
        let begun = Instant::now();
        let name = format!("/files/{number:06}");
        let bytes = pattern(number as u64, 100);
        let written = write(client, &name, &bytes, WriteType::MustCache).await;
        written.unwrap_or_else(|error| panic!("{name}: {error}"));
        longest = longest.max(begun.elapsed());
        number += 1;
    }
    (number, longest)
}

/// Reads files over and over until `stop`.
async fn read_until(client: &Client, stop: &AtomicBool) -> usize {
    let mut reads = 0;
    while !stop.load(Ordering::SeqCst) {
        for number in 0..4 {
            let name = format!("/read-{number}");
            let bytes = read(client, &name).await.unwrap_or_else(|error| panic!("{name}: {error}"));
            assert!(bytes == pattern(number, 3 << 20), "{name}");
            reads += 1;
        }
    }
    reads
}

async fn leader(cluster: &Processes, client: &Client) -> usize {
    let address = client.leader().await.unwrap();
    cluster.masters().iter().position(|master| *master == address).unwrap()
}

/// Every master sees a leader and answers.
async fn all_serve(cluster: &Processes, client: &Client) {
    let masters = cluster.masters();
    let serve = || async {
        for address in &masters {
            if !client.ask_master(address).await.is_ok_and(|master| master.serving) {
                return false;
            }
        }
        true
    };
    wait_until("every master serves", serve).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_leaders_are_killed_and_no_acknowledged_file_is_lost_or_doubled() {
    let mut cluster = start(&["--worker-quota", "256MB"]);
    let client = cluster.client();
    client.paths().make_dir(&path("/files"), 0o755, false).await.unwrap();
    for number in 0..4 {
        let bytes = pattern(number, 3 << 20);
        write(&client, &format!("/read-{number}"), &bytes, WriteType::CacheThrough).await.unwrap();
    }
    let (mut made, mut longest) = (0, Duration::ZERO);
    for round in 0..10 {
        let leading = leader(&cluster, &client).await;
        let stop = AtomicBool::new(false);
        let kill = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.kill_master(leading).unwrap();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            stop.store(true, Ordering::SeqCst);
        };
        let create = create_until(&client, made, &stop);
        let (next, took, reads, ()) = {
            let ((next, took), reads, ()) =
                futures::future::join3(create, read_until(&client, &stop), kill).await;
            (next, took, reads, ())
        };
        println!("round {round}: {} files made, the longest took {took:?}, {reads} files read", next - made);
        assert!(took < RESUME, "round {round}: a create took {took:?}");
        (made, longest) = (next, longest.max(took));
        cluster.start_master(leading).unwrap();
        all_serve(&cluster, &client).await;
    }
    println!("{made} files, the longest create took {longest:?}");
    let expected: Vec<String> = (0..made).map(|number| format!("{number:06}")).collect();
    for address in cluster.masters() {
        let listed = cluster.client().admin().list(&path("/files"), None).await.unwrap();
        let names: Vec<String> = listed.into_iter().filter_map(|info| info.name).collect();
        assert_eq!(names, expected, "{address}");
    }
    for number in (0..made).step_by(7) {
        let bytes = read(&client, &format!("/files/{number:06}")).await.unwrap();
        assert!(bytes == pattern(number as u64, 100), "{number}");
    }
    client.shutdown(LONG).await;
    cluster.stop_all().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_of_two_workers_is_killed_and_no_reader_notices() {
    let mut cluster = start(&["--worker-quota", "256MB"]);
    let client = cluster.client();
    for number in 0..4 {
        let bytes = pattern(number, 3 << 20);
        write(&client, &format!("/read-{number}"), &bytes, WriteType::CacheThrough).await.unwrap();
    }
    for worker in [0, 1] {
        let stop = AtomicBool::new(false);
        let kill = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.kill_worker(worker).unwrap();
            tokio::time::sleep(Duration::from_millis(1000)).await;
            cluster.start_worker(worker).unwrap();
            let back =
                || async { client.router().workers().iter().filter(|worker| worker.live).count() == 2 };
            wait_until("the worker is back", back).await.unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            stop.store(true, Ordering::SeqCst);
        };
        let (reads, ()) = futures::future::join(read_until(&client, &stop), kill).await;
        assert!(reads > 0);
    }
    client.shutdown(LONG).await;
    cluster.stop_all().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_everything_was_killed_at_once_everything_acknowledged_is_back() {
    let mut cluster = start(&["--worker-quota", "256MB"]);
    let client = cluster.client();
    let types = [WriteType::MustCache, WriteType::CacheThrough];
    for (number, write_type) in types.into_iter().cycle().take(20).enumerate() {
        let bytes = pattern(number as u64, 200_000 + number);
        write(&client, &format!("/f{number}"), &bytes, write_type).await.unwrap();
    }
    cluster.kill_all();
    client.shutdown(LONG).await;
    cluster.start_all().unwrap();
    let client = cluster.client();
    for number in 0..20 {
        let bytes = read(&client, &format!("/f{number}")).await;
        let bytes = bytes.unwrap_or_else(|error| panic!("/f{number}: {error}"));
        assert!(bytes == pattern(number as u64, 200_000 + number), "/f{number}");
    }
    client.shutdown(LONG).await;
    cluster.stop_all().unwrap();
}
