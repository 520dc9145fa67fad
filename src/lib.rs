//! The `goosefs` binary: command line, roles, commands.

/// Runs the command line of this process.
#[must_use]
pub fn run() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
