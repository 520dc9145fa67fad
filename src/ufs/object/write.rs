//! Uploads: one request for what fits into a part, else several parts that become an object at the end.

use super::connection::Connection;
use super::remote::{Remote, quoted};
use super::tree::{check_below_root, ensure_directory, is_directory, parent};
use crate::Writer;
use async_trait::async_trait;
use bytes::Bytes;
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use opendal::Buffer;
use opendal::raw::oio;
use std::sync::Arc;

/// After so many parts they become twice as large: a service takes 10,000.
const PARTS_OF_A_SIZE: u32 = 1000;

/// Begins an upload to `path`.
pub(super) async fn begin(
    connection: Arc<Connection>,
    remote: Arc<Remote>,
    path: String,
) -> Result<ObjectWriter> {
    check_below_root(&remote, "write", &path)?;
    let in_the_way = async {
        let directory = is_directory(&remote, &path).await?;
        let error = || remote.error(Code::IsDirectory, &path, "is a directory");
        if directory { Err(error()) } else { Ok(()) }
    };
    futures::try_join!(in_the_way, ensure_directory(&remote, parent(&path)))?;
    let upload = remote.writer(&path)?;
    let unfinished = Some(Unfinished { upload, path, remote });
    Ok(ObjectWriter { connection, unfinished, pending: Vec::new(), pending_bytes: 0, parts: 0, length: 0 })
}

/// An upload that has not become an object.
pub(super) struct Unfinished {
    upload: oio::Writer,
    path: String,
    remote: Arc<Remote>,
}

impl Unfinished {
    /// Has the service drop its parts.
    pub(super) async fn abort(mut self) {
        if let Err(error) = self.upload.abort_dyn().await {
            let error = self.remote.failed("give up the upload of", &self.path, &error);
            tracing::warn!(%error, "an upload that was given up may take room until the storage's own rules end it");
        }
    }
}

/// An object that is being written. Dropped unfinished, it is given up with the storage's next call.
pub(super) struct ObjectWriter {
    connection: Arc<Connection>,
    unfinished: Option<Unfinished>,
    /// Bytes that are no part yet.
    pending: Vec<Bytes>,
    pending_bytes: usize,
    parts: u32,
    length: u64,
}

impl ObjectWriter {
    fn part_size(&self, remote: &Remote) -> usize {
        remote.part_size().saturating_mul(1 << (self.parts / PARTS_OF_A_SIZE).min(9))
    }

    async fn send(&mut self) -> Result<()> {
        let part = Buffer::from(std::mem::take(&mut self.pending));
        self.pending_bytes = 0;
        let Some(unfinished) = &mut self.unfinished else { return Err(finished_twice()) };
        if part.is_empty() {
            return Ok(());
        }
        self.parts += 1;
        let sent = unfinished.upload.write_dyn(part).await;
        sent.map_err(|error| unfinished.remote.failed("write", &unfinished.path, &error))
    }

    async fn complete(&mut self) -> Result<Fingerprint> {
        self.send().await?;
        let Some(unfinished) = &mut self.unfinished else { return Err(finished_twice()) };
        unfinished.remote.may_change()?;
        let closed = unfinished.upload.close_dyn().await;
        let metadata = closed.map_err(|error| unfinished.remote.failed("write", &unfinished.path, &error))?;
        let done = self.unfinished.take();
        let etag = metadata.etag().map(quoted).unwrap_or_default();
        let written = Fingerprint { length: self.length, mtime_ms: None, etag };
        // The answer does not tell the time. It is there already, whatever comes of the look.
        let Some(Unfinished { remote, path, .. }) = done else { return Ok(written) };
        match remote.head(&path).await {
            Ok(Some(now)) if crate::same_version(&now, &written) => Ok(now),
            _ => Ok(written),
        }
    }
}

fn finished_twice() -> Error {
    Error::new(Code::Internal, "an object was finished twice")
}

#[async_trait]
impl Writer for ObjectWriter {
    async fn write(&mut self, mut bytes: Bytes) -> Result<()> {
        let Some(unfinished) = &self.unfinished else { return Err(finished_twice()) };
        let remote = Arc::clone(&unfinished.remote);
        self.length += bytes.len() as u64;
        while !bytes.is_empty() {
            let room = self.part_size(&remote) - self.pending_bytes;
            let piece = bytes.split_to(room.min(bytes.len()));
            self.pending_bytes += piece.len();
            self.pending.push(piece);
            if self.pending_bytes >= self.part_size(&remote) {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn finish(mut self: Box<Self>) -> Result<Fingerprint> {
        let outcome = self.complete().await;
        if let Some(unfinished) = self.unfinished.take() {
            unfinished.abort().await;
        }
        outcome
    }

    async fn abort(mut self: Box<Self>) {
        if let Some(unfinished) = self.unfinished.take() {
            unfinished.abort().await;
        }
    }
}

impl Drop for ObjectWriter {
    fn drop(&mut self) {
        if let Some(unfinished) = self.unfinished.take() {
            self.connection.give_up(unfinished);
        }
    }
}
