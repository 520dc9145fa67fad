//! Pauses between tries.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// A bounded number of pauses, each twice as long as the one before, up to a longest one, less a random part up to its
/// half: of many that were refused at once not all come again at once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backoff {
    left: u32,
    pause: Duration,
    longest: Duration,
}

impl Backoff {
    /// `tries` pauses, the first of them `first` long.
    #[must_use]
    pub fn new(tries: u32, first: Duration, longest: Duration) -> Backoff {
        Backoff { left: tries, pause: first.min(longest), longest }
    }

    /// Waits for the next pause, or for `asked` (what a server asked for) if that is given, but never longer than the
    /// longest; false, at once, when no try is left.
    pub async fn pause(&mut self, asked: Option<Duration>) -> bool {
        if self.left == 0 {
            return false;
        }
        self.left -= 1;
        tokio::time::sleep(asked.unwrap_or_else(|| shortened(self.pause)).min(self.longest)).await;
        self.pause = (self.pause * 2).min(self.longest);
        true
    }
}

fn shortened(pause: Duration) -> Duration {
    // Each state of hashers has keys of its own.
    let random = RandomState::new().hash_one(());
    pause - pause.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64 / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::time::Instant;

    #[tokio::test]
    async fn pauses_grow_to_the_longest_and_end() {
        let mut backoff = Backoff::new(3, Duration::from_millis(20), Duration::from_millis(60));
        let start = Instant::now();
        for at_least in [10, 30, 60] {
            assert!(backoff.pause(None).await);
            assert!(start.elapsed() >= Duration::from_millis(at_least), "{:?}", start.elapsed());
        }
        assert!(!backoff.pause(None).await);
    }

    #[test]
    fn pauses_differ_within_their_bounds() {
        let pause = Duration::from_secs(1);
        let pauses: Vec<Duration> = (0..100).map(|_| shortened(pause)).collect();
        assert!(pauses.iter().all(|short| (pause / 2..=pause).contains(short)), "{pauses:?}");
        let distinct: std::collections::HashSet<_> = pauses.iter().collect();
        assert!(distinct.len() > 90, "{pauses:?}");
    }

    #[tokio::test]
    async fn a_pause_that_was_asked_for_has_its_bound() {
        let mut backoff = Backoff::new(1, Duration::ZERO, Duration::from_millis(20));
        let hours = Duration::from_secs(7200);
        assert!(tokio::time::timeout(Duration::from_secs(60), backoff.pause(Some(hours))).await.unwrap());
    }
}
