//! Preloads: one a path, totals that count once, an end that lasts.

use super::bed::*;
use goosefs_core::error::Code;
use goosefs_core::proto::internal::{PreloadFailure, PreloadProgress, PreloadState};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{AdvancePreload, SubmitPreload};

fn submit(path: &str) -> Command {
    Command::SubmitPreload(SubmitPreload { path: path.into(), ..Default::default() })
}

fn advance(preload: u64, failed: &[&str], from: u64, state: PreloadState) -> Command {
    let failures = failed.iter().map(|path| PreloadFailure { path: (*path).into(), reason: "no".into() });
    Command::AdvancePreload(AdvancePreload {
        preload,
        progress: Some(PreloadProgress { failed: from + failed.len() as u64, ..Default::default() }),
        failures: failures.collect(),
        failures_from: from,
        state: state.into(),
        reason: String::new(),
    })
}

#[test]
fn one_runs_for_a_path_and_another_when_that_has_ended() {
    let mut bed = Bed::mounted();
    let first = bed.ok(submit("/a")).preload;
    assert_eq!(bed.fails(submit("/a")), Code::AlreadyExists);
    assert_ne!(bed.ok(submit("/b")).preload, first);
    bed.ok(advance(first, &[], 0, PreloadState::Stopped));
    assert_eq!(bed.fails(advance(first, &[], 0, PreloadState::Running)), Code::InvalidArgument);
    assert_ne!(bed.ok(submit("/a")).preload, first);
    assert_eq!(bed.fails(advance(7, &[], 0, PreloadState::Running)), Code::NotFound);
}

#[test]
fn what_is_submitted_again_under_its_key_is_the_same() {
    let mut bed = Bed::mounted();
    let called = |path: &str, key: &str| {
        Command::SubmitPreload(SubmitPreload { path: path.into(), key: key.into(), options: None })
    };
    let first = bed.ok(called("/a", "mine")).preload;
    assert_eq!(bed.ok(called("/a", "mine")).preload, first, "while it runs");
    assert_eq!(bed.fails(called("/a", "another's")), Code::AlreadyExists);
    bed.ok(advance(first, &[], 0, PreloadState::Succeeded));
    assert_eq!(bed.ok(called("/a", "mine")).preload, first, "after its end");
    assert_ne!(bed.ok(called("/a", "another's")).preload, first);
}

#[test]
fn a_report_that_is_made_twice_counts_once() {
    let mut bed = Bed::mounted();
    let id = bed.ok(submit("/")).preload;
    bed.ok(advance(id, &["/a", "/b"], 0, PreloadState::Running));
    for _ in 0..2 {
        bed.ok(advance(id, &["/c"], 2, PreloadState::Running));
    }
    let preload = bed.namespace.preload(id).unwrap();
    let named: Vec<&str> = preload.failures.iter().map(|failure| failure.path.as_str()).collect();
    assert_eq!(named, ["/a", "/b", "/c"]);
    assert_eq!((preload.progress.as_ref().unwrap().failed, preload.ended_ms), (3, 0));
}

#[test]
fn the_oldest_that_ended_are_forgotten_and_none_that_runs() {
    let mut bed = Bed::mounted();
    let running = bed.ok(submit("/running")).preload;
    for number in 0..120 {
        let id = bed.ok(submit(&format!("/{number}"))).preload;
        bed.ok(advance(id, &[], 0, PreloadState::Succeeded));
    }
    bed.ok(submit("/last"));
    assert!(bed.namespace.preload(running).is_ok());
    assert_eq!(bed.namespace.preloads().count(), 102);
    let oldest = bed.namespace.preloads().nth(1).unwrap();
    assert_eq!(oldest.path, "/20");
}
