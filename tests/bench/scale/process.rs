//! One master, as `dev.json` tells it: ended, started again, and asked how far it is.

use anyhow::{Context, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A master that takes longer than this does not come back.
const PATIENCE: Duration = Duration::from_secs(300);

/// One master of the cluster.
pub(super) struct Master {
    pub(super) rpc: String,
    pub(super) folder: PathBuf,
    pid: i32,
    args: Vec<String>,
    web: String,
    child: Option<Child>,
}

impl Master {
    /// All of them.
    pub(super) fn all(dir: &Path) -> anyhow::Result<Vec<Master>> {
        let record: serde_json::Value = serde_json::from_slice(&std::fs::read(dir.join("dev.json"))?)?;
        let list = record["masters"].as_array().context("dev.json has no masters")?;
        list.iter().map(Master::from_record).collect()
    }

    fn from_record(entry: &serde_json::Value) -> anyhow::Result<Master> {
        let text =
            |value: &serde_json::Value| value.as_str().map(str::to_owned).context("not a text in dev.json");
        let args = entry["args"].as_array().context("dev.json has no args")?;
        let args: Vec<String> = args.iter().map(text).collect::<anyhow::Result<_>>()?;
        let folder = args.iter().find_map(|arg| arg.strip_prefix("-Dgoosefs.master.journal.folder="));
        Ok(Master {
            rpc: text(&entry["rpc"])?,
            web: text(&entry["web"])?,
            folder: folder.context("a master without a folder")?.into(),
            pid: entry["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()).context("no pid")?,
            args,
            child: None,
        })
    }

    /// Its process.
    pub(super) fn pid(&self) -> i32 {
        self.pid
    }

    /// Ends it as a crash does.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        kill(Pid::from_raw(self.pid), Signal::SIGKILL)?;
        match self.child.take() {
            Some(mut child) => drop(child.wait()?),
            // The cluster's parent reaps it.
            None => {
                while kill(Pid::from_raw(self.pid), None).is_ok() {
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        }
        Ok(())
    }

    /// Starts it again.
    pub(super) fn start(&mut self, binary: &Path) -> anyhow::Result<()> {
        let mut command = Command::new(binary);
        command.args(&self.args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().context("start a master again")?;
        self.pid = i32::try_from(child.id())?;
        self.child = Some(child);
        Ok(())
    }

    /// Index of the last entry it has applied; none while it does not answer.
    pub(super) fn applied(&self) -> Option<u64> {
        self.metric("goosefs_raft_applied_index").map(|value| value as u64)
    }

    /// A number of its metrics page; none while it does not answer or has no such number.
    pub(super) fn metric(&self, name: &str) -> Option<f64> {
        let mut stream = TcpStream::connect(&self.web).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        write!(stream, "GET /metrics HTTP/1.0\r\nHost: {}\r\n\r\n", self.web).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?;
        line.trim().parse().ok()
    }

    /// Waits until it has applied entry `index`.
    pub(super) fn wait_applied(&self, index: u64) -> anyhow::Result<()> {
        let begun = Instant::now();
        while self.applied().is_none_or(|applied| applied < index) {
            ensure!(begun.elapsed() < PATIENCE, "master {} does not come back", self.rpc);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Master {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ended_meanwhile = kill(Pid::from_raw(self.pid), Signal::SIGTERM);
            let _reaped = child.wait();
        }
    }
}
