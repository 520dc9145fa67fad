//! What becomes of a cluster whose journals are lost. No I/O: the runtime's reconciler says what masters say of themselves.
//!
//! Promises: data that a master has is never given up without an order that names it, and a cluster begins anew by itself
//! only where journals go with their pods and all of them did.

use super::super::ask::Alone;
use std::time::Duration;

/// Masters that have journals elect a leader long before that.
const STUCK: Duration = Duration::from_secs(60);

/// Annotation of a runtime by which a person orders what to go on with: the name of a master's pod, or [`ANEW`].
pub(crate) const ORDER: &str = "goosefs.data.fluid.io/force-new-cluster";
/// Value of [`ORDER`]: nothing is left, begin with nothing.
pub(crate) const ANEW: &str = "new";

/// What is seen.
#[derive(Debug)]
pub(crate) struct Seen<'a> {
    /// Epoch of the master that leads, if one does.
    pub(crate) leads: Option<i64>,
    /// For how long none has.
    pub(crate) leaderless: Duration,
    /// The epoch that was written down.
    pub(crate) epoch: i64,
    /// There has been a cluster of that epoch.
    pub(crate) begun: bool,
    /// Journals outlive their pods.
    pub(crate) durable: bool,
    /// How many masters there shall be, and how many have a pod.
    pub(crate) masters: usize,
    pub(crate) pods: usize,
    /// Those that answer, when none leads.
    pub(crate) each: &'a [Alone],
    /// Value of [`ORDER`].
    pub(crate) order: Option<&'a str>,
    /// Name of all masters: that of their pods without the number.
    pub(crate) name: &'a str,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing is known that is not known already.
    Nothing,
    /// One leads in this epoch.
    Led(i64),
    /// One leads in this epoch, which an order has begun.
    Obeyed(i64),
    /// An order that nothing needs: a master leads.
    NotNeeded,
    /// An order that is not carried out, and why.
    Refused(String),
    /// Begin anew, in this epoch; what was lost.
    Begin(i64, String),
    /// The master of this slot goes on alone.
    Force(usize),
    /// A person must decide: what was lost, and how to go on.
    Ask(String),
}

