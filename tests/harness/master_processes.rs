//! Masters alone, each a real process: started with a list and flags of its own, killed, paused, wiped.

use crate::ports;
use crate::{Binary, LONG, Said};
use anyhow::{Context, bail, ensure};
use goosefs_client::{Client, Config};
use goosefs_core::metrics::Metrics;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Ports from one master to the next.
const STEP: u16 = 10;

/// Masters of one cluster. All of them end, and their files go, when it is dropped.
#[derive(Debug)]
pub struct MasterProcesses {
    binary: PathBuf,
    folder: TempDir,
    masters: Vec<Master>,
    settings: Vec<String>,
    /// Put before the command of a master.
    wrap: Vec<String>,
}

#[derive(Debug)]
struct Master {
    raft_host: String,
    port: u16,
    child: Option<Child>,
}

impl MasterProcesses {
    /// Ports and folders for `count` masters; none runs.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn new(binary: impl Into<PathBuf>, count: u16) -> anyhow::Result<MasterProcesses> {
        let folder = tempfile::Builder::new().prefix("goosefs-masters-").tempdir()?;
        fs::create_dir(folder.path().join("ufs"))?;
        let base = ports::in_a_row(count * STEP, &["127.0.0.1"])?;
        let master = |id| Master { raft_host: "127.0.0.1".to_owned(), port: base + STEP * id, child: None };
        Ok(MasterProcesses {
            binary: binary.into(),
            masters: (0..count).map(master).collect(),
            settings: vec![format!(
                "-Dgoosefs.master.mount.table.root.ufs={}",
                folder.path().join("ufs").display()
            )],
            wrap: Vec::new(),
            folder,
        })
    }

    /// As [`MasterProcesses::new`], with all masters started and serving.
    ///
    /// # Errors
    /// What kept one from serving.
    pub fn started(binary: impl Into<PathBuf>, count: u16) -> anyhow::Result<MasterProcesses> {
        let mut masters = MasterProcesses::new(binary, count)?;
        for id in 0..masters.count() {
            masters.start(id, &[])?;
        }
        masters.all_ready()?;
        Ok(masters)
    }

    /// How many there are, running or not.
    #[must_use]
    pub fn count(&self) -> usize {
        self.masters.len()
    }

    /// A property of every master from its next start on: `goosefs.x=y`.
    pub fn set(&mut self, property: &str) {
        self.settings.push(format!("-D{property}"));
    }

    /// Masters are started by this command from now on, which runs what follows it.
    pub fn wrap(&mut self, command: &[&str]) {
        self.wrap = command.iter().map(|word| (*word).to_owned()).collect();
    }

    /// The host of master `id` in lists of Raft addresses from now on.
    pub fn name(&mut self, id: usize, host: &str) {
        host.clone_into(&mut self.masters[id].raft_host);
    }

    /// Gives master `id` another port, as if it had moved to another machine.
    ///
    /// # Errors
    /// When there are no free ports.
    pub fn move_master(&mut self, id: usize) -> anyhow::Result<()> {
        self.masters[id].port = ports::in_a_row(STEP, &["127.0.0.1"])?;
        Ok(())
    }

    /// `host:port` that clients dial.
    #[must_use]
    pub fn rpc(&self, id: usize) -> String {
        format!("127.0.0.1:{}", self.masters[id].port)
    }

    /// `host:port` of Raft.
    #[must_use]
    pub fn raft(&self, id: usize) -> String {
        format!("{}:{}", self.masters[id].raft_host, self.masters[id].port + 2)
    }

    /// A folder for the test's own files.
    #[must_use]
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// The storage under `/`.
    #[must_use]
    pub fn ufs(&self) -> PathBuf {
        self.folder.path().join("ufs")
    }

    /// The data directory of master `id`.
    #[must_use]
    pub fn dir(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("master-{id}"))
    }

    /// Starts master `id` with a list of all masters and further flags; does not wait.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&mut self, id: usize, flags: &[&str]) -> anyhow::Result<()> {
        let all: Vec<usize> = (0..self.count()).collect();
        self.start_listing(id, &all, flags)
    }

    /// As [`MasterProcesses::start`], with a list of these masters only.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_listing(&mut self, id: usize, list: &[usize], flags: &[&str]) -> anyhow::Result<()> {
        self.start_as(id, id, list, flags)
    }

    /// As [`MasterProcesses::start_listing`], but process `id` is told that it is master `told`.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start_as(&mut self, id: usize, told: usize, list: &[usize], flags: &[&str]) -> anyhow::Result<()> {
        let list = |address: fn(&MasterProcesses, usize) -> String| {
            list.iter().map(|id| address(self, *id)).collect::<Vec<_>>().join(",")
        };
        let mut args = vec!["master".to_owned(), format!("--id={told}")];
        args.push(format!("-Dgoosefs.master.rpc.addresses={}", list(MasterProcesses::rpc)));
        args.push(format!("-Dgoosefs.master.embedded.journal.addresses={}", list(MasterProcesses::raft)));
        args.push(format!("-Dgoosefs.master.web.port={}", self.masters[id].port + 1));
        args.push(format!("-Dgoosefs.master.journal.folder={}", self.dir(id).display()));
        args.extend(self.settings.iter().cloned());
        args.extend(flags.iter().map(|flag| (*flag).to_owned()));
        let binary = Binary::new(&self.binary, self.folder.path());
        let mut command = binary.command(&args);
        if let Some((program, rest)) = self.wrap.split_first() {
            let mut wrapped = Command::new(program);
            wrapped.args(rest).arg(command.get_program()).args(command.get_args());
            wrapped.env_clear().current_dir(self.folder.path()).stdin(Stdio::null());
            wrapped.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
            command = wrapped;
        }
        let log = OpenOptions::new().create(true).append(true).open(self.log_path(id))?;
        command.stdout(File::create(self.out_path(id))?).stderr(log);
        ensure!(self.masters[id].child.is_none(), "master {id} runs");
        self.masters[id].child = Some(command.spawn()?);
        Ok(())
    }

    /// Waits until master `id` says that it serves.
    ///
    /// # Errors
    /// When it ends, or does not in time.
    pub fn ready(&mut self, id: usize) -> anyhow::Result<()> {
        let until = Instant::now() + LONG;
        loop {
            if fs::read_to_string(self.out_path(id)).is_ok_and(|text| text.contains("ready ")) {
                return Ok(());
            }
            if let Some(said) = self.ended(id)? {
                bail!("master {id} ended with {:?}: {}", said.code, said.stderr);
            }
            ensure!(Instant::now() < until, "master {id} was not ready in {LONG:?}: {}", self.log(id));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until every master that was started says that it serves.
    ///
    /// # Errors
    /// When one ends, or does not in time.
    pub fn all_ready(&mut self) -> anyhow::Result<()> {
        (0..self.count())
            .filter(|id| self.masters[*id].child.is_some())
            .collect::<Vec<_>>()
            .into_iter()
            .try_for_each(|id| self.ready(id))
    }

    /// How master `id` ended, with its whole log as standard error; none while it runs.
    ///
    /// # Errors
    /// When it was not started.
    pub fn ended(&mut self, id: usize) -> anyhow::Result<Option<Said>> {
        let child =
            self.masters[id].child.as_mut().with_context(|| format!("master {id} was not started"))?;
        let Some(status) = child.try_wait()? else { return Ok(None) };
        self.masters[id].child = None;
        let stdout = fs::read_to_string(self.out_path(id)).unwrap_or_default();
        Ok(Some(Said { stdout, stderr: self.log(id), code: status.code() }))
    }

    /// Waits until master `id` ends by itself.
    ///
    /// # Errors
    /// When it does not in time.
    pub fn wait_end(&mut self, id: usize) -> anyhow::Result<Said> {
        let until = Instant::now() + LONG;
        loop {
            if let Some(said) = self.ended(id)? {
                return Ok(said);
            }
            ensure!(Instant::now() < until, "master {id} still runs after {LONG:?}: {}", self.log(id));
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills (-9) master `id`.
    ///
    /// # Errors
    /// When it does not run.
    pub fn kill(&mut self, id: usize) -> anyhow::Result<()> {
        let mut child = self.masters[id].child.take().with_context(|| format!("master {id} does not run"))?;
        child.kill()?;
        child.wait()?;
        Ok(())
    }

    /// Stops master `id` in good order.
    ///
    /// # Errors
    /// When it does not run or does not stop.
    pub fn stop(&mut self, id: usize) -> anyhow::Result<()> {
        self.signal(id, Signal::SIGTERM)?;
        self.wait_end(id).map(drop)
    }

    /// Sends master `id` a signal: SIGSTOP, SIGCONT.
    ///
    /// # Errors
    /// When it does not run.
    pub fn signal(&self, id: usize, signal: Signal) -> anyhow::Result<()> {
        let child = self.masters[id].child.as_ref().with_context(|| format!("master {id} does not run"))?;
        kill(Pid::from_raw(i32::try_from(child.id())?), signal)?;
        Ok(())
    }

    /// Removes the data directory of a master that does not run.
    ///
    /// # Errors
    /// When it runs, or has none.
    pub fn wipe(&mut self, id: usize) -> anyhow::Result<()> {
        ensure!(self.masters[id].child.is_none(), "master {id} runs");
        Ok(fs::remove_dir_all(self.dir(id))?)
    }

    /// What master `id` has logged, over all its starts.
    #[must_use]
    pub fn log(&self, id: usize) -> String {
        String::from_utf8_lossy(&fs::read(self.log_path(id)).unwrap_or_default()).into_owned()
    }

    /// Runs a command with the addresses of all masters.
    ///
    /// # Panics
    /// When it cannot be run or is not done in time.
    #[must_use]
    pub fn goosefs(&self, args: &[&str]) -> Said {
        let all: Vec<usize> = (0..self.count()).collect();
        self.ask(&all, args)
    }

    /// Runs a command with the addresses of these masters.
    ///
    /// # Panics
    /// When it cannot be run or is not done in time.
    #[must_use]
    pub fn ask(&self, ids: &[usize], args: &[&str]) -> Said {
        let addresses: Vec<String> = ids.iter().map(|id| self.rpc(*id)).collect();
        let binary = Binary::new(&self.binary, self.folder.path());
        let binary = binary.with("GOOSEFS_MASTER_RPC_ADDRESSES", addresses.join(","));
        binary.run(args).unwrap_or_else(|error| panic!("goosefs {}: {error:#}", args.join(" ")))
    }

    /// How many masters vote and answer, as these say.
    #[must_use]
    pub fn voters(&self, ids: &[usize]) -> usize {
        self.ask(ids, &["fsadmin", "journal", "quorum", "info"]).stdout.matches("AVAILABLE   |").count()
    }

    /// The master that leads, as these say.
    #[must_use]
    pub fn leader(&self, ids: &[usize]) -> Option<usize> {
        let said = self.ask(ids, &["fs", "masterInfo"]);
        let line = said.lines().first()?.strip_prefix("current leader master: ")?.to_owned();
        (0..self.count()).find(|id| self.rpc(*id) == line)
    }

    /// A client of all masters.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client_of(&(0..self.count()).collect::<Vec<_>>())
    }

    /// A client whose configuration names these masters.
    #[must_use]
    pub fn client_of(&self, ids: &[usize]) -> Client {
        let mut config = Config::new(ids.iter().map(|id| self.rpc(*id)).collect());
        config.caller = crate::root();
        Client::new(config, &Metrics::new())
    }

    fn log_path(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("master-{id}.log"))
    }

    fn out_path(&self, id: usize) -> PathBuf {
        self.folder.path().join(format!("master-{id}.out"))
    }
}

impl Drop for MasterProcesses {
    fn drop(&mut self) {
        for child in self.masters.iter_mut().filter_map(|master| master.child.as_mut()) {
            // A paused process is killed as well.
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            for id in 0..self.count() {
                let log = self.log(id);
                let lines: Vec<&str> = log.lines().rev().take(25).collect();
                eprintln!("master {id}:");
                for line in lines.into_iter().rev() {
                    eprintln!("  {line}");
                }
            }
        }
    }
}
