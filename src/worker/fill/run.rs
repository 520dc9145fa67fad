//! One run: a range request whose pages go to whoever waits, and to the disk.

use super::plan::Run;
use super::{Fetched, Inner, Outcome, PageKey, Pieces};
use crate::disk::blocking;
use crate::peers::Wanted;
use crate::versions::Version;
use bytes::Bytes;
use futures::StreamExt;
use goosefs_core::block::{BlockSlot, PAGE};
use goosefs_core::checksum::crc32c_append;
use goosefs_core::{Code, Error, Result};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A request that failed in a way that may pass is made so often in all.
const ATTEMPTS: u32 = 3;

/// Before the second attempt; doubled before each further one.
const PAUSE: Duration = Duration::from_millis(100);

/// A page that is being written to the disk, and whether it found room.
struct Writing {
    key: PageKey,
    /// Kept until then, so that whoever comes meanwhile gets the bytes.
    _landed: watch::Sender<Outcome>,
    task: JoinHandle<Result<bool>>,
}

/// What is left of a run. Dropping it takes its pages off the table; whoever waits for them begins anew.
pub(super) struct Work {
    inner: Arc<Inner>,
    version: Arc<Version>,
    run: Run,
    /// Pages that have not landed yet, in order.
    landings: VecDeque<(PageKey, watch::Sender<Outcome>)>,
    writing: Option<Writing>,
    /// The storage was silent for too long: it is not asked again.
    silent: bool,
}

impl Work {
    pub(super) fn new(
        inner: Arc<Inner>,
        version: Arc<Version>,
        run: Run,
        landings: Vec<(PageKey, watch::Sender<Outcome>)>,
    ) -> Work {
        Work { inner, version, run, landings: landings.into(), writing: None, silent: false }
    }

    pub(super) async fn run(mut self) {
        let stop = self.inner.tasks.stop();
        tokio::select! {
            () = stop.cancelled() => {}
            () = self.fetch() => {}
        }
    }

    async fn fetch(&mut self) {
        let inner = self.inner.clone();
        let Ok(_one_of_all) = inner.in_all.acquire().await else { return };
        let started = Instant::now();
        let (store, content, block) = (inner.store.clone(), self.version.content(), self.run.block);
        let slot = match blocking(move || Ok(store.slot(&content, block))).await {
            Ok(Some(slot)) => slot,
            Ok(None) => return self.land_rest(&Ok(Fetched::Uncached)),
            Err(error) => return self.land_rest(&Err(error)),
        };
        let mut pause = PAUSE;
        for attempt in 1.. {
            match self.attempt(&slot).await {
                Ok(()) => break,
                Err(error) if attempt < ATTEMPTS && may_pass(error.code) && !self.silent => {
                    let content = self.version.content;
                    tracing::debug!(%content, %error, attempt, "a storage is asked again");
                    tokio::time::sleep(pause).await;
                    pause *= 2;
                }
                Err(error) => {
                    inner.metrics.fill_errors.inc();
                    self.land_rest(&Err(in_our_words(error, &self.version)));
                    break;
                }
            }
        }
        self.written().await;
        inner.metrics.fill_seconds.observe(started.elapsed().as_secs_f64());
    }

    /// Requests the pages that are left. `Ok` also when there is no more room for them.
    async fn attempt(&mut self, slot: &Arc<BlockSlot>) -> Result<()> {
        let Some(first) = self.landings.front().map(|(key, _)| key.page) else { return Ok(()) };
        let version = self.version.clone();
        let expected = version.object().ok_or_else(|| {
            Error::new(Code::Stale, format!("content {} has no object in its storage", version.content))
        })?;
        let content = version.content();
        let block_start = self.run.block * content.block_size;
        let block_len = content.block_len(self.run.block);
        let start = block_start + u64::from(first) * PAGE;
        let end = block_start + (u64::from(self.run.pages.end) * PAGE).min(block_len);
        let patience = self.inner.limits.timeout;
        let wanted = Wanted {
            content: version.content,
            generation: version.generation,
            offset: start,
            length: end - start,
        };
        let cached = self.inner.peers.cached(wanted).await;
        let from_peer = cached.is_some();
        let mount = self.inner.mounts.get(version.mount).await?;
        let mut bytes = match cached {
            Some(bytes) => bytes,
            None => {
                let opened = mount.ufs.read(&version.ufs_path, start..end, expected);
                let opened = mount.within(patience, opened).await;
                self.silent = opened.is_err() && mount.is_silent(patience);
                opened?
            }
        };
        let mut pages = PageBuilder::default();
        while let Some((next, _)) = self.landings.front() {
            let wanted = (block_len - u64::from(next.page) * PAGE).min(PAGE);
            if let Some(page) = pages.take(wanted) {
                if !self.landed(slot, page).await {
                    break;
                }
                continue;
            }
            let next = async { bytes.next().await.transpose() };
            let piece = if from_peer { next.await } else { mount.within(patience, next).await };
            if from_peer && !matches!(piece, Ok(Some(_))) {
                // Evicted there meanwhile, or the peer is gone: the next attempt goes to the storage.
                self.inner.peers.lacks(version.content);
                return Err(Error::new(Code::Unavailable, "a peer has stopped sending what it had cached"));
            }
            self.silent = !from_peer && piece.is_err() && mount.is_silent(patience);
            let Some(piece) = piece? else {
                let message = format!("the storage of {} ended a range early", version.ufs_path);
                return Err(Error::new(Code::Ufs, message));
            };
            let source =
                if from_peer { &self.inner.metrics.fill_peer_bytes } else { &self.inner.metrics.fill_bytes };
            source.inc_by(piece.len() as u64);
            pages.push(piece);
        }
        Ok(())
    }

