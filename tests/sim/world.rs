//! One simulation: masters, clients, what goes wrong, and what must hold all the while.

mod trouble;

use crate::client::Client;
use crate::disk::Loss;
use crate::faults::{End, Spoil};
use crate::kernel;
use crate::network::{Message, Network};
use crate::process::Process;
use crate::tests::PANICKED;
use goosefs_core::checksum::crc32c_append;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{Found, Mount};
use goosefs_core::raft::Role;
use goosefs_master::journal::{Op, State};
use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

/// Milliseconds between two moments that the simulation tells apart.
const TICK: u64 = 2;
/// For a cluster to be founded, and to come together once all is well again.
const PATIENCE: u64 = 40_000;
/// How long things go wrong.
const TROUBLE: u64 = 6_000;
/// Lines of the trace that a failure shows.
const SHOWN: usize = 400;
/// By so much, in thousandths, clocks may run too fast or too slow.
const DRIFT: i64 = 20;

/// What a simulation came to.
pub(crate) struct Report {
    pub(crate) acknowledged: u64,
    pub(crate) retries: u64,
    pub(crate) terms: u64,
    pub(crate) crashes: u64,
    pub(crate) reads: u64,
    pub(crate) spoils: u64,
    pub(crate) virtual_ms: u64,
    /// Checksum of everything that happened: the same seed gives the same.
    pub(crate) trace: u32,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { acknowledged, retries, terms, crashes, reads, spoils, virtual_ms, trace } = self;
        write!(
            f,
            "acknowledged={acknowledged} retries={retries} terms={terms} crashes={crashes} reads={reads} "
        )?;
        write!(f, "spoils={spoils} virtual_ms={virtual_ms} trace={trace}")
    }
}

/// What happened.
pub(crate) struct Trace {
    lines: VecDeque<String>,
    checksum: u32,
    aloud: bool,
}

impl Trace {
    fn note(&mut self, now: u64, line: &str) {
        let line = format!("{now:6} {line}");
        self.checksum = crc32c_append(self.checksum, line.as_bytes());
        if self.aloud {
            println!("{line}");
        }
        self.lines.push_back(line);
        if self.lines.len() > SHOWN {
            self.lines.pop_front();
        }
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        if std::thread::panicking() && !self.aloud {
            for line in &self.lines {
                println!("{line}");
            }
        }
    }
}

/// A master that waits until it has everything that was acknowledged by now.
struct CatchingUp {
    master: usize,
    /// Whose state it is: a process that has ended has none.
    state: Weak<State>,
    index: u64,
    done: Arc<Mutex<bool>>,
}

pub(crate) struct World {
    seed: u64,
    masters: usize,
    dice: StdRng,
    now: u64,
    network: Network,
    processes: Vec<Option<Process>>,
    paused: Vec<bool>,
    /// Messages to a process that is paused.
    held: Vec<Vec<Message>>,
    /// Thousandths by which each master's clock runs fast.
    drift: Vec<i64>,
    loss: Vec<Loss>,
    /// What is to happen to a directory before its master starts again.
    spoil: Option<(usize, Spoil)>,
    spoils: u64,
    ends: Vec<(u64, End)>,
    clients: Vec<Client>,
    /// The last term that a leader was seen in.
    term: u64,
    /// Who held the leader's lease last, and when.
    holder: Option<(usize, u64)>,
    /// Every acknowledged entry has this index or a lower one.
    acknowledged: u64,
    catching_up: Vec<CatchingUp>,
    crashes: u64,
    reads: u64,
    trace: Trace,
    // Last: processes are dropped before their folders, and those before the simulation ends.
    folder: tempfile::TempDir,
    _entered: kernel::Entered,
}

/// Simulates what `seed` draws. Panics when something does not hold.
pub(crate) fn simulate(seed: u64) -> Report {
    let mut world = World::new(seed);
    world.found();
    world.trouble();
    world.heal();
    Report {
        acknowledged: world.clients.iter().map(|client| client.acknowledged).sum(),
        retries: world.clients.iter().map(|client| client.retries).sum(),
        terms: world.term,
        crashes: world.crashes,
        reads: world.reads,
        spoils: world.spoils,
        virtual_ms: world.now,
        trace: world.trace.checksum,
    }
}

