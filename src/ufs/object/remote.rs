//! One request each, by the key's path below the mount.

use super::options::Options;
use super::transport::Transport;
use super::{Bucket, failure};
use crate::Fence;
use crate::requests;
use crate::wrap::Backoff;
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use opendal::raw::{OpCopy, OpDelete, OpList, OpRead, OpStat, OpWrite, Servicer, oio};
use opendal::{
    Buffer, BytesRange, Executor, HttpTransporter, Metadata, OperationContext, options as opendal_options,
};
use std::fmt;
use std::ops::Range;
use std::time::Duration;

/// Parts of one upload that are under way at once.
const PARALLEL_PARTS: usize = 4;

/// The service with how it is reached.
pub(super) struct Remote {
    service: Servicer,
    context: OperationContext,
    uri: String,
    fence: Fence,
    backoff: Backoff,
    stall_timeout: Duration,
    part_size: usize,
}

impl fmt::Debug for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Remote({})", self.uri)
    }
}

impl Remote {
    pub(super) fn new(bucket: &Bucket, options: &Options, service: Servicer, fence: Fence) -> Result<Remote> {
        let transport = HttpTransporter::new(Transport::new(options)?);
        Ok(Remote {
            service,
            context: OperationContext::from_parts(transport, Executor::default()),
            uri: failure::uri(bucket),
            fence,
            backoff: requests::backoff(options.retries),
            stall_timeout: options.stall_timeout,
            part_size: options.part_size,
        })
    }

    /// What a person knows `path` by.
    pub(super) fn shown(&self, path: &str) -> String {
        format!("{}{}{path}", self.uri, if self.uri.ends_with('/') || path.is_empty() { "" } else { "/" })
    }

    pub(super) fn error(&self, code: Code, path: &str, why: &str) -> Error {
        Error::new(code, format!("{} {why}", self.shown(path)))
    }

    pub(super) fn failed(&self, doing: &str, path: &str, error: &opendal::Error) -> Error {
        failure::failed(&format!("{doing} {}", self.shown(path)), error)
    }

    pub(super) fn list_failed(&self, path: &str, error: &opendal::Error) -> Error {
        failure::list_failed(&format!("list {}", self.shown(path)), error)
    }

    /// To be asked right before the request of every change.
    pub(super) fn may_change(&self) -> Result<()> {
        self.fence.check()
    }

    /// The pauses between tries of one transfer.
    pub(super) fn backoff(&self) -> Backoff {
        self.backoff.clone()
    }

    /// How long a body may bring nothing.
    pub(super) fn stall_timeout(&self) -> Duration {
        self.stall_timeout
    }

    /// Bytes of the first parts of an upload.
    pub(super) fn part_size(&self) -> usize {
        self.part_size
    }

