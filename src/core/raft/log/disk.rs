//! The log on disk: raft-engine, one region, entries plus four small records.
//!
//! Blocking; called by the writer thread, and by readers that look for entries the window no longer holds. raft-engine
//! forgets entries behind an index only together with the append that replaces them, so the index where the log ends is
//! a record of its own, written in one batch with the entries.

use crate::error::{Code, Error, Result};
use crate::proto::raft as wire;
use crate::raft::identity::{make_folder, sync_names};
use crate::raft::types::{
    Entry, LogId, Vote, entry_from_wire, entry_to_wire, log_id_from_wire, log_id_to_wire, vote_from_wire,
    vote_to_wire,
};
use prost::Message;
use protobuf::well_known_types::BytesValue;
use raft_engine::{Command, Engine, LogBatch, MessageExt, ReadableSize, RecoveryMode};
use std::io;
use std::path::Path;
use tokio::sync::oneshot;

/// raft-engine keeps many Raft groups; we have one.
const REGION: u64 = 1;
const VOTE: &[u8] = b"vote";
const COMMITTED: &[u8] = b"committed";
const PURGED: &[u8] = b"purged";
const LAST: &[u8] = b"last";
/// Bytes before an entry that hold its index, so that raft-engine can be told without decoding it.
const INDEX: usize = 8;

/// How raft-engine sees an entry: bytes that begin with the index.
struct Raw;

impl MessageExt for Raw {
    type Entry = BytesValue;

    fn index(entry: &BytesValue) -> u64 {
        entry.value.first_chunk::<INDEX>().map_or(0, |index| u64::from_le_bytes(*index))
    }
}

/// What was found in the log at start.
#[derive(Clone, Default, PartialEq, Debug)]
pub(super) struct Recovered {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
    /// Why what was found cannot be all that was written.
    pub(super) damage: Option<String>,
}

/// Records that are written together, durably or not at all.
#[derive(Default)]
pub(super) struct Batch {
    inner: LogBatch,
    /// Entries in it.
    pub(super) entries: usize,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.inner.is_empty()
    }

    /// Adds entries that follow what is in the log, or replace its end.
    pub(super) fn append(&mut self, entries: &[Entry]) -> io::Result<()> {
        let Some(last) = entries.last() else { return Ok(()) };
        let raw: Vec<BytesValue> = entries.iter().map(to_raw).collect();
        self.inner.add_entries::<Raw>(REGION, &raw).map_err(other)?;
        self.entries += entries.len();
        self.last(Some(&last.log_id))
    }

    pub(super) fn last(&mut self, last: Option<&LogId>) -> io::Result<()> {
        self.log_id(LAST, last)
    }

    pub(super) fn committed(&mut self, committed: Option<&LogId>) -> io::Result<()> {
        self.log_id(COMMITTED, committed)
    }

    pub(super) fn vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.inner.put(REGION, VOTE.to_vec(), vote_to_wire(vote).encode_to_vec()).map_err(other)
    }

    /// Forgets entries up to `upto`.
    pub(super) fn purge(&mut self, upto: &LogId) -> io::Result<()> {
        self.log_id(PURGED, Some(upto))?;
        self.inner.add_command(REGION, Command::Compact { index: upto.index + 1 });
        Ok(())
    }

    fn log_id(&mut self, key: &[u8], id: Option<&LogId>) -> io::Result<()> {
        match id {
            Some(id) => {
                self.inner.put(REGION, key.to_vec(), log_id_to_wire(id).encode_to_vec()).map_err(other)
            }
            None => {
                self.inner.delete(REGION, key.to_vec());
                Ok(())
            }
        }
    }
}

/// An open log directory.
pub(super) struct Disk {
    engine: Engine,
    // Dropped after the engine, and so tells that the files are closed.
    _closed: oneshot::Sender<()>,
}

impl Disk {
    /// Opens or makes the log in `path`. `closed` ends when its files have been closed.
    ///
    /// # Errors
    /// `Corrupt` when it cannot be read, `Io`.
    pub(super) fn open(path: &Path, closed: oneshot::Sender<()>) -> Result<(Disk, Recovered)> {
        let io = |e| Error::io(format!("open Raft log {}", path.display()), e);
        make_folder(path).map_err(io)?;
        let config = raft_engine::Config {
            dir: path.to_string_lossy().into_owned(),
            // A record torn by a power cut was never acknowledged; what was is told by the acknowledgement mark.
            recovery_mode: RecoveryMode::TolerateTailCorruption,
            recovery_threads: 2,
            target_file_size: ReadableSize::mb(32),
            purge_threshold: ReadableSize::mb(64),
            ..raft_engine::Config::default()
        };
        let engine = Engine::open(config).map_err(|e| match e {
            raft_engine::Error::Io(e) => io(e),
            e => Error::new(Code::Corrupt, format!("Raft log {} cannot be read: {e}", path.display())),
        })?;
        // raft-engine does so for every file but the first, which it makes while it opens.
        sync_names(path).map_err(io)?;
        let disk = Disk { engine, _closed: closed };
        let recovered = disk.recover();
        Ok((disk, recovered))
    }

