//! Exactly once.

use super::bed::*;
use crate::namespace::Namespace;
use crate::namespace::session::{MAX_UNACKNOWLEDGED, VENDOR_AGE_MS, VENDOR_OPERATIONS};
use goosefs_core::error::Code;
use goosefs_core::proto::internal::{SessionOp, VendorOp, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{CloseSessions, Entry, OpenSession};

const CACHED: WriteType = WriteType::MustCache;

fn op(sequence: u64, acknowledged: u64) -> SessionOp {
    SessionOp { session: 5, sequence, acknowledged }
}

fn vendor(least: u64) -> VendorOp {
    VendorOp { most: 9, least }
}

#[test]
fn a_retry_in_a_session_gets_the_first_answer() {
    let mut bed = Bed::mounted();
    bed.ok(open_session(5));
    let first = bed.in_session(op(1, 0), create(0, "f", CACHED));
    assert_eq!(error_of(&first), None);
    let again = bed.in_session(op(1, 0), create(0, "f", CACHED));
    assert_eq!(again.applied, first.applied);
    assert!(again.changes.is_empty());
    // Failures are answers too.
    let taken = bed.in_session(op(2, 0), create(0, "f", CACHED));
    assert_eq!(error_of(&taken).unwrap().code, Code::AlreadyExists);
    bed.ok(remove(0, "f"));
    assert_eq!(bed.in_session(op(2, 0), create(0, "f", CACHED)).applied, taken.applied);
    assert_eq!(bed.at("/f"), None);
    // Out of order is fine.
    bed.in_session(op(4, 0), create(0, "d", CACHED));
    bed.in_session(op(3, 0), create(0, "c", CACHED));
    assert_eq!(bed.namespace.sessions()[0].unacknowledged, 4);
    bed.in_session(op(5, 4), create(0, "e", CACHED));
    assert_eq!(bed.namespace.sessions()[0].unacknowledged, 1);
    let late = bed.in_session(op(4, 0), create(0, "d", CACHED));
    assert_eq!(error_of(&late).unwrap().code, Code::InvalidArgument);
}

#[test]
fn a_session_that_is_not_open_does_nothing() {
    let mut bed = Bed::mounted();
    let refused = bed.in_session(op(1, 0), create(0, "f", CACHED));
    assert_eq!(error_of(&refused).unwrap().code, Code::Unauthenticated);
    bed.ok(open_session(5));
    bed.in_session(op(1, 0), create(0, "f", CACHED));
    // Opening it again changes nothing.
    bed.ok(open_session(5));
    assert_eq!(bed.namespace.sessions()[0].unacknowledged, 1);
    bed.ok(Command::CloseSessions(CloseSessions { sessions: vec![5, 6] }));
    assert!(!bed.namespace.has_session(5));
    let refused = bed.in_session(op(2, 0), create(0, "g", CACHED));
    assert_eq!(error_of(&refused).unwrap().code, Code::Unauthenticated);
    assert_eq!(bed.at("/g"), None);
}

#[test]
fn a_client_that_acknowledges_nothing_is_stopped() {
    let mut bed = Bed::mounted();
    bed.ok(open_session(5));
    for sequence in 1..=MAX_UNACKNOWLEDGED as u64 {
        assert_eq!(
            error_of(&bed.in_session(op(sequence, 0), create(0, &format!("f{sequence}"), CACHED))),
            None
        );
    }
    let next = MAX_UNACKNOWLEDGED as u64 + 1;
    assert_eq!(error_of(&bed.in_session(op(next, 0), create(0, "more", CACHED))).unwrap().code, Code::Busy);
    assert_eq!(error_of(&bed.in_session(op(next, 1), create(0, "more", CACHED))), None);
}

#[test]
fn a_retry_of_an_intent_gets_its_number_and_then_its_answer() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("f", 1, 1), found_file("g", 1, 1)]);
    bed.ok(open_session(5));
    let intent = bed.in_session(op(1, 0), rename(0, "f", 0, "h", false)).applied.intent;
    assert_ne!(intent, 0);
    assert_eq!(bed.in_session(op(1, 0), rename(0, "f", 0, "h", false)).applied.intent, intent);
    let answer = bed.ok(finish(intent));
    assert_eq!(bed.in_session(op(1, 0), rename(0, "f", 0, "h", false)).applied, answer);
    assert_eq!(bed.names("/"), ["g", "h"]);

    let intent = bed.as_vendor(vendor(1), remove(0, "g")).applied.intent;
    assert_eq!(bed.as_vendor(vendor(1), remove(0, "g")).applied.intent, intent);
    let answer = bed.run(fail(intent, Code::Ufs)).applied;
    assert_eq!(bed.as_vendor(vendor(1), remove(0, "g")).applied, answer);
    assert_eq!(bed.names("/"), ["g", "h"]);
}

