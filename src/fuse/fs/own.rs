//! Names that calls of this mount change.
//!
//! The masters' feed has a mount's own changes too. The kernel made them itself when their calls were answered, and is not
//! told: that would cost it a look-up of each name, and a thread that waits for the directory it works in. Of a call that
//! ended in doubt (it was dropped or came too late, and may be carried out any time later) the kernel is told, and for a
//! while it is told of all.

use goosefs_core::clock::Clock;
use goosefs_core::{Code, Result};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// What a storage has been asked to do takes effect so late at most.
const DOUBT: Duration = Duration::from_secs(600);

/// A name in a FUSE node.
pub(super) type Name = (u64, String);

/// The changes of one mount. [`super::feed`] asks it, and tells the kernel what it doubts.
pub(super) struct Own {
    clock: Arc<dyn Clock>,
    /// Until then the kernel is told of all changes.
    doubtful_until: Mutex<Duration>,
    doubts: mpsc::UnboundedSender<Name>,
    doubted: Mutex<Option<mpsc::UnboundedReceiver<Name>>>,
}

/// Names that a call under way changes. Dropped without an outcome, they are in doubt.
pub(super) struct Changing<'a> {
    own: &'a Own,
    names: Vec<Name>,
}

impl Own {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Own {
        let (doubts, doubted) = mpsc::unbounded_channel();
        Own { clock, doubtful_until: Mutex::default(), doubts, doubted: Mutex::new(Some(doubted)) }
    }

    /// A call that changes `names` begins.
    pub(super) fn begin(&self, names: &[(u64, &str)]) -> Changing<'_> {
        let names = names.iter().map(|(parent, name)| (*parent, (*name).to_owned())).collect();
        Changing { own: self, names }
    }

    /// Whether the kernel knows of what its own calls changed.
    pub(super) fn is_known(&self) -> bool {
        self.clock.monotonic() >= *self.doubtful_until.lock()
    }

    /// The names that are in doubt, as they come; for one listener.
    pub(super) fn doubted(&self) -> Option<mpsc::UnboundedReceiver<Name>> {
        self.doubted.lock().take()
    }
}

impl Changing<'_> {
    /// The call has ended so.
    pub(super) fn ended<T>(mut self, outcome: Result<T>) -> Result<T> {
        if outcome.as_ref().err().is_none_or(|error| is_refusal(error.code)) {
            self.names.clear();
        }
        outcome
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        if self.names.is_empty() {
            return;
        }
        *self.own.doubtful_until.lock() = self.own.clock.monotonic() + DOUBT;
        for name in self.names.drain(..) {
            // Without a feed the kernel's memory ends by itself.
            let _ = self.own.doubts.send(name);
        }
    }
}

/// Whether nothing was done, and nothing will be.
fn is_refusal(code: Code) -> bool {
    matches!(
        code,
        Code::NotFound
            | Code::AlreadyExists
            | Code::NotDirectory
            | Code::IsDirectory
            | Code::NotEmpty
            | Code::InvalidArgument
            | Code::InvalidPath
            | Code::NameTooLong
            | Code::PermissionDenied
            | Code::ReadOnly
            | Code::NoSpace
            | Code::CrossMount
            | Code::Unimplemented
    )
}
