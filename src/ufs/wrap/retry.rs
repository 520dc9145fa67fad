//! Tries calls again that failed in a way that may pass.

use super::Backoff;
use crate::{Attributes, Capabilities, Entry, Space, Ufs, Writer};
use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Result};
use std::ops::Range;
use std::sync::Arc;

/// Repeats calls whose error is `retryable()`, but not those that took too long: a storage that was silent once is not
/// waited for again, since somebody waits for it all that time. Every call of [`Ufs`] may be repeated, so all are; a stream that has
/// begun and the writes of a [`Writer`] are not, since what was given out cannot be taken back.
#[derive(Debug)]
pub struct Retry {
    inner: Arc<dyn Ufs>,
    backoff: Backoff,
}

impl Retry {
    /// `inner`, tried again with the pauses of `backoff`.
    #[must_use]
    pub fn new(inner: Arc<dyn Ufs>, backoff: Backoff) -> Retry {
        Retry { inner, backoff }
    }

    async fn run<T, C>(&self, what: &str, path: &str, mut call: impl FnMut() -> C) -> Result<T>
    where
        C: Future<Output = Result<T>>,
    {
        let mut backoff = self.backoff.clone();
        loop {
            match call().await {
                Err(error) if error.code.retryable() && error.code != Code::DeadlineExceeded => {
                    tracing::debug!(what, path, %error, "call to a storage failed and may be tried again");
                    if !backoff.pause(None).await {
                        return Err(error);
                    }
                }
                outcome => return outcome,
            }
        }
    }
}

#[async_trait]
impl Ufs for Retry {
    fn capabilities(&self) -> Capabilities {
        self.inner.capabilities()
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        self.run("stat", path, || self.inner.stat(path)).await
    }

    async fn list(&self, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        self.run("list", path, || self.inner.list(path)).await
    }

    async fn read(
        &self,
        path: &str,
        range: Range<u64>,
        expected: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        self.run("read", path, || self.inner.read(path, range.clone(), expected)).await
    }

    async fn create(&self, path: &str, attributes: &Attributes) -> Result<Box<dyn Writer>> {
        self.run("create", path, || self.inner.create(path, attributes)).await
    }

    async fn make_directory(&self, path: &str, attributes: &Attributes) -> Result<()> {
        self.run("make directory", path, || self.inner.make_directory(path, attributes)).await
    }

    async fn remove(&self, path: &str, kind: NodeKind) -> Result<()> {
        self.run("remove", path, || self.inner.remove(path, kind)).await
    }

    async fn remove_all(&self, path: &str) -> Result<()> {
        self.run("remove all", path, || self.inner.remove_all(path)).await
    }

    async fn rename(&self, from: &str, to: &str, replace: bool) -> Result<()> {
        self.run("rename", from, || self.inner.rename(from, to, replace)).await
    }

    async fn set_attributes(&self, path: &str, attributes: &Attributes) -> Result<()> {
        self.run("set attributes", path, || self.inner.set_attributes(path, attributes)).await
    }

    async fn space(&self) -> Result<Space> {
        self.run("space", "", || self.inner.space()).await
    }
}
