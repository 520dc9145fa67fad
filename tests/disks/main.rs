//! Disks that fail under the masters: three real masters whose journals lie on disks that lose their power, are full,
//! fail their fsyncs and fall silent. Takes root and /dev/fuse; says aloud what it skips elsewhere.
//!
//! Seeds are printed; `DISKS_SEED=n` draws the same again, though not the same interleaving.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod direct;
mod fsync;
mod full;
mod power;
mod silent;
mod writers;

use goosefs_client::Client;
use goosefs_harness::Masters;
use std::collections::BTreeSet;
use std::path::Path;

/// A planned cluster on disks that fail; none where such disks cannot be had.
fn plan(flags: &[&str]) -> Option<Masters> {
    let binary = Path::new(env!("CARGO_BIN_EXE_goosefs"));
    Masters::plan_on_frail_disks(binary, &std::env::temp_dir(), flags)
        .inspect_err(|error| eprintln!("SKIPPED: no disks of ours here: {error:#}"))
        .ok()
}

/// As [`plan`], started, with a client.
async fn start(flags: &[&str]) -> Option<(Masters, Client)> {
    let mut masters = plan(flags)?;
    masters.launch_all().await.unwrap();
    let observer = masters.observer();
    Some((masters, observer))
}

/// All masters serve, have the same, and that is what was acknowledged.
async fn end_whole(masters: &mut Masters, observer: &Client, expected: &BTreeSet<String>) {
    masters.all_serve(observer).await.unwrap();
    masters.agreed(observer).await.unwrap();
    assert_eq!(writers::names(observer).await, *expected);
}

fn seed() -> u64 {
    let seed = std::env::var("DISKS_SEED").ok().map_or_else(rand::random, |seed| seed.parse().unwrap());
    println!("DISKS_SEED={seed}");
    seed
}