impl World {
    fn new(seed: u64) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut dice = StdRng::seed_from_u64(seed);
        let masters = if dice.random_bool(0.75) { 3 } else { 5 };
        let entered = kernel::enter(dice.random(), masters);
        let network = Network::new(masters, StdRng::seed_from_u64(dice.random()));
        let mut world = World {
            seed,
            masters,
            now: 1000,
            network,
            processes: (0..masters).map(|_| None).collect(),
            paused: vec![false; masters],
            held: (0..masters).map(|_| Vec::new()).collect(),
            drift: (0..masters).map(|_| dice.random_range(-DRIFT..=DRIFT)).collect(),
            loss: vec![Loss::Nothing; masters],
            spoil: None,
            spoils: 0,
            ends: Vec::new(),
            clients: (0..3).map(Client::new).collect(),
            term: 0,
            holder: None,
            acknowledged: 0,
            catching_up: Vec::new(),
            crashes: 0,
            reads: 0,
            trace: Trace {
                lines: VecDeque::new(),
                checksum: 0,
                aloud: std::env::var_os("SIM_TRACE").is_some(),
            },
            folder,
            dice,
            _entered: entered,
        };
        for master in 0..masters {
            world.start(master);
        }
        world
    }

    fn note(&mut self, line: &str) {
        self.trace.note(self.now, line);
    }

    #[track_caller]
    fn fail(&self, what: &str) -> ! {
        panic!("seed {}, at {} ms: {what}", self.seed, self.now)
    }

    fn set_clock(&self, master: usize) {
        let now = i64::try_from(self.now).unwrap();
        kernel::set_time(u64::try_from(now * (1000 + self.drift[master]) * 1000).unwrap());
    }

    fn start(&mut self, master: usize) {
        if self.processes[master].is_some() {
            return;
        }
        self.note(&format!("master {master} starts"));
        self.set_clock(master);
        let loss = self.loss[master];
        kernel::disk(|disk| disk.recover(master, loss, &mut self.dice));
        let folder = self.folder.path().join(master.to_string());
        if let Some((_, how)) = self.spoil.take_if(|(whose, _)| *whose == master) {
            trouble::spoil(&folder, how);
        }
        self.processes[master] = Some(Process::start(master, self.masters, &folder, &self.network));
    }

    fn crash(&mut self, master: usize) {
        self.note(&format!("master {master} is dead"));
        self.crashes += 1;
        self.set_clock(master);
        self.processes[master] = None;
        self.paused[master] = false;
        self.held[master].clear();
    }

    /// One moment.
    fn tick(&mut self, busy: bool) {
        self.now += TICK;
        for (_, end) in self.due() {
            self.end(end);
        }
        self.deliver();
        for master in 0..self.masters {
            if self.paused[master] || self.processes[master].is_none() {
                continue;
            }
            self.set_clock(master);
            if self.dice.random_bool(0.2) {
                self.read(master);
            }
            if let Some(process) = &mut self.processes[master] {
                process.turn(self.now, &mut self.dice);
            }
            if kernel::disk(|disk| disk.is_dead(master)) {
                self.crash(master);
            } else {
                self.look(master);
            }
        }
        if PANICKED.load(Ordering::Relaxed) {
            self.fail("a task panicked");
        }
        self.catch_up();
        for line in self.network.sent() {
            self.note(&line);
        }
        for number in 0..self.clients.len() {
            let more = busy && self.dice.random_bool(0.2);
            let said = self.clients[number].turn(self.now, &self.processes, more, &mut self.dice);
            if let Some((said, done)) = said {
                self.note(&said);
                if let Some(index) = done {
                    self.acknowledged = self.acknowledged.max(index);
                }
            }
        }
    }

    fn due(&mut self) -> Vec<(u64, End)> {
        let now = self.now;
        let (due, later) = std::mem::take(&mut self.ends).into_iter().partition(|(at, _)| *at <= now);
        self.ends = later;
        due
    }

    fn deliver(&mut self) {
        for message in self.network.arrived(self.now) {
            let to = message.to();
            if self.paused[to] {
                self.held[to].push(message);
                continue;
            }
            self.hand_over(message);
        }
    }

    fn hand_over(&mut self, message: Message) {
        let process = self.processes[message.to()].as_ref();
        let handle = process.map(Process::handle);
        let line = process.and_then(|process| process.node.as_ref()).map(|node| node.line());
        message.deliver(&self.network, handle.as_ref().zip(line));
    }

    /// Reads as a client does who asks this master.
    fn read(&mut self, master: usize) {
        let Some(journal) = self.processes[master].as_ref().and_then(|process| process.journal.clone())
        else {
            return;
        };
        let Ok(namespace) = journal.read() else { return };
        self.reads += 1;
        for client in &self.clients {
            if let Err(wrong) = client.check(&namespace) {
                self.fail(&format!("master {master} answers a read under its lease: {wrong}"));
            }
        }
    }

    /// Has some master catch up, as backups do wherever they are made, and looks at those that say that they have.
    fn catch_up(&mut self) {
        for asked in std::mem::take(&mut self.catching_up) {
            let Some(state) = asked.state.upgrade() else { continue };
            if !*asked.done.lock() {
                self.catching_up.push(asked);
                continue;
            }
            let (has, needs) = (state.read().last_index(), asked.index);
            if has < needs {
                self.fail(&format!(
                    "master {} has caught up to entry {has}, and {needs} was acknowledged",
                    asked.master
                ));
            }
        }
        let master = self.dice.random_range(0..self.masters);
        let process = self.processes[master].as_ref();
        let Some(process) = process.filter(|_| self.catching_up.len() < 3) else { return };
        let Some(node) = process.node.clone() else { return };
        let done: Arc<Mutex<bool>> = Arc::default();
        let (state, index) = (Arc::downgrade(&process.state), self.acknowledged);
        self.catching_up.push(CatchingUp { master, state, index, done: done.clone() });
        process.handle().spawn(async move {
            while node.catch_up(Duration::from_secs(2)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            *done.lock() = true;
        });
    }

    /// What a master says of itself must agree with what the others have said.
    fn look(&mut self, master: usize) {
        let process = self.processes[master].as_ref();
        let Some(process) = process else { return };
        if process.tasks.failed().is_cancelled() {
            self.fail(&format!("a task of master {master} panicked"));
        }
        let Some(node) = &process.node else { return };
        let (status, holds) = (node.status().borrow().clone(), node.check_lease().is_ok());
        if status.role == Role::Failed {
            self.fail(&format!("master {master} failed: {:?}", status.problem));
        }
        if status.role == Role::Leader {
            self.term = self.term.max(status.term);
        }
        if holds
            && let Some((other, at)) = self.holder.replace((master, self.now))
            && other != master
            && at == self.now
        {
            self.fail(&format!("masters {other} and {master} both hold the leader's lease"));
        }
    }

    fn leader(&self) -> Option<usize> {
        (0..self.masters).find(|master| {
            let journal = self.processes[*master].as_ref().and_then(|process| process.journal.as_ref());
            !self.paused[*master] && journal.is_some_and(|journal| journal.leads())
        })
    }

    /// Makes the namespace usable: its root is mounted and it knows its cluster.
    fn found(&mut self) {
        let done = Arc::new(Mutex::new(false));
        let until = self.now + PATIENCE;
        let mut asked = 0;
        while !*done.lock() {
            if self.now >= until {
                self.fail("no cluster was founded");
            }
            self.tick(false);
            let Some(leader) = self.leader().filter(|_| self.now > asked + 1000) else { continue };
            asked = self.now;
            let process = self.processes[leader].as_ref().unwrap();
            let (journal, done) = (process.journal.clone().unwrap(), done.clone());
            process.handle().spawn(async move {
                let mount = Command::Mount(Mount {
                    path: "/".into(),
                    ufs: "file:///sim".into(),
                    ..Default::default()
                });
                let mark = journal.node().mark().map(Into::into);
                // A second try finds it mounted.
                drop(journal.propose(mount, &Caller::default(), Op::Unnumbered).await);
                let found = Command::Found(Found { mark });
                *done.lock() = journal.propose(found, &Caller::default(), Op::Unnumbered).await.is_ok();
            });
        }
    }

    /// Whether nothing is under way and every master has applied the same number of entries.
    fn agree(&self) -> bool {
        if self.leader().is_none() || !self.clients.iter().all(Client::idle) {
            return false;
        }
        let mut status = self.processes.iter().map(|process| {
            let status = process.as_ref()?.node.as_ref()?.status().borrow().clone();
            (status.applied == status.last_log && status.voters.len() == self.masters)
                .then_some(status.applied)
        });
        let first = status.next().flatten();
        first.is_some() && status.all(|applied| applied == first)
    }

    fn standing(&self) -> String {
        let of = |process: &Option<Process>| {
            process
                .as_ref()
                .and_then(|p| p.node.as_ref())
                .map(|node| format!("{:?}", *node.status().borrow()))
        };
        let masters: Vec<_> = self.processes.iter().map(of).collect();
        let idle: Vec<_> = self.clients.iter().map(Client::idle).collect();
        format!("{masters:#?}, clients idle: {idle:?}")
    }

    /// Every replica has the same bytes, and in them everything that was acknowledged, once.
    fn compare(&self) {
        let mut images = Vec::new();
        for process in self.processes.iter().flatten() {
            let namespace = process.state.read();
            for client in &self.clients {
                if let Err(wrong) = client.check(&namespace) {
                    self.fail(&format!("in a replica at the end: {wrong}"));
                }
            }
            let mut image = Vec::new();
            namespace.freeze().write(&mut image).unwrap();
            images.push(image);
        }
        if images.windows(2).any(|pair| pair[0] != pair[1]) {
            self.fail("the replicas differ");
        }
    }
}
