//! A cold 400 MB file from a web server: through FUSE, against `curl`. The server has it in memory both times.

use crate::dev::{Dev, drop_caches};
use crate::report::{self, rate};
use anyhow::{Context, ensure};
use std::path::Path;
use std::process::Command;
use std::time::Instant;

/// Length of the file.
pub(crate) const BYTES: u64 = 400_000_000;

/// Its name.
pub(crate) const NAME: &str = "cold.bin";

pub(crate) fn run(dev: &Dev, source: &Path, uri: &str, rounds: usize) -> anyhow::Result<()> {
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let file = source.join(NAME);
    let mounted = dev.mount.join("web/cold.bin");
    let input = format!("if={}", mounted.display());
    let url = format!("{}/cold.bin", uri.trim_end_matches('/'));
    let ours_line = ["dd", input.as_str(), "of=/dev/null", "bs=1M"];
    let theirs_line = ["curl", "-s", "-o", "/dev/null", url.as_str()];
    // What nobody has looked at is not known, and cannot be freed.
    dev.fs(&["ls", "/web"])?;
    for _ in 0..rounds {
        dev.fs(&["free", "/web/cold.bin"])?;
        drop_caches()?;
        warm(&file)?;
        ours.push(timed(&ours_line)?);
        theirs.push(timed(&theirs_line)?);
    }
    report::ratio(
        "cold read of 400 MB, FUSE / curl",
        "MB/s",
        (&ours_line.join(" "), &mut ours),
        (&theirs_line.join(" "), &mut theirs),
    );
    Ok(())
}

/// The server's side is to come from memory for both.
fn warm(file: &Path) -> anyhow::Result<()> {
    std::io::copy(&mut std::fs::File::open(file)?, &mut std::io::sink())?;
    Ok(())
}

fn timed(line: &[&str]) -> anyhow::Result<f64> {
    let begun = Instant::now();
    let output =
        Command::new(line[0]).args(&line[1..]).output().with_context(|| format!("run {}", line[0]))?;
    ensure!(output.status.success(), "{}: {}", line.join(" "), String::from_utf8_lossy(&output.stderr));
    Ok(rate(BYTES as f64 / 1e6, begun.elapsed()))
}
