//! What applying one entry of the log gives back.

use goosefs_core::error::Error;
use goosefs_core::proto::{internal, journal};

/// The answer of one entry, and what clients must be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Outcome {
    /// The answer for whoever proposed the entry.
    pub applied: journal::Applied,
    /// Names and nodes that mean something else now, in order. Empty for retries and failures.
    pub changes: Vec<internal::Change>,
}

impl Outcome {
    /// The entry failed and changed nothing.
    pub(super) fn failed(error: Error) -> Outcome {
        Outcome {
            applied: journal::Applied { error: Some(error.to_wire()), ..Default::default() },
            changes: Vec::new(),
        }
    }
}
