//! How figures are printed.

use anyhow::Context;
use std::time::Duration;

/// The middle of `values`.
pub(crate) fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// What the figures were taken on.
pub(crate) fn machine() {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!("{cores} cores, load before {}", load.split(' ').next().unwrap_or_default());
}

/// One comparison: ours by theirs, with both commands.
pub(crate) fn ratio(what: &str, unit: &str, ours: (&str, &mut [f64]), theirs: (&str, &mut [f64])) {
    let (ours_at, theirs_at) = (median(ours.1), median(theirs.1));
    let share = if theirs_at > 0.0 { ours_at / theirs_at } else { 0.0 };
    println!("\n{what}: {share:.2}");
    println!("  {ours_at:>12.1} {unit}  {}", ours.0);
    println!("  {theirs_at:>12.1} {unit}  {}", theirs.0);
}

/// Resident bytes of a process, as /proc says (proc_pid_status(5)).
pub(crate) fn resident(pid: i32) -> anyhow::Result<f64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS")?;
    let kilobytes: f64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(kilobytes * 1024.0)
}

/// Units per second.
pub(crate) fn rate(units: f64, took: Duration) -> f64 {
    units / took.as_secs_f64().max(1e-9)
}
