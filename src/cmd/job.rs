//! `goosefs job …`: loads that masters carry out.

use super::{connection, out, preload};
use crate::cli::JobCommand;
use goosefs_client::Client;
use goosefs_core::proto::internal::{Preload, PreloadState};
use std::process::ExitCode;

pub(super) fn run(command: JobCommand, define: Vec<String>) -> ExitCode {
    connection::run(define, async |client| match command {
        JobCommand::Leader => {
            out::line(client.leader().await?.rsplit_once(':').map_or("", |(host, _)| host));
            Ok(())
        }
        JobCommand::Ls => list(client).await,
        JobCommand::Stat { verbose, id } => stat(client, id, verbose).await,
        JobCommand::Cancel { id } => {
            client.preloads().stop(id).await?;
            out::line(&format!("Job {id} was canceled"));
            Ok(())
        }
    })
}

async fn list(client: &Client) -> anyhow::Result<()> {
    for preload in client.preloads().all().await? {
        out::line(&format!("{} Load {}", preload.id, status(&preload)));
    }
    Ok(())
}

async fn stat(client: &Client, id: u64, verbose: bool) -> anyhow::Result<()> {
    let preload = client.preloads().one(id, verbose).await?;
    out::line(&format!("ID: {id}"));
    out::line("Name: Load");
    out::line(&format!("Description: load {}", preload.path));
    out::line(&format!("Status: {}", status(&preload)));
    preload::lines(&preload, verbose).iter().for_each(|line| out::line(line));
    Ok(())
}

/// A job's state, as `job` names it.
fn status(preload: &Preload) -> &'static str {
    match preload.state() {
        PreloadState::Running => "RUNNING",
        PreloadState::Succeeded => "COMPLETED",
        PreloadState::Failed => "FAILED",
        PreloadState::Stopped => "CANCELED",
    }
}
