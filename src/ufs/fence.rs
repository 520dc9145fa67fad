//! Who may change a storage may lose that right in the middle of a call.

use goosefs_core::Result;
use std::fmt;
use std::sync::Arc;

/// Asked right before each change of a storage, on the thread that makes it: an error keeps the change from being made.
///
/// A leading master that is stopped in the middle of a call, and deposed meanwhile, would else make the change when it
/// goes on, on top of what its successor has done since. What is left is the moment between the answer and the system
/// call. A storage that can fence its writers itself would close that, too; no storage so far can.
#[derive(Clone)]
pub struct Fence {
    ask: Arc<dyn Fn() -> Result<()> + Send + Sync>,
}

impl Fence {
    /// A fence that asks `ask`, which must not block.
    pub fn new(ask: impl Fn() -> Result<()> + Send + Sync + 'static) -> Fence {
        Fence { ask: Arc::new(ask) }
    }

    /// Every change may be made.
    #[must_use]
    pub fn open() -> Fence {
        Fence::new(|| Ok(()))
    }

    /// Whether a change may be made now.
    pub(crate) fn check(&self) -> Result<()> {
        (self.ask)()
    }
}

impl fmt::Debug for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fence")
    }
}
