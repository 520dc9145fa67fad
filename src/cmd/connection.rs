//! How a command reaches the cluster.

use super::told::told;
use super::{out, settings};
use goosefs_client::{Client, Config};
use goosefs_core::Result;
use goosefs_core::metrics::Metrics;
use goosefs_core::rpc::masters::Search;
use std::convert::Infallible;
use std::process::ExitCode;
use std::time::Duration;

/// A command that waits so long for a leading master says so.
const WAITING: Duration = Duration::from_secs(4);

/// Runs a command against the cluster that the properties name. Its error goes to standard output in one line, and so
/// does a property that cannot be used: scripts of GooseFS users look there.
pub(super) fn run(define: Vec<String>, command: impl AsyncFnOnce(&Client) -> anyhow::Result<()>) -> ExitCode {
    run_to_its_end(define, async |client| {
        tokio::select! {
            outcome = command(client) => outcome,
            interrupted = interrupted() => interrupted,
        }
    })
}

/// Fails when the user interrupts the command.
pub(super) async fn interrupted() -> anyhow::Result<()> {
    tokio::signal::ctrl_c().await?;
    anyhow::bail!("interrupted")
}

/// As [`run`], for a command that has something to clear away when it is interrupted and looks to that itself.
pub(super) fn run_to_its_end(
    define: Vec<String>,
    command: impl AsyncFnOnce(&Client) -> anyhow::Result<()>,
) -> ExitCode {
    let outcome = connect(define).and_then(|(runtime, config)| {
        let _runtime = runtime.enter();
        let client = Client::new(config, &Metrics::new());
        runtime.block_on(async {
            let outcome = tokio::select! {
                outcome = command(&client) => outcome,
                never = tell_of_waiting(&client) => match never {},
            };
            client.leave(Duration::from_secs(1)).await;
            outcome
        })
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::line(&told(&error));
            ExitCode::FAILURE
        }
    }
}

/// Says once on standard error what a command waits for: no master leads (it may be the wrong address), or no worker takes
/// its data.
async fn tell_of_waiting(client: &Client) -> Infallible {
    loop {
        tokio::time::sleep(WAITING / 4).await;
        let long = |search: &Search| search.since.elapsed() >= WAITING;
        let wait = client.waiting_for_worker();
        if let Some(wait) = wait.filter(|wait| wait.since.elapsed() >= WAITING) {
            let patience = client.config().worker_patience.as_secs();
            eprintln!("waiting for a worker ({}); gives up after {patience} s", wait.last.message);
            return std::future::pending().await;
        }
        if let Some(search) = client.searching().filter(long) {
            let config = client.config();
            eprintln!(
                "waiting for a leading master among {} ({}); gives up after {} s \
                 (goosefs.user.rpc.retry.max.duration)",
                config.masters.join(", "),
                search.last.message,
                config.deadline.as_secs(),
            );
            return std::future::pending().await;
        }
    }
}

fn connect(define: Vec<String>) -> anyhow::Result<(tokio::runtime::Runtime, Config)> {
    let properties = settings::load("USER", define)?;
    let config = Config::from_properties(&properties)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    Ok((runtime, config))
}

/// A path of the namespace as the user wrote it.
///
/// # Errors
/// What is wrong with it.
pub(super) fn path(text: &str) -> Result<goosefs_core::path::NsPath> {
    goosefs_core::path::NsPath::parse(text)
}
