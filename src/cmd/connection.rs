//! How a command reaches the cluster.

use super::told::told;
use super::{out, settings};
use goosefs_client::{Client, Config};
use goosefs_core::Result;
use goosefs_core::metrics::Metrics;
use std::process::ExitCode;
use std::time::Duration;

/// Runs a command against the cluster that the properties name. Its error goes to standard output in one line, and so
/// does a property that cannot be used: scripts of GooseFS users look there.
pub(super) fn run(define: Vec<String>, command: impl AsyncFnOnce(&Client) -> anyhow::Result<()>) -> ExitCode {
    let outcome = connect(define).and_then(|(runtime, config)| {
        let _runtime = runtime.enter();
        let client = Client::new(config, &Metrics::new());
        runtime.block_on(async {
            let outcome = tokio::select! {
                outcome = command(&client) => outcome,
                interrupted = tokio::signal::ctrl_c() => interrupted.map_err(Into::into).and_then(|()| {
                    anyhow::bail!("interrupted")
                }),
            };
            client.shutdown(Duration::from_secs(1)).await;
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
