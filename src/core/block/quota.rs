//! The bytes of one directory, in every state that takes room on its disk.
//!
//! Owns the arithmetic: nothing may enter that does not fit, bytes on their way in or out included. Held by the index;
//! whoever reserves gives back or turns into cached bytes.

/// How full one directory is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Quota {
    /// At most this many bytes in all.
    pub limit: u64,
    /// In blocks that the index knows.
    pub cached: u64,
    /// Promised to fills and writers that are under way.
    pub reserved: u64,
    /// Out of the index, about to be punched or unlinked.
    pub leaving: u64,
    /// Unlinked, but somebody still has the file open.
    pub unlinked: u64,
    /// Quarantined: unpersisted blocks of another cluster.
    pub quarantined: u64,
}

impl Quota {
    /// An empty directory with room for `limit` bytes.
    #[must_use]
    pub fn new(limit: u64) -> Quota {
        Quota { limit, cached: 0, reserved: 0, leaving: 0, unlinked: 0, quarantined: 0 }
    }

    /// Everything that takes room.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.cached + self.reserved + self.leaving + self.unlinked + self.quarantined
    }

    /// Room that is left.
    #[must_use]
    pub fn free(&self) -> u64 {
        self.limit.saturating_sub(self.total())
    }

    /// Promises `bytes`, or says no.
    pub fn reserve(&mut self, bytes: u64) -> bool {
        let fits = self.free() >= bytes;
        if fits {
            self.reserved += bytes;
        }
        fits
    }

    /// Takes a promise back.
    pub fn unreserve(&mut self, bytes: u64) {
        debug_assert!(self.reserved >= bytes, "more given back than reserved");
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    /// Bytes above `ratio` of the limit that eviction can still take. What is leaving already is not counted; what no
    /// eviction gives back lowers the limit, or nothing would stay cached beside it.
    #[must_use]
    pub fn above(&self, ratio: f64) -> u64 {
        let limit = self.limit.saturating_sub(self.unlinked + self.quarantined);
        #[expect(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let mark = (limit as f64 * ratio) as u64;
        (self.cached + self.reserved).saturating_sub(mark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_in_flight_and_on_their_way_out_count() {
        let mut quota = Quota::new(100);
        quota.cached = 40;
        quota.leaving = 10;
        quota.unlinked = 10;
        assert!(quota.reserve(40));
        assert!(!quota.reserve(1));
        quota.unreserve(40);
        assert_eq!(quota.free(), 40);
        assert_eq!(quota.above(0.4), 4, "what stays open takes its share of the mark too");
        quota.unlinked = 90;
        assert_eq!((quota.free(), quota.above(0.4)), (0, 36));
    }
}
