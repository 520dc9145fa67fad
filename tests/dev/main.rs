//! `goosefs dev` and the main job: slow storage in, a fast directory out, warm again after every kind of end.
//!
//! They need root and `/dev/fuse`, and web servers from Debian's packages; what is missing is said aloud.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod life;
mod objects;
mod web;

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other cluster of this suite runs.
fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether mounts can be made here; says why not.
fn can_mount() -> bool {
    let can = nix::unistd::Uid::effective().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("SKIPPED: mounting needs root and /dev/fuse");
    }
    can
}
