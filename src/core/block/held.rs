//! The log of unpersisted blocks, one file per directory.
//!
//! These blocks are the only copies there are, and their writers were answered, so their records do not wait in the
//! mirror: each is appended here before the answer, and outlives the process being killed. Records are
//! `[length u32][crc32c u32][bytes]`, little endian; what follows the first damaged one is cut off at the next open.
//! Owned by one directory of the store, which calls it under a lock of its own.

use super::record::HeldRecord;
use crate::checksum::crc32c;
use crate::id::BlockId;
use crate::{Error, Result};
use prost::Message;
use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

const HEADER: usize = 8;

/// A log is rewritten when it is larger than this and four times what is live.
const COMPACT_ABOVE: u64 = 4 << 20;

/// The log of one directory.
#[derive(Debug)]
pub struct HeldLog {
    path: PathBuf,
    file: File,
    bytes: u64,
    live: u64,
}

impl HeldLog {
    /// Opens the log of `dir`. Answers with the last record of every block that is still held, and the number of bytes
    /// that were cut off as damaged.
    pub(super) fn open(dir: &Path) -> Result<(HeldLog, BTreeMap<BlockId, HeldRecord>, u64)> {
        let path = dir.join("held.log");
        let doing = |what: &str, cause| Error::io(format_args!("{what} {}", path.display()), cause);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => return Err(doing("read", cause)),
        };
        let (records, good) = replay(&bytes);
        let file =
            OpenOptions::new().create(true).append(true).open(&path).map_err(|cause| doing("open", cause))?;
        file.set_len(good).map_err(|cause| doing("cut", cause))?;
        let log = HeldLog { path: path.clone(), file, bytes: good, live: good };
        Ok((log, records, bytes.len() as u64 - good))
    }

    /// Appends `records` in one write.
    pub(super) fn append(&mut self, records: &[HeldRecord]) -> Result<()> {
        let bytes = encode(records);
        self.file
            .write_all(&bytes)
            .map_err(|cause| Error::io(format_args!("append to {}", self.path.display()), cause))?;
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Whether [`HeldLog::rewrite`] is worth its cost.
    pub(super) fn wants_rewrite(&self) -> bool {
        self.bytes > COMPACT_ABOVE && self.bytes > 4 * self.live
    }

    /// Replaces the log by `records`.
    pub(super) fn rewrite(&mut self, records: &[HeldRecord]) -> Result<()> {
        let aside = self.path.with_extension("new");
        let bytes = encode(records);
        let replace = || -> io::Result<File> {
            let mut file = File::create(&aside)?;
            file.write_all(&bytes)?;
            file.sync_all()?;
            fs::rename(&aside, &self.path)?;
            OpenOptions::new().append(true).open(&self.path)
        };
        self.file =
            replace().map_err(|cause| Error::io(format_args!("rewrite {}", self.path.display()), cause))?;
        self.bytes = bytes.len() as u64;
        self.live = self.bytes;
        Ok(())
    }
}

fn encode(records: &[HeldRecord]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for record in records {
        let body = record.encode_to_vec();
        bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&crc32c(&body).to_le_bytes());
        bytes.extend_from_slice(&body);
    }
    bytes
}

/// The blocks that are held at the end, and how many bytes were sound.
fn replay(bytes: &[u8]) -> (BTreeMap<BlockId, HeldRecord>, u64) {
    let mut held = BTreeMap::new();
    let mut at = 0;
    while let Some((record, length)) = decode(&bytes[at..]) {
        let block = BlockId(record.block);
        match record.held {
            Some(_) => held.insert(block, record),
            None => held.remove(&block),
        };
        at += length;
    }
    (held, at as u64)
}

fn decode(bytes: &[u8]) -> Option<(HeldRecord, usize)> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (length, crc) = (number(0)? as usize, number(4)?);
    let body = bytes.get(HEADER..HEADER.checked_add(length)?)?;
    if crc32c(body) != crc {
        return None;
    }
    Some((HeldRecord::decode(body).ok()?, HEADER + length))
}

#[cfg(test)]
mod tests {
    use super::super::record::{BlockRecord, HeldBlock};
    use super::*;

    fn held(block: u64, length: u64) -> HeldRecord {
        let block_record = BlockRecord { length, ..BlockRecord::default() };
        HeldRecord { block, held: Some(HeldBlock { block: block_record, ..HeldBlock::default() }) }
    }

    #[test]
    fn the_last_word_counts_and_a_torn_tail_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, none, _) = HeldLog::open(dir.path()).unwrap();
        assert!(none.is_empty());
        log.append(&[held(1, 10), held(2, 10), held(1, 20)]).unwrap();
        log.append(&[HeldRecord { block: 2, held: None }]).unwrap();
        let whole = log.bytes;
        log.file.write_all(&[9; 13]).unwrap();

        let (mut log, records, cut) = HeldLog::open(dir.path()).unwrap();
        assert_eq!((cut, log.bytes), (13, whole));
        assert_eq!(records.into_values().collect::<Vec<_>>(), [held(1, 20)]);

        log.rewrite(&[held(1, 20)]).unwrap();
        log.append(&[held(3, 5)]).unwrap();
        let (_, records, cut) = HeldLog::open(dir.path()).unwrap();
        assert_eq!(cut, 0);
        assert_eq!(records.into_values().collect::<Vec<_>>(), [held(1, 20), held(3, 5)]);
    }
}