/// What to do next.
pub(crate) fn next(seen: &Seen<'_>) -> Step {
    if let Some(epoch) = seen.leads {
        return match seen.order {
            Some(_) if epoch > seen.epoch => Step::Obeyed(epoch),
            Some(_) => Step::NotNeeded,
            None => Step::Led(epoch.max(seen.epoch)),
        };
    }
    let all_answer = seen.each.len() >= seen.pods
        && (0..seen.masters).all(|slot| seen.each.iter().any(|master| master.slot == slot));
    if !seen.begun || !all_answer {
        return Step::Nothing;
    }
    let of = |slot: usize| seen.each.iter().find(|master| master.slot == slot);
    let has = |slot: usize| of(slot)?.epoch;
    let holders: Vec<usize> =
        (0..seen.each.len().max(seen.masters)).filter(|slot| has(*slot).is_some()).collect();
    let next_epoch = seen.epoch.max(holders.iter().filter_map(|slot| has(*slot)).max().unwrap_or(0)) + 1;
    let pod = |slot: &usize| format!("{}-{slot}", seen.name);
    if holders.is_empty() {
        let lost = format!("all {} journals of epoch {} are lost", seen.masters, seen.epoch);
        return match seen.order {
            _ if !seen.durable => Step::Begin(next_epoch, lost),
            Some(ANEW) => Step::Begin(next_epoch, lost),
            Some(other) => Step::Refused(format!("{lost}: {other} has none; annotate with {ORDER}={ANEW}")),
            None => Step::Ask(format!(
                "{lost}: restore their volumes, or begin anew without any metadata by annotating with {ORDER}={ANEW}"
            )),
        };
    }
    // A majority may just be electing; if it goes on, too many are lost of those that voted when others took their places.
    let majority = holders.len() * 2 > seen.masters;
    if majority && seen.leaderless < STUCK {
        return Step::Nothing;
    }
    let best = holders.iter().max_by_key(|slot| (has(**slot), of(**slot).map(|master| master.applied)));
    let best = best.map_or_else(String::new, pod);
    let whole = holders.iter().map(pod).collect::<Vec<_>>().join(", ");
    match seen.order {
        Some(order) => match holders.iter().find(|slot| pod(slot) == order) {
            Some(slot) => Step::Force(*slot),
            None => Step::Refused(format!("{order} has no journal to go on with; {whole} has")),
        },
        None if majority => Step::Ask(format!(
            "{whole} have journals, and no majority of those that voted is left among them: go on with what {best} has, \
             which is the most, by annotating with {ORDER}={best}"
        )),
        None => Step::Ask(format!(
            "of {} journals only {whole} is left, which is no majority: restore the volumes of the others, or go on with \
             what this one has by annotating with {ORDER}={best}",
            seen.masters,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of_three(has: [Option<i64>; 3], durable: bool, order: Option<&str>) -> Step {
        leaderless(has, durable, order, Duration::ZERO)
    }

    fn leaderless(has: [Option<i64>; 3], durable: bool, order: Option<&str>, leaderless: Duration) -> Step {
        let each: Vec<Alone> = has
            .iter()
            .enumerate()
            .map(|(slot, epoch)| Alone { slot, epoch: *epoch, applied: slot as u64 })
            .collect();
        let seen = Seen {
            leads: None,
            leaderless,
            epoch: 1,
            begun: true,
            durable,
            masters: 3,
            pods: 3,
            each: &each,
            order,
            name: "hbase-master",
        };
        next(&seen)
    }

    #[test]
    fn a_cluster_begins_anew_by_itself_only_when_all_went_with_their_pods() {
        assert!(matches!(of_three([None; 3], false, None), Step::Begin(2, _)));
        assert!(matches!(of_three([None; 3], true, None), Step::Ask(_)));
        assert!(matches!(of_three([None; 3], true, Some(ANEW)), Step::Begin(2, _)));
        assert!(matches!(of_three([None, Some(9), None], false, None), Step::Ask(_)));
        assert!(matches!(of_three([None, Some(9), None], false, Some(ANEW)), Step::Refused(_)));
    }

    #[test]
    fn the_master_that_was_named_goes_on_when_most_are_lost() {
        let left = [None, Some(1), None];
        assert_eq!(of_three(left, true, Some("hbase-master-1")), Step::Force(1));
        assert!(matches!(of_three(left, true, Some("hbase-master-0")), Step::Refused(_)));
        let Step::Ask(text) = of_three(left, true, None) else { panic!("nobody is asked") };
        assert!(text.ends_with("goosefs.data.fluid.io/force-new-cluster=hbase-master-1"), "{text}");
        assert_eq!(of_three([Some(1), Some(1), None], true, Some("hbase-master-1")), Step::Nothing);
    }

    #[test]
    fn masters_that_have_journals_and_elect_nobody_are_asked_about_after_a_while() {
        let all = [Some(1); 3];
        assert_eq!(leaderless(all, false, None, STUCK / 2), Step::Nothing);
        let Step::Ask(text) = leaderless(all, false, None, STUCK) else { panic!("nobody is asked") };
        assert!(text.ends_with("goosefs.data.fluid.io/force-new-cluster=hbase-master-2"), "{text}");
        assert_eq!(leaderless(all, false, Some("hbase-master-1"), STUCK / 2), Step::Nothing);
        assert_eq!(leaderless(all, false, Some("hbase-master-1"), STUCK), Step::Force(1));
    }

    #[test]
    fn nothing_is_lost_before_all_have_said_so() {
        let some = [0, 1].map(|slot| Alone { slot, epoch: None, applied: 0 });
        let seen = Seen {
            leads: None,
            leaderless: Duration::ZERO,
            epoch: 1,
            begun: true,
            durable: false,
            masters: 3,
            pods: 2,
            each: &some,
            order: None,
            name: "m",
        };
        assert_eq!(next(&seen), Step::Nothing);
        assert_eq!(
            next(&Seen { masters: 1, pods: 3, ..seen }),
            Step::Nothing,
            "one that is to go may have it"
        );
        let seen = Seen { masters: 1, pods: 1, each: &some[..1], ..seen };
        assert_eq!(next(&Seen { begun: false, ..seen }), Step::Nothing);
        assert!(matches!(next(&seen), Step::Begin(2, _)));
    }

    #[test]
    fn an_order_is_done_once_a_later_epoch_is_led() {
        let seen = Seen {
            leads: Some(1_790_000_000),
            leaderless: Duration::ZERO,
            epoch: 1,
            begun: true,
            durable: true,
            masters: 3,
            pods: 3,
            each: &[],
            order: Some("m-1"),
            name: "m",
        };
        assert_eq!(next(&seen), Step::Obeyed(1_790_000_000));
        assert_eq!(next(&Seen { order: None, ..seen }), Step::Led(1_790_000_000));
        assert_eq!(next(&Seen { leads: Some(1), ..seen }), Step::NotNeeded);
    }
}
