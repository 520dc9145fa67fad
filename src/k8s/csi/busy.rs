//! One call at a time for each volume, and for each place where it is shown.

use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::Arc;

/// What is being worked on.
#[derive(Clone, Default, Debug)]
pub(super) struct Busy(Arc<Mutex<BTreeSet<String>>>);

/// The right to work on something, until it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    busy: Busy,
    what: String,
}

impl Busy {
    /// Takes the turn.
    ///
    /// # Errors
    /// `Busy`, which kubelet reads as ABORTED and tries again, while another call has it.
    pub(super) fn take(&self, what: String) -> Result<Turn> {
        if self.0.lock().insert(what.clone()) {
            return Ok(Turn { busy: self.clone(), what });
        }
        Err(Error::new(Code::Busy, format!("another call is at work on {what}")))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.busy.0.lock().remove(&self.what);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_sent_away_until_the_first_is_done() {
        let busy = Busy::default();
        let turn = busy.take("v".to_owned()).unwrap();
        assert_eq!(busy.take("v".to_owned()).unwrap_err().code, Code::Busy);
        let _other = busy.take("w".to_owned()).unwrap();
        drop(turn);
        busy.take("v".to_owned()).unwrap();
    }
}
