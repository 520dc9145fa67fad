//! Pins of cached bytes that a connection has been told to send but may still have queued.
//!
//! The transport holds the file, not the pin: as long as it does, the bytes must not be punched out, or a reader would
//! get zeros.

use goosefs_core::block::Pin;
use parking_lot::Mutex;
use std::sync::Arc;

/// The pins.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    pins: Mutex<Vec<Arc<Pin>>>,
}

impl InFlight {
    /// Keeps `pin` as long as somebody holds its file, who must have taken it already.
    pub(crate) fn keep(&self, pin: &Arc<Pin>) {
        let mut pins = self.pins.lock();
        if !pins.iter().any(|kept| Arc::ptr_eq(kept, pin)) {
            pins.push(pin.clone());
        }
    }

    /// Lets go of what was sent.
    pub(crate) fn sweep(&self) {
        let mut sent = Vec::new();
        {
            let mut pins = self.pins.lock();
            pins.retain(|pin| {
                let held = held_elsewhere(pin);
                if !held {
                    sent.push(pin.clone());
                }
                held
            });
        }
        // Unpinning takes the index lock and may touch the disk: not under ours.
        drop(sent);
    }
}

fn held_elsewhere(pin: &Arc<Pin>) -> bool {
    Arc::strong_count(pin.file()) > 1
}
