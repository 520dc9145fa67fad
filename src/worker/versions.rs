//! What the masters say about contents: which bytes count, where they come from, who holds the only copies.
//!
//! Owns a bounded cache of version records. A record is asked for by one caller at a time, however many want it, and
//! believed for a moment only: the bytes of one generation of a content never change, but a truncation raises the
//! generation, and that must be noticed. A reader that says which generation its open file has needs no newer word: to
//! it a record goes on counting until the heartbeats bring that it is void. While no master answers, the last record of
//! a complete file goes on being believed by everybody, so that cached files stay readable.

use goosefs_core::block::Content;
use goosefs_core::clock::Clock;
use goosefs_core::id::{BlockId, ContentId, MountId, WorkerId};
use goosefs_core::proto::internal::{Fingerprint, Persistence, VersionRequest, VersionResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// How long a record of a complete file is believed.
const BELIEVED: Duration = Duration::from_secs(1);

/// How long a record of a file that is being written is believed.
const BELIEVED_GROWING: Duration = Duration::from_millis(100);

/// How long a record is believed that no master could confirm.
const BELIEVED_UNCONFIRMED: Duration = Duration::from_secs(5);

/// How long a master may take to confirm a record that we have; after that the old one is used.
const CONFIRM: Duration = Duration::from_millis(500);

/// Records kept at most.
const KEPT: usize = 16 << 10;

/// Who holds an only copy.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Holders {
    /// Bytes of the block that are committed.
    pub(crate) length: u64,
    /// Which workers.
    pub(crate) workers: Vec<WorkerId>,
}

/// One content, as the masters know it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Version {
    pub(crate) content: ContentId,
    pub(crate) generation: u64,
    pub(crate) length: u64,
    pub(crate) block_size: u64,
    pub(crate) completed: bool,
    pub(crate) persistence: Persistence,
    pub(crate) mount: MountId,
    /// Relative to the mount's URI; empty while not persisted.
    pub(crate) ufs_path: String,
    /// Which version of the object counts; none while not persisted.
    pub(crate) fingerprint: Option<Fingerprint>,
    pub(crate) holders: HashMap<BlockId, Holders>,
}

impl Version {
    fn from_wire(response: VersionResponse) -> Result<Version> {
        let malformed = |what: &str| Error::new(Code::Internal, format!("a version record {what}"));
        let content = ContentId::from_raw(response.content)
            .ok_or_else(|| malformed(&format!("names {}, which is no content", response.content)))?;
        if response.block_size == 0 {
            return Err(malformed(&format!("of content {content} has no block size")));
        }
        let persistence = response.persistence();
        let holders = response.blocks.into_iter().map(|block| {
            let workers = block.workers.into_iter().map(WorkerId).collect();
            (BlockId(block.block), Holders { length: block.length, workers })
        });
        Ok(Version {
            content,
            generation: response.generation,
            length: response.length,
            block_size: response.block_size,
            completed: response.completed,
            persistence,
            mount: MountId(response.mount),
            ufs_path: response.ufs_path,
            fingerprint: response.fingerprint,
            holders: holders.collect(),
        })
    }

    /// What a complete cached file says about itself, when no master can be asked.
    pub(crate) fn from_cache(cached: &Content) -> Version {
        Version {
            content: cached.id,
            generation: cached.generation,
            length: cached.length,
            block_size: cached.block_size,
            completed: cached.complete,
            persistence: Persistence::NotPersisted,
            mount: cached.mount,
            ufs_path: String::new(),
            fingerprint: None,
            holders: HashMap::new(),
        }
    }

    /// What the block store must know of it.
    pub(crate) fn content(&self) -> Content {
        Content {
            id: self.content,
            block_size: self.block_size,
            generation: self.generation,
            length: self.length,
            complete: self.completed,
            mount: self.mount,
            pinned: false,
        }
    }

    /// The version of the object in the under-storage, if that counts for reading.
    pub(crate) fn object(&self) -> Option<&Fingerprint> {
        let counts = self.persistence == Persistence::Persisted && self.completed;
        self.fingerprint.as_ref().filter(|_| counts)
    }

    /// Bytes of the content, for reading: of a file that is being written, what is committed so far.
    pub(crate) fn readable(&self) -> u64 {
        if self.completed {
            return self.length;
        }
        let committed =
            self.holders.iter().map(|(block, holders)| block.index() * self.block_size + holders.length);
        committed.max().unwrap_or_default().max(self.length)
    }
}

