//! One file for each role and command.
//!
//! A role's file loads its configuration, starts it and lets [`process`] wait for a signal. A command's file owns the
//! exact text it prints; what several print is in [`print`](mod@print). Errors of `fs` and `fsadmin` go to standard
//! output, as GooseFS does and Fluid expects; everything else complains on standard error. Logs never touch standard
//! output.

mod cache_runtime;
mod completions;
mod connection;
mod controller;
mod csi;
mod dev;
mod fs;
mod fsadmin;
mod fuse;
mod getconf;
mod job;
mod master;
mod out;
mod preload;
mod print;
mod process;
mod settings;
mod told;
mod version;
mod worker;

use crate::cli::{Cli, Command};
use std::process::ExitCode;

/// Runs what the command line asks for.
#[must_use]
pub fn run(cli: Cli) -> ExitCode {
    let define = cli.define;
    match cli.command {
        Command::Dev(args) => dev::run(args, &define),
        Command::Master(args) => master::run(&args, define),
        Command::Worker => worker::run(define),
        Command::Fuse(args) => fuse::run(args, define),
        Command::Controller(args) => controller::run(args, define),
        Command::Csi(args) => csi::run(args, define),
        Command::CacheRuntime(command) => cache_runtime::run(&command, define),
        Command::Fs(command) => fs::run(command, define),
        Command::Fsadmin(command) => fsadmin::run(command, define),
        Command::Job(command) => job::run(command, define),
        Command::GetConf(args) => getconf::run(&args, define),
        Command::Version => version::run(),
        Command::Completions { shell } => completions::run(shell),
    }
}
