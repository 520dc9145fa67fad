//! Uploads that are due: finished files of a write type that goes through, whose object the storage does not have yet.
//!
//! Their upload was not announced, or it failed, be it under this leader or an earlier one. Each is announced again, with a
//! pause that doubles while it fails. What is due is read from the namespace, so nothing is forgotten when the leader
//! changes; only the pauses are this master's own.

use crate::master::Master;
use goosefs_core::Result;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{Caller, Persistence};
use std::collections::HashMap;
use std::time::Duration;

/// Unpersisted files looked at in one round.
const FILES_PER_ROUND: usize = 1000;

/// After the first failure; doubled by each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(2);

const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What was announced lately.
#[derive(Debug, Default)]
pub(super) struct Uploads {
    /// Where the next round goes on.
    cursor: u64,
    announced: HashMap<ContentId, Announced>,
}

#[derive(Clone, Copy, Debug)]
struct Announced {
    pause: Duration,
    /// On the clock that never goes back.
    next: Duration,
}

impl Uploads {
    /// Announces what is due among some files, from where the last round ended on.
    pub(super) async fn announce_due(&mut self, master: &Master) -> Result<()> {
        let now = master.clock.monotonic();
        let waiting = {
            let namespace = master.journal.read()?;
            let some = namespace.unpersisted(ContentId(self.cursor), FILES_PER_ROUND);
            self.cursor =
                if some.len() < FILES_PER_ROUND { 0 } else { some.last().map_or(0, |file| file.content.0) };
            let waits = |attr: &goosefs_core::proto::internal::Attr| {
                attr.completed && attr.persistence() == Persistence::ToBePersisted && !attr.read_only
            };
            some.into_iter()
                .filter(|file| namespace.busy(file.inode).is_none())
                .filter_map(|file| Some((file.content, namespace.attr(file.content.0).ok()?)))
                .filter(|(_, attr)| waits(attr))
                .map(|(content, attr)| (content, attr.length))
                .collect::<Vec<_>>()
        };
        for (content, length) in waiting {
            if self.is_due(content, now) {
                master.persist_later(content, length, &Caller::default()).await;
            }
        }
        if self.cursor == 0 {
            // A file that still waits has been announced since then.
            self.announced.retain(|_, announced| now < announced.next + 2 * LONGEST_PAUSE);
        }
        Ok(())
    }

    /// Whether to announce it now; the next time is later then.
    fn is_due(&mut self, content: ContentId, now: Duration) -> bool {
        match self.announced.get_mut(&content) {
            Some(announced) if now < announced.next => false,
            Some(announced) => {
                announced.pause = (announced.pause * 2).min(LONGEST_PAUSE);
                announced.next = now + announced.pause;
                true
            }
            None => {
                self.announced.insert(content, Announced { pause: FIRST_PAUSE, next: now + FIRST_PAUSE });
                true
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_a_bound() {
        let mut uploads = Uploads::default();
        let content = ContentId(0xff_ffff);
        let mut at = Duration::ZERO;
        let mut tries = Vec::new();
        while at < Duration::from_secs(3600) {
            if uploads.is_due(content, at) {
                tries.push(at.as_secs());
            }
            at += Duration::from_secs(1);
        }
        assert_eq!(tries[..5], [0, 2, 6, 14, 30]);
        let last: Vec<u64> = tries.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert_eq!(last.last(), Some(&LONGEST_PAUSE.as_secs()));
    }
}
