//! What the tests across roles share.
//!
//! | file | owns |
//! |---|---|
//! | `in_process.rs` | [`InProcess`]: masters, workers and clients within the test's process, stopped and started at will |
//! | `processes.rs` | [`Processes`]: a cluster of real processes, killed and started at will |
//! | `masters.rs` | [`Masters`]: three master processes alone, killed, stopped, cut off, wiped and started at will |
//! | `frail/` | [`FrailDisk`]: a disk that loses its power, is full, fails its fsyncs or falls silent when it is told to |
//! | `wires.rs` | [`Wires`]: network namespaces and bridges, with wires that can be cut |
//! | `dev_cluster.rs` | [`DevCluster`]: what `goosefs dev` starts as its user sees it: mount, commands, further processes, logs |
//! | `master_processes.rs` | [`MasterProcesses`]: masters alone, each started with a list and flags of its own |
//! | `command.rs` | [`Binary`]: commands of the binary, and what they said |
//! | `logs.rs` | the scan of nodes' logs for lines that nobody expected |
//! | `ports.rs` | ports that are free |
//! | `wait.rs` | [`wait_until`]: waiting for a condition, never for a time |
//! | `bytes.rs` | bytes that differ at every offset |

mod bytes;
mod command;
mod dev_cluster;
mod frail;
mod in_process;
mod logs;
mod master_processes;
mod masters;
mod ports;
mod processes;
mod wait;
mod wires;

pub use bytes::pattern;
pub use command::{Binary, Said, undated};
pub use dev_cluster::{DevCluster, Launch, Process, Record, free_ports};
pub use frail::{FrailDisk, Lost};
pub use in_process::{InProcess, Options};
pub use master_processes::MasterProcesses;
pub use masters::{MASTERS, Masters, connect_to};
pub use processes::Processes;
pub use wait::{LONG, wait_for, wait_until};
pub use wires::{Cut, Wires};

use goosefs_core::proto::internal::Caller;

/// The superuser, who makes most calls of tests.
#[must_use]
pub fn root() -> Caller {
    Caller { user: "root".to_owned(), group: "root".to_owned() }
}
