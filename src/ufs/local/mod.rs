//! A directory of this machine as under-storage: `/path` and `file:///path`.
//!
//! Promises: an object appears whole and durable at `finish`, written aside under a hidden name in the same directory;
//! bytes are of the version that was asked for; nothing outside the root is reached, also not through symlinks. All disk
//! work runs on blocking threads. Files: `place` finds paths below the root, `describe` makes entries and fingerprints,
//! `list`, `read` and `write` do what they say, `change` is everything else that writes.

mod change;
mod describe;
mod list;
mod place;
mod read;
mod write;

use crate::{Attributes, Capabilities, Entry, Fence, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use describe::Describer;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Error, Result};
use place::Place;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

/// The connector for a directory of this machine.
#[derive(Debug)]
pub(crate) struct LocalUfs {
    place: Arc<Place>,
    describer: Arc<Describer>,
}

impl LocalUfs {
    /// Storage below `root`, which is not touched yet, and not changed against `fence`.
    pub(crate) fn new(root: PathBuf, fence: Fence) -> LocalUfs {
        LocalUfs { place: Arc::new(Place::new(root, fence)), describer: Arc::default() }
    }

    /// Runs `work` on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Place, &Describer) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (place, describer) = (Arc::clone(&self.place), Arc::clone(&self.describer));
        blocking(move || work(&place, &describer)).await
    }
}

/// Runs `work` on a blocking thread; a panic in it is an error here.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(cause) => Err(Error::new(Code::Internal, "local disk work broke off").caused_by(cause)),
    }
}

#[async_trait]
impl Ufs for LocalUfs {
    fn capabilities(&self) -> Capabilities {
        Capabilities { writable: true, atomic_rename: true, directories: true, attributes: true }
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        let path = path.to_owned();
        self.blocking(move |place, describer| {
            let full = place.existing(&path)?;
            let metadata =
                full.metadata().map_err(|e| Error::io(format!("look at {}", full.display()), e))?;
            let name = path.rsplit('/').next().unwrap_or_default();
            describer.entry(name, &metadata).ok_or_else(|| place.special(&path))
        })
        .await
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        list::list(Arc::clone(&self.place), Arc::clone(&self.describer), path.to_owned()).await
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        read::read(Arc::clone(&self.place), path.to_owned(), range, expected.clone()).await
    }

    async fn create(&self, path: &str, attributes: &Attributes) -> Result<Box<dyn Writer>> {
        let (path, attributes) = (path.to_owned(), attributes.clone());
        let writer = self.blocking(move |place, _| write::LocalWriter::begin(place, &path, attributes));
        Ok(Box::new(writer.await?))
    }

    async fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()> {
        let (path, attributes) = (path.to_owned(), attributes.clone());
        self.blocking(move |place, _| change::make_directory(place, &path, &attributes)).await
    }

    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()> {
        let path = path.to_owned();
        self.blocking(move |place, _| change::remove(place, &path, kind)).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        let path = path.to_owned();
        self.blocking(move |place, _| change::remove_all(place, &path)).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        let (from, to) = (from.to_owned(), to.to_owned());
        self.blocking(move |place, _| change::rename(place, &from, &to, replace)).await
    }

    async fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()> {
        let (path, attributes) = (path.to_owned(), attributes.clone());
        self.blocking(move |place, _| {
            let full = place.existing(&path)?;
            change::apply_attributes(&full, &attributes)
        })
        .await
    }

    async fn space(&self) -> Result<Space> {
        self.blocking(|place, _| {
            let root = place.existing("")?;
            let stats = nix::sys::statvfs::statvfs(&root)
                .map_err(|e| Error::io(format!("ask for the room at {}", root.display()), e.into()))?;
            let capacity = stats.blocks().saturating_mul(stats.fragment_size());
            let free = stats.blocks_free().saturating_mul(stats.fragment_size());
            Ok(Space { capacity: Some(capacity), used: Some(capacity.saturating_sub(free)) })
        })
        .await
    }
}

#[cfg(test)]
mod tests;
