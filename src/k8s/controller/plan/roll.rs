//! Which master is made anew next, when what pods are made from has changed. No I/O: the runtime's reconciler says what it
//! sees, and deletes the pod that it is told.
//!
//! Promises: one at a time, followers before the leader, the next only when all are ready and one leads; and never a
//! pod that holds the only copy of a journal. A master that is told to end gives the lead away first, so that there is
//! nothing to do here but to take the leader last.

/// A master's pod.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Pod {
    pub(crate) slot: usize,
    /// It was made from something else than what there is now.
    pub(crate) outdated: bool,
    /// It serves and is not about to end.
    pub(crate) ready: bool,
}

/// What is seen of the masters.
#[derive(Debug)]
pub(crate) struct Masters<'a> {
    pub(crate) pods: &'a [Pod],
    /// How many there shall be.
    pub(crate) wanted: usize,
    /// The slot that leads.
    pub(crate) leader: Option<usize>,
    /// There is a cluster, so something to lose.
    pub(crate) begun: bool,
    /// Journals outlive their pods.
    pub(crate) durable: bool,
}

/// What to do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// All are as they shall be.
    Settled,
    /// Something is under way, or out of order.
    Wait,
    /// The only journal would be lost with its pod.
    Hold,
    /// Delete the pod of this slot.
    Replace(usize),
}

/// What to do next.
pub(crate) fn next(masters: &Masters<'_>) -> Step {
    let outdated = || masters.pods.iter().filter(|pod| pod.outdated);
    let Some(last) = outdated().map(|pod| pod.slot).max() else { return Step::Settled };
    if !masters.begun {
        return Step::Replace(last);
    }
    if masters.wanted <= 1 && !masters.durable {
        return Step::Hold;
    }
    let ready = masters.pods.iter().filter(|pod| pod.ready).count();
    match masters.wanted.saturating_sub(ready) {
        0 => {}
        // It may be what it is made from that does not work: nothing is lost by making it anew.
        1 => return outdated().find(|pod| !pod.ready).map_or(Step::Wait, |pod| Step::Replace(pod.slot)),
        _ => return Step::Wait,
    }
    let Some(leader) = masters.leader else { return Step::Wait };
    let follower = outdated().map(|pod| pod.slot).filter(|slot| *slot != leader).max();
    Step::Replace(follower.unwrap_or(leader))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEW: (bool, bool) = (false, true);
    const OLD: (bool, bool) = (true, true);
    const NEW_AWAY: (bool, bool) = (false, false);
    const OLD_AWAY: (bool, bool) = (true, false);

    fn pods(all: &[(bool, bool)]) -> Vec<Pod> {
        let pod = |(slot, (outdated, ready)): (usize, &(bool, bool))| Pod {
            slot,
            outdated: *outdated,
            ready: *ready,
        };
        all.iter().enumerate().map(pod).collect()
    }

    fn of_three(all: &[(bool, bool)], leader: Option<usize>) -> Step {
        next(&Masters { pods: &pods(all), wanted: 3, leader, begun: true, durable: false })
    }

    #[test]
    fn followers_go_first_and_the_leader_last() {
        let mut all = vec![OLD, OLD, OLD];
        let mut order = Vec::new();
        while let Step::Replace(slot) = of_three(&all, Some(1)) {
            order.push(slot);
            all[slot] = NEW;
        }
        assert_eq!(order, [2, 0, 1]);
        assert_eq!(of_three(&all, Some(1)), Step::Settled);
    }

    #[test]
    fn the_next_waits_until_all_are_ready_and_one_leads() {
        assert_eq!(of_three(&[OLD, OLD, NEW_AWAY], Some(0)), Step::Wait);
        assert_eq!(of_three(&[OLD, OLD], Some(0)), Step::Wait);
        assert_eq!(of_three(&[OLD, OLD, NEW], None), Step::Wait);
        assert_eq!(of_three(&[OLD, OLD, NEW], Some(0)), Step::Replace(1));
    }

    #[test]
    fn what_does_not_work_is_replaced_when_the_others_do() {
        assert_eq!(of_three(&[OLD, OLD, OLD_AWAY], Some(0)), Step::Replace(2));
        assert_eq!(of_three(&[NEW, OLD, OLD_AWAY], None), Step::Replace(2));
        assert_eq!(of_three(&[OLD, OLD_AWAY, OLD_AWAY], None), Step::Wait);
        assert_eq!(of_three(&[OLD, NEW_AWAY, OLD_AWAY], None), Step::Wait);
    }

    #[test]
    fn before_there_is_a_cluster_there_is_nothing_to_lose() {
        let all = pods(&[OLD_AWAY, OLD_AWAY, OLD_AWAY]);
        let masters = Masters { pods: &all, wanted: 3, leader: None, begun: false, durable: false };
        assert_eq!(next(&masters), Step::Replace(2));
    }

    #[test]
    fn the_only_copy_of_a_journal_is_never_deleted() {
        let all = pods(&[OLD]);
        let alone = |durable| next(&Masters { pods: &all, wanted: 1, leader: Some(0), begun: true, durable });
        assert_eq!((alone(false), alone(true)), (Step::Hold, Step::Replace(0)));
    }
}
