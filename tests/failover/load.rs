//! Clients that write and read, and what they were told.
//!
//! A writer has a folder `/w<n>` of its own, in which every name is used once, so an operation that took effect twice
//! fails (`AlreadyExists`, `NotFound`) or leaves a name too many. Directories go to the under-storage, too, by intents. Its
//! *register* is the mtime of `/r<n>`, which it sets to 1, 2, 3, ...: a reader knows the number that was acknowledged
//! before it asked, and must not be told a lower one.

use crate::report::Counts;
use anyhow::Context;
use goosefs_client::Client;
use goosefs_client::meta::{Changes, CreateOptions};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::WriteType;
use goosefs_core::{Code, Result};
use goosefs_harness::{LONG, Masters, wait_until};
use rand::Rng;
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Files that a writer leaves in its folder before it removes the oldest.
const KEPT: u64 = 5;

/// A directory is made in one of so many cycles.
const DIRECTORIES: u64 = 4;

/// How long an operation was under way after something happened, and how long after that it was begun.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub(crate) struct Gap {
    pub(crate) lasted: Duration,
    pub(crate) begun: Duration,
}

/// What one writer did.
#[derive(Default)]
pub(crate) struct Writer {
    /// Its register: what it began to set, and what was acknowledged.
    begun: AtomicU64,
    acknowledged: AtomicU64,
    /// Names in its folder, as acknowledged.
    names: Mutex<BTreeSet<String>>,
    /// The operation under way.
    doing: Mutex<String>,
    /// Begin and end of every operation since the last round.
    times: Mutex<Vec<(Instant, Instant)>>,
}

