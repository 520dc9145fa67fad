//! `goosefs csi`: the CSI node plugin, the registrar beside it, and the end of a mount that was left.

use super::out;
use super::process::{self, Role};
use crate::cli::{CsiArgs, CsiCommand, RegisterArgs, UnmountArgs};
use goosefs_core::config::Properties;
use goosefs_core::metrics::Metrics;
use goosefs_core::{Error, Result};
use goosefs_k8s::csi::{self, Config, register};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

struct Plugin(csi::Running);

struct Registrar(register::Running);

pub(super) fn run(args: CsiArgs, define: Vec<String>) -> ExitCode {
    match args.command {
        Some(CsiCommand::Register(args)) => return run_registrar(args, define),
        Some(CsiCommand::Unmount(args)) => return unmount(&args),
        None => {}
    }
    let web = args.metrics_addr.clone();
    process::run("CSI", define, web_at(web), async move |_properties: Properties| {
        let config = Config {
            socket: csi::socket_of(&args.endpoint)?,
            node: args.node.unwrap_or_default(),
            driver: args.driver,
            holder: args.holder.unwrap_or_else(|| args.mount_root.join(".goosefs/holder.sock")),
            takeover: Duration::from_secs(args.takeover_seconds),
            kubelet: args.kubelet_root,
            mount_root: args.mount_root,
        };
        csi::start(config).await.map(Plugin)
    })
}

fn run_registrar(args: RegisterArgs, define: Vec<String>) -> ExitCode {
    let web = args.metrics_addr.clone();
    process::run("CSI", define, web_at(web), async move |_properties: Properties| {
        let own = || PathBuf::from(format!("/var/lib/kubelet/plugins/{}/csi.sock", args.driver));
        let config = register::Config {
            socket: csi::socket_of(&args.endpoint)?,
            kubelet_socket: args.kubelet_endpoint.unwrap_or_else(own),
            driver: args.driver,
            folder: args.registry,
        };
        register::start(config).map(Registrar)
    })
}

fn unmount(args: &UnmountArgs) -> ExitCode {
    let point = &args.mount_point;
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::io("start", error))
        .and_then(|runtime| runtime.block_on(csi::unmount(point, &args.holder)));
    match ended {
        Ok(()) => {
            out::line(&format!("{} is not mounted", point.display()));
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("goosefs csi unmount: {error}");
            ExitCode::FAILURE
        }
    }
}

fn web_at(address: String) -> impl FnOnce(&Properties) -> Result<Option<String>> {
    |_properties| Ok(Some(address).filter(|address| !address.is_empty()))
}

impl Role for Plugin {
    fn name(&self) -> String {
        format!("csi driver {}", self.0.driver())
    }

    fn place(&self) -> String {
        self.0.place()
    }

    fn metrics(&self) -> Metrics {
        self.0.metrics()
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    fn is_ready(&self) -> bool {
        self.0.is_ready()
    }

    async fn shutdown(&self, grace: Duration) {
        self.0.shutdown(grace).await;
    }

    async fn join(&self) -> Result<()> {
        self.0.join().await;
        Ok(())
    }
}

impl Role for Registrar {
    fn name(&self) -> String {
        format!("csi registrar of {}", self.0.driver())
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
