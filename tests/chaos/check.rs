//! Whether a cell's history is linearizable: whether there is one order of its operations, each at some moment between
//! its begin and its end, in which every answer is right.
//!
//! All possibilities are followed at once (Wing and Gong's search, breadth first): a *world* is a state of the cell and
//! which of the operations under way have taken effect in it. When an operation ends, worlds in which it has not taken
//! effect yet have it, and whatever else is under way, take effect now; worlds in which its answer would be wrong die.
//! When none is left, the history has no order. An operation of unknown outcome is under way for ever.

use super::history::{Action, NAMES, Operation, Outcome, Thing};
use goosefs_core::Code;
use std::collections::HashSet;

/// An inode or attribute that nobody was told: of what was made by an operation of unknown outcome.
const UNTOLD: u64 = u64::MAX;

type State = [Option<Thing>; NAMES];

/// A state, and a bit for each place of an operation under way that has taken effect.
type World = (State, u64);

/// Most operations under way in one cell at once.
const PLACES: usize = 64;

/// Gives the first answer that cannot be explained, with what happened before it.
pub(crate) fn check(operations: &[Operation]) -> Result<(), String> {
    let mut events: Vec<(u64, usize, bool)> = Vec::new();
    for (number, operation) in operations.iter().enumerate() {
        events.push((operation.begun, number, true));
        if operation.ended != u64::MAX {
            events.push((operation.ended, number, false));
        }
    }
    events.sort_unstable();
    let mut places: [Option<usize>; PLACES] = [None; PLACES];
    let mut worlds: HashSet<World> = HashSet::from([([None; NAMES], 0)]);
    for (_, number, begins) in events {
        if begins {
            let Some(free) = places.iter_mut().find(|place| place.is_none()) else {
                return Err(format!("more than {PLACES} operations are under way at once"));
            };
            *free = Some(number);
            continue;
        }
        let place = places.iter().position(|place| *place == Some(number)).unwrap();
        let before = worlds.clone();
        worlds = taken_effect(worlds, place, &places, operations);
        if worlds.is_empty() {
            return Err(explain(number, operations, &before));
        }
        places[place] = None;
    }
    Ok(())
}

/// The worlds in which the operation at `place` has taken effect, among others under way.
fn taken_effect(
    worlds: HashSet<World>,
    place: usize,
    places: &[Option<usize>; PLACES],
    operations: &[Operation],
) -> HashSet<World> {
    let (mut kept, mut seen, mut open) = (HashSet::new(), worlds.clone(), Vec::from_iter(worlds));
    while let Some((state, effects)) = open.pop() {
        if effects & (1 << place) != 0 {
            kept.insert((state, effects & !(1 << place)));
            continue;
        }
        for (other, number) in places.iter().enumerate() {
            let Some(number) = number else { continue };
            if effects & (1 << other) != 0 {
                continue;
            }
            if let Some(after) = apply(&state, &operations[*number]) {
                let world = (after, effects | (1 << other));
                if seen.insert(world) {
                    open.push(world);
                }
            }
        }
    }
    kept
}

/// The state after an operation took effect; none when its answer would be wrong.
fn apply(state: &State, operation: &Operation) -> Option<State> {
    let mut after = *state;
    let is = |name: usize| state[name].is_some();
    let right = match (operation.action, operation.outcome) {
        (Action::Make { name }, Outcome::Made(thing)) => {
            after[name] = Some(thing);
            !is(name)
        }
        (Action::Make { name }, Outcome::Refused(Code::AlreadyExists)) => is(name),
        (Action::Make { name }, Outcome::Unknown) => {
            after[name] = Some(Thing { inode: UNTOLD, value: UNTOLD });
            !is(name)
        }
        (Action::Remove { name }, Outcome::Done | Outcome::Unknown) => {
            after[name] = None;
            is(name)
        }
        (Action::Remove { name }, Outcome::Refused(Code::NotFound)) => !is(name),
        (Action::Rename { from, to }, Outcome::Done | Outcome::Unknown) => {
            after[to] = after[from].take();
            is(from) && !is(to)
        }
        (Action::Rename { from, .. }, Outcome::Refused(Code::NotFound)) => !is(from),
        (Action::Rename { to, .. }, Outcome::Refused(Code::AlreadyExists)) => is(to),
        (Action::Set { inode, value }, Outcome::Done | Outcome::Unknown) => {
            let found = after.iter_mut().flatten().find(|thing| thing.inode == inode);
            found.map(|thing| thing.value = value).is_some()
        }
        (Action::Set { inode, .. }, Outcome::Refused(Code::NotFound)) => {
            state.iter().flatten().all(|thing| thing.inode != inode)
        }
        (Action::Look { name }, Outcome::Seen(seen)) => see(&mut after[name], seen),
        (Action::List, Outcome::Listed(seen)) => {
            after.iter_mut().zip(seen).all(|(there, seen)| see(there, seen))
        }
        _ => false,
    };
    right.then_some(after)
}

