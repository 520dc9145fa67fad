//! Which FUSE pod is made anew next, when what they are made from has changed. No I/O: the runtime's reconciler says what
//! it sees, and deletes the pod that it is told.
//!
//! Promises: one at a time, the next only when all are ready; and a pod whose mount is in use only while somebody keeps
//! the mount, so that the next pod goes on with it and no open file notices.

/// A FUSE pod.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Pod {
    pub(crate) name: String,
    /// It was made from something else than what there is now.
    pub(crate) outdated: bool,
    /// It serves and is not about to end.
    pub(crate) ready: bool,
    /// Pods of its node use the volume.
    pub(crate) used: bool,
    /// The CSI plugin of its node keeps the mount.
    pub(crate) kept: bool,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// All are as they shall be.
    Settled,
    /// Something is under way, or out of order.
    Wait,
    /// These are in use, and their mounts would end with them.
    Hold(Vec<String>),
    /// Delete this pod.
    Replace(String),
}

/// What to do next. `in_use`: whether pods whose mount is in use may be replaced at all.
pub(crate) fn next(pods: &[Pod], in_use: bool) -> Step {
    let mut outdated: Vec<&Pod> = pods.iter().filter(|pod| pod.outdated).collect();
    if outdated.is_empty() {
        return Step::Settled;
    }
    // What serves nobody has nothing to lose.
    if let Some(broken) = outdated.iter().find(|pod| !pod.ready) {
        return if pods.iter().any(|pod| !pod.outdated && !pod.ready) {
            Step::Wait
        } else {
            Step::Replace(broken.name.clone())
        };
    }
    if pods.iter().any(|pod| !pod.ready) {
        return Step::Wait;
    }
    outdated.sort_by_key(|pod| (pod.used, &pod.name));
    match outdated.iter().find(|pod| !pod.used || in_use && pod.kept) {
        Some(pod) => Step::Replace(pod.name.clone()),
        None => Step::Hold(outdated.iter().map(|pod| pod.name.clone()).collect()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(name: &str, outdated: bool, used: bool) -> Pod {
        Pod { name: name.to_owned(), outdated, ready: true, used, kept: true }
    }

    fn replace(name: &str) -> Step {
        Step::Replace(name.to_owned())
    }

    #[test]
    fn one_goes_at_a_time_and_unused_ones_first() {
        let mut all = vec![pod("a", true, true), pod("b", true, false), pod("c", false, true)];
        assert_eq!(next(&all, true), replace("b"));
        all[1] = Pod { ready: false, ..pod("b", false, false) };
        assert_eq!(next(&all, true), Step::Wait);
        all[1].ready = true;
        assert_eq!(next(&all, true), replace("a"));
        all[0].outdated = false;
        assert_eq!(next(&all, true), Step::Settled);
    }

    #[test]
    fn a_mount_in_use_that_nobody_keeps_is_left_alone() {
        let mut all = vec![Pod { kept: false, ..pod("a", true, true) }];
        assert_eq!(next(&all, true), Step::Hold(vec!["a".to_owned()]));
        all[0].kept = true;
        assert_eq!(
            next(&all, false),
            Step::Hold(vec!["a".to_owned()]),
            "nor one that is to be left until unused"
        );
        assert_eq!(next(&all, true), replace("a"));
        all[0] = Pod { kept: false, ..pod("a", true, false) };
        assert_eq!(next(&all, false), replace("a"));
    }

    #[test]
    fn one_that_does_not_serve_is_replaced_at_once_but_not_beside_another() {
        let broken = Pod { ready: false, kept: false, ..pod("a", true, true) };
        assert_eq!(next(&[broken.clone(), pod("b", true, true)], true), replace("a"));
        let starting = Pod { ready: false, ..pod("b", false, true) };
        assert_eq!(next(&[broken, starting], true), Step::Wait);
    }
}
