//! Masters as processes of their own, killed with -9 and paused: this test binary starts itself.

use super::cluster::{PATIENCE, wait_until};
use super::toy::Toy;
use crate::metrics::Metrics;
use crate::raft::{Node, RaftConfig, Role};
use crate::task::Tasks;
use bytes::Bytes;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::Mutex;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;

const ENVIRONMENT: &str = "GOOSEFS_TEST_MASTER";

/// What a child says on its standard output, after an @.
fn say(line: std::fmt::Arguments<'_>) {
    let mut out = std::io::stdout().lock();
    // The parent may have gone.
    drop(writeln!(out, "@{line}").and_then(|()| out.flush()));
}

/// One master, told what to do on its standard input; ends with it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "is started as a process by the other tests here"]
async fn master_process() {
    let Ok(setting) = std::env::var(ENVIRONMENT) else { return };
    let mut parts = setting.split(' ');
    let slot: u32 = parts.next().unwrap().parse().unwrap();
    let dir = PathBuf::from(parts.next().unwrap());
    let run = parts.next().unwrap().to_owned();
    let peers: Vec<String> = parts.map(str::to_owned).collect();
    let mut config = RaftConfig::new(dir, slot, peers.clone(), peers.clone());
    config.reserve_bytes = 1 << 20;
    config.snapshot_entries = 500;
    config.keep_entries = 100;
    let (toy, tasks) = (Arc::new(Toy::default()), Tasks::new("master"));
    let node = Node::start(config, toy.clone(), &tasks, &Metrics::new()).await.unwrap();
    node.serve(TcpListener::bind(&peers[slot as usize]).await.unwrap(), None).unwrap();
    let writing = Arc::new(AtomicBool::new(true));
    for writer in 0..4 {
        let (node, run, writing) = (node.clone(), run.clone(), writing.clone());
        tasks.spawn("writer", async move {
            for i in 0.. {
                while !writing.load(Ordering::SeqCst) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                let command = format!("{slot}-{run}-{writer}-{i}");
                match node.propose(Bytes::from(command.clone())).await {
                    Ok(count) => say(format_args!("ack {command} {}", String::from_utf8_lossy(&count))),
                    Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                }
            }
        });
    }
    let input = tokio::task::spawn_blocking(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            match line.as_str() {
                "role" => say(format_args!(
                    "role {:?} {}",
                    node.status().borrow().role,
                    node.status().borrow().applied
                )),
                "read" => match node.check_lease() {
                    Ok(()) => say(format_args!("read {}", toy.commands().len())),
                    Err(_) => say(format_args!("read refused")),
                },
                "quiet" => writing.store(false, Ordering::SeqCst),
                "dump" => {
                    for command in toy.commands().iter() {
                        say(format_args!("command {}", String::from_utf8_lossy(command)));
                    }
                    say(format_args!("end"));
                }
                _ => {}
            }
        }
    });
    input.await.unwrap();
    std::process::exit(0);
}

/// What all masters have said so far.
#[derive(Default)]
struct Heard {
    acknowledged: BTreeSet<String>,
    /// The highest number of commands that an acknowledgement told.
    count: usize,
    last: Option<Instant>,
    roles: BTreeMap<usize, (String, u64)>,
    reads: BTreeMap<usize, String>,
    commands: BTreeMap<usize, Vec<String>>,
    dumped: BTreeSet<usize>,
}

struct Process {
    child: Child,
    input: ChildStdin,
}

impl Process {
    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).unwrap();
    }

    fn tell(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }
}

struct Processes {
    folder: tempfile::TempDir,
    peers: Vec<String>,
    running: BTreeMap<usize, Process>,
    heard: Arc<Mutex<Heard>>,
    runs: usize,
}

impl Drop for Processes {
    fn drop(&mut self) {
        for process in self.running.values_mut() {
            drop(process.child.kill());
            drop(process.child.wait());
        }
    }
}

impl Processes {
    async fn started() -> Processes {
        let mut held = Vec::new();
        for _ in 0..3 {
            held.push(TcpListener::bind("127.0.0.1:0").await.unwrap());
        }
        let peers = held.iter().map(|l| l.local_addr().unwrap().to_string()).collect();
        drop(held);
        let mut masters = Processes {
            folder: tempfile::tempdir().unwrap(),
            peers,
            running: BTreeMap::new(),
            heard: Arc::default(),
            runs: 0,
        };
        for slot in 0..3 {
            masters.start(slot);
        }
        masters
    }

