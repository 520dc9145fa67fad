//! A cluster of real processes, started by `goosefs dev`.
//!
//! Each has a directory and ports of its own. However a test ends, its guard leaves no process and no mount: it asks
//! `dev` to stop, kills what stays, aborts the FUSE connection and unmounts. It never looks into a mount whose daemon
//! may be dead. When a test fails, the logs are printed and kept.

use crate::logs;
use crate::{Binary, LONG, Said};
use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long `dev` may take to stop everything.
const STOP: Duration = Duration::from_secs(60);

/// After so long the FUSE connection is aborted: every call on the mount then fails, so that no test hangs for ever.
const GUARD: Duration = Duration::from_secs(400);

/// What to start.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The binary under test.
    pub binary: PathBuf,
    /// Masters.
    pub masters: u16,
    /// Workers; worker k (from 1) listens on 127.0.0.k.
    pub workers: u16,
    /// Whether the namespace is mounted as a directory.
    pub fuse: bool,
    /// `/path=URI` of every `--mount`.
    pub mounts: Vec<String>,
    /// Further arguments of `dev`.
    pub args: Vec<String>,
    /// A WARN or ERROR line of a log that contains one of these is expected.
    pub allowed: Vec<String>,
}

impl Launch {
    /// Three masters, two workers, no mount.
    #[must_use]
    pub fn new(binary: impl Into<PathBuf>) -> Launch {
        Launch {
            binary: binary.into(),
            masters: 3,
            workers: 2,
            fuse: false,
            mounts: Vec::new(),
            args: Vec::new(),
            allowed: Vec::new(),
        }
    }

    /// As [`Launch::new`], for a test that kills leaders: those who lose one say so, and a log that was being written ends
    /// in the middle of a record.
    #[must_use]
    pub fn losing_leaders(self) -> Launch {
        let allowed = ["leader", "raft", "Raft", "master", "Truncating log file"].map(str::to_owned).to_vec();
        Launch { allowed, ..self }
    }

    /// One master and one worker.
    #[must_use]
    pub fn small(binary: impl Into<PathBuf>) -> Launch {
        Launch { masters: 1, workers: 1, ..Launch::new(binary) }
    }
}

/// `DIR/dev.json`.
#[derive(Clone, Deserialize, Debug)]
pub struct Record {
    /// By their ids.
    pub masters: Vec<Process>,
    /// In the order of their addresses.
    pub workers: Vec<Process>,
    /// The mount, when there is one.
    pub fuse: Option<Process>,
}

/// One process of the cluster.
#[derive(Clone, Deserialize, Debug)]
pub struct Process {
    /// Of the process that `dev` started.
    pub pid: u32,
    /// What follows the binary's name.
    pub args: Vec<String>,
    /// `host:port`, empty for FUSE.
    #[serde(default)]
    pub rpc: String,
    /// `host:port`, empty for FUSE.
    #[serde(default)]
    pub web: String,
    /// Of FUSE only.
    pub mount_point: Option<PathBuf>,
}

/// A running cluster.
#[derive(Debug)]
pub struct DevCluster {
    launch: Launch,
    folder: Option<TempDir>,
    root: PathBuf,
    port_base: u16,
    dev: Option<Child>,
    record: Record,
    /// DevCluster that the test itself started, by name.
    own: BTreeMap<String, Child>,
    finished: bool,
    /// Its end tells the guard to go.
    alive: Arc<()>,
}

impl DevCluster {
    /// Starts a cluster and waits until all of it serves.
    ///
    /// # Errors
    /// What `dev` said when it could not.
    pub fn start(launch: Launch) -> anyhow::Result<DevCluster> {
        let folder = tempfile::Builder::new().prefix("goosefs-test-").tempdir()?;
        let root = folder.path().to_owned();
        let port_base = free_ports(launch.masters, launch.workers)?;
        let record = Record { masters: Vec::new(), workers: Vec::new(), fuse: None };
        let own = BTreeMap::new();
        let mut cluster = DevCluster {
            launch,
            folder: Some(folder),
            root,
            port_base,
            dev: None,
            record,
            own,
            finished: false,
            alive: Arc::default(),
        };
        if cluster.launch.fuse {
            guard(cluster.mount_point(), Arc::downgrade(&cluster.alive));
        }
        cluster.start_dev()?;
        Ok(cluster)
    }

