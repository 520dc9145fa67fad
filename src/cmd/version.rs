//! `goosefs version`.

use super::out;
use std::process::ExitCode;

/// Names the build beside the version, when whoever built it has set `GOOSEFS_BUILD`.
const BUILD: Option<&str> = option_env!("GOOSEFS_BUILD");

pub(super) fn run() -> ExitCode {
    let version = env!("CARGO_PKG_VERSION");
    match BUILD.filter(|build| !build.is_empty()) {
        Some(build) => out::line(&format!("{version}+{build}")),
        None => out::line(version),
    }
    ExitCode::SUCCESS
}
