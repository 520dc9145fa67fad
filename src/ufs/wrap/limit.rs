//! Bounds how much is asked of a storage at once.

use crate::{Attributes, Capabilities, Entry, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Error, Result};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// At most so many calls, open streams and open writers at once; the rest wait in the order they came.
///
/// Streams and writers hold their place until they are dropped, so whoever holds one must not wait for another call.
#[derive(Debug)]
pub struct Limit {
    inner: Arc<dyn Ufs>,
    places: Arc<Semaphore>,
}

impl Limit {
    /// `inner`, with at most `places` uses at once (at least one).
    #[must_use]
    pub fn new(inner: Arc<dyn Ufs>, places: usize) -> Limit {
        Limit { inner, places: Arc::new(Semaphore::new(places.max(1))) }
    }

    async fn place(&self) -> Result<OwnedSemaphorePermit> {
        let place = Arc::clone(&self.places).acquire_owned().await;
        place.map_err(|cause| Error::new(Code::Internal, "the limit of a storage is closed").caused_by(cause))
    }
}

/// The stream, which keeps `place` until it is dropped.
fn held<T: Send + 'static>(
    stream: BoxStream<'static, Result<T>>,
    place: OwnedSemaphorePermit,
) -> BoxStream<'static, Result<T>> {
    stream
        .inspect(move |_| {
            let _keeps = &place;
        })
        .boxed()
}

#[async_trait]
impl Ufs for Limit {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        let _place = self.place().await?;
        self.inner.stat(path).await
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        let place = self.place().await?;
        Ok(held(self.inner.list(path).await?, place))
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        let place = self.place().await?;
        Ok(held(self.inner.read(path, range, expected).await?, place))
    }

    async fn create(&self, path: &str, attributes: &Attributes) -> Result<Box<dyn Writer>> {
        let place = self.place().await?;
        let inner = self.inner.create(path, attributes).await?;
        Ok(Box::new(LimitedWriter { inner, _place: place }))
    }

    async fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()> {
        let _place = self.place().await?;
        self.inner.make_directory(path, attributes).await
    }

    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()> {
        let _place = self.place().await?;
        self.inner.remove(path, kind).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        let _place = self.place().await?;
        self.inner.remove_all(path).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        let _place = self.place().await?;
        self.inner.rename(from, to, replace).await
    }

    async fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()> {
        let _place = self.place().await?;
        self.inner.set_attributes(path, attributes).await
    }

    async fn space(&self) -> Result<Space> {
        let _place = self.place().await?;
        self.inner.space().await
    }
}

/// A writer that keeps its place.
struct LimitedWriter {
    inner: Box<dyn Writer>,
    _place: OwnedSemaphorePermit,
}

#[async_trait]
impl Writer for LimitedWriter {
    async fn write(&mut self, bytes: Bytes) -> Result<()> {
        self.inner.write(bytes).await
    }

    async fn finish(self: Box<Self>) -> Result<Fingerprint> {
        let LimitedWriter { inner, _place } = *self;
        inner.finish().await
    }

    async fn abort(self: Box<Self>) {
        let LimitedWriter { inner, _place } = *self;
        inner.abort().await;
    }
}
