//! `goosefs controller`: reconciles Datasets and GooseFSRuntimes, prints their definitions, or says which are left.

use super::out;
use super::process::{self, Role};
use crate::cli::{ControllerArgs, ControllerCommand};
use goosefs_core::config::Properties;
use goosefs_core::metrics::Metrics;
use goosefs_core::rpc::control::KeyFile;
use goosefs_core::task::Tasks;
use goosefs_core::{Error, Result};
use goosefs_k8s::controller::{self, Config, Kind, Running};
use goosefs_k8s::crd;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

/// Whoever fetches a backup gets so long to end.
const GRACE: Duration = Duration::from_secs(1);

struct Controller(Running);

pub(super) fn run(args: ControllerArgs, define: Vec<String>) -> ExitCode {
    match args.command {
        Some(ControllerCommand::Crds) => return print_definitions(),
        Some(ControllerCommand::UninstallCheck { only }) => return check_uninstall(only),
        Some(ControllerCommand::OfferBackup { file, listen, key }) => {
            return offer_backup(&file, &listen, key.as_deref());
        }
        None => {}
    }
    let web = args.metrics_addr.clone();
    process::run(
        "CONTROLLER",
        define,
        |_properties| Ok(web.filter(|address| !address.is_empty())),
        async move |_properties: Properties| {
            let mut config = Config::from_env()?;
            config.only = args.only;
            Ok(Controller(controller::start(config).await?))
        },
    )
}

fn print_definitions() -> ExitCode {
    let text = crd::definitions().and_then(|all| {
        let texts: Result<Vec<String>> = all.iter().map(crd::yaml).collect();
        Ok(texts?.join("---\n"))
    });
    match text {
        Ok(text) => {
            out::line(text.trim_end());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("goosefs controller crds: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The message goes to standard output: Helm shows what the Job of the chart has printed.
fn check_uninstall(only: Option<Kind>) -> ExitCode {
    let listed = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start", error))
        .and_then(|runtime| runtime.block_on(controller::live_objects(only)));
    match listed {
        Ok(left) if left.is_empty() => ExitCode::SUCCESS,
        Ok(left) => {
            out::line(&format!(
                "these still exist: {}. Without controllers nothing would take away what they have on nodes: \
                 delete them first (kubectl delete load,backup,goosefsruntime,dataset)",
                left.join(", ")
            ));
            ExitCode::FAILURE
        }
        Err(error) => {
            out::line(&format!("goosefs controller uninstall-check: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Standard error has the last words of the pod that does this.
fn offer_backup(file: &Path, listen: &str, key: Option<&Path>) -> ExitCode {
    let offered = async {
        let mut told =
            signal(SignalKind::terminate()).map_err(|error| Error::io("wait for signals", error))?;
        let tasks = Tasks::new("offer of a backup");
        let key = key.map(KeyFile::open).transpose()?;
        let backup = goosefs_k8s::offer(file, listen, key, &tasks).await?;
        out::line(&format!("{} with {} entries is offered at {listen}", file.display(), backup.records));
        told.recv().await;
        tasks.shutdown(GRACE).await;
        Ok(())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let outcome =
        runtime.map_err(|error| Error::io("start", error)).and_then(|runtime| runtime.block_on(offered));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("goosefs controller offer-backup: {error}");
            ExitCode::FAILURE
        }
    }
}

impl Role for Controller {
    fn name(&self) -> String {
        format!("controller of {}", self.0.kinds())
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn metrics(&self) -> Metrics {
        self.0.metrics()
    }

    async fn ready(&self) -> Result<()> {
        self.0.ready().await
    }

    async fn shutdown(&self, grace: Duration) {
        self.0.shutdown(grace).await;
    }

    async fn join(&self) -> Result<()> {
        self.0.join().await
    }
}
