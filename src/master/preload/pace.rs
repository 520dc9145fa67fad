//! Not more bytes a second than asked for.

use parking_lot::Mutex;
use std::time::Duration;
use tokio::time::Instant;

/// Lets bytes pass at a rate, file by file: each waits until those before it have had their time.
pub(super) struct Pace {
    /// Bytes a second; 0 is without bound.
    rate: u64,
    next: Mutex<Instant>,
}

impl Pace {
    pub(super) fn new(rate: u64) -> Pace {
        Pace { rate, next: Mutex::new(Instant::now()) }
    }

    /// Waits until `bytes` may begin.
    pub(super) async fn pass(&self, bytes: u64) {
        if self.rate > 0 {
            let turn = self.turn(Instant::now(), bytes);
            tokio::time::sleep_until(turn).await;
        }
    }

    /// When `bytes` that come at `now` may begin.
    fn turn(&self, now: Instant, bytes: u64) -> Instant {
        let mut next = self.next.lock();
        let turn = (*next).max(now);
        *next = turn + Duration::from_secs_f64(bytes as f64 / self.rate as f64);
        turn
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_waits_for_those_before_it_and_a_pause_earns_nothing() {
        let pace = Pace::new(1000);
        let begun = Instant::now();
        let after = |seconds| begun + Duration::from_secs(seconds);
        let turns: Vec<Instant> = (0..3).map(|_| pace.turn(begun, 1000)).collect();
        assert_eq!(turns, [after(0), after(1), after(2)]);
        assert_eq!(pace.turn(after(10), 500), after(10));
        assert_eq!(pace.turn(after(10), 500), after(10) + Duration::from_millis(500));
    }
}
