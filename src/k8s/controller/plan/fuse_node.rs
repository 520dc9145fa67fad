//! Whether a node has FUSE, step by step. No I/O: [`super::super::place`] says what it sees and does what it is told.
//!
//! A mount outlives its FUSE pod, so a node that loses FUSE is first marked as one whose mount is to end: the pod goes,
//! then another ends the mount, then the mark goes. All of it is in the node's label, so that a controller that was
//! restarted goes on.

/// Value of the label of a node that has FUSE, which its DaemonSet asks for.
pub(crate) const HAS: &str = "true";
/// Value of the label of a node whose mount is to end.
pub(crate) const ENDS: &str = "ending";

/// The pod that ends a node's mount.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Last {
    /// There is none.
    Absent,
    /// It has not ended well yet.
    Working,
    /// The mount has ended.
    Done,
}

/// What is to be done with that pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Act {
    Nothing,
    Make,
    Delete,
}

/// The value that the label shall have, and what to do with the last pod. `wanted`: the node shall have FUSE;
/// `has_pod`: a FUSE pod is there, perhaps about to end.
pub(crate) fn next(
    label: Option<&str>,
    wanted: bool,
    has_pod: bool,
    last: Last,
) -> (Option<&'static str>, Act) {
    match (label, wanted, last) {
        // Two at work on one mount would disturb each other.
        (Some(ENDS), true, Last::Working | Last::Done) => (Some(ENDS), Act::Delete),
        (_, true, _) => (Some(HAS), Act::Nothing),
        (None, false, _) => (None, Act::Nothing),
        (Some(ENDS), false, Last::Done) => (None, Act::Delete),
        (Some(ENDS), false, Last::Absent) if !has_pod => (Some(ENDS), Act::Make),
        (Some(_), false, _) => (Some(ENDS), Act::Nothing),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_loses_fuse_in_steps() {
        assert_eq!(next(Some(HAS), false, true, Last::Absent), (Some(ENDS), Act::Nothing));
        assert_eq!(next(Some(ENDS), false, true, Last::Absent), (Some(ENDS), Act::Nothing));
        assert_eq!(next(Some(ENDS), false, false, Last::Absent), (Some(ENDS), Act::Make));
        assert_eq!(next(Some(ENDS), false, false, Last::Working), (Some(ENDS), Act::Nothing));
        assert_eq!(next(Some(ENDS), false, false, Last::Done), (None, Act::Delete));
        assert_eq!(next(None, false, false, Last::Absent), (None, Act::Nothing));
    }

    #[test]
    fn a_node_that_is_wanted_again_waits_for_the_last_pod_to_go() {
        assert_eq!(next(Some(ENDS), true, false, Last::Working), (Some(ENDS), Act::Delete));
        assert_eq!(next(Some(ENDS), true, false, Last::Done), (Some(ENDS), Act::Delete));
        assert_eq!(next(Some(ENDS), true, false, Last::Absent), (Some(HAS), Act::Nothing));
        assert_eq!(next(None, true, false, Last::Absent), (Some(HAS), Act::Nothing));
        assert_eq!(next(Some(HAS), true, true, Last::Absent), (Some(HAS), Act::Nothing));
    }
}