impl Writer {
    /// What a register may say when it is asked now and answers later: at least the first; at the end at most
    /// [`Writer::most`].
    pub(crate) fn least(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    pub(crate) fn most(&self) -> u64 {
        self.begun.load(Ordering::SeqCst)
    }
}

/// What all tasks share.
pub(crate) struct Shared {
    pub(crate) writers: Vec<Writer>,
    pub(crate) counts: Mutex<Counts>,
    stop: AtomicBool,
    pause: watch::Sender<bool>,
    paused: AtomicUsize,
}

impl Shared {
    pub(crate) fn stops(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    pub(crate) fn note(&self, note: impl FnOnce(&mut Counts)) {
        note(&mut self.counts.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The clients.
pub(crate) struct Load {
    pub(crate) shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
    clients: Vec<Client>,
}

pub(crate) fn path(text: &str) -> NsPath {
    NsPath::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

pub(crate) fn register(writer: usize) -> NsPath {
    path(&format!("/r{writer}"))
}

fn cached() -> Option<CreateOptions> {
    Some(CreateOptions { block_size: 64 << 20, write_type: WriteType::MustCache })
}

impl Load {
    /// Makes folders and registers, and lets the clients begin.
    pub(crate) async fn start(masters: &Masters, writers: usize, readers: usize) -> anyhow::Result<Load> {
        let shared = Arc::new(Shared {
            writers: (0..writers).map(|_| Writer::default()).collect(),
            counts: Mutex::default(),
            stop: AtomicBool::new(false),
            pause: watch::Sender::new(false),
            paused: AtomicUsize::new(0),
        });
        let clients: Vec<Client> = (0..writers + readers).map(|_| masters.client()).collect();
        for (number, client) in clients.iter().take(writers).enumerate() {
            client.paths().make_dir(&path(&format!("/w{number}")), 0o755, false).await?;
            client.paths().create(&register(number), 0o644, cached()).await?;
            let zero = Changes { mtime_ms: Some(0), ..Changes::default() };
            client.paths().set_attr(&register(number), &zero).await?;
        }
        let mut tasks = Vec::new();
        for (number, client) in clients.iter().cloned().enumerate() {
            let shared = shared.clone();
            tasks.push(match number.checked_sub(writers) {
                None => tokio::spawn(write(client, number, shared)),
                Some(_) => tokio::spawn(read(client, shared)),
            });
        }
        Ok(Load { shared, tasks, clients })
    }

    /// Forgets how long operations took.
    pub(crate) fn forget_times(&self) {
        for writer in &self.shared.writers {
            times(writer).clear();
        }
    }

    /// Waits until every writer has the answer to an operation that it began after `moment`.
    pub(crate) async fn answered_since(&self, moment: Instant) -> anyhow::Result<()> {
        let late = || {
            let since = |writer: &Writer| times(writer).last().is_some_and(|(begun, _)| *begun > moment);
            let writers = self.shared.writers.iter().enumerate();
            writers.filter(|(_, writer)| !since(writer)).map(|(number, _)| number).collect::<Vec<_>>()
        };
        let waited = wait_until("every writer goes on", || async { late().is_empty() }).await;
        waited.with_context(|| {
            let doing = late().into_iter().map(|number| {
                let doing = &self.shared.writers[number].doing;
                format!("writer {number}: {}", doing.lock().unwrap_or_else(PoisonError::into_inner))
            });
            doing.collect::<Vec<_>>().join("; ")
        })
    }

    /// The slowest operation of each writer that was under way after `moment`, counted from then; and the first end of
    /// one that was begun after it.
    pub(crate) fn gaps(&self, moment: Instant) -> (Vec<Gap>, Duration) {
        let mut first = Duration::MAX;
        let of = |writer: &Writer| {
            let times = times(writer);
            let after = times.iter().filter(|(_, end)| *end > moment);
            for (begun, end) in after.clone() {
                if *begun > moment {
                    first = first.min(*end - moment);
                }
            }
            let gap = |(begun, end): &(Instant, Instant)| {
                let begun = (*begun).max(moment);
                Gap { lasted: *end - begun, begun: begun - moment }
            };
            after.map(gap).max().unwrap_or_default()
        };
        let gaps = self.shared.writers.iter().map(of).collect();
        (gaps, first)
    }

    /// Pauses the writers, has every master's copy compared with the others', and what is there with what was
    /// acknowledged. Then the writers go on.
    pub(crate) async fn check(&self, masters: &Masters, client: &Client) -> anyhow::Result<()> {
        let shared = &self.shared;
        shared.pause.send_replace(true);
        let all = || async { shared.paused.load(Ordering::SeqCst) == shared.writers.len() };
        wait_until("the writers pause", all).await?;
        masters.agreed(client).await.context("the masters' copies")?;
        for (number, writer) in shared.writers.iter().enumerate() {
            let listed = client.paths().list(&path(&format!("/w{number}"))).await?;
            let found: BTreeSet<String> = listed.iter().map(|entry| entry.name.clone()).collect();
            let names = names(writer).clone();
            let lost = names.difference(&found).map(|name| format!("/w{number}/{name} is gone"));
            let doubled = found.difference(&names).map(|name| format!("/w{number}/{name} is too many"));
            shared.note(|counts| {
                counts.lost.extend(lost);
                counts.doubled.extend(doubled);
            });
            let set = client.paths().stat(&register(number)).await?.mtime_ms;
            if set != writer.least() {
                let text = format!("/r{number} says {set}, {} was acknowledged", writer.least());
                shared.note(|counts| counts.lost.push(text));
            }
        }
        shared.note(|counts| counts.comparisons += 1);
        shared.pause.send_replace(false);
        Ok(())
    }

    /// Ends all tasks.
    pub(crate) async fn stop(self) -> Counts {
        self.shared.stop.store(true, Ordering::SeqCst);
        self.shared.pause.send_replace(false);
        futures::future::join_all(self.tasks).await;
        futures::future::join_all(self.clients.iter().map(|client| client.shutdown(LONG))).await;
        {
            let mut all = Counts::default();
            self.shared.note(|counts| all = counts.clone());
            all
        }
    }
}

fn times(writer: &Writer) -> MutexGuard<'_, Vec<(Instant, Instant)>> {
    writer.times.lock().unwrap_or_else(PoisonError::into_inner)
}

fn names(writer: &Writer) -> MutexGuard<'_, BTreeSet<String>> {
    writer.names.lock().unwrap_or_else(PoisonError::into_inner)
}

/// One writer until the end.
async fn write(client: Client, number: usize, shared: Arc<Shared>) {
    let mut turns = Turns { client, number, shared, pause: None };
    for cycle in 0.. {
        if turns.cycle(cycle).await.is_none() {
            return;
        }
    }
}

/// A writer's operations, each timed and counted.
struct Turns {
    client: Client,
    number: usize,
    shared: Arc<Shared>,
    pause: Option<watch::Receiver<bool>>,
}

impl Turns {
    fn writer(&self) -> &Writer {
        &self.shared.writers[self.number]
    }

    fn at(&self, name: &str) -> NsPath {
        path(&format!("/w{}/{name}", self.number))
    }

    /// One cycle of operations; none when it is time to stop.
    async fn cycle(&mut self, cycle: u64) -> Option<()> {
        let client = self.client.clone();
        let paths = client.paths();
        let (made, moved) = (format!("f{cycle}"), format!("g{cycle}"));
        let (from, to) = (self.at(&made), self.at(&moved));
        let created =
            self.turn("create", async || paths.create(&from, 0o644, cached()).await.map(drop)).await?;
        self.took_effect(created, &[], Some(&made), "create");

        let register = register(self.number);
        let writer = &self.shared.writers[self.number];
        let next = writer.begun.fetch_add(1, Ordering::SeqCst) + 1;
        let changes = Changes { mtime_ms: Some(next), ..Changes::default() };
        let set = self.turn("set_attr", async || paths.set_attr(&register, &changes).await.map(drop)).await?;
        if set.is_ok() {
            self.shared.writers[self.number].acknowledged.store(next, Ordering::SeqCst);
        }
        self.took_effect(set, &[], None, "set an attribute of the register of");

        let renamed = self.turn("rename", async || paths.rename(&from, &to).await.map(drop)).await?;
        self.took_effect(renamed, &[&made], Some(&moved), "rename");

        if let Some(old) = cycle.checked_sub(KEPT) {
            let name = format!("g{old}");
            let at = self.at(&name);
            let removed = self.turn("remove", async || paths.remove(&at).await).await?;
            self.took_effect(removed, &[&name], None, "remove");
        }
        if cycle.is_multiple_of(DIRECTORIES) {
            let name = format!("d{cycle}");
            let at = self.at(&name);
            let made =
                self.turn("make_dir", async || paths.make_dir(&at, 0o755, false).await.map(drop)).await?;
            self.took_effect(made, &[], Some(&name), "make the directory");
        }
        if let Some(old) = cycle.checked_sub(KEPT * DIRECTORIES)
            && cycle.is_multiple_of(DIRECTORIES)
        {
            let name = format!("d{old}");
            let at = self.at(&name);
            let removed = self.turn("remove", async || paths.remove(&at).await).await?;
            self.took_effect(removed, &[&name], None, "remove the directory");
        }
        Some(())
    }

    /// One operation, after a pause if there is one; none when it is time to stop.
    async fn turn(&mut self, what: &str, operation: impl AsyncFnOnce() -> Result<()>) -> Option<Result<()>> {
        let pause = self.pause.get_or_insert_with(|| self.shared.pause.subscribe());
        if *pause.borrow_and_update() {
            self.shared.paused.fetch_add(1, Ordering::SeqCst);
            let resumed = pause.wait_for(|paused| !paused).await.is_ok();
            self.shared.paused.fetch_sub(1, Ordering::SeqCst);
            if !resumed {
                return None;
            }
        }
        if self.shared.stops() {
            return None;
        }
        what.clone_into(&mut self.writer().doing.lock().unwrap_or_else(PoisonError::into_inner));
        let begun = Instant::now();
        let outcome = operation().await;
        times(&self.shared.writers[self.number]).push((begun, Instant::now()));
        Some(outcome)
    }

    fn took_effect(&self, outcome: Result<()>, gone: &[&str], made: Option<&str>, what: &str) {
        let text = |error: &goosefs_core::Error| {
            format!(
                "{what} /w{}/{}: {error}",
                self.number,
                made.or(gone.first().copied()).unwrap_or_default()
            )
        };
        self.shared.note(|counts| {
            counts.writes += 1;
            match &outcome {
                Ok(()) => {}
                // No name is used twice, so the operation met itself.
                Err(error) if matches!(error.code, Code::AlreadyExists | Code::NotFound) => {
                    counts.doubled.push(text(error));
                }
                Err(error) => counts.writer_errors.push(text(error)),
            }
        });
        let mut names = names(&self.shared.writers[self.number]);
        for name in gone {
            names.remove(*name);
        }
        names.extend(made.map(str::to_owned));
    }
}

/// One reader until the end: registers, and folders.
async fn read(client: Client, shared: Arc<Shared>) {
    while !shared.stops() {
        let number = rand::rng().random_range(0..shared.writers.len());
        let writer = &shared.writers[number];
        let least = writer.least();
        let answer = client.paths().stat(&register(number)).await;
        let most = writer.most();
        shared.note(|counts| match answer {
            Ok(attr) if (least..=most).contains(&attr.mtime_ms) => counts.reads += 1,
            Ok(attr) => {
                let text = format!("/r{number} says {}, between {least} and {most} was set", attr.mtime_ms);
                counts.stale.push(text);
            }
            Err(error) => counts.reader_errors.push(format!("/r{number}: {error}")),
        });
        // So that eight readers do not take the cores from everybody else.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}
