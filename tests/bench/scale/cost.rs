//! What operations cost while they are measured, and what bounds their number.
//!
//! Processor time comes from /proc (utime and stime of proc_pid_stat(5), the machine's from proc_stat(5)), syncs of the
//! log from the leader's metrics. The bound is a rule over those, so that it holds for the run it is printed in:
//!
//! | bound by | when |
//! |---|---|
//! | processors | they are idle for less than a tenth of the time; named is the side that takes most of it |
//! | fdatasync | the leader's log is being synced for more than half of the time |
//! | round trips | else: callers wait for messages and wake-ups, more callers make more of it |
//!
//! Where that time goes further `perf record -a` tells (release builds carry line tables). With clients and masters on the
//! same processors, most of a read's is the kernel's TCP, both sides alike. Of a change's it is, on the leader, first the RPC
//! face (TCP, tasks, telling listeners), then Raft's messages and the wake-ups between its tasks, then the log; the state
//! machine itself is the least.

use super::process::Master;
use anyhow::Context;
use std::time::{Duration, Instant};

/// More of the processors' time than this: there is none to be had.
const BUSY: f64 = 0.9;

/// More of the time than this in fdatasync: the log waits for its disk.
const SYNCING: f64 = 0.5;

/// The processes that are watched.
pub(super) struct Meter<'a> {
    leader: &'a Master,
    followers: Vec<&'a Master>,
}

/// Counters at one moment, times in seconds.
#[derive(Clone, Copy)]
struct Sample {
    at: Instant,
    clients: f64,
    leader: f64,
    followers: f64,
    busy: f64,
    processors: f64,
    syncs: f64,
    syncing: f64,
}

/// A measurement under way.
pub(super) struct Running<'a> {
    meter: &'a Meter<'a>,
    begun: Sample,
}

/// What some operations cost.
pub(super) struct Cost {
    rate: f64,
    /// Processor time of one operation, in microseconds.
    clients: f64,
    leader: f64,
    followers: f64,
    /// Share of the processors' time that anybody took, and that none of ours did.
    busy: f64,
    others: f64,
    /// Syncs of the leader's log an operation, and the share of the time that they take.
    syncs: f64,
    syncing: f64,
}

impl<'a> Meter<'a> {
    /// Watches this process and `masters`, of which the one at RPC address `leader` leads.
    pub(super) fn new(masters: &'a [Master], leader: &str) -> anyhow::Result<Meter<'a>> {
        let (leads, followers): (Vec<_>, Vec<_>) = masters.iter().partition(|master| master.rpc == leader);
        let leader = leads.first().copied().context("the leader is not in dev.json")?;
        Ok(Meter { leader, followers })
    }

    /// Begins to measure.
    pub(super) fn start(&'a self) -> anyhow::Result<Running<'a>> {
        Ok(Running { meter: self, begun: self.sample()? })
    }

    fn sample(&self) -> anyhow::Result<Sample> {
        let metric = |name: &str| self.leader.metric(name).unwrap_or_default();
        let (syncs, syncing) =
            (metric("goosefs_raft_fsyncs_total"), metric("goosefs_raft_fsync_seconds_sum"));
        let mut followers = 0.0;
        for follower in &self.followers {
            followers += processor_seconds(&follower.pid().to_string())?;
        }
        let (busy, processors) = machine()?;
        Ok(Sample {
            at: Instant::now(),
            clients: processor_seconds("self")?,
            leader: processor_seconds(&self.leader.pid().to_string())?,
            followers,
            busy,
            processors,
            syncs,
            syncing,
        })
    }
}

impl Running<'_> {
    /// What the `made` operations since the start cost, which took `time`.
    pub(super) fn stop(self, made: u64, time: Duration) -> anyhow::Result<Cost> {
        let (from, to) = (self.begun, self.meter.sample()?);
        let made = (made as f64).max(1.0);
        let [clients, leader, followers] =
            [to.clients - from.clients, to.leader - from.leader, to.followers - from.followers];
        let all = (to.processors - from.processors).max(1e-9);
        let busy = (to.busy - from.busy) / all;
        Ok(Cost {
            rate: crate::report::rate(made, time),
            clients: clients / made * 1e6,
            leader: leader / made * 1e6,
            followers: followers / made * 1e6,
            busy,
            others: (busy - (clients + leader + followers) / all).max(0.0),
            syncs: (to.syncs - from.syncs) / made,
            syncing: (to.syncing - from.syncing) / (to.at - from.at).as_secs_f64(),
        })
    }
}

impl Cost {
    /// What its columns are.
    pub(super) fn head() {
        println!(
            "  {:<36}{:>8}{:>9}   {:<27}  {:<16}  {:<15}",
            "", "", "", "processor us an operation", "processors", "leader's log"
        );
        println!(
            "  {:<36}{:>8}{:>9}   {:>7} {:>7} {:>11}  {:>6} {:>9}  {:>8} {:>6}  bound by",
            "operation",
            "callers",
            "/s",
            "clients",
            "leader",
            "2 followers",
            "busy",
            "by others",
            "syncs/op",
            "of time"
        );
    }

    /// One line.
    pub(super) fn print(&self, name: &str, callers: usize) {
        println!(
            "  {name:<36}{callers:>8}{:>9.0}   {:>7.1} {:>7.1} {:>11.1}  {:>4.0} % {:>7.0} %  {:>8.3} {:>4.0} %  {}",
            self.rate,
            self.clients,
            self.leader,
            self.followers,
            self.busy * 100.0,
            self.others * 100.0,
            self.syncs,
            self.syncing * 100.0,
            self.bound()
        );
    }

    fn bound(&self) -> String {
        if self.busy >= BUSY {
            let sides = [(self.clients, "clients"), (self.leader, "leader"), (self.followers, "followers")];
            let all: f64 = sides.iter().map(|(share, _)| share).sum();
            let most = sides.into_iter().max_by(|a, b| a.0.total_cmp(&b.0));
            let (share, name) = most.unwrap_or_default();
            return format!("processors, {:.0} % of it the {name}", share / all.max(1e-9) * 100.0);
        }
        if self.syncing >= SYNCING { "fdatasync".to_owned() } else { "round trips".to_owned() }
    }
}

/// Processor time of a process (a pid or "self") since its start.
fn processor_seconds(process: &str) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    // The name in parentheses may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    let ticks = |field: usize| rest.split_whitespace().nth(field).and_then(|ticks| ticks.parse::<f64>().ok());
    let both = ticks(11).zip(ticks(12)).map(|(user, system)| user + system);
    Ok(both.context("no times in /proc/PID/stat")? / ticks_per_second()?)
}

/// Seconds that the machine's processors were busy, and that there were.
fn machine() -> anyhow::Result<(f64, f64)> {
    let stat = std::fs::read_to_string("/proc/stat")?;
    let line = stat.lines().next().context("/proc/stat is empty")?;
    // user nice system idle iowait irq softirq steal; what a guest takes is in user.
    let ticks: Vec<f64> = line.split_whitespace().skip(1).take(8).map_while(|n| n.parse().ok()).collect();
    let all: f64 = ticks.iter().sum();
    let idle: f64 = ticks.iter().skip(3).take(2).sum();
    Ok(((all - idle) / ticks_per_second()?, all / ticks_per_second()?))
}

fn ticks_per_second() -> anyhow::Result<f64> {
    let ticks = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK)?.context("no clock ticks")?;
    Ok(ticks as f64)
}
