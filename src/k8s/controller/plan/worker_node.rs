//! Whether a node has a worker, step by step. No I/O: [`super::super::place`] says what it sees and does what it is told.
//!
//! A worker that is to go is drained first: it keeps its pod until nothing is left that it alone has. Then its pod goes,
//! then another takes its folders away, then the node's mark goes. All of it is in the node's label, so that a controller
//! that was restarted goes on.

use super::fuse_node::{Act, Last};

/// Value of the label of a node that has a worker, which their DaemonSet asks for.
pub(crate) const HAS: &str = "true";
/// Value of the label of a node whose worker is going: nothing is left that it alone has.
pub(crate) const LEAVES: &str = "leaving";

/// The value that the label shall have, and what to do with the pod that takes the folders away. `drained`: the worker has
/// nothing that no other has; `has_pod`: its pod is there, perhaps about to end.
pub(crate) fn next(
    label: Option<&str>,
    wanted: bool,
    drained: bool,
    has_pod: bool,
    last: Last,
) -> (Option<&'static str>, Act) {
    match (label, wanted, last) {
        // A new worker must not find its folder going away below it.
        (Some(LEAVES), true, Last::Working | Last::Done) => (Some(LEAVES), Act::Delete),
        (_, true, _) => (Some(HAS), Act::Nothing),
        (None, false, _) => (None, Act::Nothing),
        (Some(LEAVES), false, Last::Done) => (None, Act::Delete),
        (Some(LEAVES), false, Last::Absent) if !has_pod => (Some(LEAVES), Act::Make),
        (Some(LEAVES), false, _) => (Some(LEAVES), Act::Nothing),
        (Some(_), false, _) => (Some(if drained { LEAVES } else { HAS }), Act::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worker_goes_only_once_it_is_drained() {
        assert_eq!(next(Some(HAS), false, false, true, Last::Absent), (Some(HAS), Act::Nothing));
        assert_eq!(next(Some(HAS), false, true, true, Last::Absent), (Some(LEAVES), Act::Nothing));
        assert_eq!(next(Some(LEAVES), false, false, true, Last::Absent), (Some(LEAVES), Act::Nothing));
        assert_eq!(next(Some(LEAVES), false, false, false, Last::Absent), (Some(LEAVES), Act::Make));
        assert_eq!(next(Some(LEAVES), false, false, false, Last::Working), (Some(LEAVES), Act::Nothing));
        assert_eq!(next(Some(LEAVES), false, false, false, Last::Done), (None, Act::Delete));
        assert_eq!(next(None, false, false, false, Last::Absent), (None, Act::Nothing));
    }

    #[test]
    fn a_node_that_is_wanted_again_waits_until_nobody_removes_its_folders() {
        assert_eq!(next(Some(LEAVES), true, false, false, Last::Working), (Some(LEAVES), Act::Delete));
        assert_eq!(next(Some(LEAVES), true, false, false, Last::Absent), (Some(HAS), Act::Nothing));
        assert_eq!(next(Some(HAS), true, false, true, Last::Absent), (Some(HAS), Act::Nothing));
        assert_eq!(next(None, true, false, false, Last::Absent), (Some(HAS), Act::Nothing));
    }
}
