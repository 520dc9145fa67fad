//! Other people's outages, each as a test: items 1 to 5 of what users of GooseFS, Alluxio and Curvine complain about.

use super::path;
use goosefs_client::Client;
use goosefs_harness::{DevCluster, LONG, Launch, MasterProcesses, wait_for, wait_until};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

/// No operation may take longer, whatever happens to a minority or for a moment to more; DESIGN promises one second,
/// machines that run many tests at once get more. The outage was 30 s.
const BOUND: Duration = Duration::from_secs(10);

/// Every directory that was made while `stop` was not set.
struct Writers {
    made: Vec<usize>,
    longest: Duration,
}

/// Makes directories below `/w<number>` from so many clients at once until `stop`; every one must succeed.
async fn make_until(client: &Client, writers: usize, stop: &AtomicBool) -> Writers {
    let one = |number: usize| async move {
        let parent = format!("/w{number}");
        client.paths().make_dir(&path(&parent), 0o755, false).await.unwrap();
        let (mut made, mut longest) = (0, Duration::ZERO);
        while !stop.load(Ordering::SeqCst) {
            let begun = Instant::now();
            let name = format!("{parent}/{made:05}");
            let outcome = client.paths().make_dir(&path(&name), 0o755, false).await;
            outcome.unwrap_or_else(|error| panic!("{name}: {error}"));
            longest = longest.max(begun.elapsed());
            made += 1;
        }
        (made, longest)
    };
    let all = futures::future::join_all((0..writers).map(one)).await;
    let longest = all.iter().map(|(_, longest)| *longest).max().unwrap_or_default();
    Writers { made: all.into_iter().map(|(made, _)| made).collect(), longest }
}

/// What was acknowledged is there, once, and nothing else.
async fn check(client: &Client, writers: &Writers) {
    for (number, made) in writers.made.iter().enumerate() {
        let listed = client.paths().list(&path(&format!("/w{number}"))).await.unwrap();
        let names: Vec<String> = listed.into_iter().map(|entry| entry.name).collect();
        assert_eq!(names, (0..*made).map(|i| format!("{i:05}")).collect::<Vec<_>>(), "writer {number}");
    }
}

/// Waits until all masters serve, then that each of them, asked to lead, has the same.
async fn check_everywhere(masters: &MasterProcesses, client: &Client, writers: &Writers) {
    for id in 0..masters.count() {
        let wanted = masters.raft(id);
        wait_until("a master to lead that is asked to", || async {
            let _now_or_later = client.admin().elect(&wanted).await;
            client.admin().quorum().await.is_ok_and(|all| all.iter().any(|s| s.leads && s.address == wanted))
        })
        .await
        .unwrap();
        check(client, writers).await;
    }
}

fn no_panic(masters: &MasterProcesses) {
    for id in 0..masters.count() {
        let log = masters.log(id);
        let panicked: Vec<&str> = log.lines().filter(|line| line.contains("panicked")).collect();
        assert!(panicked.is_empty(), "master {id}: {panicked:?}");
    }
}

/// Item 1: Raft cannot elect at start-up when names are not known yet (Alluxio#16725).
#[test]
fn outage_1_masters_start_in_any_order_while_names_come_late_and_say_who_is_missing() {
    let mut masters = MasterProcesses::new(GOOSEFS, 3).unwrap();
    let (hosts, resolver) = (masters.scratch().join("hosts"), masters.scratch().join("resolv.conf"));
    let know = |names: &[&str]| {
        let lines: String = names.iter().map(|name| format!("127.0.0.1 {name}\n")).collect();
        // In place: a file that replaced this one would not be seen through the mount.
        std::fs::write(&hosts, format!("127.0.0.1 localhost\n{lines}")).unwrap();
    };
    know(&[]);
    std::fs::write(&resolver, "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n").unwrap();
    let own = format!(
        "mount --bind {} /etc/hosts && {{ [ ! -e /etc/resolv.conf ] || mount --bind {} /etc/resolv.conf; }} && exec \"$@\"",
        hosts.display(),
        resolver.display()
    );
    let wrap = ["unshare", "--mount", "sh", "-c", own.as_str(), "sh"];
    let allowed = Command::new(wrap[0]).args(&wrap[1..]).arg("true").stderr(Stdio::null()).status();
    if !allowed.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: a mount namespace of its own is not allowed here");
        return;
    }
    masters.wrap(&wrap);
    masters.name(1, "m-1.goosefs.test");
    masters.name(2, "m-2.goosefs.test");
    for (round, order) in [[2, 0, 1], [1, 2, 0], [0, 1, 2]].into_iter().enumerate() {
        for id in order {
            masters.start(id, &[]).unwrap();
            std::thread::sleep(Duration::from_millis(300));
        }
        if round == 0 {
            wait_for("the first to say who is missing", || {
                let log = masters.log(0);
                log.lines().any(|line| line.contains("no answer from") && line.contains("m-1.goosefs.test"))
            });
        }
        know(&["m-2.goosefs.test"]);
        std::thread::sleep(Duration::from_millis(700));
        know(&["m-2.goosefs.test", "m-1.goosefs.test"]);
        masters.all_ready().unwrap();
        let made = format!("/round-{round}");
        let said = masters.ask(&[round], &["fs", "mkdir", &made]);
        assert_eq!(said.lines(), [format!("Successfully created directory {made}")], "{said:?}");
        for id in 0..3 {
            masters.kill(id).unwrap();
        }
        know(&[]);
    }
    no_panic(&masters);
}

