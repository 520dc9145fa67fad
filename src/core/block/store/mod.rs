//! The facade of the block store: thread-safe, without async, cheap to clone.
//!
//! Owns the index behind one lock and the directories' mirrors, logs and files. The order in which an input's effects
//! are carried out (held log, mirror, flush, then bytes) is in `settle`, opening and trusting what a former life left
//! in `open`, room and eviction in `room`, what another cluster's mark means in `adopt`. Calls that are said to block
//! touch the disk: the worker makes them on blocking threads.

mod adopt;
mod open;
mod room;
mod settle;

pub use adopt::Adopted;
pub use open::Opening;

use super::container::Abilities;
use super::evict::{Lru, Policy};
use super::held::HeldLog;
use super::identity::{Identity, Mark};
use super::index::{Content, DirId, Index};
use super::mirror::Mirror;
use crate::clock::Clock;
use crate::id::{BlockId, ContainerId, ContentId, MountId, WorkerId};
use nix::fcntl::Flock;
use parking_lot::{Condvar, Mutex, RwLock};
use std::collections::{BTreeMap, VecDeque};
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What a store is made of.
#[derive(Clone, Debug)]
pub struct StoreConfig {
    /// Fastest first.
    pub tiers: Vec<TierSpec>,
    /// How long a complete file rests before it is flushed to the disk; by then the kernel has written most of it.
    pub sync_after: Duration,
}

/// One tier.
#[derive(Clone, Debug)]
pub struct TierSpec {
    /// MEM, SSD, HDD or any other name.
    pub alias: String,
    /// Its directories.
    pub dirs: Vec<DirSpec>,
    /// Above this share of a directory's quota eviction begins.
    pub high: f64,
    /// And ends at this share.
    pub low: f64,
}

/// One directory of a tier.
#[derive(Clone, Debug)]
pub struct DirSpec {
    /// Where.
    pub path: PathBuf,
    /// At most this many bytes, those in flight included.
    pub quota: u64,
}

/// How full the store is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Usage {
    /// Every directory.
    pub dirs: Vec<DirUsage>,
    /// Disk space of only copies.
    pub held: u64,
    /// Cached disk space by mount.
    pub by_mount: BTreeMap<MountId, u64>,
    /// Contents of which something is cached.
    pub contents: u64,
}

/// How full one directory is.
#[derive(Clone, PartialEq, Debug)]
pub struct DirUsage {
    /// Its tier's alias.
    pub tier: String,
    /// Where.
    pub path: PathBuf,
    /// Its quota.
    pub capacity: u64,
    /// Everything that takes room, in flight too.
    pub used: u64,
    /// Of that, files that are not cached any more and that somebody still has open.
    pub still_open: u64,
    /// It failed and was taken out.
    pub failed: bool,
}

/// What happened so far, for metrics.
#[derive(Debug, Default)]
pub struct Counts {
    /// Pages put into the cache.
    pub pages_filled: AtomicU64,
    /// Pages whose bytes did not match their checksum.
    pub bad_pages: AtomicU64,
    /// Only copies found damaged or missing.
    pub lost_blocks: AtomicU64,
    /// Bytes evicted to make room.
    pub evicted_bytes: AtomicU64,
    /// Times that no room could be made.
    pub no_room: AtomicU64,
    /// Directories taken out because they failed.
    pub failed_dirs: AtomicU64,
}

impl Counts {
    pub(super) fn add(counter: &AtomicU64, by: u64) {
        counter.fetch_add(by, Ordering::Relaxed);
    }
}

/// The block store.
#[derive(Clone)]
pub struct Store {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) dirs: Vec<Dir>,
    pub(super) index: Mutex<Index>,
    /// Signalled when a removal was carried out or a pin dropped.
    pub(super) settled: Condvar,
    pub(super) clock: Arc<dyn Clock>,
    policy: Box<dyn Policy>,
    pub(super) counts: Counts,
    identity: RwLock<Identity>,
    opening: Opening,
    evicting: Mutex<()>,
    pressure: OnceLock<Box<dyn Fn() + Send + Sync>>,
    sync_after: Duration,
    /// Containers that may have become complete, and when.
    unsynced: Mutex<VecDeque<(ContainerId, u64)>>,
}

/// One directory.
pub(super) struct Dir {
    pub(super) id: DirId,
    pub(super) path: PathBuf,
    pub(super) abilities: Abilities,
    pub(super) failed: AtomicBool,
    pub(super) mirror: Mirror,
    held: Mutex<HeldLog>,
    gone: Mutex<Vec<Gone>>,
    tier: usize,
    alias: String,
    high: f64,
    low: f64,
    _lock: Flock<File>,
}

