//! Chaos: three real masters are killed, stopped, cut off and wiped, and their clocks jump, while clients make, remove,
//! rename, look at and change names, and write down what they are told. Afterwards the history of every cell must be linearizable, all copies of the
//! namespace must be the same, and the under-storage must have the directories that the namespace has and that clients
//! were told of.
//!
//! `make test` plays for a minute, `make chaos` for ten (`CHAOS_SECONDS=n`). The seed is printed; `CHAOS_SEED=n` draws the
//! same troubles and operations again, though not the same interleaving. `CHAOS_BINARY=path` plays with another build.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod check;
mod clients;
mod history;
mod nemesis;
mod once;

use clients::{Cell, Ground, perform, text, wander};
use goosefs_client::Client;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use goosefs_harness::{LONG, Masters, wait_until};
use history::{Action, NAMES, Operation, Outcome};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const CLIENTS: usize = 12;
const CELLS: usize = 16;

/// Longer than any trouble lasts, so that few outcomes are unknown.
const DEADLINE: Duration = Duration::from_secs(60);

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn histories_under_chaos_are_linearizable_and_all_masters_have_the_same() {
    let seed = number("CHAOS_SEED").unwrap_or_else(rand::random);
    let time = Duration::from_secs(number("CHAOS_SECONDS").unwrap_or(60));
    println!("CHAOS_SEED={seed}");
    let binary = std::env::var("CHAOS_BINARY").unwrap_or_else(|_| env!("CARGO_BIN_EXE_goosefs").to_owned());
    let flags = ["-Dgoosefs.master.raft.snapshot.entries=500"];
    let mut masters = Masters::plan(Path::new(&binary), &std::env::temp_dir(), &flags).unwrap();
    masters.give_clocks();
    masters.launch_all().await.unwrap();
    let observer = masters.observer();
    let once = once::Once::new(make_folder(&observer, "/once").await);
    let ground = Ground::new(cells(&observer).await, once);
    let clients: Vec<_> =
        (0..CLIENTS).map(|_| masters.client_with(|config| config.deadline = DEADLINE)).collect();
    let wanderers = clients.iter().enumerate();
    let wanderers =
        wanderers.map(|(at, client)| tokio::spawn(wander(ground.clone(), client.clone(), at, seed)));
    let wanderers: Vec<_> = wanderers.collect();

    let played = nemesis::haunt(&mut masters, &observer, seed, Instant::now() + time).await.unwrap();
    ground.stop.store(true, Ordering::SeqCst);
    for outcome in futures::future::join_all(wanderers).await {
        outcome.unwrap();
    }
    println!("troubles: {played:?}");
    wait_until("the under-storage has what the namespace has", || {
        stored_alike(&ground, &observer, masters.ufs())
    })
    .await
    .unwrap_or_else(|error| panic!("CHAOS_SEED={seed}: {error}"));
    each_effect_happened_once(&ground, &observer, &masters.ufs().join("once"), seed).await;
    masters.agreed(&observer).await.unwrap();
    for cell in 0..CELLS {
        perform(&ground, &observer, CLIENTS, cell, Action::List).await;
    }
    let histories = ground.history.cells();
    report(&histories);
    for (cell, operations) in histories.iter().enumerate() {
        check::check(operations).unwrap_or_else(|wrong| panic!("CHAOS_SEED={seed}, cell {cell}: {wrong}"));
    }
    let panics: Vec<String> =
        masters.errors().unwrap().into_iter().filter(|line| line.contains("panicked")).collect();
    assert!(panics.is_empty(), "{panics:#?}");
    for client in clients.iter().chain([&observer]) {
        client.shutdown(LONG).await;
    }
}

async fn each_effect_happened_once(ground: &Ground, observer: &Client, stored: &Path, seed: u64) {
    let difference = async || ground.once.difference(observer, stored).await.unwrap();
    // An operation that its client gave up may still be under way.
    let alike = wait_until("each side effect happened once", || async { difference().await.is_none() });
    if let Err(error) = alike.await {
        panic!("CHAOS_SEED={seed}: {error}: {:?}", difference().await);
    }
    println!("{} directories were made and left alone, and are in both as told", ground.once.told());
}

/// Whether the under-storage has the directories that the namespace has, and no other. An operation that its client gave
/// up may still be under way.
async fn stored_alike(ground: &Ground, observer: &Client, ufs: PathBuf) -> bool {
    for (cell, _) in ground.cells.iter().enumerate().filter(|(_, cell)| cell.directories) {
        let Outcome::Listed(there) = perform(ground, observer, CLIENTS, cell, Action::List).await else {
            return false;
        };
        let stored = |name: usize| ufs.join(format!("cell{cell}")).join(text(name)).exists();
        if !there.iter().enumerate().all(|(name, thing)| stored(name) == thing.is_some()) {
            return false;
        }
    }
    true
}

/// Makes the cells' folders.
async fn cells(client: &Client) -> Vec<Cell> {
    let mut cells = Vec::new();
    for number in 0..CELLS {
        let folder = make_folder(client, &format!("/cell{number}")).await;
        cells.push(Cell { folder, directories: number % 2 == 0 });
    }
    cells
}

async fn make_folder(client: &Client, path: &str) -> InodeId {
    let path = NsPath::parse(path).unwrap();
    InodeId(client.paths().make_dir(&path, 0o755, false).await.unwrap().inode)
}

fn report(histories: &[Vec<Operation>]) {
    let all = histories.iter().flatten();
    let (mut changed, mut refused, mut unknown) = (0, 0, 0);
    for operation in all.clone() {
        match operation.outcome {
            Outcome::Made(_) | Outcome::Done => changed += 1,
            Outcome::Refused(_) => refused += 1,
            Outcome::Unknown => unknown += 1,
            Outcome::Seen(_) | Outcome::Listed(_) => {}
        }
    }
    let total = all.count();
    println!(
        "{total} operations in {} cells of {NAMES} names: {changed} changes, {refused} refused, {unknown} of unknown \
         outcome",
        histories.len()
    );
    assert!(changed > 0, "nothing was changed");
}
