//! What storages did wrong lately, by mount: it goes to the masters with each heartbeat, so that people who have only a
//! bare errno from a read find the reason where they look at the cluster.
//!
//! A storage is in trouble from its refusal or silence on until something succeeds, or nothing was asked of it for a
//! while: then nobody knows. Written by `mounts`, read by `heartbeat`.

use goosefs_core::clock::Clock;
use goosefs_core::id::MountId;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// How long a trouble is told that nobody has met again.
const TOLD: Duration = Duration::from_secs(60);

/// Longest text of one.
const LONGEST: usize = 1024;

/// The storages that are in trouble.
pub(crate) struct Troubles {
    clock: Arc<dyn Clock>,
    /// [`Clock::monotonic`] when it was met last, and its words.
    met: Mutex<BTreeMap<MountId, (Duration, String)>>,
}

impl fmt::Debug for Troubles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Troubles").field(&self.met.lock()).finish()
    }
}

impl Troubles {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Troubles {
        Troubles { clock, met: Mutex::default() }
    }

    /// The storage of `mount` refused or was silent.
    pub(crate) fn met(&self, mount: MountId, text: &str) {
        let text = text[..text.floor_char_boundary(LONGEST)].to_owned();
        self.met.lock().insert(mount, (self.clock.monotonic(), text));
    }

    /// The storage of `mount` did what was asked.
    pub(crate) fn ended(&self, mount: MountId) {
        self.met.lock().remove(&mount);
    }

    /// What masters are told.
    pub(crate) fn told(&self) -> BTreeMap<MountId, String> {
        let (now, mut all) = (self.clock.monotonic(), self.met.lock());
        all.retain(|_, (met, _)| now < *met + TOLD);
        all.iter().map(|(mount, (_, text))| (*mount, text.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use goosefs_core::clock::ManualClock;

    #[test]
    fn a_trouble_is_told_until_something_succeeds_or_nobody_asks_for_a_while() {
        let (one, other) = (MountId(1), MountId(2));
        let clock = ManualClock::at(0);
        let troubles = Troubles::new(clock.clone());
        troubles.met(one, "refused");
        troubles.met(other, "silent");
        troubles.ended(other);
        assert_eq!(troubles.told(), BTreeMap::from([(one, "refused".to_owned())]));
        clock.advance(TOLD / 2);
        troubles.met(one, "refused again");
        clock.advance(TOLD / 2);
        assert_eq!(troubles.told(), BTreeMap::from([(one, "refused again".to_owned())]));
        clock.advance(TOLD / 2);
        assert_eq!(troubles.told(), BTreeMap::new());
    }
}
