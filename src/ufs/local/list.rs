//! Listing a local directory.

use super::describe::Describer;
use super::place::{Place, is_hidden};
use crate::Entry;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::{Code, Error, Result};
use std::fs::DirEntry;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How many entries may wait for whoever reads the listing.
const AHEAD: usize = 1024;

/// The entries of the directory at `path`. Names that are not UTF-8, dangling and forbidden symlinks, and what is
/// neither file nor directory are left out, with one warning a listing that says how many.
pub(super) async fn list(
    place: Arc<Place>,
    describer: Arc<Describer>,
    path: String,
) -> Result<BoxStream<'static, Result<Entry>>> {
    let listing = Listing { place, describer, path };
    let (listing, directory) = super::blocking(move || {
        let full = listing.place.existing(&listing.path)?;
        let directory = std::fs::read_dir(&full).map_err(|e| Error::io(listing.doing(), e))?;
        Ok((listing, directory))
    })
    .await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let walk = tokio::task::spawn_blocking(move || listing.walk(directory, &sender));
    let entries = futures::stream::unfold(receiver, async |mut receiver| {
        let next = receiver.recv().await?;
        Some((next, receiver))
    });
    // A walk that broke off must not look like the end of the directory.
    let end = futures::stream::once(walk).filter_map(async |outcome| match outcome {
        Ok(()) => None,
        Err(cause) => Some(Err(Error::new(Code::Internal, "listing broke off").caused_by(cause))),
    });
    Ok(entries.chain(end).boxed())
}

struct Listing {
    place: Arc<Place>,
    describer: Arc<Describer>,
    path: String,
}

impl Listing {
    fn doing(&self) -> String {
        format!("list {}", self.place.show(&self.path))
    }

    fn walk(&self, directory: std::fs::ReadDir, out: &mpsc::Sender<Result<Entry>>) {
        let mut left_out: u64 = 0;
        let mut example = String::new();
        for item in directory {
            let outcome = match item {
                Ok(item) => match self.entry(&item) {
                    Ok(Some(entry)) => Ok(entry),
                    Ok(None) => continue,
                    Err(LeftOut) => {
                        left_out += 1;
                        example = item.file_name().to_string_lossy().into_owned();
                        continue;
                    }
                },
                Err(e) => Err(Error::io(self.doing(), e)),
            };
            let failed = outcome.is_err();
            if out.blocking_send(outcome).is_err() || failed {
                return;
            }
        }
        if left_out > 0 {
            tracing::warn!(
                directory = %self.place.show(&self.path), left_out, example,
                "listing leaves out entries that cannot be shown: names that are not UTF-8, symlinks that dangle, \
                 lead out of the mount or in a circle, sockets and devices"
            );
        }
    }

    /// `None` for what is hidden or was removed meanwhile.
    fn entry(&self, item: &DirEntry) -> Result<Option<Entry>, LeftOut> {
        let name = item.file_name();
        let name = std::str::from_utf8(name.as_bytes()).map_err(|_| LeftOut)?;
        if is_hidden(name) {
            return Ok(None);
        }
        let Ok(mut metadata) = item.metadata() else { return Ok(None) };
        if metadata.is_symlink() {
            let path = if self.path.is_empty() { name.to_owned() } else { format!("{}/{name}", self.path) };
            let target = self.place.existing(&path).map_err(|_| LeftOut)?;
            metadata = target.metadata().map_err(|_| LeftOut)?;
        }
        self.describer.entry(name, &metadata).map(Some).ok_or(LeftOut)
    }
}

/// An entry that exists and cannot be shown.
struct LeftOut;
