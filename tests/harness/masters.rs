//! Three masters as real processes, without workers: killed, stopped, cut off, wiped and started at will.
//!
//! Where network namespaces can be made (root), each master has one of its own and may be cut off; elsewhere they listen
//! on loopback and [`Masters::cut`] is refused. Their journals may lie on disks that fail when they are told to. All processes end when this is dropped, and when the test is killed.

use crate::frail::FrailDisk;
use crate::ports;
use crate::wires::{Cut, Wires};
use crate::{LONG, root, wait_until};
use anyhow::{Context, bail, ensure};
use goosefs_client::{Client, Config};
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::{DigestResponse, HelloRequest};
use goosefs_core::rpc::frame::{Channel, Target};
use goosefs_core::task::Tasks;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How many.
pub const MASTERS: usize = 3;

/// RPC port of a master in a namespace of its own; web and Raft follow.
const PORT: u16 = 9200;

/// How long a master may take to stop when asked.
const STOP: Duration = Duration::from_secs(30);

/// Three master processes.
#[derive(Debug)]
pub struct Masters {
    binary: PathBuf,
    /// One for each master, or none: journals then lie in `dir`. Dropped before the folder they are mounted in.
    disks: Vec<FrailDisk>,
    dir: TempDir,
    // Dropped after the processes that use them are gone: see `Drop`.
    wires: Option<Wires>,
    rpc: Vec<String>,
    raft: Vec<String>,
    more: Vec<String>,
    /// What is loaded into each master so that its wall clock can be set.
    clocks: Option<PathBuf>,
    children: Vec<Option<Child>>,
}

impl Masters {
    /// Plans a cluster below a new folder in `dir`, with further flags `more`; nothing runs yet. Says aloud when masters
    /// cannot be cut off here.
    ///
    /// # Errors
    /// When there is no folder or no free port.
    pub fn plan(binary: &Path, dir: &Path, more: &[&str]) -> anyhow::Result<Masters> {
        let wires = Wires::lay(MASTERS)
            .inspect_err(|error| eprintln!("SKIPPED: no master is cut off from the others: {error:#}"))
            .ok();
        Masters::plan_with(binary, dir, more, wires)
    }

    /// As [`Masters::plan`], all on loopback: none is to be cut off.
    ///
    /// # Errors
    /// As [`Masters::plan`].
    pub fn plan_on_loopback(binary: &Path, dir: &Path, more: &[&str]) -> anyhow::Result<Masters> {
        Masters::plan_with(binary, dir, more, None)
    }

    /// As [`Masters::plan_on_loopback`], each journal on a [`FrailDisk`] of its own.
    ///
    /// # Errors
    /// As [`Masters::plan`], and those of [`FrailDisk::mount`].
    pub fn plan_on_frail_disks(binary: &Path, dir: &Path, more: &[&str]) -> anyhow::Result<Masters> {
        let mut masters = Masters::plan_with(binary, dir, more, None)?;
        let point = |id: usize| masters.dir.path().join(format!("disk-{id}"));
        masters.disks = (0..MASTERS).map(|id| FrailDisk::mount(&point(id))).collect::<anyhow::Result<_>>()?;
        Ok(masters)
    }

    fn plan_with(binary: &Path, dir: &Path, more: &[&str], wires: Option<Wires>) -> anyhow::Result<Masters> {
        let dir = tempfile::Builder::new().prefix("goosefs-masters-").tempdir_in(dir)?;
        let (rpc, raft) = match &wires {
            Some(wires) => (
                (0..MASTERS).map(|id| format!("{}:{PORT}", wires.client_host(id))).collect(),
                (0..MASTERS).map(|id| format!("{}:{}", wires.peer_host(id), PORT + 2)).collect(),
            ),
            None => {
                let bases = (0..MASTERS)
                    .map(|_| ports::in_a_row(3, &["127.0.0.1"]))
                    .collect::<anyhow::Result<Vec<u16>>>()?;
                let at = |more: u16| bases.iter().map(|port| format!("127.0.0.1:{}", port + more)).collect();
                (at(0), at(2))
            }
        };
        fs::create_dir(dir.path().join("ufs"))?;
        Ok(Masters {
            binary: fs::canonicalize(binary).with_context(|| format!("find {}", binary.display()))?,
            disks: Vec::new(),
            dir,
            wires,
            rpc,
            raft,
            more: more.iter().map(|flag| (*flag).to_owned()).collect(),
            clocks: None,
            children: (0..MASTERS).map(|_| None).collect(),
        })
    }

