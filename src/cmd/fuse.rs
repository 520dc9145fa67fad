//! `goosefs fuse`.

use crate::cli::FuseArgs;
use std::process::ExitCode;

pub(super) fn run(args: FuseArgs, define: Vec<String>) -> ExitCode {
    eprintln!("goosefs fuse: not built in yet ({:?} {define:?})", args.mount_point);
    ExitCode::FAILURE
}
