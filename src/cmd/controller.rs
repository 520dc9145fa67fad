//! `goosefs controller`: reconciles Datasets and GooseFSRuntimes, or prints their definitions.

use super::out;
use super::process::{self, Role};
use crate::cli::{ControllerArgs, ControllerCommand};
use goosefs_core::Result;
use goosefs_core::config::Properties;
use goosefs_core::metrics::Metrics;
use goosefs_k8s::controller::{Config, Running};
use goosefs_k8s::crd;
use std::process::ExitCode;
use std::time::Duration;

struct Controller(Running);

pub(super) fn run(args: ControllerArgs, define: Vec<String>) -> ExitCode {
    if let Some(ControllerCommand::Crds) = args.command {
        return print_definitions();
    }
    let web = args.metrics_addr.clone();
    process::run(
        "CONTROLLER",
        define,
        |_properties| Ok(web.filter(|address| !address.is_empty())),
        async move |_properties: Properties| {
            let mut config = Config::from_env()?;
            config.only = args.only;
            Ok(Controller(goosefs_k8s::controller::start(config).await?))
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
