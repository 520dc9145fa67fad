//! Reads of a cached 1 GiB file through FUSE, against the same `fio` on the bare file. Both are in the page cache, so
//! this is what the way through FUSE costs.

use crate::dev::Dev;
use crate::report;
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;

/// Length of the file.
pub(crate) const BYTES: u64 = 1 << 30;

pub(crate) fn run(dev: &Dev, bare: &Path, rounds: usize) -> anyhow::Result<()> {
    dev.fs(&["load", "/cached.bin"])?;
    let mounted = dev.mount.join("cached.bin");
    for (what, pattern, size, jobs) in [
        ("sequential 1 MiB reads, FUSE / bare", "read", "1m", "1"),
        ("random 4 KiB reads, FUSE / bare", "randread", "4k", "2"),
    ] {
        // Once each, so that both files are in the page cache.
        fio(&mounted, pattern, size, jobs)?;
        fio(bare, pattern, size, jobs)?;
        let before = dev.fuse_counter("goosefs_fuse_reads_total")?;
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(fio(&mounted, pattern, size, jobs)?);
            theirs.push(fio(bare, pattern, size, jobs)?);
        }
        let seen = dev.fuse_counter("goosefs_fuse_reads_total")? - before;
        let (our_command, their_command) =
            (line(&mounted, pattern, size, jobs), line(bare, pattern, size, jobs));
        report::ratio(what, "MiB/s", (&our_command, &mut ours), (&their_command, &mut theirs));
        println!("  READ requests that the daemon saw meanwhile: {seen}");
    }
    Ok(())
}

fn arguments(file: &Path, pattern: &str, size: &str, jobs: &str) -> Vec<String> {
    let file = file.display();
    [
        "--name=read".to_owned(),
        format!("--filename={file}"),
        format!("--rw={pattern}"),
        format!("--bs={size}"),
        format!("--numjobs={jobs}"),
        "--readonly".to_owned(),
        "--ioengine=psync".to_owned(),
        "--runtime=3".to_owned(),
        "--time_based".to_owned(),
        "--group_reporting".to_owned(),
        "--invalidate=0".to_owned(),
        "--output-format=json".to_owned(),
    ]
    .to_vec()
}

fn line(file: &Path, pattern: &str, size: &str, jobs: &str) -> String {
    format!("fio {}", arguments(file, pattern, size, jobs).join(" "))
}

/// MiB per second.
fn fio(file: &Path, pattern: &str, size: &str, jobs: &str) -> anyhow::Result<f64> {
    let output = Command::new("fio").args(arguments(file, pattern, size, jobs)).output();
    let output = output.context("run fio (apt-get install fio)")?;
    ensure!(output.status.success(), "fio: {}", String::from_utf8_lossy(&output.stderr));
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).context("read what fio says")?;
    let bytes = result["jobs"][0]["read"]["bw_bytes"].as_f64().context("fio names no bandwidth")?;
    Ok(bytes / f64::from(1 << 20))
}
