//! The `goosefs` binary: every part of a distributed cache, by the role that its first argument names.
//!
//! [`cli`] is the command line as clap sees it, [`cmd`] has one file for each role and command; each command owns the
//! exact text it prints.

pub mod cli;
pub mod cmd;

use std::ffi::OsString;
use std::process::ExitCode;

/// Runs the command line `args`, whose first element is the program's name.
#[must_use]
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    cmd::run(cli::parse(args))
}
