//! The way from async code to calls that touch the disk.

use goosefs_core::{Code, Error, Result};

/// Runs `work` on a thread that may block.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(cause) => Err(Error::new(Code::Internal, format!("disk work was cut off: {cause}"))),
    }
}
