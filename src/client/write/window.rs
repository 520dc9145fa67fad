//! What was written and is not committed yet: kept, so that it can be sent again to another worker.
//!
//! Pure. Committed means that a quorum of masters knows which worker holds the bytes.

use bytes::{Buf, Bytes};
use goosefs_core::{Code, Error, Result};
use std::collections::VecDeque;

/// The bytes between `committed` and `position`, in the order they were written.
#[derive(Debug, Default)]
pub(crate) struct Window {
    committed: u64,
    position: u64,
    kept: VecDeque<Bytes>,
    /// Where a commit was last asked for.
    asked: u64,
}

impl Window {
    /// Where the next write must begin.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// How much a quorum of masters knows of.
    pub(crate) fn committed(&self) -> u64 {
        self.committed
    }

    /// Bytes that are kept.
    pub(crate) fn uncommitted(&self) -> u64 {
        self.position - self.committed
    }

    /// Keeps what is being written.
    pub(crate) fn push(&mut self, bytes: Bytes) {
        self.position += bytes.len() as u64;
        self.kept.push_back(bytes);
    }

    /// A worker says how much is committed.
    ///
    /// # Errors
    /// `Corrupt` when it claims bytes that were never written or takes back what it had committed.
    pub(crate) fn commit(&mut self, committed: u64) -> Result<()> {
        if committed > self.position {
            let claim = format!("a worker committed {committed} bytes of {} written", self.position);
            return Err(Error::new(Code::Corrupt, claim));
        }
        while self.committed < committed {
            let Some(first) = self.kept.front_mut() else { break };
            let done = usize::try_from(committed - self.committed).unwrap_or(usize::MAX).min(first.len());
            first.advance(done);
            self.committed += done as u64;
            if first.is_empty() {
                self.kept.pop_front();
            }
        }
        Ok(())
    }

    /// Whether so much was written since the last request that it is time for another one; the request is counted as
    /// made.
    pub(crate) fn should_ask(&mut self, every: u64) -> bool {
        let due = self.position - self.asked.max(self.committed) >= every;
        if due {
            self.asked = self.position;
        }
        due
    }

    /// What to send again on a new stream that begins at [`Window::committed`].
    pub(crate) fn resend(&mut self) -> Vec<Bytes> {
        self.asked = self.committed;
        self.kept.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_committed_is_kept_whole() {
        let mut window = Window::default();
        for piece in ["abc", "defg", "h"] {
            window.push(Bytes::from_static(piece.as_bytes()));
        }
        window.commit(5).unwrap();
        let again: Vec<u8> = window.resend().concat();
        assert_eq!((window.position(), window.committed(), again.as_slice()), (8, 5, &b"fgh"[..]));
        window.commit(3).unwrap();
        assert_eq!(window.committed(), 5, "an old answer changes nothing");
        window.commit(8).unwrap();
        assert_eq!((window.uncommitted(), window.resend().len()), (0, 0));
    }

    #[test]
    fn a_claim_to_more_than_was_written_is_refused() {
        let mut window = Window::default();
        window.push(Bytes::from_static(b"abc"));
        assert_eq!(window.commit(4).unwrap_err().code, Code::Corrupt);
    }

    #[test]
    fn commits_are_asked_for_now_and_then() {
        let mut window = Window::default();
        let asked: Vec<bool> = (0..6)
            .map(|_| {
                window.push(Bytes::from_static(b"ab"));
                window.should_ask(4)
            })
            .collect();
        assert_eq!(asked, [false, true, false, true, false, true]);
    }
}
