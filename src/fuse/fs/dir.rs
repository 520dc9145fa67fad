//! Reading directories.
//!
//! A cookie is a position: 0 and 1 are `.` and `..`, then the entries in the order in which this handle saw them. The
//! handle remembers after which name each batch of entries began, so a position can be found again after a seek without
//! holding the whole directory. Going forward never shows a name twice nor leaves out one that was there all the time,
//! whatever changes meanwhile, because each batch begins after the last name of the one before.

use super::{Fs, Who, gone, node};
use crate::attr::{Kind, Stat};
use goosefs_core::Result;
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::DirEntry;
use std::sync::Arc;
use std::time::UNIX_EPOCH;
use tokio::sync::Mutex;

/// Entries asked for at a time.
const BATCH: u32 = 1024;

/// Positions before the first entry.
const DOTS: u64 = 2;

/// An open directory.
pub struct DirHandle {
    node: u64,
    directory: InodeId,
    listing: Mutex<Listing>,
}

impl DirHandle {
    pub(super) fn new(node: u64) -> Result<DirHandle> {
        let directory = node::directory(node)?;
        Ok(DirHandle { node, directory, listing: Mutex::default() })
    }

    pub(super) fn node(&self) -> u64 {
        self.node
    }
}

#[derive(Default)]
struct Listing {
    /// The position and the name before the first entry of each batch seen so far.
    starts: Vec<(u64, String)>,
    /// The batch at hand.
    at: u64,
    entries: Vec<DirEntry>,
    more: bool,
}

impl Listing {
    /// The start of the batch that holds `position`, or of the last one known before it.
    fn start_before(&self, position: u64) -> (u64, String) {
        let batch = self.starts.partition_point(|(start, _)| *start <= position);
        match batch.checked_sub(1).and_then(|index| self.starts.get(index)) {
            Some((start, after)) => (*start, after.clone()),
            None => (DOTS, String::new()),
        }
    }

    fn holds(&self, position: u64) -> bool {
        position >= self.at && position - self.at < self.entries.len() as u64
    }
}

impl Fs {
    /// Opens a directory.
    ///
    /// # Errors
    /// `NotDirectory`.
    pub fn opendir(&self, who: Who, node: u64) -> Result<u64> {
        Ok(self.insert_dir(who, Arc::new(DirHandle::new(node)?)))
    }

    /// Closes a directory.
    pub fn releasedir(&self, number: u64) {
        self.take_dir(number);
    }

    /// Gives the entries from `position` on to `emit`, with the position after each, until it returns true ("full") or
    /// the directory ends.
    ///
    /// # Errors
    /// `Stale` when the directory is gone, and what the cluster says. Entries given before that stand.
    pub async fn readdir(
        &self,
        number: u64,
        mut position: u64,
        mut emit: impl FnMut(u64, &str, &Stat) -> bool + Send,
    ) -> Result<()> {
        let dir = self.dir(number)?;
        let mut listing = dir.listing.lock().await;
        if position == 0 {
            *listing = Listing::default();
        }
        while position < DOTS {
            let (name, of) = if position == 0 { (".", dir.node) } else { ("..", node::ROOT) };
            position += 1;
            if emit(position, name, &dots(of)) {
                return Ok(());
            }
        }
        while self.fetch(&dir, &mut listing, position).await? {
            let from = usize::try_from(position - listing.at).unwrap_or(usize::MAX);
            for entry in listing.entries.iter().skip(from) {
                position += 1;
                let Some(attr) = &entry.attr else { continue };
                self.remember(attr);
                let stat = self.stat(attr).await;
                if emit(position, &entry.name, &stat) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Makes the batch that holds `position` the one at hand; false when the directory ends before it.
    async fn fetch(&self, dir: &DirHandle, listing: &mut Listing, position: u64) -> Result<bool> {
        loop {
            if listing.holds(position) {
                return Ok(true);
            }
            let next = listing.at + listing.entries.len() as u64;
            let (start, after) = match listing.entries.last() {
                Some(last) if position >= next => {
                    if !listing.more {
                        return Ok(false);
                    }
                    (next, last.name.clone())
                }
                _ => listing.start_before(position),
            };
            let call = self.backend.read_dir(dir.directory, &after, BATCH);
            let answer = self.bounded("readdir", call).await.map_err(|error| gone(error, dir.node))?;
            if listing.starts.last().is_none_or(|(last, _)| *last < start) {
                listing.starts.push((start, after));
            }
            if answer.entries.is_empty() {
                listing.more = false;
                return Ok(false);
            }
            listing.at = start;
            listing.entries = answer.entries;
            listing.more = answer.more;
        }
    }
}

/// `.` and `..` need a kind and a number only: the kernel does not take them for names.
fn dots(node: u64) -> Stat {
    Stat {
        node,
        kind: Kind::Directory,
        size: 4096,
        perm: 0o755,
        uid: 0,
        gid: 0,
        links: 2,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
    }
}