    fn start(&mut self, slot: usize) {
        self.runs += 1;
        let dir = self.folder.path().join(slot.to_string());
        let setting = format!("{slot} {} {} {}", dir.display(), self.runs, self.peers.join(" "));
        let name = format!("{}::master_process", module_path!().split_once("::").unwrap().1);
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--ignored", "--exact", &name, "--nocapture", "--test-threads", "1"])
            .env(ENVIRONMENT, setting)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let heard = self.heard.clone();
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                // The first word may follow what the test runner prints.
                if let Some((_, said)) = line.split_once('@') {
                    hear(&mut heard.lock(), slot, said);
                }
            }
        });
        let input = child.stdin.take().unwrap();
        self.running.insert(slot, Process { child, input });
    }

    /// kill -9.
    fn kill(&mut self, slot: usize) {
        let mut process = self.running.remove(&slot).unwrap();
        process.signal(Signal::SIGKILL);
        process.child.wait().unwrap();
    }

    fn tell_all(&mut self, line: &str) {
        for process in self.running.values_mut() {
            process.tell(line);
        }
    }

    async fn leader(&mut self) -> usize {
        let deadline = Instant::now() + PATIENCE;
        let leading = format!("{:?}", Role::Leader);
        while Instant::now() < deadline {
            self.heard.lock().roles.clear();
            self.tell_all("role");
            tokio::time::sleep(Duration::from_millis(50)).await;
            let heard = self.heard.lock();
            if let Some((slot, _)) = heard.roles.iter().find(|(_, (role, _))| *role == leading) {
                return *slot;
            }
        }
        panic!("no leader");
    }

    /// Waits for `more` acknowledgements, and says how long the first took.
    async fn progress(&self, more: usize) -> Duration {
        let start = Instant::now();
        let before = self.heard.lock().acknowledged.len();
        let enough = |n: usize| self.heard.lock().acknowledged.len() >= before + n;
        wait_until("an acknowledgement", || enough(1)).await;
        let first = start.elapsed();
        wait_until("acknowledgements", || enough(more)).await;
        first
    }

    /// Whether every master shows the same commands, and every acknowledged one among them.
    fn whole(&self) -> bool {
        let heard = self.heard.lock();
        let lists: Vec<&Vec<String>> = heard.commands.values().collect();
        let unique: BTreeSet<&String> = lists[0].iter().collect();
        if lists.iter().any(|list| *list != lists[0])
            || !heard.acknowledged.iter().all(|c| unique.contains(c))
        {
            return false;
        }
        assert_eq!(unique.len(), lists[0].len(), "a command took effect twice");
        println!("{} acknowledged, {} done", heard.acknowledged.len(), lists[0].len());
        true
    }

    /// Stops the writers and checks that every master has every acknowledged command, and none twice.
    async fn check(&mut self) {
        self.tell_all("quiet");
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.heard.lock().commands.clear();
            self.heard.lock().dumped.clear();
            self.tell_all("dump");
            let heard = self.heard.clone();
            wait_until("all masters to show their commands", || heard.lock().dumped.len() == 3).await;
            if self.whole() {
                return;
            }
            assert!(Instant::now() < deadline, "masters differ or lost acknowledged commands");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn hear(heard: &mut Heard, slot: usize, said: &str) {
    let mut words = said.split(' ');
    match (words.next(), words.next(), words.next()) {
        (Some("ack"), Some(command), Some(count)) => {
            heard.acknowledged.insert(command.to_owned());
            heard.count = heard.count.max(count.parse().unwrap());
            heard.last = Some(Instant::now());
        }
        (Some("role"), Some(role), Some(applied)) => {
            heard.roles.insert(slot, (role.to_owned(), applied.parse().unwrap()));
        }
        (Some("read"), Some(answer), None) => drop(heard.reads.insert(slot, answer.to_owned())),
        (Some("command"), Some(command), None) => {
            heard.commands.entry(slot).or_default().push(command.to_owned())
        }
        (Some("end"), None, None) => drop(heard.dumped.insert(slot)),
        _ => {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_or_doubled_when_masters_are_killed() {
    let mut masters = Processes::started().await;
    masters.progress(100).await;
    for round in 0..8 {
        if round % 4 == 3 {
            // All at once.
            for slot in 0..3 {
                masters.kill(slot);
            }
            for slot in 0..3 {
                masters.start(slot);
            }
            let first = masters.progress(100).await;
            println!("round {round}: all killed, next acknowledgement after {first:?}");
        } else {
            let leader = masters.leader().await;
            masters.kill(leader);
            let first = masters.progress(50).await;
            println!("round {round}: leader {leader} killed, next acknowledgement after {first:?}");
            masters.start(leader);
            masters.progress(50).await;
        }
    }
    masters.check().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_was_paused_gives_no_old_answers() {
    let mut masters = Processes::started().await;
    masters.progress(20).await;
    for _ in 0..3 {
        let paused = masters.leader().await;
        masters.running[&paused].signal(Signal::SIGSTOP);
        // Some of these may have been under way; the later ones come from a new leader.
        masters.progress(50).await;
        let known = masters.heard.lock().count;
        masters.heard.lock().reads.clear();
        for _ in 0..100 {
            masters.running.get_mut(&paused).unwrap().tell("read");
        }
        masters.running[&paused].signal(Signal::SIGCONT);
        let heard = masters.heard.clone();
        wait_until("an answer to a read", || heard.lock().reads.contains_key(&paused)).await;
        let answer = heard.lock().reads[&paused].clone();
        println!("{known} commands were acknowledged, the paused leader answers \"{answer}\"");
        assert!(answer == "refused" || answer.parse::<usize>().unwrap() >= known);
    }
    masters.check().await;
}
