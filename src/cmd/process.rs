//! What every role's process does around its role: a runtime, a web port, a line when it is ready, signals, an orderly
//! end.

use super::told::told;
use super::{out, settings};
use goosefs_core::config::Properties;
use goosefs_core::metrics::Metrics;
use goosefs_core::task::Tasks;
use goosefs_core::{Result, rpc};
use goosefs_web::Pages;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::signal::unix::{SignalKind, signal};

/// Set by `goosefs dev` for its children: they end when their standard input does, so that none outlives it.
pub(super) const STOP_WITH_STDIN: &str = "GOOSEFS_STOP_WITH_STDIN";

/// How long an orderly end may take.
const GRACE: Duration = Duration::from_secs(10);

/// A second signal that comes sooner is taken for the first.
const SAME_SIGNAL: Duration = Duration::from_secs(1);

/// A role that was started.
pub(super) trait Role: Send + Sync + 'static {
    /// `master 0`, `worker 8123`, `fuse /mnt`.
    fn name(&self) -> String;
    /// Where it listens or is mounted, for the line that says it is ready.
    fn place(&self) -> String;
    fn metrics(&self) -> Metrics;
    fn ready(&self) -> impl Future<Output = Result<()>> + Send;
    /// Whether it is still ready, once it was.
    fn is_ready(&self) -> bool {
        true
    }
    fn shutdown(&self, grace: Duration) -> impl Future<Output = ()> + Send;
    fn join(&self) -> impl Future<Output = Result<()>> + Send;
}

/// Runs a role until a signal or a failure ends it. `web` gives the address of the web port, if it has one.
pub(super) fn run<R, F>(
    role: &'static str,
    define: Vec<String>,
    web: impl FnOnce(&Properties) -> Result<Option<String>>,
    start: impl FnOnce(Properties) -> F,
) -> ExitCode
where
    R: Role,
    F: Future<Output = Result<R>>,
{
    match run_here(role, define, web, start) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("goosefs {}: {}", role.to_ascii_lowercase(), told(&error));
            ExitCode::FAILURE
        }
    }
}

fn run_here<R, F>(
    role: &'static str,
    define: Vec<String>,
    web: impl FnOnce(&Properties) -> Result<Option<String>>,
    start: impl FnOnce(Properties) -> F,
) -> anyhow::Result<()>
where
    R: Role,
    F: Future<Output = Result<R>>,
{
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name(role).build()?;
    // Before all else: to the first process of a container a signal that nobody takes yet is lost.
    let stop = runtime.block_on(async { Stop::new() })?;
    let properties = settings::load(role, define)?;
    let outcome = runtime.block_on(serve(stop, web(&properties)?, start(properties)));
    // Whatever still blocks a thread (an under-storage that does not answer) must not hold the end up.
    runtime.shutdown_timeout(Duration::from_secs(1));
    outcome
}

async fn serve<R: Role>(
    mut stop: Stop,
    web: Option<String>,
    start: impl Future<Output = Result<R>>,
) -> anyhow::Result<()> {
    let listener = match web {
        Some(address) => Some(rpc::server::bind("web", &address).await?),
        None => None,
    };
    let running = tokio::select! {
        running = start => Arc::new(running?),
        () = stop.asked() => return Ok(()),
    };
    let pages = Tasks::new("web");
    let ready = Arc::new(AtomicBool::new(false));
    if let Some(listener) = listener {
        let (became, asked) = (ready.clone(), running.clone());
        let is_ready = move || became.load(Ordering::Acquire) && asked.is_ready();
        let shown = Pages { metrics: running.metrics(), ready: Arc::new(is_ready) };
        goosefs_web::serve(listener, shown, &pages);
    }
    let (announced, stopped) = (running.clone(), pages.stop());
    pages.spawn("announce", async move {
        let became = tokio::select! {
            became = announced.ready() => became,
            () = stopped.cancelled() => return,
        };
        match became {
            Ok(()) => {
                ready.store(true, Ordering::Release);
                let line = format!("ready {}: {}\n", announced.name(), announced.place());
                // Nobody may be reading; that is no reason to end.
                let _ignored = out::try_bytes(line.as_bytes());
            }
            Err(error) => tracing::debug!(%error, "did not become ready"),
        }
    });
    let failed = tokio::select! {
        ended = running.join() => Some(ended),
        () = stop.asked() => None,
    };
    pages.shutdown(Duration::from_secs(1)).await;
    match failed {
        Some(ended) => {
            ended?;
            anyhow::bail!("{} ended by itself; its log says why", running.name())
        }
        None => {
            tracing::info!("stopping");
            tokio::select! {
                () = running.shutdown(GRACE) => Ok(()),
                () = stop.asked_again() => anyhow::bail!("ended at once by a second signal"),
            }
        }
    }
}

/// The reasons to stop: SIGINT, SIGTERM, and the end of standard input where that counts.
struct Stop {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    stdin: Option<tokio::io::Stdin>,
}

impl Stop {
    fn new() -> std::io::Result<Stop> {
        Ok(Stop {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            stdin: std::env::var_os(STOP_WITH_STDIN).map(|_| tokio::io::stdin()),
        })
    }

    /// A second time, by a person who is impatient: `timeout`, and terminals with process groups, signal twice at once.
    async fn asked_again(&mut self) {
        let first = tokio::time::Instant::now();
        loop {
            self.asked().await;
            if first.elapsed() >= SAME_SIGNAL {
                return;
            }
        }
    }

    async fn asked(&mut self) {
        let stdin = &mut self.stdin;
        let parent_gone = async {
            let Some(input) = stdin.as_mut() else { return std::future::pending().await };
            let mut byte = [0];
            while input.read(&mut byte).await.is_ok_and(|count| count > 0) {}
            *stdin = None;
        };
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            () = parent_gone => {}
        }
    }
}