/// Item 2: a leader stalls, writers time out after 30 s or are told "not leader" in the middle (Alluxio#16961).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_2_a_leader_that_stalls_or_cannot_commit_holds_writers_up_for_a_moment_and_loses_nothing() {
    let masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    let client = masters.client();
    let (stop, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let pause = |ids: Vec<usize>, time: Duration| {
        let masters = &masters;
        async move {
            for id in &ids {
                masters.signal(*id, Signal::SIGSTOP).unwrap();
            }
            tokio::time::sleep(time).await;
            for id in &ids {
                masters.signal(*id, Signal::SIGCONT).unwrap();
            }
            tokio::time::sleep(Duration::from_millis(1500)).await;
        }
    };
    let trouble = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_millis(500)).await;
            let address = client.leader().await.unwrap();
            let leader = (0..3).find(|id| masters.rpc(*id) == address).unwrap();
            let others = (0..3).filter(|id| *id != leader).collect();
            // It leads and cannot commit; then it is the one that stalls, and must find itself deposed.
            pause(others, Duration::from_secs(2)).await;
            pause(vec![leader], Duration::from_secs(4)).await;
            rounds.fetch_add(1, Ordering::SeqCst);
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (writers, ()) = futures::future::join(make_until(&client, 16, &stop), trouble).await;
    println!("{:?} directories, the longest took {:?}", writers.made.iter().sum::<usize>(), writers.longest);
    assert_eq!(rounds.load(Ordering::SeqCst), 3);
    assert!(writers.longest < BOUND, "{:?}", writers.longest);
    check_everywhere(&masters, &client, &writers).await;
    no_panic(&masters);
    client.shutdown(LONG).await;
}

/// Item 3: two masters crash and the cluster is never right again (Alluxio#13987).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_3_after_two_crashes_in_any_order_the_cluster_is_right_again_by_itself() {
    let mut masters = MasterProcesses::started(GOOSEFS, 3).unwrap();
    let client = masters.client();
    client.paths().make_dir(&path("/w0"), 0o755, false).await.unwrap();
    let mut writers = Writers { made: vec![0], longest: Duration::ZERO };
    let make = async |writers: &mut Writers| {
        let name = format!("/w0/{:05}", writers.made[0]);
        client.paths().make_dir(&path(&name), 0o755, false).await.unwrap_or_else(|e| panic!("{name}: {e}"));
        writers.made[0] += 1;
    };
    // Crashed first, second; started again first, second.
    for crash in [[0, 1], [1, 0], [1, 2], [2, 1], [0, 2], [2, 0]] {
        for start in [crash, [crash[1], crash[0]]] {
            for id in crash {
                masters.kill(id).unwrap();
                if id == crash[0] {
                    make(&mut writers).await;
                }
            }
            // Nobody can acknowledge this one before a second master is back; the writer waits for it.
            let back = async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                for id in start {
                    masters.start(id, &[]).unwrap();
                    tokio::time::sleep(Duration::from_millis(200)).await;
                }
            };
            futures::future::join(make(&mut writers), back).await;
            masters.all_ready().unwrap();
            make(&mut writers).await;
        }
    }
    check_everywhere(&masters, &client, &writers).await;
    no_panic(&masters);
    client.shutdown(LONG).await;
}

