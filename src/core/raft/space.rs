//! Room on the disk of the log: notices in time that it runs out, and keeps a reserve to give up.
//!
//! A write error of the log stops Raft for good, so changes are refused, and the lead is handed over, while there is
//! still room to do so in order. The reserve file is given up when the disk is full all the same, so that the next start
//! has room to recover.

use super::metrics::Counters;
use crate::error::{Code, Error};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

const RESERVE: &str = "reserve";

/// The disk that a data directory lies on.
pub(super) struct Space {
    folder: PathBuf,
    /// Bytes that must stay free; also the size of the reserve.
    margin: u64,
    free: AtomicU64,
    /// This node leads with too little room, and no other takes the lead.
    pub(super) stuck: AtomicBool,
    counters: Counters,
}

impl Space {
    /// Looks at the disk of `folder` and makes the reserve there, if there is room for it.
    pub(super) fn open(folder: &Path, margin: u64, counters: Counters) -> Space {
        let space = Space {
            folder: folder.to_owned(),
            margin,
            free: AtomicU64::new(u64::MAX),
            stuck: AtomicBool::new(false),
            counters,
        };
        space.look();
        space
    }

    /// Measures again. Blocking.
    pub(super) fn look(&self) {
        let was_low = self.low();
        let free = match nix::sys::statvfs::statvfs(&self.folder) {
            Ok(disk) => disk.blocks_available().saturating_mul(disk.fragment_size()),
            Err(error) => return tracing::warn!(%error, "the free space of the Raft log's disk is not known"),
        };
        self.free.store(free, Ordering::Relaxed);
        self.counters.disk_free_bytes.set(i64::try_from(free).unwrap_or(i64::MAX));
        let reserve = self.folder.join(RESERVE);
        if free < self.margin / 8 {
            if fs::remove_file(&reserve).is_ok() {
                tracing::error!(folder = %self.folder.display(), "the disk is full; the reserve was given up");
            }
        } else if free / 3 > self.margin
            && !reserve.exists()
            && let Err(error) = allocate(&reserve, self.margin)
        {
            tracing::warn!(%error, "no reserve could be made on the Raft log's disk");
        }
        match (was_low, self.low()) {
            (false, true) => tracing::error!(
                folder = %self.folder.display(), free, needed = self.margin, "the disk of the Raft log is nearly full"
            ),
            (true, false) => tracing::info!("the disk of the Raft log has room again"),
            _ => {}
        }
    }

    /// Too little is free to take changes.
    pub(super) fn low(&self) -> bool {
        self.low_for(0)
    }

    /// Too little is free to write `size` bytes more.
    pub(super) fn low_for(&self, size: u64) -> bool {
        self.free.load(Ordering::Relaxed) < self.margin.saturating_add(size)
    }

    /// Why changes are refused: another master is about to lead, or none can.
    pub(super) fn error(&self) -> Error {
        if !self.stuck.load(Ordering::SeqCst) {
            return Error::not_leader("");
        }
        let free = self.free.load(Ordering::Relaxed) >> 20;
        Error::new(
            Code::NoSpace,
            format!(
                "the disk of the master's journal ({}) is nearly full: {free} MiB free",
                self.folder.display()
            ),
        )
        .hint(format!("free at least {} MiB there", (self.margin >> 20) + 1))
    }
}

fn allocate(path: &Path, size: u64) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(io::Error::other)?;
    let file = File::create(path)?;
    nix::fcntl::posix_fallocate(&file, 0, size).map_err(|error| {
        // What could be had of it is given back.
        drop(fs::remove_file(path));
        io::Error::from(error)
    })
}