    /// A page is complete: gives it to whoever waits and begins to write it. `false` when the disk takes no more: what
    /// is left is to be read past the cache then.
    async fn landed(&mut self, slot: &Arc<BlockSlot>, page: FullPage) -> bool {
        let FullPage { pieces, crc } = page;
        let room = self.written().await;
        let Some((key, landed)) = self.landings.pop_front() else { return false };
        landed.send_replace(Some(Ok(Fetched::Page(pieces.clone()))));
        if !room {
            self.take_off(key);
            self.land_rest(&Ok(Fetched::Uncached));
            return false;
        }
        let slot = slot.clone();
        let write = move || match slot.reserve(key.page) {
            Some(room) => room.fill(&pieces, crc).map(|()| true),
            None => Ok(false),
        };
        self.writing = Some(Writing { key, _landed: landed, task: tokio::task::spawn_blocking(write) });
        true
    }

    /// Waits until the page before is on the disk. `false` when it found no place there.
    async fn written(&mut self) -> bool {
        let Some(writing) = self.writing.as_mut() else { return true };
        let outcome = (&mut writing.task).await;
        let key = writing.key;
        self.writing = None;
        self.take_off(key);
        match outcome {
            Ok(Ok(room)) => room,
            Ok(Err(error)) => {
                tracing::debug!(block = %key.block, page = key.page, %error, "a page could not be cached");
                false
            }
            Err(_) => false,
        }
    }

    fn land_rest(&mut self, outcome: &Result<Fetched>) {
        for (key, landing) in std::mem::take(&mut self.landings) {
            self.take_off(key);
            landing.send_replace(Some(outcome.clone()));
        }
    }

    fn take_off(&self, key: PageKey) {
        self.inner.table.lock().flights.remove(&key);
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        let mut table = self.inner.table.lock();
        let left = self.landings.iter().map(|(key, _)| *key);
        for key in left.chain(self.writing.as_ref().map(|writing| writing.key)) {
            table.flights.remove(&key);
        }
        if let Some(runs) = table.runs.get_mut(&self.version.content) {
            *runs = runs.saturating_sub(1);
            if *runs == 0 {
                table.runs.remove(&self.version.content);
            }
        }
    }
}

/// All bytes of a page.
struct FullPage {
    pieces: Pieces,
    crc: u32,
}

/// Bytes on their way to becoming pages.
#[derive(Default)]
struct PageBuilder {
    pieces: Vec<Bytes>,
    bytes: u64,
    /// Of these pieces.
    crc: u32,
    /// Not yet looked at.
    next: Option<Bytes>,
}

impl PageBuilder {
    fn push(&mut self, piece: Bytes) {
        debug_assert!(self.next.is_none(), "pages are taken until none is full");
        self.next = Some(piece);
    }

    /// The next page of `wanted` bytes, once they are there.
    fn take(&mut self, wanted: u64) -> Option<FullPage> {
        if let Some(mut piece) = self.next.take() {
            let missing = (wanted - self.bytes).min(piece.len() as u64) as usize;
            let rest = piece.split_off(missing);
            self.crc = crc32c_append(self.crc, &piece);
            self.bytes += piece.len() as u64;
            self.pieces.push(piece);
            self.next = (!rest.is_empty()).then_some(rest);
        }
        if self.bytes < wanted {
            return None;
        }
        self.bytes = 0;
        Some(FullPage { pieces: std::mem::take(&mut self.pieces).into(), crc: std::mem::take(&mut self.crc) })
    }
}

/// Whether the same request may go well a moment later.
fn may_pass(code: Code) -> bool {
    code.retryable() || code == Code::Ufs
}

/// An object that is gone is another version to a reader, not a missing file.
fn in_our_words(error: Error, version: &Version) -> Error {
    match error.code {
        Code::NotFound => {
            Error::new(Code::Stale, format!("{} is gone from its storage: {error}", version.ufs_path))
        }
        _ => error.context(format_args!("read {} from its storage", version.ufs_path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::checksum::crc32c;

    #[test]
    fn pages_are_cut_from_whatever_pieces_come() {
        let mut builder = PageBuilder::default();
        builder.push(Bytes::from_static(b"abc"));
        assert!(builder.take(4).is_none());
        builder.push(Bytes::from_static(b"defghijkl"));
        for expected in [b"abcd", b"efgh", b"ijkl"] {
            let page = builder.take(4).expect("a page is there");
            assert_eq!(page.pieces.concat(), expected);
            assert_eq!(page.crc, crc32c(expected), "checked as a whole, however it came");
        }
        assert!(builder.take(1).is_none());
    }
}
