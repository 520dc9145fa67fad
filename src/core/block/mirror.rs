//! The index on disk: one sled database per directory, written behind the index in memory.
//!
//! Inserts follow the bytes they speak of and may be lost when the process is killed: that costs a refetch. Removals
//! are flushed before any byte leaves the disk: the caller marks the records, calls [`Mirror::sync`] with `flush` and
//! only then punches. What is written is always the index's word at that moment, never an older one, so the order of
//! two callers does not matter. Nothing that was acknowledged to anyone rests on this file (see `held`).

use super::record::Key;
use crate::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// sled's default is 1 GiB; everything that is asked often is in memory already.
const CACHE_BYTES: u64 = 4 << 20;

const BOOT: &[u8] = b"boot";
const CLEAN: &[u8] = b"clean";

/// How the store was left the last time.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LastStop {
    /// There was no last time.
    New,
    /// Stopped in order: files and index were flushed.
    Clean,
    /// Killed, or the machine went down; the boot id says which.
    Unclean {
        /// The machine runs on since then.
        same_boot: bool,
    },
    /// The database could not be read and was begun anew.
    Damaged(String),
}

/// The mirror of one directory.
#[derive(Debug)]
pub struct Mirror {
    path: PathBuf,
    db: sled::Db,
    dirty: Mutex<BTreeSet<Key>>,
    syncing: Mutex<()>,
}

impl Mirror {
    /// Opens the mirror of `dir` and marks it as being in use.
    pub fn open(dir: &Path) -> Result<(Mirror, LastStop)> {
        let path = dir.join("index");
        let fresh = !path.exists();
        let (db, damage) = match open_database(&path) {
            Ok(db) => (db, None),
            Err(cause) => {
                fs::remove_dir_all(&path)
                    .map_err(|cause| Error::io(format_args!("remove {}", path.display()), cause))?;
                (open_database(&path).map_err(|cause| trouble("open", &path, &cause))?, Some(cause))
            }
        };
        let mirror = Mirror { path, db, dirty: Mutex::default(), syncing: Mutex::default() };
        let last_stop = match damage {
            Some(cause) => LastStop::Damaged(cause.to_string()),
            None => mirror.last_stop(fresh)?,
        };
        mirror.set(BOOT, boot_id().as_bytes())?;
        mirror.db.remove(CLEAN).map_err(|cause| mirror.trouble("write", &cause))?;
        mirror.flush()?;
        Ok((mirror, last_stop))
    }

    fn last_stop(&self, fresh: bool) -> Result<LastStop> {
        if fresh {
            return Ok(LastStop::New);
        }
        let get = |key| self.db.get(key).map_err(|cause| self.trouble("read", &cause));
        if get(CLEAN)?.is_some() {
            return Ok(LastStop::Clean);
        }
        Ok(LastStop::Unclean { same_boot: get(BOOT)?.is_some_and(|boot| boot == boot_id().as_bytes()) })
    }

    /// Every record. One that cannot be read ends the walk; what it spoke of is fetched again.
    pub(super) fn records(&self) -> impl Iterator<Item = (Key, sled::IVec)> + '_ {
        let readable = self.db.iter().map_while(std::result::Result::ok);
        readable.filter_map(|(key, value)| Some((Key::from_bytes(&key)?, value)))
    }

    /// Forgets everything, on disk too.
    pub(super) fn clear(&self) -> Result<()> {
        let cleared = self.db.clear().and_then(|()| self.db.insert(BOOT, boot_id().as_bytes()).map(drop));
        cleared.map_err(|cause| self.trouble("clear", &cause))?;
        self.flush()
    }

    /// These records are out of date.
    pub(super) fn mark(&self, keys: impl IntoIterator<Item = Key>) {
        self.dirty.lock().extend(keys);
    }

    /// Brings what was marked up to date; `current` is the index's word. With `flush` it is on disk on return.
    pub(super) fn sync(&self, current: impl Fn(Key) -> Option<Vec<u8>>, flush: bool) -> Result<()> {
        let _one_at_a_time = self.syncing.lock();
        let dirty = std::mem::take(&mut *self.dirty.lock());
        if dirty.is_empty() && !flush {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for key in &dirty {
            match current(*key) {
                Some(record) => batch.insert(&key.to_bytes(), record),
                None => batch.remove(&key.to_bytes()),
            }
        }
        let applied = self.db.apply_batch(batch).map_err(|cause| self.trouble("write", &cause));
        let written = applied.and_then(|()| if flush { self.flush() } else { Ok(()) });
        if written.is_err() {
            self.mark(dirty);
        }
        written
    }

    /// The directory's files are flushed and nothing more will change: the next start may trust them.
    pub fn mark_clean(&self) -> Result<()> {
        self.set(CLEAN, b"1")?;
        self.flush()
    }

    fn set(&self, key: &[u8], value: &[u8]) -> Result<()> {
        self.db.insert(key, value).map(drop).map_err(|cause| self.trouble("write", &cause))
    }

    fn flush(&self) -> Result<()> {
        self.db.flush().map(drop).map_err(|cause| self.trouble("flush", &cause))
    }

    fn trouble(&self, what: &str, cause: &sled::Error) -> Error {
        trouble(what, &self.path, cause)
    }
}

fn open_database(path: &Path) -> sled::Result<sled::Db> {
    sled::Config::new().path(path).cache_capacity(CACHE_BYTES).flush_every_ms(Some(500)).open()
}

fn trouble(what: &str, path: &Path, cause: &sled::Error) -> Error {
    Error::new(Code::Io, format!("{what} the block index {}: {cause}", path.display()))
}

fn boot_id() -> String {
    fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ContainerId;

    #[test]
    fn the_last_stop_is_known_and_records_say_what_the_index_says() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (Key::Container(ContainerId(1)), Key::Container(ContainerId(2)));
        {
            let (mirror, last_stop) = Mirror::open(dir.path()).unwrap();
            assert_eq!(last_stop, LastStop::New);
            mirror.mark([one, two]);
            mirror.sync(|_| Some(vec![7]), false).unwrap();
            mirror.mark([two]);
            mirror.sync(|_| None, true).unwrap();
        }
        {
            let (mirror, last_stop) = Mirror::open(dir.path()).unwrap();
            assert_eq!(last_stop, LastStop::Unclean { same_boot: true });
            assert_eq!(mirror.records().map(|(key, _)| key).collect::<Vec<_>>(), [one]);
            mirror.mark_clean().unwrap();
        }
        let (_, last_stop) = Mirror::open(dir.path()).unwrap();
        assert_eq!(last_stop, LastStop::Clean);
    }

    #[test]
    fn a_damaged_database_is_begun_anew() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("index")).unwrap();
        fs::write(dir.path().join("index/conf"), b"this was never written by sled").unwrap();
        let (mirror, last_stop) = Mirror::open(dir.path()).unwrap();
        assert!(matches!(last_stop, LastStop::Damaged(_)), "{last_stop:?}");
        assert_eq!(mirror.records().count(), 0);
    }
}
