//! `goosefs fsadmin …`.

mod capacity;
mod summary;

use super::fs::mount_table;
use super::{connection, out};
use crate::cli::{FsadminCommand, ReportCategory};
use std::process::ExitCode;

pub(super) fn run(command: FsadminCommand, define: Vec<String>) -> ExitCode {
    let FsadminCommand::Report(args) = command;
    connection::run(define, async |client| match args.category.unwrap_or(ReportCategory::Summary) {
        ReportCategory::Summary => summary::run(client).await,
        ReportCategory::Capacity { live, lost, workers } => capacity::run(client, live, lost, workers).await,
        ReportCategory::Ufs => {
            for line in mount_table(&client.admin().mounts().await?) {
                out::line(&line);
            }
            Ok(())
        }
    })
}
