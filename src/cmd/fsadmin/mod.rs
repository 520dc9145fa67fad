//! `goosefs fsadmin …`.

mod backup;
mod capacity;
mod quorum;
mod summary;

use super::fs::mount_table;
use super::{connection, out};
use crate::cli::{FsadminCommand, ReportArgs, ReportCategory};
use goosefs_client::Client;
use std::process::ExitCode;

pub(super) fn run(command: FsadminCommand, define: Vec<String>) -> ExitCode {
    connection::run(define, async |client| match command {
        FsadminCommand::Backup { to: Some(file), .. } => backup::fetch(client, &file).await,
        FsadminCommand::Backup { directory, local, to: None, allow_leader: _ } => {
            backup::run(client, directory, local).await
        }
        FsadminCommand::Journal(command) => quorum::run(client, command).await,
        FsadminCommand::Report(args) => report(client, args).await,
    })
}

async fn report(client: &Client, args: ReportArgs) -> anyhow::Result<()> {
    match args.category.unwrap_or(ReportCategory::Summary) {
        ReportCategory::Summary => summary::run(client).await,
        ReportCategory::Capacity { live, lost, workers } => capacity::run(client, live, lost, workers).await,
        ReportCategory::Ufs => {
            for line in mount_table(&client.admin().mounts().await?) {
                out::line(&line);
            }
            Ok(())
        }
    }
}