    /// Starts `dev` again on the same directory and ports.
    ///
    /// # Errors
    /// What `dev` said when it could not.
    pub fn start_dev(&mut self) -> anyhow::Result<()> {
        let mut args = vec![
            "dev".to_owned(),
            format!("--dir={}", self.dir().display()),
            format!("--masters={}", self.launch.masters),
            format!("--workers={}", self.launch.workers),
            format!("--port-base={}", self.port_base),
        ];
        args.extend(self.launch.mounts.iter().map(|mount| format!("--mount={mount}")));
        if !self.launch.fuse {
            args.push("--no-fuse".to_owned());
        }
        args.extend(self.launch.args.iter().cloned());
        let output = self.root.join("dev.out");
        let file = File::create(&output)?;
        let mut command = self.binary().command(&args);
        self.dev = Some(command.stdout(file.try_clone()?).stderr(file).spawn()?);
        let said = || std::fs::read_to_string(&output).unwrap_or_default();
        let until = Instant::now() + LONG;
        while !said().contains("Ctrl-C stops everything.") {
            if let Some(status) = self.dev.as_mut().and_then(|dev| dev.try_wait().transpose()).transpose()? {
                self.dev = None;
                bail!("`dev` ended with {status}:\n{}", said());
            }
            ensure!(Instant::now() < until, "`dev` was not ready after {LONG:?}:\n{}", said());
            std::thread::sleep(Duration::from_millis(20));
        }
        let json = std::fs::read(self.dir().join("dev.json")).context("read dev.json")?;
        self.record = serde_json::from_slice(&json).context("read dev.json")?;
        Ok(())
    }

