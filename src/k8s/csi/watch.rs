//! Wakes when the table of mounts changes.

use goosefs_core::{Error, Result, mountinfo};
use std::fs::File;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The table of mounts, open. A change after this was made wakes the next [`Watch::changed`].
#[derive(Debug)]
pub(super) struct Watch(AsyncFd<File>);

impl Watch {
    /// Begins to watch; read the table after this.
    ///
    /// # Errors
    /// When the table cannot be opened.
    pub(super) fn new() -> Result<Watch> {
        let failed = |error| Error::io("watch the table of mounts", error);
        let table = File::open(mountinfo::TABLE).map_err(failed)?;
        // SAFETY: the file moves in with its descriptor, which nobody else has and which it keeps until it is dropped.
        #[allow(unsafe_code)]
        let watched = unsafe { AsyncFd::register_with_interest(table, Interest::PRIORITY) };
        watched.map(Watch).map_err(|error| failed(error.into()))
    }

    /// Returns when the table has changed since the last time.
    pub(super) async fn changed(&self) -> Result<()> {
        let mut guard = self
            .0
            .ready(Interest::PRIORITY)
            .await
            .map_err(|error| Error::io("watch the table of mounts", error))?;
        guard.clear_ready();
        Ok(())
    }
}