/// A file that was unlinked while somebody had it open.
struct Gone {
    file: File,
    bytes: u64,
}

impl Dir {
    pub(super) fn is_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

impl Store {
    /// Opens the directories, takes back what a former life left in them, and trims them to their quotas. Blocks.
    pub fn open(config: &StoreConfig, clock: Arc<dyn Clock>) -> crate::Result<Store> {
        open::open(config, clock, Box::new(Lru))
    }

    /// What was found at the opening.
    #[must_use]
    pub fn opening(&self) -> &Opening {
        &self.inner.opening
    }

    /// The worker these directories belong to.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.inner.identity.read().worker
    }

    /// The cluster these directories belong to; none before [`Store::adopt`] was called for the first time.
    #[must_use]
    pub fn mark(&self) -> Option<Mark> {
        self.inner.identity.read().mark
    }

    /// Calls `hook` whenever a directory is above its high watermark; it should get [`Store::evict`] called on a
    /// blocking thread. The first hook stays.
    pub fn on_pressure(&self, hook: impl Fn() + Send + Sync + 'static) {
        let _first_stays = self.inner.pressure.set(Box::new(hook));
    }

    /// What happened so far.
    #[must_use]
    pub fn counts(&self) -> &Counts {
        &self.inner.counts
    }

    /// How full the store is.
    #[must_use]
    pub fn usage(&self) -> Usage {
        let index = self.inner.index.lock();
        let dirs = self.inner.dirs.iter().map(|dir| DirUsage {
            tier: dir.alias.clone(),
            path: dir.path.clone(),
            capacity: if dir.is_failed() { 0 } else { index.quota(dir.id).limit },
            used: if dir.is_failed() { 0 } else { index.quota(dir.id).total() },
            still_open: if dir.is_failed() { 0 } else { index.quota(dir.id).unlinked },
            failed: dir.is_failed(),
        });
        Usage {
            dirs: dirs.collect(),
            held: index.held_bytes(),
            by_mount: index.by_mount().clone(),
            contents: index.containers() as u64,
        }
    }

    /// Whether every directory is above its high watermark: a fill would push something else out.
    #[must_use]
    pub fn crowded(&self) -> bool {
        let index = self.inner.index.lock();
        self.inner.dirs.iter().all(|dir| dir.is_failed() || index.quota(dir.id).above(dir.high) > 0)
    }

    /// Cached bytes of a block.
    #[must_use]
    pub fn block_bytes(&self, block: BlockId) -> u64 {
        self.inner.index.lock().block_bytes(block)
    }

    /// Cached bytes of a content.
    #[must_use]
    pub fn content_bytes(&self, content: ContentId) -> u64 {
        self.inner.index.lock().content_bytes(content.container())
    }

    /// What is known of a content that is cached here, of whatever generation.
    #[must_use]
    pub fn content(&self, content: ContentId) -> Option<Content> {
        self.inner.index.lock().content(content.container())
    }

    /// Whether a descriptor of this content is leased out.
    #[must_use]
    pub fn leased(&self, content: ContentId) -> bool {
        self.inner.index.lock().leased(content.container())
    }

    /// Contents with only copies here and their generations, in order, after `after`, at most `limit`.
    #[must_use]
    pub fn held_contents(&self, after: Option<ContentId>, limit: usize) -> Vec<(ContentId, u64)> {
        let after = after.map_or(ContainerId(0), ContentId::container);
        let held = self.inner.index.lock().held_contents(after, limit);
        held.into_iter().map(|(container, generation)| (container.content(), generation)).collect()
    }

    /// Whether others than `content` hold room that they are about to let go of: leases, readers, files that are on their
    /// way off the disk.
    #[must_use]
    pub fn may_let_go(&self, content: ContentId) -> bool {
        self.inner.index.lock().may_let_go(content.container())
    }

    /// The blocks of a content that are only copies.
    #[must_use]
    pub fn held_blocks(&self, content: ContentId) -> Vec<BlockId> {
        self.inner.index.lock().held_blocks(content.container())
    }

    /// Every content of which something is cached.
    #[must_use]
    pub fn contents(&self) -> Vec<ContentId> {
        self.inner.index.lock().ids().map(ContainerId::content).collect()
    }

    pub(super) fn dir(&self, id: DirId) -> &Dir {
        &self.inner.dirs[usize::from(id.0)]
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.inner.clock.now_ms()
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("worker", &self.worker()).finish_non_exhaustive()
    }
}
