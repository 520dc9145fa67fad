//! Reading a local file of a known version.

use super::describe::fingerprint;
use super::place::Place;
use crate::same_version;
use bytes::{Bytes, BytesMut};
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use std::fs::File;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::Duration;

/// How much is read at once.
const CHUNK: usize = 1 << 20;

/// Coarse file times move by a timer tick, at most 10 ms. Within one tick a file can change twice and show one time, so
/// a file is read only when its time lies further back than this.
const TICK: Duration = Duration::from_millis(20);

/// The bytes of `range`, if the file is of version `expected`. The file stays open throughout, so a replacement by
/// rename does not matter; one in place is seen because the version is looked at after each chunk, before it is given
/// out.
pub(super) async fn read(
    place: Arc<Place>,
    path: String,
    range: Range<u64>,
    expected: Fingerprint,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    if range.start > range.end || range.end > expected.length {
        let message = format!("bytes {range:?} of {} lie outside its {} bytes", path, expected.length);
        return Err(Error::new(Code::InvalidArgument, message));
    }
    let opened = super::blocking(move || {
        let full = place.existing(&path)?;
        let file = File::open(&full).map_err(|e| Error::io(format!("open {}", full.display()), e))?;
        let reading = Reading { file, shown: full.display().to_string(), expected };
        let wait = reading.until_settled()?;
        reading.verify()?;
        Ok((reading, wait))
    });
    let (reading, wait) = opened.await?;
    if !wait.is_zero() {
        tokio::time::sleep(wait).await;
    }
    let chunks = futures::stream::try_unfold((Arc::new(reading), range), async |(reading, range)| {
        if range.is_empty() {
            return Ok(None);
        }
        let worker = Arc::clone(&reading);
        let offset = range.start;
        let length = usize::try_from(range.end - offset).unwrap_or(CHUNK).min(CHUNK);
        let chunk = super::blocking(move || worker.chunk(offset, length)).await?;
        let rest = offset + chunk.len() as u64..range.end;
        Ok(Some((chunk, (reading, rest))))
    });
    Ok(chunks.boxed())
}

struct Reading {
    file: File,
    shown: String,
    expected: Fingerprint,
}

impl Reading {
    fn chunk(&self, offset: u64, length: usize) -> Result<Bytes> {
        let mut buffer = BytesMut::zeroed(length);
        let read = self.file.read_exact_at(&mut buffer, offset);
        // A file that was cut short fails here with "unexpected end": the version tells it better.
        self.verify()?;
        read.map_err(|e| Error::io(format!("read {}", self.shown), e))?;
        Ok(buffer.freeze())
    }

    fn verify(&self) -> Result<()> {
        let metadata = self.file.metadata().map_err(|e| Error::io(format!("look at {}", self.shown), e))?;
        if metadata.is_dir() {
            return Err(Error::new(Code::IsDirectory, format!("{} is a directory", self.shown)));
        }
        if same_version(&fingerprint(&metadata), &self.expected) {
            Ok(())
        } else {
            Err(Error::new(Code::Stale, format!("{} was replaced in its storage", self.shown)))
        }
    }

    fn until_settled(&self) -> Result<Duration> {
        let modified = self.file.metadata().and_then(|metadata| metadata.modified());
        let modified = modified.map_err(|e| Error::io(format!("look at {}", self.shown), e))?;
        // A time in the future says nothing about now.
        Ok(modified.elapsed().map_or(Duration::ZERO, |age| TICK.saturating_sub(age)))
    }
}