    fn recover(&self) -> Recovered {
        let log_id = |key| self.record::<wire::LogId>(key).map(|id| log_id_from_wire(&id));
        let mut found = Recovered {
            vote: self.record::<wire::Vote>(VOTE).map(|vote| vote_from_wire(&vote)),
            committed: log_id(COMMITTED),
            purged: log_id(PURGED),
            last: log_id(LAST),
            damage: None,
        };
        found.last = found.last.max(found.purged);
        found.damage = self.missing(&found);
        found
    }

    /// Whether the entries between `purged` and `last` are there.
    fn missing(&self, found: &Recovered) -> Option<String> {
        let last = found.last?;
        let begin = found.purged.map_or(0, |id| id.index + 1);
        if begin > last.index {
            return None;
        }
        let there = self.engine.first_index(REGION).zip(self.engine.last_index(REGION));
        match there {
            Some((first, end)) if first <= begin && end >= last.index => {
                match self.read(last.index, last.index + 1, None) {
                    Ok(entries) if entries.first().is_some_and(|entry| entry.log_id == last) => None,
                    Ok(_) => Some(format!("entry {} is not the one that was written", last.index)),
                    Err(e) => Some(format!("entry {} cannot be read: {e}", last.index)),
                }
            }
            Some((first, end)) => {
                Some(format!("entries {begin} to {} are expected, {first} to {end} are there", last.index))
            }
            None => Some(format!("entries {begin} to {} are missing", last.index)),
        }
    }

    fn record<M: Message + Default>(&self, key: &[u8]) -> Option<M> {
        M::decode(self.engine.get(REGION, key)?.as_slice()).ok()
    }

    /// Writes a batch; with `sync` it is on disk when this returns.
    ///
    /// # Errors
    /// I/O errors of the write. raft-engine panics when the fsync fails.
    pub(super) fn write(&self, batch: &mut Batch, sync: bool) -> io::Result<()> {
        self.engine.write(&mut batch.inner, sync).map_err(other)?;
        batch.entries = 0;
        Ok(())
    }

    /// Entries `begin..end` without those before the first that is there, fewer when they would exceed `max_bytes`, at
    /// least one.
    ///
    /// # Errors
    /// `NotFound` when entries were purged meanwhile, I/O errors.
    pub(super) fn read(&self, begin: u64, end: u64, max_bytes: Option<usize>) -> io::Result<Vec<Entry>> {
        let begin = begin.max(self.engine.first_index(REGION).unwrap_or(end));
        let mut raw = Vec::new();
        self.engine.fetch_entries_to::<Raw>(REGION, begin, end, max_bytes, &mut raw).map_err(other)?;
        raw.into_iter().map(from_raw).collect()
    }

    /// Gives back disk space of purged entries. May rewrite old files, so it takes its time.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn tidy(&self) -> io::Result<()> {
        self.engine.purge_expired_files().map(drop).map_err(other)
    }

    /// Bytes on disk.
    pub(super) fn used(&self) -> u64 {
        self.engine.get_used_size() as u64
    }
}

fn to_raw(entry: &Entry) -> BytesValue {
    let message = entry_to_wire(entry);
    let mut value = Vec::with_capacity(INDEX + message.encoded_len());
    value.extend_from_slice(&entry.log_id.index.to_le_bytes());
    value.extend_from_slice(&message.encode_to_vec());
    BytesValue { value, ..BytesValue::default() }
}

fn from_raw(raw: BytesValue) -> io::Result<Entry> {
    let bytes = bytes::Bytes::from(raw.value);
    if bytes.len() < INDEX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "log entry without index"));
    }
    let message = wire::LogEntry::decode(bytes.slice(INDEX..))
        .map_err(|e| io::Error::new(io::ErrorKind::InvalidData, e))?;
    Ok(entry_from_wire(message)?)
}

fn other(error: raft_engine::Error) -> io::Error {
    match error {
        raft_engine::Error::Io(e) => e,
        // raft-engine tries a full disk twice and then has only this word left of the error.
        raft_engine::Error::TryAgain(text) if text.contains("nospace") => io::Error::new(
            io::ErrorKind::StorageFull,
            format!("no space left on the disk of the Raft log: {text}"),
        ),
        raft_engine::Error::EntryCompacted | raft_engine::Error::EntryNotFound => {
            io::Error::new(io::ErrorKind::NotFound, error.to_string())
        }
        raft_engine::Error::Corruption(_)
        | raft_engine::Error::Codec(_)
        | raft_engine::Error::Protobuf(_) => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
        error => io::Error::other(error.to_string()),
    }
}
