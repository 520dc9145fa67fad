//! As many schedules as fit in the time, each in a process of its own: so it is the same when it runs alone.

use crate::world::simulate;
use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Seconds that `make test` gives it.
const SECONDS: u64 = 30;
/// Schedules at a time, unless `SIM_JOBS` says otherwise.
const JOBS: u64 = 2;
/// Lines of a schedule that failed which are shown.
const SHOWN: usize = 300;

fn setting(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}

/// Something panicked in this process.
pub(crate) static PANICKED: AtomicBool = AtomicBool::new(false);

/// Figures by name.
type Figures = BTreeMap<String, u64>;

/// Runs the schedule of `seed` in a process of its own.
///
/// # Errors
/// What it printed, when something did not hold.
fn run(seed: u64) -> Result<Figures, String> {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::the_schedule_of_one_seed", "--nocapture"]);
    let ended = command.env("SIM_SEED", seed.to_string()).output().unwrap();
    let printed = String::from_utf8_lossy(&ended.stdout).into_owned();
    let report = printed.lines().find_map(|line| line.strip_prefix("report "));
    if let Some(report) = report
        && ended.status.success()
    {
        let figures = report.split(' ').map(|figure| figure.split_once('=').unwrap());
        return Ok(figures.map(|(name, value)| (name.to_owned(), value.parse().unwrap())).collect());
    }
    let lines: Vec<&str> = printed.lines().collect();
    let trace = lines[lines.len().saturating_sub(SHOWN)..].join("\n");
    Err(format!("{trace}\n{}\n{}", String::from_utf8_lossy(&ended.stderr), ended.status))
}

#[test]
fn the_schedule_of_one_seed() {
    let Some(seed) = setting("SIM_SEED") else { return };
    // A task that panics takes only itself down, and the rest would wait for it.
    let shown = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        shown(panic);
        PANICKED.store(true, Ordering::Relaxed);
    }));
    let report = simulate(seed);
    println!("report {report}");
}

#[test]
fn nothing_acknowledged_is_lost_doubled_or_read_stale() {
    if setting("SIM_SEED").is_some() {
        return;
    }
    let time = Duration::from_secs(setting("SIM_SECONDS").unwrap_or(SECONDS));
    let first = setting("SIM_FROM").unwrap_or_else(|| rand::random::<u32>().into());
    println!("seeds from {first}");
    let (start, next) = (Instant::now(), AtomicU64::new(first));
    let sums = Mutex::new((0, Figures::new()));
    std::thread::scope(|scope| {
        for _ in 0..setting("SIM_JOBS").unwrap_or(JOBS) {
            scope.spawn(|| {
                while start.elapsed() < time {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let figures = run(seed).unwrap_or_else(|printed| {
                        panic!(
                            "{printed}\nthe schedule of SIM_SEED={seed} failed, number {}",
                            seed - first + 1
                        )
                    });
                    let mut sums = sums.lock().unwrap();
                    sums.0 += 1;
                    for (name, value) in figures {
                        *sums.1.entry(name).or_default() += value;
                    }
                }
            });
        }
    });
    let (schedules, mut sums) = sums.into_inner().unwrap();
    sums.remove("trace");
    println!("{schedules} schedules in {:.1} s: {sums:?}", start.elapsed().as_secs_f64());
    assert!(sums["acknowledged"] > schedules, "hardly anything was done");
}

#[test]
fn a_seed_gives_the_same_schedule_every_time() {
    if setting("SIM_SEED").is_some() {
        return;
    }
    assert_eq!(run(7), run(7));
}
