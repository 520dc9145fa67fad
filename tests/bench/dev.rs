//! A dev cluster of the binary under measurement.

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// RPC port of the first master: away from the default, where somebody's cluster may run.
const PORT: u16 = 24200;

/// A running `goosefs dev`.
pub(crate) struct Dev {
    binary: PathBuf,
    process: Child,
    pub(crate) dir: PathBuf,
    pub(crate) mount: PathBuf,
    pub(crate) masters: String,
}

/// Name, process id and metrics address of each process.
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) pid: i32,
}

impl Dev {
    /// Starts it and waits until it says that everything runs.
    pub(crate) fn start(binary: &Path, dir: &Path, more: &[String]) -> anyhow::Result<Dev> {
        let binary = std::fs::canonicalize(binary).with_context(|| format!("find {}", binary.display()))?;
        let dir = std::path::absolute(dir)?;
        let mut process = Command::new(&binary)
            .args([
                "dev",
                "--worker-quota",
                "4GB",
                "--workers",
                "1",
                "--port-base",
                &PORT.to_string(),
                "--dir",
            ])
            .arg(&dir)
            .arg(format!("-Dgoosefs.fuse.web.port={}", PORT + 5))
            .args(more)
            .stdout(Stdio::piped())
            .spawn()
            .context("start goosefs dev")?;
        let stdout = process.stdout.take().context("no output of goosefs dev")?;
        let mut lines = BufReader::new(stdout).lines().map_while(Result::ok);
        let started = lines.any(|line| line.starts_with("Ctrl-C"));
        ensure!(started, "goosefs dev did not start");
        let masters: Vec<String> = (0..3).map(|id| format!("127.0.0.1:{}", PORT + 10 * id)).collect();
        Ok(Dev { binary, process, mount: dir.join("mnt"), dir, masters: masters.join(",") })
    }

    /// The binary that is measured.
    pub(crate) fn binary(&self) -> &Path {
        &self.binary
    }

    /// Runs `goosefs fs …`.
    pub(crate) fn fs(&self, args: &[&str]) -> anyhow::Result<()> {
        self.run(&[&["fs"], args].concat())
    }

    /// Runs `goosefs …` against this cluster.
    pub(crate) fn run(&self, args: &[&str]) -> anyhow::Result<()> {
        let mut command = Command::new(&self.binary);
        command.args(args).arg(format!("-Dgoosefs.master.rpc.addresses={}", self.masters));
        let output = command.output()?;
        ensure!(output.status.success(), "goosefs {args:?}: {}", String::from_utf8_lossy(&output.stdout));
        Ok(())
    }

    /// A counter of the FUSE process.
    pub(crate) fn fuse_counter(&self, name: &str) -> anyhow::Result<u64> {
        let url = format!("http://127.0.0.1:{}/metrics", PORT + 5);
        let output = Command::new("curl").args(["-s", &url]).output().context("run curl")?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let line = text.lines().find(|line| line.split([' ', '{']).next() == Some(name));
        let value = line.and_then(|line| line.rsplit(' ').next()).and_then(|value| value.parse().ok());
        value.with_context(|| format!("{name} is not among the metrics of {url}"))
    }

    /// Every process of the cluster.
    pub(crate) fn processes(&self) -> anyhow::Result<Vec<Process>> {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(self.dir.join("dev.json"))?)?;
        let pid = |value: &serde_json::Value| value["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok());
        let mut found = Vec::new();
        for (kind, list) in [("master", &record["masters"]), ("worker", &record["workers"])] {
            for (number, entry) in list.as_array().context("dev.json has no list")?.iter().enumerate() {
                let pid = pid(entry).context("dev.json has no pid")?;
                found.push(Process { name: format!("{kind} {number}"), pid });
            }
        }
        let fuse = pid(&record["fuse"]);
        found.extend(fuse.map(|pid| Process { name: "fuse".to_owned(), pid }));
        Ok(found)
    }

    /// Stops everything.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        kill(self.pid(), Signal::SIGTERM)?;
        let status = self.process.wait()?;
        if !status.success() {
            bail!("goosefs dev ended with {status}");
        }
        Ok(())
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.process.id()).unwrap_or(i32::MAX))
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        if matches!(self.process.try_wait(), Ok(None)) {
            let _ended_meanwhile = kill(self.pid(), Signal::SIGTERM);
            let _reaped = self.process.wait();
        }
    }
}

/// Drops the kernel's clean caches (root).
pub(crate) fn drop_caches() -> anyhow::Result<()> {
    nix::unistd::sync();
    std::fs::write("/proc/sys/vm/drop_caches", "3").context("drop the kernel's caches (needs root)")
}

/// Bytes of pseudo-random content into a new file, in the pieces that a worker writes: how large a write is decides how
/// large the page cache's folios are, and those how fast the file reads.
pub(crate) fn write_random(path: &Path, bytes: u64) -> anyhow::Result<()> {
    let mut random = std::fs::File::open("/dev/urandom")?;
    let mut file = std::fs::File::create(path).with_context(|| format!("create {}", path.display()))?;
    let mut piece = vec![0; 1 << 20];
    let mut left = bytes;
    while left > 0 {
        let count = usize::try_from(left).unwrap_or(usize::MAX).min(piece.len());
        random.read_exact(&mut piece[..count])?;
        file.write_all(&piece[..count])?;
        left -= count as u64;
    }
    file.sync_all()?;
    Ok(())
}