    /// Gives each master that is started from now on a wall clock of its own, by libfaketime. Says aloud when it is not
    /// installed, and whether it is.
    pub fn give_clocks(&mut self) -> bool {
        self.clocks = libfaketime();
        if self.clocks.is_none() {
            eprintln!("SKIPPED: no clock jumps: libfaketime is not installed (Debian package faketime)");
        }
        self.clocks.is_some()
    }

    /// Whether wall clocks can be set.
    #[must_use]
    pub fn have_clocks(&self) -> bool {
        self.clocks.is_some()
    }

    /// Sets the wall clock of master `id` so many seconds ahead of the machine's, or behind it. Its monotonic clock goes
    /// on as it did.
    ///
    /// # Errors
    /// When it has no clock of its own.
    pub fn set_clock(&self, id: usize, seconds: i64) -> anyhow::Result<()> {
        ensure!(self.have_clocks(), "masters have no clocks of their own");
        let aside = self.clock(id).with_extension("new");
        fs::write(&aside, format!("{seconds:+}\n"))?;
        // It is read at any moment.
        Ok(fs::rename(&aside, self.clock(id))?)
    }

    fn clock(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("clock-{id}"))
    }

    /// Plans a cluster as [`Masters::plan`] does, starts it and waits until all masters serve.
    ///
    /// # Errors
    /// What keeps them from serving.
    pub async fn start(binary: &Path, dir: &Path, more: &[&str]) -> anyhow::Result<Masters> {
        let mut masters = Masters::plan(binary, dir, more)?;
        masters.launch_all().await?;
        Ok(masters)
    }

    /// Starts all masters for the first time and waits until they serve and the root is mounted.
    ///
    /// # Errors
    /// What keeps them from serving.
    pub async fn launch_all(&mut self) -> anyhow::Result<()> {
        for id in 0..MASTERS {
            self.launch(id)?;
        }
        let client = self.client();
        let mounted = || async { client.inodes().mounts().await.is_ok_and(|mounts| !mounts.is_empty()) };
        wait_until("the root is mounted", mounted).await?;
        self.all_serve(&client).await?;
        client.shutdown(LONG).await;
        Ok(())
    }

    /// Whether a master can be cut off.
    #[must_use]
    pub fn can_cut(&self) -> bool {
        self.wires.is_some()
    }

    /// `host:port` of every master's RPC port.
    #[must_use]
    pub fn rpc(&self) -> &[String] {
        &self.rpc
    }

    /// The local folder under the root mount.
    #[must_use]
    pub fn ufs(&self) -> PathBuf {
        self.dir.path().join("ufs")
    }

    /// What master `id` logged.
    #[must_use]
    pub fn log(&self, id: usize) -> PathBuf {
        self.dir.path().join(format!("master-{id}.log"))
    }

    /// Keeps the folder, for people to look at, and says where it is.
    pub fn keep(&mut self) -> PathBuf {
        self.dir.disable_cleanup(true);
        self.dir.path().to_owned()
    }

    /// A client with connections and a session of its own.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_with(|_| {})
    }

    /// As [`Masters::client`], configured by `adjust`.
    #[must_use]
    pub fn client_with(&self, adjust: impl FnOnce(&mut Config)) -> Client {
        let mut config = Config::new(self.rpc.clone());
        config.caller = root();
        config.short_circuit = false;
        // There are no workers to know of.
        config.workers_refresh = Duration::from_secs(3600);
        adjust(&mut config);
        Client::new(config, &Metrics::new())
    }

    /// A client that masters which are gone do not keep for long.
    #[must_use]
    pub fn observer(&self) -> Client {
        self.client_with(|config| config.connect_timeout = Duration::from_millis(500))
    }

    /// Starts master `id`; does not wait for it.
    ///
    /// # Errors
    /// When it runs, or cannot be started.
    pub fn launch(&mut self, id: usize) -> anyhow::Result<()> {
        ensure!(self.children[id].is_none(), "master {id} runs already");
        let binary = self.binary.display().to_string();
        let mut command = match &self.wires {
            Some(wires) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", &wires.namespace(id), &binary]);
                command
            }
            None => Command::new(&binary),
        };
        let port: u16 = self.rpc[id].rsplit_once(':').context("no port")?.1.parse()?;
        let log = File::options().create(true).append(true).open(self.log(id))?;
        command
            .args(["master", "--id", &id.to_string()])
            .arg(format!("-Dgoosefs.home={}", self.dir.path().display()))
            .arg(format!("-Dgoosefs.master.rpc.addresses={}", self.rpc.join(",")))
            .arg(format!("-Dgoosefs.master.embedded.journal.addresses={}", self.raft.join(",")))
            .arg(format!("-Dgoosefs.master.journal.folder={}", self.journal(id).display()))
            .arg(format!("-Dgoosefs.master.web.port={}", port + 1))
            .arg(format!("-Dgoosefs.master.mount.table.root.ufs={}", self.ufs().display()))
            .args(&self.more)
            // It ends when we do, however that happens.
            .env("GOOSEFS_STOP_WITH_STDIN", "1")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log);
        if let Some(library) = &self.clocks {
            if !self.clock(id).exists() {
                self.set_clock(id, 0)?;
            }
            command
                .env("LD_PRELOAD", library)
                .env("FAKETIME_TIMESTAMP_FILE", self.clock(id))
                .env("FAKETIME_NO_CACHE", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .env("NO_FAKE_STAT", "1");
        }
        self.children[id] = Some(command.spawn().context("start a master")?);
        Ok(())
    }

    /// The data directory of master `id`.
    #[must_use]
    pub fn journal(&self, id: usize) -> PathBuf {
        match self.disks.get(id) {
            Some(disk) => disk.point().join("journal"),
            None => self.dir.path().join(format!("journal-{id}")),
        }
    }

    /// The disk under the journal of master `id`.
    ///
    /// # Panics
    /// When the cluster was not planned on such disks.
    #[must_use]
    pub fn disk(&self, id: usize) -> &FrailDisk {
        &self.disks[id]
    }

    /// Whether master `id` was started and not ended since; it may be stopped or cut off.
    #[must_use]
    pub fn runs(&self, id: usize) -> bool {
        self.children[id].is_some()
    }

    /// Kills (-9) master `id` and waits until it is gone.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, id: usize) -> anyhow::Result<()> {
        let mut child = self.children[id].take().with_context(|| format!("master {id} does not run"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Sends a signal to master `id`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, id: usize, signal: Signal) -> anyhow::Result<()> {
        let child = self.children[id].as_ref().with_context(|| format!("master {id} does not run"))?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        Ok(())
    }

    /// Waits until master `id`, which was asked to end, has.
    ///
    /// # Errors
    /// When it stays, or ends with an error.
    pub async fn ended(&mut self, id: usize) -> anyhow::Result<()> {
        let mut child = self.children[id].take().with_context(|| format!("master {id} does not run"))?;
        let until = Instant::now() + STOP;
        loop {
            if let Some(status) = child.try_wait()? {
                ensure!(status.success(), "master {id} ended with {status}");
                return Ok(());
            }
            if Instant::now() > until {
                child.kill()?;
                child.wait()?;
                bail!("master {id} did not stop within {STOP:?}");
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Waits until master `id` ends, though nobody asked it to, and gives its exit status.
    ///
    /// # Errors
    /// When it stays.
    pub async fn ended_by_itself(&mut self, id: usize) -> anyhow::Result<ExitStatus> {
        let mut child = self.children[id].take().with_context(|| format!("master {id} does not run"))?;
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > until {
                self.children[id] = Some(child);
                bail!("master {id} still runs after {LONG:?}");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Removes the data directory of a master that does not run.
    ///
    /// # Errors
    /// When it runs.
    pub fn wipe(&self, id: usize) -> anyhow::Result<()> {
        ensure!(!self.runs(id), "master {id} runs");
        fs::remove_dir_all(self.journal(id))?;
        Ok(())
    }

    /// Cuts master `id` off.
    ///
    /// # Errors
    /// When it cannot be done here.
    pub fn cut(&self, id: usize, cut: Cut) -> anyhow::Result<()> {
        self.wires.as_ref().context("there are no network namespaces")?.cut(id, cut)
    }

    /// Ends what [`Masters::cut`] did.
    ///
    /// # Errors
    /// When it cannot be done here.
    pub fn mend(&self, id: usize) -> anyhow::Result<()> {
        self.wires.as_ref().context("there are no network namespaces")?.mend(id)
    }

    /// Which master leads, on the word of those that answer; the highest term counts.
    ///
    /// # Errors
    /// When none names one for long.
    pub async fn leader(&self, client: &Client) -> anyhow::Result<usize> {
        let until = Instant::now() + LONG;
        loop {
            let asked = (0..MASTERS).filter(|id| self.runs(*id)).map(|id| client.ask_master(&self.rpc[id]));
            let said = futures::future::join_all(asked).await;
            let known = said.into_iter().flatten().filter_map(|said| {
                let leader = said.masters.iter().find(|master| master.leader)?;
                Some((said.term, leader.slot as usize))
            });
            if let Some((_, leader)) = known.max() {
                return Ok(leader);
            }
            ensure!(Instant::now() < until, "no master leads");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until every master serves and has a vote.
    ///
    /// # Errors
    /// When one does not.
    pub async fn all_serve(&self, client: &Client) -> anyhow::Result<()> {
        let serve = || async {
            let asked = self.rpc.iter().map(|address| client.ask_master(address));
            let said = futures::future::join_all(asked).await;
            said.into_iter().all(|said| said.is_ok_and(|said| said.serving && said.voter))
        };
        wait_until("every master serves and votes", serve).await
    }

    /// While nobody writes: waits until the copies of all masters are at the same log index, and compares them.
    ///
    /// # Errors
    /// When copies of the same index differ, or one stays behind.
    pub async fn agreed(&self, client: &Client) -> anyhow::Result<DigestResponse> {
        let until = Instant::now() + LONG;
        loop {
            let asked = self.rpc.iter().map(|address| client.digest(address));
            let said: Vec<_> = futures::future::join_all(asked).await;
            let known: Vec<DigestResponse> = said.iter().flatten().copied().collect();
            for (one, other) in known.iter().flat_map(|one| known.iter().map(move |other| (one, other))) {
                ensure!(
                    one.index != other.index || one == other,
                    "copies of index {} differ: {said:?}",
                    one.index
                );
            }
            if let [first, rest @ ..] = known.as_slice()
                && known.len() == self.rpc.len()
                && rest.iter().all(|other| other == first)
            {
                return Ok(*first);
            }
            ensure!(Instant::now() < until, "masters stay apart: {said:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Lines of all logs that tell of an ERROR or a panic.
    ///
    /// # Errors
    /// When a log cannot be read.
    pub fn errors(&self) -> anyhow::Result<Vec<String>> {
        let mut found = Vec::new();
        for id in 0..MASTERS {
            let text = String::from_utf8_lossy(&fs::read(self.log(id))?).into_owned();
            let bad =
                |line: &&str| line.split_whitespace().nth(1) == Some("ERROR") || line.contains("panicked at");
            found.extend(text.lines().filter(bad).map(|line| format!("master {id}: {line}")));
        }
        Ok(found)
    }
}

impl Drop for Masters {
    fn drop(&mut self) {
        // Who waits for a silent disk cannot be killed.
        for disk in &self.disks {
            disk.end();
        }
        for child in self.children.iter_mut().flatten() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("logs are kept in {}", self.keep().display());
        }
    }
}

/// A connection to the master at `address`, whether it leads or not, which no client of ours would make.
///
/// # Errors
/// When it is not made within a second.
pub async fn connect_to(address: &str, tasks: &Tasks) -> goosefs_core::Result<Channel> {
    let hello = HelloRequest { version: 1, cluster: None, role: "client".into(), caller: Some(root()) };
    Channel::connect(&Target::Tcp(address.to_owned()), hello, tasks, Duration::from_secs(1)).await
}

/// Where Debian has the library, if it is installed.
fn libfaketime() -> Option<PathBuf> {
    let folders = fs::read_dir("/usr/lib").ok()?;
    let library = |folder: fs::DirEntry| folder.path().join("faketime/libfaketimeMT.so.1");
    folders.flatten().map(library).find(|library| library.exists())
}
