//! `goosefs fuse`.

use super::process::{self, Role};
use crate::cli::FuseArgs;
use goosefs_client::Client;
use goosefs_core::config::{Properties, keys};
use goosefs_core::metrics::Metrics;
use goosefs_core::{Code, Error, Result, mountinfo};
use goosefs_fuse::cluster::Cluster;
use goosefs_fuse::{Config, Deps, Running};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

/// Between two questions which cluster the masters are.
const LOOK: Duration = Duration::from_secs(2);

/// So often in a row masters must say that they are another cluster's before that is believed.
const REFUSALS: u32 = 3;

/// How long the end of a mount may take that is of no use any more.
const END: Duration = Duration::from_secs(5);

struct Fuse {
    client: Client,
    running: Running,
}

pub(super) fn run(args: FuseArgs, define: Vec<String>) -> ExitCode {
    process::run("FUSE", define, web, async |properties: Properties| {
        start(&properties, args.mount_point).await
    })
}

async fn start(properties: &Properties, mount_point: Option<PathBuf>) -> Result<Fuse> {
    let mount_point = match (mount_point, properties.text(&keys::FUSE_MOUNT_POINT)) {
        (Some(path), _) => path,
        (None, "") => {
            return Err(Error::new(Code::InvalidArgument, "where to mount is missing")
                .hint("give a directory: goosefs fuse /mnt/goosefs"));
        }
        (None, path) => PathBuf::from(path),
    };
    // Before the masters are waited for; a mount whose daemon may be dead is not looked into.
    if mountinfo::at(&std::path::absolute(&mount_point).unwrap_or_default()).is_none()
        && !mount_point.is_dir()
    {
        let message = format!("mount point {} is not a directory", mount_point.display());
        return Err(
            Error::new(Code::InvalidArgument, message).hint("give a directory that exists and is empty")
        );
    }
    let config = Config::from_properties(properties, &mount_point)?;
    let metrics = Metrics::new();
    let cluster = Cluster::new(goosefs_client::Config::from_properties(properties)?, &metrics);
    let client = cluster.client().clone();
    client.ready().await?;
    let deps = Deps { metrics, ..Deps::new(Arc::new(cluster)) };
    Ok(Fuse { client, running: goosefs_fuse::start(config, deps).await? })
}

fn web(properties: &Properties) -> Result<Option<String>> {
    let port: u16 = properties.number(&keys::FUSE_WEB_PORT)?;
    Ok((port != 0).then(|| format!("{}:{port}", properties.text(&keys::FUSE_WEB_HOST))))
}

impl Fuse {
    /// Returns once the masters are another cluster, or have begun another epoch: node numbers that the kernel knows mean
    /// other files then. One that refuses us may have come from elsewhere, so it takes some refusals in a row.
    async fn other_cluster(&self) -> Error {
        let mut refused = 0;
        loop {
            tokio::time::sleep(LOOK).await;
            match self.client.describe_leader().await {
                Err(error) if error.code == Code::WrongCluster => {
                    refused += 1;
                    if refused == REFUSALS {
                        return error.context("this mount has ended, the next start mounts anew");
                    }
                }
                _ => refused = 0,
            }
        }
    }
}

impl Role for Fuse {
    fn name(&self) -> String {
        "fuse".to_owned()
    }

    fn place(&self) -> String {
        format!("mounted at {}", self.running.mount_point().display())
    }

    fn metrics(&self) -> Metrics {
        self.running.metrics().clone()
    }

    async fn ready(&self) -> Result<()> {
        Ok(())
    }

    async fn shutdown(&self, grace: Duration) {
        self.running.shutdown(grace).await;
        self.client.shutdown(grace).await;
    }

    async fn join(&self) -> Result<()> {
        tokio::select! {
            () = self.running.join() => Ok(()),
            error = self.other_cluster() => {
                self.running.end(END).await;
                Err(error)
            }
        }
    }
}
