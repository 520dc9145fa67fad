//! What applying one entry of the log gives back.

use goosefs_core::error::{Code, Error};
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
            applied: journal::Applied { error: Some(to_wire(&error)), ..Default::default() },
            changes: Vec::new(),
        }
    }
}

/// An error as [`journal::Applied`] carries it.
#[must_use]
pub fn to_wire(error: &Error) -> internal::WireError {
    internal::WireError {
        code: error.code as u32,
        message: error.message.clone(),
        hint: error.hint.clone(),
        leader: error.leader.clone(),
    }
}

/// The error of [`journal::Applied`].
#[must_use]
pub fn from_wire(error: &internal::WireError) -> Error {
    let mut back = Error::new(Code::from_number(error.code), error.message.clone()).hint(error.hint.clone());
    back.leader = error.leader.clone();
    back
}
