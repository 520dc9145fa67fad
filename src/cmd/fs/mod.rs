//! `goosefs fs …`: one file for each command, which owns the text it prints.

mod cat;
mod copy_from_local;
mod copy_to_local;
mod distributed_load;
mod free;
mod leader;
mod load;
mod location;
mod ls;
mod master_info;
mod mkdir;
mod mount;
mod mv;
mod persist;
mod rm;
mod stat;
mod tree;
mod unmount;

pub(super) use mount::table as mount_table;

use super::connection;
use crate::cli::FsCommand;
use std::process::ExitCode;

pub(super) fn run(command: FsCommand, define: Vec<String>) -> ExitCode {
    let command = match command {
        FsCommand::CopyFromLocal(args) => {
            return connection::run_to_its_end(define, async |client| {
                copy_from_local::run(client, &args).await
            });
        }
        other => other,
    };
    connection::run(define, async |client| match command {
        FsCommand::Cat { path } => cat::run(client, &path).await,
        FsCommand::CopyFromLocal(args) => copy_from_local::run(client, &args).await,
        FsCommand::CopyToLocal(args) => copy_to_local::run(client, &args).await,
        FsCommand::Free { force, path } => free::run(client, &path, force).await,
        FsCommand::Leader => leader::run(client).await,
        FsCommand::DistributedLoad(args) => distributed_load::run(client, &args).await,
        FsCommand::Load(args) if args.is_job() => distributed_load::as_job(client, &args).await,
        FsCommand::Load(args) => load::run(client, &args.path).await,
        FsCommand::Location { path } => location::run(client, &path).await,
        FsCommand::Ls(args) => ls::run(client, &args).await,
        FsCommand::MasterInfo => master_info::run(client).await,
        FsCommand::Mkdir { paths } => mkdir::run(client, &paths).await,
        FsCommand::Mount(args) => mount::run(client, &args).await,
        FsCommand::Mv { source, destination } => mv::run(client, &source, &destination).await,
        FsCommand::Persist(args) => persist::run(client, &args).await,
        FsCommand::Rm(args) => rm::run(client, &args).await,
        FsCommand::Stat { format, path } => stat::run(client, &path, format.as_deref()).await,
        FsCommand::Unmount { force, path } => unmount::run(client, &path, force).await,
    })
}