/// The cache of version records.
pub(crate) struct Versions {
    masters: Masters,
    clock: Arc<dyn Clock>,
    slots: Mutex<HashMap<ContentId, Arc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    /// Raised by [`Versions::forget`]: what was asked for before that does not count.
    voided: AtomicU64,
    known: tokio::sync::Mutex<Option<Known>>,
}

struct Known {
    version: Arc<Version>,
    /// [`Slot::voided`] when it was asked for.
    voided: u64,
    believed_until: Duration,
}

impl Versions {
    pub(crate) fn new(masters: Masters, clock: Arc<dyn Clock>) -> Versions {
        Versions { masters, clock, slots: Mutex::default() }
    }

    /// The record of `content`; one of a generation below `at_least` is asked for again.
    ///
    /// # Errors
    /// `NotFound` when there is no such content (any more), `Unavailable` when no master answers and nothing is known.
    pub(crate) async fn get(&self, content: ContentId, at_least: u64) -> Result<Arc<Version>> {
        self.look(content, at_least, None).await
    }

    async fn look(
        &self,
        content: ContentId,
        at_least: u64,
        suspect: Option<&Fingerprint>,
    ) -> Result<Arc<Version>> {
        let slot = self.slot(content);
        let mut known = slot.known.lock().await;
        let voided = slot.voided.load(Ordering::Acquire);
        if let Some(known) = known.as_ref()
            && known.voided == voided
            && known.version.generation >= at_least
            && (self.clock.monotonic() < known.believed_until || (known.version.completed && at_least > 0))
        {
            return Ok(known.version.clone());
        }
        let usable = known.as_ref().filter(|known| known.voided == voided && known.version.completed);
        let asked = match usable {
            None => self.ask(content, suspect).await,
            Some(_) => match tokio::time::timeout(CONFIRM, self.ask(content, suspect)).await {
                Ok(asked) => asked,
                Err(_) => Err(Error::new(Code::DeadlineExceeded, "no master answered in time")),
            },
        };
        let (version, believed) = match (asked, usable) {
            (Ok(version), _) => {
                let believed = if version.completed { BELIEVED } else { BELIEVED_GROWING };
                (Arc::new(version), believed)
            }
            (Err(error), Some(old)) if error.code.retryable() && old.version.generation >= at_least => {
                tracing::debug!(%content, %error, "no master confirms a version record, the last one is used");
                (old.version.clone(), BELIEVED_UNCONFIRMED)
            }
            (Err(error), _) => {
                if error.code == Code::NotFound {
                    *known = None;
                }
                return Err(error);
            }
        };
        let believed_until = self.clock.monotonic() + believed;
        *known = Some(Known { version: version.clone(), voided, believed_until });
        Ok(version)
    }

    /// The record of `content` as it is now.
    ///
    /// # Errors
    /// As [`Versions::get`].
    pub(crate) async fn fresh(&self, content: ContentId) -> Result<Arc<Version>> {
        self.forget(content);
        self.get(content, 0).await
    }

    /// The record of the content after its storage did not have the object that `version` names: the masters look there
    /// again before they answer, so that whoever opens the file next gets what is there now.
    ///
    /// # Errors
    /// As [`Versions::get`]: `NotFound` when another object is there.
    pub(crate) async fn doubted(&self, version: &Version) -> Result<Arc<Version>> {
        self.forget(version.content);
        self.look(version.content, 0, version.object()).await
    }

    /// What is known of `content` does not hold any more.
    pub(crate) fn forget(&self, content: ContentId) {
        if let Some(slot) = self.slots.lock().get(&content) {
            slot.voided.fetch_add(1, Ordering::AcqRel);
        }
    }

    async fn ask(&self, content: ContentId, suspect: Option<&Fingerprint>) -> Result<Version> {
        let request = VersionRequest { content: content.0, suspect: suspect.cloned() };
        let response: VersionResponse = self.masters.call(method::VERSION, &request).await?;
        Version::from_wire(response)
    }

    fn slot(&self, content: ContentId) -> Arc<Slot> {
        let mut slots = self.slots.lock();
        if slots.len() >= KEPT && !slots.contains_key(&content) {
            let now = self.clock.monotonic();
            let in_use = |slot: &Arc<Slot>| {
                Arc::strong_count(slot) > 1
                    || slot
                        .known
                        .try_lock()
                        .is_ok_and(|known| known.as_ref().is_some_and(|known| now < known.believed_until))
            };
            slots.retain(|_, slot| in_use(slot));
        }
        slots.entry(content).or_default().clone()
    }
}
