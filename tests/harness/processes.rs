//! A whole cluster of real processes, as `goosefs dev` starts them; they can be killed like any other.

use crate::LONG;
use crate::ports;
use anyhow::{Context, bail, ensure};
use goosefs_client::{Client, Config};
use goosefs_core::metrics::Metrics;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Ports that a dev cluster of up to three masters and seven workers uses from its base upward.
const PORTS: u16 = 30;

/// What it prints last when everything serves.
const READY: &str = "Ctrl-C stops everything";

/// A cluster of processes. All of them end when it is dropped.
#[derive(Debug)]
pub struct Processes {
    binary: PathBuf,
    dir: TempDir,
    args: Vec<String>,
    dev: Option<Child>,
    record: Record,
    /// Processes that were started again, by the address they serve.
    again: Vec<(String, Child)>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct Record {
    masters: Vec<Role>,
    workers: Vec<Role>,
}

#[derive(Clone, Debug, Deserialize)]
struct Role {
    pid: i32,
    args: Vec<String>,
    rpc: String,
}

impl Processes {
    /// Starts `goosefs dev` by `binary`, without a mount, with further flags `more`, and waits until all serves.
    ///
    /// # Errors
    /// What it printed when it does not start.
    pub fn start(binary: &Path, more: &[&str]) -> anyhow::Result<Processes> {
        let dir = TempDir::new()?;
        let folder = dir.path().join("dev").display().to_string();
        let port = ports::in_a_row(PORTS, &["127.0.0.1", "127.0.0.2", "127.0.0.3"])?.to_string();
        let flags = ["dev", "--dir", &folder, "--port-base", &port, "--no-fuse"];
        let args = flags.iter().chain(more).map(|flag| (*flag).to_owned()).collect();
        let mut cluster = Processes {
            binary: binary.to_owned(),
            dir,
            args,
            dev: None,
            record: Record::default(),
            again: Vec::new(),
        };
        cluster.start_all()?;
        Ok(cluster)
    }

    /// Starts the whole cluster (again, after [`Processes::stop_all`] or [`Processes::kill_all`]).
    ///
    /// # Errors
    /// What it printed when it does not start.
    pub fn start_all(&mut self) -> anyhow::Result<()> {
        ensure!(self.dev.is_none(), "the cluster runs");
        let printed = self.dir.path().join("dev.out");
        let out = File::create(&printed)?;
        let mut command = Command::new(&self.binary);
        command.args(&self.args).stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        let dev = self.dev.insert(command.spawn().context("start goosefs dev")?);
        let until = Instant::now() + LONG;
        loop {
            let text = fs::read_to_string(&printed)?;
            if text.contains(READY) {
                break;
            }
            if let Some(status) = dev.try_wait()? {
                self.dev = None;
                bail!("goosefs dev ended with {status}: {text}");
            }
            ensure!(Instant::now() < until, "goosefs dev was not ready in {LONG:?}: {text}");
            std::thread::sleep(Duration::from_millis(50));
        }
        self.record = serde_json::from_slice(&fs::read(self.folder().join("dev.json"))?)?;
        Ok(())
    }

    /// The folder of the cluster: journals, caches, logs, and `root`, the storage under `/`.
    #[must_use]
    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("dev")
    }

    /// `host:port` of every master.
    #[must_use]
    pub fn masters(&self) -> Vec<String> {
        self.record.masters.iter().map(|master| master.rpc.clone()).collect()
    }

    /// A client of this cluster.
    #[must_use]
    pub fn client(&self) -> Client {
        let mut config = Config::new(self.masters());
        config.caller = crate::root();
        Client::new(config, &Metrics::new())
    }