    /// The version of the object at `path`; nothing when there is none.
    pub(super) async fn head(&self, path: &str) -> Result<Option<Fingerprint>> {
        match self.service.stat_dyn(&self.context, path, OpStat::default()).await {
            Ok(answer) => Ok(Some(fingerprint(&answer.into_metadata()))),
            Err(error) if error.kind() == opendal::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed("look at", path, &error)),
        }
    }

    /// The keys below `prefix`, which is empty or ends with a slash: one level of them, or all. At most `limit` a page.
    pub(super) fn list(&self, prefix: &str, all: bool, limit: Option<usize>) -> Result<oio::Lister> {
        let options = opendal_options::ListOptions { recursive: all, limit, ..Default::default() };
        let prefix = if prefix.is_empty() { "/" } else { prefix };
        let lister = self.service.list_dyn(&self.context, prefix, OpList::from(options));
        lister.map_err(|error| self.list_failed(prefix, &error))
    }

    /// Begins a transfer of `range`, which is not empty, of the object's version `tag`, if there is a tag.
    pub(super) async fn open(
        &self,
        path: &str,
        range: &Range<u64>,
        tag: &str,
    ) -> Result<(Option<Metadata>, Box<dyn oio::ReadStreamDyn>), opendal::Error> {
        // If-Match compares strongly: a weak tag never matches.
        let if_match = tag.starts_with('"').then(|| tag.to_owned());
        let options = opendal_options::ReaderOptions { if_match, ..Default::default() };
        let (read, _): (OpRead, _) = options.into();
        let reader = self.service.read_dyn(&self.context, path, read)?;
        let range = BytesRange::new(range.start, Some(range.end - range.start));
        let (answer, stream) = reader.open_dyn(range).await?;
        Ok((answer.into_metadata(), stream))
    }

    /// What is in a small object; nothing when there is none.
    pub(super) async fn small(&self, path: &str) -> Result<Option<String>> {
        let Some(version) = self.head(path).await? else { return Ok(None) };
        let read = async {
            let (_, mut stream) = self.open(path, &(0..version.length.max(1)), &version.etag).await?;
            stream.read_all_dyn().await
        };
        let bytes = read.await.map_err(|error| self.failed("read", path, &error))?;
        Ok(Some(String::from_utf8_lossy(&bytes.to_bytes()).into_owned()))
    }

    /// Begins an upload; nothing is sent before there is more than one part.
    pub(super) fn writer(&self, path: &str) -> Result<oio::Writer> {
        let options = opendal_options::WriteOptions { concurrent: PARALLEL_PARTS, ..Default::default() };
        let capability = self.service.capability_dyn();
        let writer = OpWrite::from_options(&capability, options)
            .and_then(|(write, _)| self.service.write_dyn(&self.context, path, write));
        writer.map_err(|error| self.failed("write", path, &error))
    }

    /// Puts a small object.
    pub(super) async fn put(&self, path: &str, bytes: &str) -> Result<()> {
        self.may_change()?;
        let mut writer = self.writer(path)?;
        let put = async {
            if !bytes.is_empty() {
                writer.write_dyn(Buffer::from(bytes.to_owned())).await?;
            }
            writer.close_dyn().await
        };
        put.await.map(drop).map_err(|error| self.failed("write", path, &error))
    }

    /// Copies an object, whatever its size.
    pub(super) async fn copy(&self, from: &str, to: &str) -> Result<()> {
        self.may_change()?;
        let copy = async {
            let mut copier = self.service.copy_dyn(&self.context, from, to, OpCopy::default())?;
            while copier.next_dyn().await?.is_some() {}
            copier.close_dyn().await
        };
        copy.await.map(drop).map_err(|error| self.failed("copy", from, &error))
    }

    /// Removes objects; those that are gone are no error.
    pub(super) async fn delete(&self, paths: &[String]) -> Result<()> {
        self.may_change()?;
        let Some(first) = paths.first() else { return Ok(()) };
        let delete = async {
            let mut deleter = self.service.delete_dyn(&self.context)?;
            for path in paths {
                deleter.delete_dyn(path, OpDelete::default()).await?;
            }
            deleter.close_dyn().await
        };
        delete.await.map_err(|error| self.failed("remove", first, &error))
    }
}

/// The version that `metadata` shows. Times count whole seconds, as a HEAD tells them.
pub(super) fn fingerprint(metadata: &Metadata) -> Fingerprint {
    let seconds = metadata.last_modified().map(|time| time.into_inner().as_second());
    let mtime_ms = seconds.and_then(|seconds| u64::try_from(seconds).ok()).map(|seconds| seconds * 1000);
    Fingerprint {
        length: metadata.content_length(),
        mtime_ms,
        etag: metadata.etag().map(quoted).unwrap_or_default(),
    }
}

/// A tag as it goes into a header; listings of some services leave the quotes out.
pub(super) fn quoted(tag: &str) -> String {
    if tag.starts_with("W/") {
        return tag.to_owned();
    }
    let bare = tag.trim_matches('"');
    if bare.is_empty() { String::new() } else { format!("\"{bare}\"") }
}