/// Item 4: a wiped master cannot rejoin, or panics (Curvine#532, #1718, #1551, #1601).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outage_4_a_wiped_master_rejoins_by_snapshot_under_load_and_votes_again() {
    let mut masters = MasterProcesses::new(GOOSEFS, 3).unwrap();
    // So that the log does not reach back and a snapshot must be sent.
    masters.set("goosefs.master.raft.snapshot.entries=200");
    for id in 0..3 {
        masters.start(id, &[]).unwrap();
    }
    masters.all_ready().unwrap();
    let client = masters.client();
    let stop = AtomicBool::new(false);
    let trouble = async {
        for round in 0..3 {
            let address = client.leader().await.unwrap();
            let leader = (0..3).find(|id| masters.rpc(*id) == address).unwrap();
            // The leader itself, then a follower, then the founder.
            let wiped = [leader, (leader + 1) % 3, 0][round];
            tokio::time::sleep(Duration::from_millis(500)).await;
            masters.kill(wiped).unwrap();
            masters.wipe(wiped).unwrap();
            tokio::time::sleep(Duration::from_millis(500)).await;
            let before = masters.log(wiped).len();
            masters.start(wiped, &[]).unwrap();
            wait_until("the wiped one to vote again", || async {
                let log = masters.log(wiped);
                log[before..].contains("role=Follower") || log[before..].contains("role=Leader")
            })
            .await
            .unwrap();
            tokio::task::block_in_place(|| masters.ready(wiped)).unwrap();
            // It counts: with another one gone the two go on.
            let other = (wiped + 1) % 3;
            masters.kill(other).unwrap();
            tokio::time::sleep(Duration::from_millis(1500)).await;
            masters.start(other, &[]).unwrap();
            tokio::task::block_in_place(|| masters.ready(other)).unwrap();
        }
        stop.store(true, Ordering::SeqCst);
    };
    let (writers, ()) = futures::future::join(make_until(&client, 4, &stop), trouble).await;
    println!("{:?} directories, the longest took {:?}", writers.made.iter().sum::<usize>(), writers.longest);
    check_everywhere(&masters, &client, &writers).await;
    no_panic(&masters);
    client.shutdown(LONG).await;
}

/// Runs a command to its end, or kills it: how long it took, and whether it succeeded.
fn timed(command: &mut Command, limit: Duration) -> (Duration, Option<bool>) {
    let begun = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    while begun.elapsed() < limit {
        if let Some(status) = child.try_wait().unwrap() {
            return (begun.elapsed(), Some(status.success()));
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    // It must be possible to interrupt what waits for masters.
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    let asked = Instant::now();
    while child.try_wait().unwrap().is_none() {
        assert!(asked.elapsed() < BOUND, "a call on the mount cannot be interrupted");
        std::thread::sleep(Duration::from_millis(10));
    }
    (begun.elapsed(), None)
}

/// Item 5: FUSE hangs while masters switch, `df` for two minutes (Curvine#311, #500).
#[test]
fn outage_5_a_mount_and_df_answer_while_masters_switch_and_while_none_answers() {
    if nix::unistd::geteuid().as_raw() != 0 || !std::path::Path::new("/dev/fuse").exists() {
        eprintln!("SKIPPED: mounting is not allowed here");
        return;
    }
    let mut cluster = DevCluster::start(Launch {
        fuse: true,
        workers: 1,
        // Masters are killed and stopped: whoever speaks with them may say so.
        allowed: [
            "goosefs_core",
            "openraft",
            "raft_engine",
            "goosefs_master",
            "goosefs_worker",
            "goosefs_fuse",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Launch::new(GOOSEFS)
    })
    .unwrap();
    let mount = cluster.mount_point();
    std::fs::write(mount.join("open"), vec![7_u8; 3 << 20]).unwrap();
    // The kernel tells of the last close when it likes; what is opened before is read as a file that is being written.
    wait_for("the file is complete", || {
        cluster.goosefs(&["fs", "stat", "/open"]).stdout.contains("completed=true")
    });
    let open = std::fs::File::open(mount.join("open")).unwrap();
    let df = || timed(Command::new("df").arg(&mount), BOUND);
    let make = |name: &str| timed(Command::new("mkdir").arg(mount.join(name)), BOUND);
    assert_eq!(df().1, Some(true));
    // The leader dies.
    let said = cluster.goosefs(&["fs", "masterInfo"]);
    let leader = said.lines()[0].rsplit(' ').next().unwrap().to_owned();
    let leader = cluster.masters().iter().position(|master| *master == leader).unwrap();
    cluster.kill(&format!("master-{leader}")).unwrap();
    let (took, ended) = df();
    assert!(ended == Some(true) && took < Duration::from_secs(2), "df took {took:?}");
    let (took, ended) = make("while-they-switch");
    assert!(ended == Some(true), "mkdir took {took:?}");
    cluster.restart(&format!("master-{leader}")).unwrap();
    // None answers.
    let pids: Vec<i32> = cluster.master_pids();
    for pid in &pids {
        kill(Pid::from_raw(*pid), Signal::SIGSTOP).unwrap();
    }
    std::thread::sleep(Duration::from_millis(1500));
    let (took, ended) = df();
    assert!(ended == Some(true) && took < Duration::from_secs(2), "df took {took:?}");
    let mut byte = [0];
    std::os::unix::fs::FileExt::read_exact_at(&open, &mut byte, 2 << 20).unwrap();
    assert_eq!(byte, [7], "an open file is read without masters");
    let (_, ended) = timed(Command::new("mkdir").arg(mount.join("interrupted")), Duration::from_secs(2));
    assert_eq!(ended, None, "nobody can have acknowledged this");
    for pid in &pids {
        kill(Pid::from_raw(*pid), Signal::SIGCONT).unwrap();
    }
    let (took, ended) = make("after");
    assert!(ended == Some(true), "mkdir took {took:?}");
    drop(open);
    cluster.finish().unwrap();
}