#[test]
fn an_answer_that_calls_for_a_retry_is_not_kept() {
    let mut bed = Bed::mounted();
    bed.load(0, vec![found_file("f", 1, 1)]);
    bed.ok(open_session(5));
    let holds = bed.intent(remove(0, "f"));
    for _ in 0..2 {
        let busy = bed.in_session(op(1, 0), rename(0, "f", 0, "g", false));
        assert_eq!(error_of(&busy).unwrap().code, Code::Busy);
    }
    bed.run(fail(holds, Code::Ufs));
    let intent = bed.in_session(op(1, 0), rename(0, "f", 0, "g", false)).applied.intent;
    // The storage was away: the client may try again.
    bed.run(fail(intent, Code::Unavailable));
    let second = bed.in_session(op(1, 0), rename(0, "f", 0, "g", false)).applied.intent;
    assert!(second > intent);

    bed.ok(finish(second));
    let intent = bed.as_vendor(vendor(1), remove(0, "g")).applied.intent;
    bed.run(fail(intent, Code::Unavailable));
    // After a restore too.
    bed.namespace = Namespace::restore(&mut &bed.image()[..]).unwrap();
    assert!(bed.as_vendor(vendor(1), remove(0, "g")).applied.intent > intent);
}

#[test]
fn vendor_operations_are_kept_by_number_and_by_age() {
    let mut bed = Bed::mounted();
    for least in 0..VENDOR_OPERATIONS as u64 + 10 {
        bed.as_vendor(vendor(least), mkdir(0, "d", false));
    }
    assert_eq!(bed.namespace.vendor_places.len(), VENDOR_OPERATIONS);
    // The first succeeded and is forgotten, the others failed and are kept.
    let kept = bed.as_vendor(vendor(12), create(0, "new", CACHED));
    assert_eq!(error_of(&kept).unwrap().code, Code::AlreadyExists);
    let forgotten = bed.as_vendor(vendor(3), create(0, "new", CACHED));
    assert_eq!(error_of(&forgotten), None);
    bed.now_ms += VENDOR_AGE_MS + 10;
    bed.as_vendor(vendor(1 << 40), create(0, "newer", CACHED));
    assert_eq!(bed.namespace.vendor_places.len(), 1);
}

#[test]
fn a_wall_clock_that_jumps_ages_neither_sessions_nor_answers() {
    let mut bed = Bed::mounted();
    let mut enter = |now_ms: u64, steady_ms: u64, vendor_op: Option<VendorOp>, command: Command| {
        bed.apply(Entry { now_ms, steady_ms, vendor_op, command: Some(command), ..Default::default() });
        bed.namespace.sessions().first().map(|session| session.last_ms)
    };
    let open = || Command::OpenSession(OpenSession { session: 7, ..Default::default() });
    let begun = 10_000_000;
    assert_eq!(enter(begun, begun, None, open()), Some(begun));
    enter(begun + 1, begun + 1, Some(vendor(1)), create(0, "f", CACHED));
    // The leader's wall clock is hours ahead, then that of the next leader hours behind.
    for (jump, now_ms) in [(2, begun + 100 * VENDOR_AGE_MS), (3, begun / 2)] {
        assert_eq!(enter(now_ms, begun + jump, None, open()), Some(begun + jump));
    }
    assert_eq!(bed.namespace.vendor_places.len(), 1);
    let back = Namespace::restore(&mut &bed.image()[..]).unwrap();
    assert_eq!(back.steady_ms(), begun + 3);
}
