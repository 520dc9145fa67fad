//! `goosefs version`.

use super::out;
use std::process::ExitCode;

pub(super) fn run() -> ExitCode {
    out::line(env!("CARGO_PKG_VERSION"));
    ExitCode::SUCCESS
}