    /// Kills (-9) master `id`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_master(&mut self, id: usize) -> anyhow::Result<()> {
        let role = self.record.masters[id].clone();
        self.kill(&role)
    }

    /// Kills (-9) worker `number`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill_worker(&mut self, number: usize) -> anyhow::Result<()> {
        let role = self.record.workers[number].clone();
        self.kill(&role)
    }

    /// Starts a master again that was killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_master(&mut self, id: usize) -> anyhow::Result<()> {
        let role = self.record.masters[id].clone();
        self.start_role(&role)
    }

    /// Starts a worker again that was killed.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_worker(&mut self, number: usize) -> anyhow::Result<()> {
        let role = self.record.workers[number].clone();
        self.start_role(&role)
    }

    /// Stops everything as Ctrl-C does, and waits until nothing of it runs.
    ///
    /// # Errors
    /// When it does not stop in time, or a process is left.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        for (_, mut child) in self.again.drain(..) {
            kill(Pid::from_raw(i32::try_from(child.id())?), Signal::SIGTERM)?;
            child.wait()?;
        }
        let Some(mut dev) = self.dev.take() else { return Ok(()) };
        kill(Pid::from_raw(i32::try_from(dev.id())?), Signal::SIGTERM)?;
        let until = Instant::now() + LONG;
        while dev.try_wait()?.is_none() {
            ensure!(Instant::now() < until, "goosefs dev did not stop in {LONG:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
        let left: Vec<i32> = self.roles().map(|role| role.pid).filter(|pid| runs(*pid)).collect();
        ensure!(left.is_empty(), "processes {left:?} are left");
        Ok(())
    }

    /// Kills (-9) everything at once, as a power cut would.
    pub fn kill_all(&mut self) {
        if let Some(dev) = &mut self.dev {
            // First, so that it has no time to stop the others in order.
            let _ = dev.kill();
        }
        let pids: Vec<i32> = self.roles().map(|role| role.pid).collect();
        for pid in &pids {
            let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
        }
        for (_, mut child) in self.again.drain(..) {
            let _ = child.kill();
            let _ = child.wait();
        }
        if let Some(mut dev) = self.dev.take() {
            let _ = dev.wait();
        }
        let until = Instant::now() + LONG;
        while pids.iter().any(|pid| runs(*pid)) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Lines of all logs that hold `word`, with the file's name.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn log_lines(&self, word: &str) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.folder().join("logs"))? {
            let path = entry?.path();
            let text = String::from_utf8_lossy(&fs::read(&path)?).into_owned();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            found.extend(
                text.lines().filter(|line| line.contains(word)).map(|line| format!("{name}: {line}")),
            );
        }
        Ok(found)
    }

    fn roles(&self) -> impl Iterator<Item = &Role> {
        self.record.masters.iter().chain(&self.record.workers)
    }

    fn kill(&mut self, role: &Role) -> anyhow::Result<()> {
        if let Some(at) = self.again.iter().position(|(rpc, _)| *rpc == role.rpc) {
            let (_, mut child) = self.again.swap_remove(at);
            child.kill()?;
            child.wait()?;
            return Ok(());
        }
        kill(Pid::from_raw(role.pid), Signal::SIGKILL).with_context(|| format!("kill {}", role.rpc))?;
        let until = Instant::now() + LONG;
        while runs(role.pid) {
            ensure!(Instant::now() < until, "{} survives a kill", role.rpc);
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(())
    }

    fn start_role(&mut self, role: &Role) -> anyhow::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.folder().join("logs").join(format!("again-{}.log", role.rpc)))?;
        let mut command = Command::new(&self.binary);
        command.args(&role.args).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.again.push((role.rpc.clone(), command.spawn()?));
        Ok(())
    }
}

impl Drop for Processes {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let errors = self.log_lines("ERROR").unwrap_or_default();
            eprintln!("errors in the logs of {}: {errors:#?}", self.folder().display());
        }
        self.kill_all();
    }
}

/// Whether a process runs; one that ended and was not waited for does not.
fn runs(pid: i32) -> bool {
    let Ok(stat) = fs::read_to_string(format!("/proc/{pid}/stat")) else { return false };
    // The state follows the name, which is in parentheses and may hold any character.
    !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X'])
}
