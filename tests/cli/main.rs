//! What commands print, to the letter, and what they say to bad input: people's scripts and Fluid read it.
//!
//! Every test has real processes. Each takes its turn, so that a small machine runs one cluster at a time.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod authority;
mod backup;
mod bad_input;
mod bad_storage;
mod control;
mod files;
mod jobs;
mod masters;
mod quorum;
mod settings;
mod signals;

use goosefs_harness::{Binary, Said};
use std::sync::{Mutex, MutexGuard, PoisonError};

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other cluster of this suite runs.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A home that is empty, and the binary in it.
fn alone() -> (tempfile::TempDir, Binary) {
    let home = tempfile::tempdir().unwrap();
    let binary = Binary::new(GOOSEFS, home.path());
    (home, binary)
}

/// The command did what it was asked, printed these lines and nothing else.
#[track_caller]
fn says(said: &Said, lines: &[&str]) {
    assert_eq!((said.code, said.stderr.as_str()), (Some(0), ""), "{said:?}");
    assert_eq!(said.lines(), lines);
}

/// The command failed with this one line on standard output.
#[track_caller]
fn fails(said: &Said, line: &str) {
    assert_eq!(said.lines(), [line], "{said:?}");
    assert_eq!((said.code, said.stderr.as_str()), (Some(1), ""));
}

/// The command failed with one line, on standard output or standard error, that has all these words. Gives the line.
#[track_caller]
fn complains(said: &Said, words: &[&str]) -> String {
    assert!(said.code.is_some_and(|code| code != 0), "{said:?}");
    let text = format!("{}{}", said.stdout, said.stderr);
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 1, "one line, please: {said:?}");
    for word in words {
        assert!(text.contains(word), "\"{word}\" is missing: {said:?}");
    }
    lines[0].to_owned()
}

/// Who runs the tests, and their group.
fn me() -> (String, String) {
    let id = |flag: &str| {
        let output = std::process::Command::new("id").arg(flag).output().unwrap();
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    (id("-un"), id("-gn"))
}
