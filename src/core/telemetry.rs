//! Logs: to standard error, never to standard output, which belongs to what a command prints.
//!
//! Called once by `cmd/`, before a role starts; library code only emits events.

use crate::error::{Code, Error, Result};
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

/// How log lines look.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// What libraries say too loudly: openraft warns of every message to a peer that is away, and calls it an error that a call
/// meets a Raft that was asked to stop; our own rooms tell the first once, and a Raft that failed by itself. raft-engine
/// warns of the half batch that every crash leaves at the end of a log; our log knows what must be there and says what is
/// missing of that. fuser calls it an error that a session ends, which its mount tells, and only when it is one.
const QUIET: &str = "openraft=error,openraft::raft::raft_inner=off,openraft::core::heartbeat=off,\
    raft_engine::file_pipe_log::pipe_builder=error,fuser::request=off";

/// Sends events to standard error from now on. `filter` is a level or a list of directives such as
/// `info,goosefs_master=debug`; it may name libraries, too.
///
/// # Errors
/// `InvalidArgument` when `filter` is none, `Internal` when it was called before.
pub fn init(filter: &str, format: Format) -> Result<()> {
    let filter = EnvFilter::try_new(format!("{QUIET},{filter}")).map_err(|cause| {
        Error::new(Code::InvalidArgument, format!("\"{filter}\" is not a log level: {cause}"))
            .hint("use error, warn, info, debug, trace or directives such as info,goosefs_master=debug")
    })?;
    let lines = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let done = match format {
        Format::Text => lines.with_ansi(std::io::stderr().is_terminal()).try_init(),
        Format::Json => lines.json().try_init(),
    };
    done.map_err(|cause| Error::new(Code::Internal, format!("start logging: {cause}")))
}