    /// What `dev` printed since its last start.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.root.join("dev.out")).unwrap_or_default()
    }

    /// The directory of the cluster.
    #[must_use]
    pub fn dir(&self) -> PathBuf {
        self.root.join("d")
    }

    /// A directory of the test, beside the cluster's.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        &self.root
    }

    /// The local folder under the root mount, unless `--mount /=…` was given.
    #[must_use]
    pub fn ufs(&self) -> PathBuf {
        self.dir().join("root")
    }

    /// RPC port of the first master.
    #[must_use]
    pub fn port_base(&self) -> u16 {
        self.port_base
    }

    /// Where the namespace is mounted.
    #[must_use]
    pub fn mount_point(&self) -> PathBuf {
        self.dir().join("mnt")
    }

    /// What `dev.json` says.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// `host:port` of every master.
    #[must_use]
    pub fn masters(&self) -> Vec<String> {
        self.record.masters.iter().map(|master| master.rpc.clone()).collect()
    }

    /// The number of the master that leads now.
    ///
    /// # Panics
    /// When none does.
    #[must_use]
    pub fn leader(&self) -> usize {
        let said = self.goosefs(&["fs", "masterInfo"]);
        let address = said.stdout.lines().find_map(|line| line.strip_prefix("current leader master: "));
        let found = self.masters().iter().position(|master| Some(master.as_str()) == address);
        found.unwrap_or_else(|| panic!("no leader: {}", said.stdout))
    }

    /// The binary under test.
    #[must_use]
    pub fn binary(&self) -> Binary {
        Binary::new(&self.launch.binary, &self.root)
    }

    /// Runs a command with the addresses of this cluster.
    ///
    /// # Panics
    /// When it cannot be run or is not done in time.
    pub fn goosefs(&self, args: &[&str]) -> Said {
        let binary = self.binary().with("GOOSEFS_MASTER_RPC_ADDRESSES", self.masters().join(","));
        binary.run(args).unwrap_or_else(|error| panic!("goosefs {}: {error:#}", args.join(" ")))
    }

    /// Ends one of `master-0`, `worker-1`, `fuse` by SIGKILL and waits until it is gone.
    ///
    /// # Errors
    /// When there is no such process, or it stays.
    pub fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.end(name, Signal::SIGKILL)
    }

    /// Asks one process to end and waits until it has.
    ///
    /// # Errors
    /// When there is no such process, or it stays.
    pub fn stop(&mut self, name: &str) -> anyhow::Result<()> {
        self.end(name, Signal::SIGTERM)
    }

    /// Starts a process that was ended again, by its `args`, and waits until it serves.
    ///
    /// # Errors
    /// What kept it from serving.
    pub fn restart(&mut self, name: &str) -> anyhow::Result<()> {
        let args = self.process(name)?.args.clone();
        self.start_process(name, &args)
    }

    /// Starts a process of the binary as `name`, its log with the others, and waits until it serves.
    ///
    /// # Errors
    /// What kept it from serving.
    pub fn start_process(&mut self, name: &str, args: &[String]) -> anyhow::Result<()> {
        let log = self.dir().join("logs").join(format!("{name}.log"));
        let ready = self.root.join(format!("{name}.out"));
        let mut command = self.binary().command(args);
        command
            .stdout(File::create(&ready)?)
            .stderr(OpenOptions::new().create(true).append(true).open(&log)?);
        let mut child = command.stdin(Stdio::null()).spawn()?;
        let until = Instant::now() + LONG;
        let outcome = loop {
            if std::fs::read_to_string(&ready)?.contains("ready ") {
                break Ok(());
            }
            if let Some(status) = child.try_wait()? {
                bail!("{name} ended with {status}: {}", logs::tail(&log, 5));
            }
            if Instant::now() > until {
                break Err(anyhow::anyhow!("{name} was not ready after {LONG:?}"));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.own.insert(name.to_owned(), child);
        outcome
    }

    /// Ends every process by SIGKILL at once, and takes the dead mount away.
    ///
    /// # Errors
    /// When one stays.
    pub fn kill_all(&mut self) -> anyhow::Result<()> {
        // All before any is waited for: they would end in good order when they see that `dev` is gone.
        for pid in self.pids() {
            signal(pid, Signal::SIGKILL);
        }
        for mut child in self.dev.take().into_iter().chain(std::mem::take(&mut self.own).into_values()) {
            child.kill()?;
            child.wait()?;
        }
        for pid in self.pids() {
            until_gone(pid)?;
        }
        self.unmount();
        Ok(())
    }

    /// Stops everything in good order, and makes sure that no process, no mount and no line that nobody expected in
    /// a log stays.
    ///
    /// # Errors
    /// Whatever stayed.
    pub fn finish(mut self) -> anyhow::Result<()> {
        let outcome = self.scan_logs().and_then(|()| self.stop_all()).and_then(|()| {
            // The last master that stops misses the others.
            self.launch.allowed.push("openraft".to_owned());
            self.scan_logs()
        });
        self.finished = outcome.is_ok();
        outcome
    }

    /// Stops everything in good order; [`DevCluster::start_dev`] starts it again.
    ///
    /// # Errors
    /// When something stayed.
    pub fn stop_all(&mut self) -> anyhow::Result<()> {
        for (name, child) in &mut self.own {
            signal(child.id(), Signal::SIGTERM);
            end_child(child).with_context(|| name.clone())?;
        }
        self.own.clear();
        if let Some(mut dev) = self.dev.take() {
            signal(dev.id(), Signal::SIGTERM);
            let status = end_child(&mut dev).context("`dev`")?;
            ensure!(status.success(), "`dev` ended with {status}");
        }
        for pid in self.pids() {
            ensure!(!lives(pid), "process {pid} outlived `dev`");
        }
        let point = self.mount_point();
        ensure!(goosefs_core::mountinfo::at(&point).is_none(), "{} stays mounted", point.display());
        Ok(())
    }

    /// Lines of WARN, ERROR and panics in the logs that nobody expected.
    ///
    /// # Errors
    /// Naming them.
    pub fn scan_logs(&self) -> anyhow::Result<()> {
        let unexpected = logs::unexpected(&self.dir().join("logs"), &self.launch.allowed)?;
        ensure!(unexpected.is_empty(), "nobody expected in the logs:\n{}", unexpected.join("\n"));
        Ok(())
    }

    /// Pids of the masters as they run now.
    #[must_use]
    pub fn master_pids(&self) -> Vec<i32> {
        let own = |id: usize| self.own.get(&format!("master-{id}")).map(Child::id);
        let pids = self.record.masters.iter().enumerate().map(|(id, master)| own(id).unwrap_or(master.pid));
        pids.filter_map(|pid| i32::try_from(pid).ok()).collect()
    }

    fn process(&self, name: &str) -> anyhow::Result<&Process> {
        let numbered =
            |text: &str| text.rsplit_once('-').and_then(|(_, number)| number.parse::<usize>().ok());
        let found = match (name.split('-').next(), numbered(name)) {
            (Some("master"), Some(id)) => self.record.masters.get(id),
            (Some("worker"), Some(number)) => self.record.workers.get(number.wrapping_sub(1)),
            _ => self.record.fuse.as_ref().filter(|_| name == "fuse"),
        };
        found.with_context(|| format!("there is no {name}"))
    }

    fn end(&mut self, name: &str, with: Signal) -> anyhow::Result<()> {
        if let Some(mut child) = self.own.remove(name) {
            signal(child.id(), with);
            end_child(&mut child)?;
            return Ok(());
        }
        let pid = self.process(name)?.pid;
        signal(pid, with);
        until_gone(pid)
    }

    fn pids(&self) -> Vec<u32> {
        let record = &self.record;
        record.masters.iter().chain(&record.workers).chain(&record.fuse).map(|process| process.pid).collect()
    }

    fn unmount(&self) {
        let point = self.mount_point();
        while let Some(mount) = goosefs_core::mountinfo::at(&point) {
            // Both may say that it is gone already.
            let _ = mount.abort();
            if nix::mount::umount2(&point, nix::mount::MntFlags::MNT_DETACH).is_err() {
                return;
            }
        }
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        eprintln!("the test did not finish in good order; its cluster said:");
        eprintln!("{}", std::fs::read_to_string(self.root.join("dev.out")).unwrap_or_default());
        eprint!("{}", logs::digest(&self.dir().join("logs")));
        if let Some(mut dev) = self.dev.take() {
            signal(dev.id(), Signal::SIGTERM);
            if end_child(&mut dev).is_err() {
                let _ = dev.kill();
            }
        }
        for mut child in std::mem::take(&mut self.own).into_values() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for pid in self.pids().into_iter().filter(|pid| lives(*pid)) {
            signal(pid, Signal::SIGKILL);
        }
        self.unmount();
        if let Some(folder) = self.folder.take() {
            eprintln!("logs are kept in {}", folder.keep().display());
        }
    }
}

/// Waits aside until the cluster is gone, and aborts its connection when that takes too long.
fn guard(point: PathBuf, alive: Weak<()>) {
    std::thread::spawn(move || {
        let until = Instant::now() + GUARD;
        while Instant::now() < until {
            if alive.strong_count() == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        if let Some(mount) = goosefs_core::mountinfo::at(&point) {
            eprintln!("{} is aborted after {GUARD:?}", point.display());
            let _ = mount.abort();
        }
    });
}

fn signal(pid: u32, with: Signal) {
    if let Ok(pid) = i32::try_from(pid) {
        // Whoever is gone already needs none.
        let _ = kill(Pid::from_raw(pid), with);
    }
}

fn end_child(child: &mut Child) -> anyhow::Result<std::process::ExitStatus> {
    let until = Instant::now() + STOP;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        ensure!(Instant::now() < until, "did not stop within {STOP:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// Whether a process runs; one that only waits to be reaped does not.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let runs =
        stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z') && !rest.starts_with('X'));
    // Its first thread may be gone while others still hold files and ports.
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    runs || threads > 1
}

fn until_gone(pid: u32) -> anyhow::Result<()> {
    let until = Instant::now() + STOP;
    while lives(pid) {
        ensure!(Instant::now() < until, "process {pid} is still there after {STOP:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// A port base of which every port is free, below those that the system gives to clients.
///
/// # Errors
/// When there is none.
pub fn free_ports(masters: u16, workers: u16) -> anyhow::Result<u16> {
    let free = |host: u16, port: u16| TcpListener::bind(format!("127.0.0.{host}:{port}")).is_ok();
    for _ in 0..100 {
        let base = 12_000 + 100 * rand::random_range(0..200_u16);
        let of_masters = (0..masters).all(|id| (0..3).all(|port| free(1, base + 10 * id + port)));
        if of_masters && (1..=workers + 1).all(|host| free(host, base + 3) && free(host, base + 4)) {
            return Ok(base);
        }
    }
    bail!("no free ports were found")
}
