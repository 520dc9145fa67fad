//! The time by which sessions and answers age. It begins with the wall clock when a cluster is founded, then goes as the
//! leader's monotonic clock does and never back: a wall clock that is set hours ahead must not close the sessions of
//! living clients, or their retries would take effect twice.
//!
//! Each master keeps a reckoning of its own and takes over what is replicated when that is ahead, so that little is lost
//! when the lead moves.

use goosefs_core::clock::Clock;
use parking_lot::Mutex;
use std::time::Duration;

/// This master's reckoning.
#[derive(Debug, Default)]
pub(super) struct Steady {
    /// A moment in both times: ours, the clock's monotonic one.
    fixed: Mutex<Option<(u64, Duration)>>,
}

impl Steady {
    /// Milliseconds, for an entry. `replicated` is asked for when nothing is known here; where nothing is replicated
    /// either, the time begins, with the wall clock's.
    pub(super) fn now_ms(&self, clock: &dyn Clock, replicated: impl FnOnce() -> u64) -> u64 {
        if let Some(ours) = self.ours(clock) {
            return ours;
        }
        match replicated() {
            0 => self.follow(clock, clock.now_ms()),
            known => self.follow(clock, known),
        }
    }

    /// Takes over what is `replicated` when that is ahead, and gives the time; 0 while nothing is replicated or known.
    pub(super) fn follow(&self, clock: &dyn Clock, replicated: u64) -> u64 {
        let ours = self.ours(clock).unwrap_or_default();
        if replicated > ours {
            *self.fixed.lock() = Some((replicated, clock.monotonic()));
        }
        replicated.max(ours)
    }

    fn ours(&self, clock: &dyn Clock) -> Option<u64> {
        let (fixed, at) = (*self.fixed.lock())?;
        let since = clock.monotonic().saturating_sub(at).as_millis();
        Some(fixed.saturating_add(u64::try_from(since).unwrap_or(u64::MAX)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};

    /// Both clocks of a machine, set apart.
    #[derive(Default)]
    struct Clocks {
        wall: AtomicU64,
        monotonic: AtomicU64,
    }

    impl Clock for Clocks {
        fn now_ms(&self) -> u64 {
            self.wall.load(Ordering::SeqCst)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.monotonic.load(Ordering::SeqCst))
        }
    }

    #[test]
    fn it_goes_with_the_monotonic_clock_however_the_wall_clock_jumps() {
        let clocks = Clocks::default();
        clocks.wall.store(1_000_000, Ordering::SeqCst);
        let steady = Steady::default();
        assert_eq!(steady.follow(&clocks, 0), 0);
        assert_eq!(steady.now_ms(&clocks, || 0), 1_000_000);
        for wall in [9_000_000, 0] {
            clocks.wall.store(wall, Ordering::SeqCst);
            let before = steady.now_ms(&clocks, || 0);
            clocks.monotonic.fetch_add(10, Ordering::SeqCst);
            assert_eq!(steady.now_ms(&clocks, || 0), before + 10);
        }
    }

    #[test]
    fn it_takes_over_what_is_replicated_and_ahead() {
        let clocks = Clocks::default();
        let steady = Steady::default();
        assert_eq!(steady.now_ms(&clocks, || 500), 500);
        clocks.monotonic.store(100, Ordering::SeqCst);
        assert_eq!(steady.follow(&clocks, 550), 600);
        assert_eq!(steady.follow(&clocks, 700), 700);
        clocks.monotonic.store(101, Ordering::SeqCst);
        assert_eq!(steady.now_ms(&clocks, || 0), 701);
    }
}
