//! Exactly once: the answers that a retry must get again.
//!
//! Our own clients open a session and number their operations; a session keeps the answers its client has not
//! acknowledged, at most [`MAX_UNACKNOWLEDGED`]. Clients of the GooseFS protocol send a random `FsOpPId`; the last
//! [`VENDOR_OPERATIONS`] of at most [`VENDOR_AGE_MS`] of replicated steady time are kept for all of them
//! together.

use goosefs_core::error::{Code, Error, Result};
use goosefs_core::proto::internal::{SessionOp, VendorOp};
use goosefs_core::proto::journal::{Applied, Entry};
use prost::Message;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

/// A client that leaves more answers than this unacknowledged is answered `Busy`.
pub(super) const MAX_UNACKNOWLEDGED: usize = 4096;

/// Answers kept for clients of the GooseFS protocol.
pub(super) const VENDOR_OPERATIONS: usize = 65_536;

/// How long they are kept. Those clients retry twice, without a pause.
pub(super) const VENDOR_AGE_MS: u64 = 10 * 60 * 1000;

/// Records of a segment of the vendor table, the unit that an image shares.
const SEGMENT: usize = 512;

/// The answer to an operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// This intent's.
    Pending(u64),
    /// An encoded [`Applied`] without `dropped_contents`, which only the first answer needs.
    Done(Box<[u8]>),
    /// A vendor operation that is to be tried again: nothing leads to its record any more.
    Forgotten,
}

impl Answer {
    fn of(applied: &Applied) -> Answer {
        if applied.intent != 0 {
            return Answer::Pending(applied.intent);
        }
        let kept = Applied { dropped_contents: Vec::new(), ..applied.clone() };
        Answer::Done(kept.encode_to_vec().into())
    }

    fn applied(&self) -> Result<Applied> {
        match self {
            Answer::Pending(intent) => Ok(Applied { intent: *intent, ..Default::default() }),
            Answer::Done(bytes) => Applied::decode(&**bytes)
                .map_err(|e| Error::new(Code::Corrupt, "a remembered answer cannot be read").caused_by(e)),
            Answer::Forgotten => Err(Error::new(Code::Internal, "a forgotten answer was asked for")),
        }
    }
}

/// One session.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) description: String,
    pub(super) last_ms: u64,
    pub(super) acknowledged: u64,
    pub(super) answers: BTreeMap<u64, Answer>,
}

/// One operation of a client of the GooseFS protocol.
#[derive(Clone, Debug)]
pub(super) struct VendorRecord {
    pub(super) most: u64,
    pub(super) least: u64,
    pub(super) at_ms: u64,
    pub(super) answer: Answer,
}

/// The remembered answers. Cloning it takes an image.
#[derive(Clone, Default)]
pub(super) struct Answers {
    pub(super) sessions: BTreeMap<u64, Arc<Session>>,
    /// In the order they came, in segments; all but the last are full.
    vendor: VecDeque<Arc<VecDeque<VendorRecord>>>,
    vendor_length: usize,
    /// Records that were dropped from the front since the beginning: what `places` counts from.
    dropped: u64,
}

/// Where the record of each vendor operation is. For finding only, never iterated.
pub(super) type Places = HashMap<(u64, u64), u64>;

impl Answers {
    pub(super) fn open(&mut self, session: u64, description: &str, now_ms: u64) -> Result<()> {
        if session == 0 {
            return Err(Error::new(Code::InvalidArgument, "a session cannot have the number 0"));
        }
        let state = Arc::make_mut(self.sessions.entry(session).or_default());
        state.description = description.to_owned();
        state.last_ms = now_ms;
        Ok(())
    }

    pub(super) fn close(&mut self, sessions: &[u64]) {
        for session in sessions {
            self.sessions.remove(session);
        }
    }

    /// The first answer to the operation of `entry`, if it was applied before. Takes note of what the client
    /// acknowledges.
    ///
    /// # Errors
    /// When the operation must not be applied.
    pub(super) fn recall(
        &mut self,
        entry: &Entry,
        now_ms: u64,
        places: &mut Places,
    ) -> Result<Option<Applied>> {
        self.forget_old(now_ms, places);
        if let Some(op) = &entry.session_op {
            return self.recall_session(op, now_ms);
        }
        let Some(op) = &entry.vendor_op else { return Ok(None) };
        let Some(place) = places.get(&(op.most, op.least)) else { return Ok(None) };
        self.vendor_at(*place).map(|record| record.answer.applied()).transpose()
    }

    fn recall_session(&mut self, op: &SessionOp, now_ms: u64) -> Result<Option<Applied>> {
        let Some(session) = self.sessions.get_mut(&op.session) else {
            return Err(Error::new(Code::Unauthenticated, format!("session {} is not open", op.session))
                .hint("open a new session and make the call again"));
        };
        let session = Arc::make_mut(session);
        session.last_ms = now_ms;
        if op.acknowledged > session.acknowledged {
            session.acknowledged = op.acknowledged;
            session.answers = session.answers.split_off(&op.acknowledged.saturating_add(1));
        }
        if op.sequence <= session.acknowledged {
            let text = format!("operation {} of session {} was acknowledged before", op.sequence, op.session);
            return Err(Error::new(Code::InvalidArgument, text));
        }
        if let Some(answer) = session.answers.get(&op.sequence) {
            return answer.applied().map(Some);
        }
        if session.answers.len() >= MAX_UNACKNOWLEDGED {
            let text = format!("session {} has {MAX_UNACKNOWLEDGED} unacknowledged operations", op.session);
            return Err(Error::new(Code::Busy, text).hint("acknowledge answers that arrived"));
        }
        Ok(None)
    }

