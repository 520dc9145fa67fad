//! The end of a mount that no FUSE process will take over: said on its node by the last pod of a runtime, or by a person.

use super::mounts;
use goosefs_core::mountinfo::{self, FSTYPE};
use goosefs_core::rpc::park::Keeper;
use goosefs_core::{Code, Result};
use std::path::{Path, PathBuf};

/// Has every holder let go of the mount at `point`, and takes it out of the tree. What is not there is no error.
///
/// # Errors
/// `Busy` while a FUSE process serves it, else what the kernel says.
pub async fn unmount(point: &Path, holders: &[PathBuf]) -> Result<()> {
    for holder in holders {
        match Keeper::connect(holder, point).await {
            Ok(mut keeper) => keeper.end().await?,
            // What nobody holds has ended.
            Err(error) if error.code == Code::Unavailable => {
                tracing::info!(%error, "nothing is kept there");
            }
            Err(error) => return Err(error),
        }
    }
    while mountinfo::at(point).is_some_and(|mount| mount.fstype == FSTYPE) {
        mounts::detach(point)?;
    }
    Ok(())
}
