//! The acknowledgement mark: how far this master has told others that its log and its vote are durable.
//!
//! It lies outside the log, so that a log whose end was cut off (raft-engine drops a damaged tail in silence) is told
//! apart from one that simply ends there: such a master would break its promises and must not vote again. Written to the
//! page cache before every acknowledgement, so it is exact after the process died, and fsynced at least every
//! [`SYNC_EVERY`], so after a power cut it may lag by that much: it then catches what was lost before, and never accuses
//! a healthy log, because it is written only after the log was fsynced.

use crate::proto::raft as wire;
use crate::raft::types::{LogId, Vote, log_id_from_wire, vote_from_wire};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

/// The mark is on disk at most this long after it was written.
pub(super) const SYNC_EVERY: Duration = Duration::from_millis(200);

const MAGIC: u64 = u64::from_le_bytes(*b"GFSMARK1");
const WORDS: usize = 10;
const RECORD: usize = WORDS * 8 + 4;
/// The two records lie in pages of their own and take turns at every sync: the one that is on disk is never written to, so
/// a write that a power cut tears leaves it.
const STRIDE: u64 = 4096;

/// What was acknowledged.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Acknowledged {
    pub(super) last: Option<LogId>,
    pub(super) vote: Option<Vote>,
}

/// The open mark file.
pub(super) struct Mark {
    file: File,
    sequence: u64,
    /// Where the record lies that may be written.
    offset: u64,
    current: Acknowledged,
    dirty_since: Option<Instant>,
}

impl Mark {
    /// Opens or makes the mark; `None` when there was none.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn open(path: &Path) -> io::Result<(Mark, Option<Acknowledged>)> {
        let file = File::options().create(true).truncate(false).read(true).write(true).open(path)?;
        let both = [0, STRIDE].into_iter().filter_map(|offset| Some((offset, read(&file, offset)?)));
        let found = both.max_by_key(|(_, (sequence, _))| *sequence);
        let offset = found.map_or(0, |(offset, _)| STRIDE - offset);
        let found = found.map(|(_, record)| record);
        let (sequence, current) = found.unwrap_or_default();
        let mut mark = Mark { file, sequence, offset, current, dirty_since: None };
        if found.is_none() {
            mark.set(Acknowledged::default())?;
        }
        // What the process before us has written last may not be on disk yet.
        mark.sync()?;
        if found.is_none() {
            crate::raft::identity::sync_parent(path)?;
        }
        Ok((mark, found.map(|(_, acknowledged)| acknowledged)))
    }

    pub(super) fn current(&self) -> Acknowledged {
        self.current
    }

    /// Replaces the mark; call after the log was fsynced and before anybody is told.
    ///
    /// # Errors
    /// I/O errors.
    pub(super) fn set(&mut self, acknowledged: Acknowledged) -> io::Result<()> {
        self.sequence += 1;
        let bytes = encode(self.sequence, &acknowledged);
        self.file.write_all_at(&bytes, self.offset)?;
        self.current = acknowledged;
        self.dirty_since.get_or_insert_with(Instant::now);
        Ok(())
    }

    /// When the mark must next be synced.
    pub(super) fn due(&self) -> Option<Instant> {
        self.dirty_since.map(|since| since + SYNC_EVERY)
    }

    /// # Errors
    /// I/O errors.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if self.dirty_since.take().is_some() {
            self.offset = STRIDE - self.offset;
        }
        Ok(())
    }
}

fn encode(sequence: u64, acknowledged: &Acknowledged) -> [u8; RECORD] {
    let last = acknowledged.last.map_or([0; 4], |id| [1, id.leader_id.term, id.leader_id.node_id, id.index]);
    let vote = acknowledged.vote.map_or([0; 4], |vote| {
        [1 + u64::from(vote.committed), vote.leader_id.term, vote.leader_id.node_id, 0]
    });
    let words = [MAGIC, sequence, last[0], last[1], last[2], last[3], vote[0], vote[1], vote[2], vote[3]];
    let mut bytes = [0; RECORD];
    for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
    let crc = crate::checksum::crc32c(&bytes[..WORDS * 8]);
    bytes[WORDS * 8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

fn read(file: &File, offset: u64) -> Option<(u64, Acknowledged)> {
    let mut bytes = [0; RECORD];
    file.read_exact_at(&mut bytes, offset).ok()?;
    let (body, crc) = bytes.split_at(WORDS * 8);
    if crate::checksum::crc32c(body).to_le_bytes() != crc {
        return None;
    }
    let mut words = [0; WORDS];
    for (word, place) in words.iter_mut().zip(body.chunks_exact(8)) {
        *word = u64::from_le_bytes(*place.first_chunk()?);
    }
    let [magic, sequence, has_last, term, node, index, vote, vote_term, vote_node, _] = words;
    let last = (has_last == 1).then(|| log_id_from_wire(&wire::LogId { term, node, index }));
    let vote = (vote > 0)
        .then(|| vote_from_wire(&wire::Vote { term: vote_term, node: vote_node, committed: vote == 2 }));
    (magic == MAGIC).then_some((sequence, Acknowledged { last, vote }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(index: u64) -> Acknowledged {
        Acknowledged {
            last: Some(log_id_from_wire(&wire::LogId { term: 3, node: 9, index })),
            vote: Some(vote_from_wire(&wire::Vote { term: 4, node: 8, committed: index == 6 })),
        }
    }

    #[test]
    fn the_newest_mark_is_found_again_even_when_it_is_lower() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mark");
        let (mut mark, found) = Mark::open(&path).unwrap();
        assert_eq!(found, None);
        for index in [5, 8, 6] {
            mark.set(at(index)).unwrap();
            assert_eq!(Mark::open(&path).unwrap().1, Some(at(index)));
        }
    }

    #[test]
    fn a_torn_mark_leaves_the_one_before() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mark");
        let (mut mark, _) = Mark::open(&path).unwrap();
        mark.set(at(5)).unwrap();
        mark.sync().unwrap();
        mark.sync().unwrap();
        // Both come before the next sync, so both may be torn.
        mark.set(at(6)).unwrap();
        mark.set(at(7)).unwrap();
        mark.file.write_all_at(&[0xFF; 4], mark.offset + 40).unwrap();
        assert_eq!(Mark::open(&path).unwrap().1, Some(at(5)));
    }
}
