//! `goosefs completions`.

use super::out;
use crate::cli::Cli;
use clap::CommandFactory;
use std::process::ExitCode;

pub(super) fn run(shell: clap_complete::Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "goosefs", &mut script);
    out::bytes(&script);
    ExitCode::SUCCESS
}
