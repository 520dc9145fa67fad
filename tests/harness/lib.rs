//! What the tests across roles share.
//!
//! | file | owns |
//! |---|---|
//! | `in_process.rs` | [`InProcess`]: masters, workers and clients within the test's process, stopped and started at will |
//! | `processes.rs` | [`Processes`]: a cluster of real processes, killed and started at will |
//! | `wait.rs` | [`wait_until`]: waiting for a condition, never for a time |
//! | `bytes.rs` | bytes that differ at every offset |

mod bytes;
mod in_process;
mod processes;
mod wait;

pub use bytes::pattern;
pub use in_process::{InProcess, Options};
pub use processes::Processes;
pub use wait::{LONG, wait_until};
