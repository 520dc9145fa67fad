//! Faults, repairs, checks.

use crate::load::Load;
use crate::report::{Counts, Gaps};
use crate::{Args, direct};
use goosefs_client::Client;
use goosefs_core::task::Tasks;
use goosefs_harness::{Cut, LONG, MASTERS, Masters, wait_until};
use nix::sys::signal::Signal;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// How long a stopped leader stays stopped.
const STOPPED: Duration = Duration::from_secs(5);

/// How long a leader stays cut off, drawn from here.
const CUT_MS: std::ops::Range<u64> = 1000..5000;

/// A master that does not answer an observer within this is passed over.
const GLANCE: Duration = Duration::from_millis(200);

/// What happens to a leader.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(crate) enum Fault {
    /// kill -9.
    Kill,
    /// SIGSTOP for five seconds.
    Stop,
    /// Cut off from its peers, and half the time from clients.
    Cut,
}

/// The cluster, its load, and who looks at it.
pub(crate) struct Rounds {
    masters: Masters,
    load: Load,
    observer: Client,
    askers: Vec<JoinHandle<()>>,
    tasks: Tasks,
    random: StdRng,
}

impl Rounds {
    pub(crate) async fn start(args: &Args, seed: u64) -> anyhow::Result<Rounds> {
        let flags: Vec<&str> = args.master.iter().map(String::as_str).collect();
        let masters = Masters::start(&args.binary, &args.dir, &flags).await?;
        let observer = masters.client_with(|config| config.connect_timeout = GLANCE);
        let load = Load::start(&masters, args.writers, args.readers).await?;
        let tasks = Tasks::new("direct");
        let askers = masters.rpc().iter();
        let askers = askers.map(|at| direct::ask(at.clone(), load.shared.clone(), tasks.clone())).collect();
        Ok(Rounds { masters, load, observer, askers, tasks, random: StdRng::seed_from_u64(seed) })
    }

    /// Draws `count` faults, as far as they can be had here.
    pub(crate) fn draw(&mut self, from: &[Fault], count: usize) -> Vec<Fault> {
        let possible: Vec<Fault> =
            from.iter().copied().filter(|fault| *fault != Fault::Cut || self.masters.can_cut()).collect();
        (0..count).filter_map(|_| possible.choose(&mut self.random).copied()).collect()
    }

    /// Loses the leader, and gets it back.
    pub(crate) async fn lose_leader(
        &mut self,
        number: usize,
        fault: Fault,
        gaps: &mut Gaps,
    ) -> anyhow::Result<()> {
        let leader = self.steady().await?;
        let moment = Instant::now();
        let name = self.strike(fault, leader)?;
        self.relieved(leader).await?;
        self.load.answered_since(Instant::now()).await?;
        self.repair(fault, leader, moment).await?;
        self.masters.all_serve(&self.observer).await?;
        self.end_round(number, name, leader, moment, gaps);
        self.load.check(&self.masters, &self.observer).await
    }

    /// Asks the leader to stop, and starts it again.
    pub(crate) async fn hand_over(&mut self, number: usize, gaps: &mut Gaps) -> anyhow::Result<()> {
        let leader = self.steady().await?;
        let moment = Instant::now();
        self.masters.signal(leader, Signal::SIGTERM)?;
        self.masters.ended(leader).await?;
        self.load.answered_since(Instant::now()).await?;
        self.end_round(number, "SIGTERM", leader, moment, gaps);
        self.masters.launch(leader)?;
        self.masters.all_serve(&self.observer).await?;
        self.load.check(&self.masters, &self.observer).await
    }

    /// Keeps the masters' folder, for people to look at.
    pub(crate) fn keep(&mut self) -> std::path::PathBuf {
        self.masters.keep()
    }

    /// Ends the load.
    pub(crate) async fn end(self) -> anyhow::Result<Counts> {
        let counts = self.load.stop().await;
        for asker in self.askers {
            asker.abort();
        }
        self.tasks.shutdown(Duration::from_secs(1)).await;
        self.observer.shutdown(LONG).await;
        for error in self.masters.errors()? {
            println!("{error}");
        }
        Ok(counts)
    }

    /// Lets the cluster run for a moment that is never the same, and says who leads.
    async fn steady(&mut self) -> anyhow::Result<usize> {
        self.masters.all_serve(&self.observer).await?;
        self.load.answered_since(Instant::now()).await?;
        tokio::time::sleep(Duration::from_millis(self.random.random_range(100..600))).await;
        self.load.forget_times();
        self.masters.leader(&self.observer).await
    }

    fn strike(&mut self, fault: Fault, leader: usize) -> anyhow::Result<&'static str> {
        match fault {
            Fault::Kill => self.masters.kill(leader).map(|()| "kill -9"),
            Fault::Stop => self.masters.signal(leader, Signal::SIGSTOP).map(|()| "SIGSTOP 5 s"),
            Fault::Cut if self.random.random_bool(0.5) => {
                self.masters.cut(leader, Cut::Peers).map(|()| "cut off from its peers")
            }
            Fault::Cut => self.masters.cut(leader, Cut::All).map(|()| "cut off from peers and clients"),
        }
    }

    async fn repair(&mut self, fault: Fault, leader: usize, since: Instant) -> anyhow::Result<()> {
        match fault {
            Fault::Kill => self.masters.launch(leader),
            Fault::Stop => {
                tokio::time::sleep_until((since + STOPPED).into()).await;
                self.masters.signal(leader, Signal::SIGCONT)
            }
            Fault::Cut => {
                let until = since + Duration::from_millis(self.random.random_range(CUT_MS));
                tokio::time::sleep_until(until.into()).await;
                self.masters.mend(leader)
            }
        }
    }

    /// Waits until another master leads, on the word of the others.
    async fn relieved(&self, old: usize) -> anyhow::Result<()> {
        let others: Vec<usize> = (0..MASTERS).filter(|id| *id != old).collect();
        let moved = || async {
            let asked = others.iter().map(|id| self.observer.ask_master(&self.masters.rpc()[*id]));
            let said = futures::future::join_all(asked).await;
            said.iter()
                .flatten()
                .any(|said| said.masters.iter().any(|master| master.leader && master.slot as usize != old))
        };
        wait_until("another master leads", moved).await
    }

    fn end_round(&self, number: usize, name: &'static str, leader: usize, moment: Instant, gaps: &mut Gaps) {
        let (each, first) = self.load.gaps(moment);
        let worst = each.iter().max().copied().unwrap_or_default();
        println!(
            "round {number}: master {leader}, {name}: slowest {} ms, begun {} ms after it; first write {} ms",
            worst.lasted.as_millis(),
            worst.begun.as_millis(),
            first.as_millis()
        );
        gaps.add(name, each.iter().map(|gap| gap.lasted), first);
    }
}
