//! What the tests across roles share.
//!
//! | file | owns |
//! |---|---|
//! | `in_process.rs` | [`InProcess`]: masters, workers and clients within the test's process, stopped and started at will |
//! | `wait.rs` | [`wait_until`]: waiting for a condition, never for a time |
//! | `bytes.rs` | bytes that differ at every offset |

mod bytes;
mod in_process;
mod wait;

pub use bytes::pattern;
pub use in_process::{InProcess, Options};
pub use wait::{LONG, wait_until};
