//! Figures, and whether they hold.

use std::collections::BTreeMap;
use std::time::Duration;

/// Load averages and cores, since they are half of every figure here.
pub(crate) fn machine() -> String {
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = load.split_whitespace().take(3).collect::<Vec<_>>().join(" ");
    format!("load averages {load} on {cores} cores")
}

/// How long operations took that were under way when something happened to the leader: one figure a client and round.
#[derive(Default)]
pub(crate) struct Gaps {
    by_fault: BTreeMap<&'static str, Vec<Duration>>,
    /// Until any client's write succeeded, one a round.
    first: Vec<Duration>,
}

impl Gaps {
    pub(crate) fn add(&mut self, fault: &'static str, gaps: impl Iterator<Item = Duration>, first: Duration) {
        self.by_fault.entry(fault).or_default().extend(gaps);
        self.first.push(first);
    }

    /// Prints them; says whether 99 of 100 are within `limit`.
    pub(crate) fn print(mut self, title: &str, limit: Duration) -> bool {
        if self.first.is_empty() {
            return true;
        }
        println!("\n{title}: {} rounds", self.first.len());
        println!(
            "  {:<40} {:>7} {:>8} {:>8} {:>8}",
            "slowest operation of each client", "count", "p50", "p99", "max"
        );
        let mut all = Vec::new();
        for (fault, gaps) in &mut self.by_fault {
            all.extend_from_slice(gaps);
            line(fault, gaps);
        }
        let p99 = line("all", &mut all);
        line("first write of any client, each round", &mut self.first);
        let held = p99 <= limit;
        println!(
            "  limit: p99 of all at most {} ms: {}",
            limit.as_millis(),
            if held { "held" } else { "BROKEN" }
        );
        held
    }
}

/// Prints one line and gives its p99.
fn line(name: &str, gaps: &mut [Duration]) -> Duration {
    gaps.sort_unstable();
    let at = |part: f64| {
        let rank = (part * gaps.len() as f64).ceil() as usize;
        gaps.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    };
    let ms = |gap: Duration| format!("{:.0} ms", gap.as_secs_f64() * 1000.0);
    let (p50, p99, max) = (at(0.5), at(0.99), at(1.0));
    println!("  {name:<40} {:>7} {:>8} {:>8} {:>8}", gaps.len(), ms(p50), ms(p99), ms(max));
    p99
}

/// What must be zero, and how much was tried.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) writes: u64,
    pub(crate) reads: u64,
    pub(crate) direct_answers: u64,
    pub(crate) direct_refusals: u64,
    pub(crate) comparisons: u64,
    pub(crate) lost: Vec<String>,
    pub(crate) doubled: Vec<String>,
    pub(crate) stale: Vec<String>,
    pub(crate) reader_errors: Vec<String>,
    pub(crate) writer_errors: Vec<String>,
}

impl Counts {
    /// Prints them; says whether nothing is wrong.
    pub(crate) fn print(&self) -> bool {
        println!(
            "\n{} writes and {} reads were answered; single masters answered {} direct reads and refused {};\n\
             copies of all masters were compared {} times",
            self.writes, self.reads, self.direct_answers, self.direct_refusals, self.comparisons
        );
        let mut right = self.comparisons > 0 && self.writes > 0 && self.reads > 0;
        for (what, wrong) in [
            ("acknowledged operations lost", &self.lost),
            ("operations doubled", &self.doubled),
            ("stale reads", &self.stale),
            ("reader errors", &self.reader_errors),
            ("writer errors", &self.writer_errors),
        ] {
            println!("{what}: {}", wrong.len());
            for text in wrong.iter().take(10) {
                println!("    {text}");
            }
            right &= wrong.is_empty();
        }
        right
    }
}
