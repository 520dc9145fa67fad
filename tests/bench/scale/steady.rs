//! Whether a cluster stays as it is under the full load: every operation of the inode service by 64 callers at once, for
//! minutes, on three masters that share this machine with their clients. A leader that is late with its heartbeats, or
//! followers that are late to hear them, would show as an election that nobody wanted.

use super::cost::{Cost, Meter};
use super::load::{CALLERS, Files, PER_DIRECTORY};
use super::process::Master;
use crate::creates::create;
use crate::report::rate;
use anyhow::{Context, ensure};
use goosefs_client::Client;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Reads of attributes for each file that a caller makes, renames and deletes.
const ATTRS: u64 = 10;

/// How often it says how far it is.
const WORD: Duration = Duration::from_secs(30);

/// Operations of one kind.
#[derive(Default)]
struct Tally {
    made: AtomicU64,
    /// The longest that one took and when it began, both in microseconds; the time in the upper half.
    slowest: AtomicU64,
}

/// What one caller does again and again, in this order; `getattr` several times.
const KINDS: [&str; 5] = ["create", "getattr", "list 1,000 entries", "rename", "delete"];

/// What all callers have done.
struct Tallies {
    begun: Instant,
    kinds: [Tally; KINDS.len()],
}

/// What the masters think of who leads.
#[derive(Clone, Copy, PartialEq)]
struct Reign {
    term: f64,
    /// Changes of the leader that any of them has seen.
    changes: f64,
}

/// Loads for `time` and prints what was done.
///
/// # Errors
/// When an operation failed, or there was an election.
pub(super) async fn run(
    masters: &[Master],
    clients: &[Client],
    files: Files,
    time: Duration,
) -> anyhow::Result<()> {
    let first = clients.first().context("no clients")?;
    let folder = first.paths().make_dir(&NsPath::parse("/scale/steady")?, 0o755, true).await?;
    let meter = Meter::new(masters, &first.leader().await?)?;
    let before = Reign::of(masters)?;
    println!("  every operation by {CALLERS} callers at once for {} s, term {}", time.as_secs(), before.term);
    let running = meter.start()?;
    let tallies = Arc::new(Tallies { begun: Instant::now(), kinds: Default::default() });
    let (files, parent) = (Arc::new(files), InodeId(folder.inode));
    let callers = clients.iter().zip(0..).map(|(client, caller)| {
        let (client, files, tallies) = (client.clone(), files.clone(), tallies.clone());
        tokio::spawn(async move {
            let mut round = 0;
            while tallies.begun.elapsed() < time {
                let seed = round * CALLERS as u64 + caller;
                tallies
                    .round(&client, &files, parent, seed)
                    .await
                    .with_context(|| format!("after {:.1} s", tallies.begun.elapsed().as_secs_f64()))?;
                round += 1;
            }
            anyhow::Ok(())
        })
    });
    let mut callers = std::pin::pin!(futures::future::try_join_all(callers));
    let ended = loop {
        match tokio::time::timeout(WORD, callers.as_mut()).await {
            Ok(ended) => break ended.context("a caller panicked")?,
            Err(_) => tallies.word(masters)?,
        }
    };
    tallies.print();
    Cost::head();
    running.stop(tallies.made(), tallies.begun.elapsed())?.print("all of them", CALLERS);
    let after = Reign::of(masters)?;
    println!(
        "  term {} at the beginning, {} at the end; elections {}, changes of the leader seen {}",
        before.term,
        after.term,
        after.term - before.term,
        after.changes - before.changes
    );
    ended.into_iter().collect::<anyhow::Result<()>>()?;
    ensure!(before == after, "there was an election that nobody wanted");
    Ok(())
}

impl Tallies {
    async fn round(
        &self,
        client: &Client,
        files: &Files,
        parent: InodeId,
        seed: u64,
    ) -> goosefs_core::Result<()> {
        let [making, looking, listing, renaming, deleting] = &self.kinds;
        let caller = &client.config().caller;
        self.timed(making, create(client, parent, seed)).await?;
        for look in 0..ATTRS {
            self.timed(looking, client.inodes().attr(files.node(seed * ATTRS + look))).await?;
        }
        let entries = u32::try_from(PER_DIRECTORY).unwrap_or_default();
        self.timed(listing, client.inodes().read_dir(files.directory(seed), "", entries)).await?;
        let (name, other) = (format!("f{seed}"), format!("renamed-{seed}"));
        let renamed = client.inodes().rename((parent, &name), (parent, &other), true, caller);
        self.timed(renaming, renamed).await?;
        self.timed(deleting, client.inodes().unlink(parent, &other, caller)).await
    }

    async fn timed<T>(
        &self,
        tally: &Tally,
        operation: impl Future<Output = goosefs_core::Result<T>>,
    ) -> goosefs_core::Result<T> {
        let begun = Instant::now();
        let outcome = operation.await;
        tally.made.fetch_add(1, Ordering::Relaxed);
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX).min(u64::MAX >> 32);
        let seconds = (begun - self.begun).as_secs();
        tally.slowest.fetch_max(micros(begun.elapsed()) << 32 | seconds, Ordering::Relaxed);
        outcome
    }

    fn made(&self) -> u64 {
        self.kinds.iter().map(|kind| kind.made.load(Ordering::Relaxed)).sum()
    }

    /// How far it is.
    fn word(&self, masters: &[Master]) -> anyhow::Result<()> {
        let (made, reign) = (self.made(), Reign::of(masters)?);
        println!(
            "    after {:>4.0} s: {made} operations, term {}",
            self.begun.elapsed().as_secs_f64(),
            reign.term
        );
        Ok(())
    }

    fn print(&self) {
        let time = self.begun.elapsed();
        println!("  {} operations, {:.0}/s", self.made(), rate(self.made() as f64, time));
        for (kind, tally) in KINDS.iter().zip(&self.kinds) {
            let made = tally.made.load(Ordering::Relaxed);
            let slowest = tally.slowest.load(Ordering::Relaxed);
            println!(
                "    {kind:<20}{made:>10}{:>9.0}/s, the slowest took {:.1} ms, after {} s",
                rate(made as f64, time),
                (slowest >> 32) as f64 / 1e3,
                slowest & 0xFFFF_FFFF
            );
        }
    }
}

impl Reign {
    /// What all masters say; each must answer.
    fn of(masters: &[Master]) -> anyhow::Result<Reign> {
        let mut reign = Reign { term: 0.0, changes: 0.0 };
        for master in masters {
            let metric = |name: &str| {
                master.metric(name).with_context(|| format!("master {} does not tell {name}", master.rpc))
            };
            reign.term = reign.term.max(metric("goosefs_raft_term")?);
            reign.changes += metric("goosefs_raft_leader_changes_total")?;
        }
        Ok(reign)
    }
}
