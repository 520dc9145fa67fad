//! Reading a range of an object of a known version, over as many requests as it takes.
//!
//! Every request asks for that version, and every answer's own tag and length are compared; these services send one
//! version in one answer. A transfer that breaks off goes on with a new request.

use super::remote::{Remote, fingerprint};
use super::tree::check;
use crate::requests::Tries;
use crate::same_version;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use opendal::Buffer;
use opendal::raw::oio;
use std::ops::Range;
use std::sync::Arc;

/// The bytes of `range`, if the object is of version `expected`.
pub(super) async fn read(
    remote: Arc<Remote>,
    path: String,
    range: Range<u64>,
    expected: Fingerprint,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    check(&path)?;
    if range.start > range.end || range.end > expected.length {
        let why = format!("has {} bytes: {range:?} lie outside", expected.length);
        return Err(remote.error(Code::InvalidArgument, &path, &why));
    }
    let mut source = Source { remote, path, expected };
    if range.is_empty() || !source.expected.etag.starts_with('"') {
        source.learn().await?;
    }
    if range.is_empty() {
        return Ok(futures::stream::empty().boxed());
    }
    let body = Some(source.open(&range).await?);
    let tries = Tries::new(source.remote.backoff(), range.start);
    let reading = Reading { source, body, rest: range, tries };
    let chunks = futures::stream::try_unfold(reading, async |mut reading| {
        let chunk = reading.next().await?;
        Ok(chunk.map(|chunk| (chunk, reading)))
    });
    Ok(chunks.boxed())
}

/// One version of one object.
struct Source {
    remote: Arc<Remote>,
    path: String,
    expected: Fingerprint,
}

impl Source {
    fn stale(&self) -> Error {
        self.remote.error(Code::Stale, &self.path, "was replaced in its storage")
    }

    /// Looks which version there is, and takes its tag for the requests to come.
    ///
    /// Errors: `Stale` when it is another one.
    async fn learn(&mut self) -> Result<()> {
        let Some(now) = self.remote.head(&self.path).await? else {
            return Err(self.remote.error(Code::NotFound, &self.path, "does not exist"));
        };
        if !same_version(&now, &self.expected) {
            return Err(self.stale());
        }
        self.expected = now;
        Ok(())
    }

    /// Begins a transfer of `range`, which is not empty.
    async fn open(&self, range: &Range<u64>) -> Result<Box<dyn oio::ReadStreamDyn>> {
        let opened = self.remote.open(&self.path, range, &self.expected.etag).await;
        let (metadata, stream) = opened.map_err(|error| self.remote.failed("read", &self.path, &error))?;
        let seen = metadata.as_ref().map(fingerprint);
        match seen {
            // Without a tag in the answer the condition of the request has to do.
            Some(seen) if same_version(&seen, &self.expected) => Ok(stream),
            _ => Err(self.stale()),
        }
    }
}

/// A read under way.
struct Reading {
    source: Source,
    /// `None` after a transfer broke off.
    body: Option<Box<dyn oio::ReadStreamDyn>>,
    /// What has not come yet.
    rest: Range<u64>,
    tries: Tries,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        while !self.rest.is_empty() {
            let body = match &mut self.body {
                Some(body) => body,
                None => self.body.insert(self.source.open(&self.rest).await?),
            };
            let limit = self.source.remote.stall_timeout();
            match tokio::time::timeout(limit, body.read_dyn()).await {
                Ok(Ok(buffer)) if buffer.is_empty() => {
                    self.broke_off(self.error(Code::Ufs, "the service closed before the end")).await?;
                }
                Ok(Ok(buffer)) => return Ok(Some(self.came(buffer))),
                Ok(Err(error)) => {
                    let error = self.source.remote.failed("read", &self.source.path, &error);
                    self.broke_off(error).await?;
                }
                Err(_) => {
                    let why = format!("nothing came for {limit:?}");
                    self.broke_off(self.error(Code::DeadlineExceeded, &why)).await?;
                }
            }
        }
        Ok(None)
    }

    fn error(&self, code: Code, why: &str) -> Error {
        self.source.remote.error(code, &self.source.path, &format!("at byte {}: {why}", self.rest.start))
    }

    fn came(&mut self, buffer: Buffer) -> Bytes {
        let mut chunk = buffer.to_bytes();
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        // A service that sends more than the range is not asked to stop politely.
        chunk.truncate(left);
        self.rest.start += chunk.len() as u64;
        chunk
    }

    /// Counts a transfer that broke off with `error`, and pauses before the next.
    async fn broke_off(&mut self, error: Error) -> Result<()> {
        self.body = None;
        tracing::debug!(%error, "transfer from an object storage broke off and may go on with a new request");
        if self.tries.again(self.rest.start).await { Ok(()) } else { Err(error) }
    }
}