/// Whether what is there may be seen as `seen`; what was untold is told by that.
fn see(there: &mut Option<Thing>, seen: Option<Thing>) -> bool {
    match (there.as_mut(), seen) {
        (None, None) => true,
        (Some(there), Some(seen)) => {
            let inode = there.inode == UNTOLD || there.inode == seen.inode;
            let value = there.value == UNTOLD || there.value == seen.value;
            *there = seen;
            inode && value
        }
        _ => false,
    }
}

fn explain(number: usize, operations: &[Operation], before: &HashSet<World>) -> String {
    let wrong = operations[number];
    let mut near: Vec<&Operation> = operations
        .iter()
        .filter(|other| {
            other.begun < wrong.ended && (other.ended > wrong.begun || other.ended + 400 > wrong.begun)
        })
        .collect();
    near.sort_unstable_by_key(|other| other.begun);
    let near = near[near.len().saturating_sub(25)..].iter().map(|other| format!("    {other:?}\n"));
    format!(
        "no order explains {wrong:?};\npossible before it: {before:?}\nnear it:\n{}",
        near.collect::<String>()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Thing = Thing { inode: 10, value: 1 };
    const MAKE: Action = Action::Make { name: 0 };
    const LOOK: Action = Action::Look { name: 0 };

    fn op(begun: u64, ended: u64, action: Action, outcome: Outcome) -> Operation {
        Operation { client: 0, begun, ended, action, outcome }
    }

    #[test]
    fn what_overlaps_may_be_seen_or_not() {
        for seen in [None, Some(A)] {
            check(&[op(0, 3, MAKE, Outcome::Made(A)), op(1, 2, LOOK, Outcome::Seen(seen))]).unwrap();
        }
    }

    #[test]
    fn a_stale_read_is_found() {
        let stale = [op(0, 1, MAKE, Outcome::Made(A)), op(2, 3, LOOK, Outcome::Seen(None))];
        assert!(check(&stale).is_err());
        let set = Action::Set { inode: 10, value: 7 };
        let old = [
            op(0, 1, MAKE, Outcome::Made(A)),
            op(2, 3, set, Outcome::Done),
            op(4, 5, LOOK, Outcome::Seen(Some(A))),
        ];
        assert!(check(&old).is_err());
    }

    #[test]
    fn what_was_seen_once_does_not_vanish_again() {
        let twice = [
            op(0, 9, MAKE, Outcome::Made(A)),
            op(1, 2, LOOK, Outcome::Seen(Some(A))),
            op(3, 4, LOOK, Outcome::Seen(None)),
        ];
        assert!(check(&twice).is_err());
    }

    #[test]
    fn an_operation_that_met_itself_is_found() {
        assert!(check(&[op(0, 1, MAKE, Outcome::Refused(Code::AlreadyExists))]).is_err());
        let rename = Action::Rename { from: 0, to: 1 };
        let doubled = [op(0, 1, MAKE, Outcome::Made(A)), op(2, 3, rename, Outcome::Refused(Code::NotFound))];
        assert!(check(&doubled).is_err());
    }

    #[test]
    fn an_unknown_outcome_explains_both_and_only_once() {
        let remove = Action::Remove { name: 0 };
        let mut history = vec![
            op(0, 1, MAKE, Outcome::Made(A)),
            op(2, u64::MAX, remove, Outcome::Unknown),
            op(3, 4, LOOK, Outcome::Seen(Some(A))),
            op(5, 6, LOOK, Outcome::Seen(None)),
        ];
        check(&history).unwrap();
        let b = Thing { inode: 11, value: 2 };
        history.push(op(7, 8, MAKE, Outcome::Made(b)));
        history.push(op(9, 10, LOOK, Outcome::Seen(None)));
        assert!(check(&history).is_err());
    }

    #[test]
    fn what_an_unknown_make_left_is_told_by_the_first_look() {
        let made = [
            op(0, u64::MAX, MAKE, Outcome::Unknown),
            op(1, 2, LOOK, Outcome::Seen(Some(A))),
            op(3, 4, LOOK, Outcome::Seen(Some(A))),
        ];
        check(&made).unwrap();
        let other = [made[0], made[1], op(3, 4, LOOK, Outcome::Seen(Some(Thing { inode: 99, value: 1 })))];
        assert!(check(&other).is_err());
    }

    #[test]
    fn a_rename_moves_the_thing_itself() {
        let history = [
            op(0, 1, MAKE, Outcome::Made(A)),
            op(2, 3, Action::Rename { from: 0, to: 2 }, Outcome::Done),
            op(4, 5, Action::List, Outcome::Listed([None, None, Some(A)])),
        ];
        check(&history).unwrap();
    }
}