    /// The answer to an operation that was applied before, without taking note of anything.
    pub(super) fn of_session(&self, op: &SessionOp) -> Option<Result<Applied>> {
        Some(self.sessions.get(&op.session)?.answers.get(&op.sequence)?.applied())
    }

    /// As [`Answers::of_session`], for a client of the GooseFS protocol.
    pub(super) fn of_vendor(&self, op: &VendorOp, places: &Places) -> Option<Result<Applied>> {
        Some(self.vendor_at(*places.get(&(op.most, op.least))?)?.answer.applied())
    }

    /// Keeps the answer to the operation of `entry`. What the client is to try again is not kept.
    pub(super) fn remember(&mut self, entry: &Entry, applied: &Applied, now_ms: u64, places: &mut Places) {
        if applied.error.as_ref().is_some_and(|error| Code::from_number(error.code).retryable()) {
            return;
        }
        if let Some(op) = &entry.session_op {
            if let Some(session) = self.sessions.get_mut(&op.session) {
                Arc::make_mut(session).answers.insert(op.sequence, Answer::of(applied));
            }
        } else if let Some(op) = &entry.vendor_op {
            self.push_vendor(op, Answer::of(applied), now_ms, places);
        }
    }

    /// Puts the final answer in the place of the intent's number; an error that calls for a retry is forgotten.
    pub(super) fn settle(&mut self, entry: &Entry, applied: &Applied, places: &mut Places) {
        let retry = applied.error.as_ref().is_some_and(|error| Code::from_number(error.code).retryable());
        let answer = (!retry).then(|| Answer::of(applied));
        if let Some(op) = &entry.session_op {
            let Some(session) = self.sessions.get_mut(&op.session) else { return };
            let session = Arc::make_mut(session);
            if let Some(kept) = session.answers.get_mut(&op.sequence) {
                match answer {
                    Some(answer) => *kept = answer,
                    None => drop(session.answers.remove(&op.sequence)),
                }
            }
        } else if let Some(op) = &entry.vendor_op {
            let Some(place) = places.get(&(op.most, op.least)).copied() else { return };
            if answer.is_none() {
                places.remove(&(op.most, op.least));
            }
            if let Some(record) = self.vendor_at_mut(place) {
                record.answer = answer.unwrap_or(Answer::Forgotten);
            }
        }
    }

    /// All vendor records, oldest first.
    pub(super) fn vendor(&self) -> impl Iterator<Item = &VendorRecord> {
        self.vendor.iter().flat_map(|segment| segment.iter())
    }

    pub(super) fn push_vendor(&mut self, op: &VendorOp, answer: Answer, now_ms: u64, places: &mut Places) {
        let record = VendorRecord { most: op.most, least: op.least, at_ms: now_ms, answer };
        if record.answer != Answer::Forgotten {
            places.insert((op.most, op.least), self.dropped + self.vendor_length as u64);
        }
        match self.vendor.back_mut() {
            Some(last) if last.len() < SEGMENT => Arc::make_mut(last).push_back(record),
            _ => self.vendor.push_back(Arc::new(VecDeque::from([record]))),
        }
        self.vendor_length += 1;
    }

    fn forget_old(&mut self, now_ms: u64, places: &mut Places) {
        while let Some(first) = self.vendor.front_mut() {
            let Some(record) = first.front() else { break };
            let old = record.at_ms.saturating_add(VENDOR_AGE_MS) < now_ms;
            if !old && self.vendor_length < VENDOR_OPERATIONS {
                break;
            }
            let key = (record.most, record.least);
            if places.get(&key) == Some(&self.dropped) {
                places.remove(&key);
            }
            Arc::make_mut(first).pop_front();
            if first.is_empty() {
                self.vendor.pop_front();
            }
            self.dropped += 1;
            self.vendor_length -= 1;
        }
    }

    fn vendor_place(&self, place: u64) -> Option<(usize, usize)> {
        let mut offset = usize::try_from(place.checked_sub(self.dropped)?).ok()?;
        let first = self.vendor.front()?.len();
        if offset < first {
            return Some((0, offset));
        }
        offset -= first;
        Some((1 + offset / SEGMENT, offset % SEGMENT))
    }

    fn vendor_at(&self, place: u64) -> Option<&VendorRecord> {
        let (segment, offset) = self.vendor_place(place)?;
        self.vendor.get(segment)?.get(offset)
    }

    fn vendor_at_mut(&mut self, place: u64) -> Option<&mut VendorRecord> {
        let (segment, offset) = self.vendor_place(place)?;
        Arc::make_mut(self.vendor.get_mut(segment)?).get_mut(offset)
    }
}
