//! One process of the cluster.

use super::super::process::STOP_WITH_STDIN;
use super::layout::Plan;
use anyhow::Context;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fs::OpenOptions;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{ChildStdin, Command};
use tokio::sync::{mpsc, watch};

/// How long a process may take to end before it is killed.
const GRACE: Duration = Duration::from_secs(15);

/// What is told of a process.
#[derive(Debug)]
pub(super) enum Event {
    /// It can serve.
    Ready(String),
    /// It has ended.
    Ended(String, ExitStatus),
}

/// A process that was started.
#[derive(Debug)]
pub(super) struct Child {
    pub(super) plan: Plan,
    pub(super) pid: u32,
    pub(super) log: PathBuf,
    ended: watch::Receiver<bool>,
    /// Held open: its end tells the process to stop, should we die.
    _stdin: Option<ChildStdin>,
}

impl Child {
    /// Starts the process; what happens to it goes to `events`. Its log is appended to `logs/<name>.log`.
    pub(super) fn start(
        plan: &Plan,
        logs: &Path,
        events: mpsc::UnboundedSender<Event>,
    ) -> anyhow::Result<Child> {
        let log = logs.join(format!("{}.log", plan.name));
        let file = OpenOptions::new().create(true).append(true).open(&log);
        let file = file.with_context(|| format!("open {}", log.display()))?;
        let mut command = Command::new(std::env::current_exe().context("find this program")?);
        command.args(&plan.args).env(STOP_WITH_STDIN, "1");
        // A group of its own: Ctrl-C is for us, who stop the processes in order.
        command.process_group(0).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(file);
        let mut process = command.spawn().with_context(|| format!("start {}", plan.name))?;
        let pid = process.id().with_context(|| format!("{} ended at once", plan.name))?;
        let (stdin, stdout) = (process.stdin.take(), process.stdout.take());
        let (end, ended) = watch::channel(false);
        let name = plan.name.clone();
        tokio::spawn(async move {
            if let Some(stdout) = stdout {
                let mut lines = BufReader::new(stdout).lines();
                while let Ok(Some(line)) = lines.next_line().await {
                    if line.starts_with("ready ") {
                        let _nobody_listens = events.send(Event::Ready(name.clone()));
                    }
                }
            }
            let status = process.wait().await;
            end.send_replace(true);
            let status = status.unwrap_or_else(|_| ExitStatus::from_raw(0));
            let _nobody_listens = events.send(Event::Ended(name, status));
        });
        Ok(Child { plan: plan.clone(), pid, log, ended, _stdin: stdin })
    }

    pub(super) fn lives(&self) -> bool {
        !*self.ended.borrow()
    }

    /// Asks the process to end and waits until it has; kills it when it takes too long.
    pub(super) async fn stop(&mut self) {
        if self.wait(Signal::SIGTERM, GRACE).await {
            return;
        }
        eprintln!("{} (pid {}) did not stop within {GRACE:?} and is killed", self.plan.name, self.pid);
        self.wait(Signal::SIGKILL, GRACE).await;
    }

    async fn wait(&mut self, signal: Signal, limit: Duration) -> bool {
        if self.lives() {
            let pid = i32::try_from(self.pid).unwrap_or(i32::MAX);
            let _already_gone = kill(Pid::from_raw(pid), signal);
        }
        tokio::time::timeout(limit, self.ended.wait_for(|ended| *ended)).await.is_ok()
    }

    /// The last lines of its log, for whoever wonders why it ended.
    pub(super) fn last_words(&self, count: usize) -> String {
        let text = std::fs::read(&self.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<&str> = text.lines().rev().take(count).collect();
        lines.into_iter().rev().map(|line| format!("  {line}\n")).collect()
    }
}

/// `killed by SIGKILL` or `exit code 1`.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.signal().and_then(|number| Signal::try_from(number).ok()), status.code()) {
        (Some(signal), _) => format!("killed by {}", signal.as_str()),
        (None, Some(code)) => format!("exit code {code}"),
        (None, None) => "unknown status".to_owned(),
    }
}
