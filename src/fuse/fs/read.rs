//! Reads that come to the daemon.

use super::Fs;
use super::open::Handle;
use super::write::Readable;
use crate::backend::Source;
use bytes::Bytes;
use goosefs_core::Result;
use std::sync::Arc;

impl Fs {
    /// Bytes of an open file from `offset`: `length` of them, fewer only at the end of the file.
    ///
    /// # Errors
    /// `Stale` when the content was replaced and this part of the old one is not cached, and what the cluster says.
    pub async fn read(&self, number: u64, offset: u64, length: u32) -> Result<Bytes> {
        let handle = self.handle(number)?;
        self.metrics.reads.inc();
        let bytes = self.bounded_data("read", self.read_handle(&handle, offset, length)).await?;
        self.metrics.read_bytes.inc_by(bytes.len() as u64);
        Ok(bytes)
    }

    async fn read_handle(&self, handle: &Handle, offset: u64, length: u32) -> Result<Bytes> {
        if let Some(kept) = handle.kept.get() {
            return kept.read(offset, length).await;
        }
        let writing = match &handle.writing {
            Some(writing) => Some(writing.clone()),
            None => self.writing_of(goosefs_core::id::ContentId(handle.attr().content)),
        };
        let source = match writing {
            Some(writing) => {
                let attr = match writing.readable(&self.tasks).await? {
                    Readable::Content(attr) => attr,
                    Readable::Here(file) => return file.read(offset, length).await,
                };
                if offset >= attr.length {
                    return Ok(Bytes::new());
                }
                let version = attr.length;
                self.source_of(handle, version, || self.backend.source(&attr))
            }
            None => {
                let attr = handle.attr();
                if attr.completed {
                    self.source_of(handle, attr.length, || self.backend.source(attr))
                } else {
                    let now = self.ask(handle.node()).await.unwrap_or_else(|_| attr.clone());
                    self.source_of(handle, now.length, || self.backend.source(&now))
                }
            }
        };
        source.read(offset, length).await
    }

    /// The handle's source, made anew when the file has another length than when it was made.
    fn source_of(
        &self,
        handle: &Handle,
        length: u64,
        make: impl FnOnce() -> Arc<dyn Source>,
    ) -> Arc<dyn Source> {
        let mut source = handle.source.lock();
        match &*source {
            Some((of, source)) if *of == length => source.clone(),
            _ => {
                let made = make();
                *source = Some((length, made.clone()));
                made
            }
        }
    }
}
