//! Clients that do what they please in the cells, and write down what they are told.

use super::history::{Action, History, NAMES, Operation, Outcome, Thing};
use super::once::Once;
use goosefs_client::Client;
use goosefs_client::meta::{Changes, CreateOptions};
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::{Attr, WriteType};
use goosefs_core::{Code, Error, Result};
use goosefs_harness::root;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Where a cell lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) folder: InodeId,
    /// Its names are directories, which the under-storage has, too.
    pub(crate) directories: bool,
}

/// What the clients share.
pub(crate) struct Ground {
    pub(crate) cells: Vec<Cell>,
    pub(crate) history: History,
    pub(crate) once: Once,
    pub(crate) stop: AtomicBool,
    /// Values for attributes, none used twice.
    values: AtomicU64,
}

impl Ground {
    pub(crate) fn new(cells: Vec<Cell>, once: Once) -> Arc<Ground> {
        let history = History::new(cells.len());
        Arc::new(Ground { cells, history, once, stop: AtomicBool::new(false), values: AtomicU64::new(1) })
    }
}

/// One client until it is told to stop.
pub(crate) async fn wander(ground: Arc<Ground>, client: Client, number: usize, seed: u64) {
    let mut random = StdRng::seed_from_u64(seed ^ (number as u64) << 32);
    let mut seen: Vec<Option<u64>> = vec![None; ground.cells.len()];
    for turn in 0_u64.. {
        if ground.stop.load(Ordering::SeqCst) {
            break;
        }
        if random.random_ratio(1, 8) {
            ground.once.pass(&client, &format!("c{number}-{turn}"), &mut random).await;
        }
        let cell = random.random_range(0..ground.cells.len());
        let name = random.random_range(0..NAMES);
        let to = (name + random.random_range(1..NAMES)) % NAMES;
        let action = match (random.random_range(0..12), seen[cell]) {
            (0..=2, _) => Action::Make { name },
            (3..=4, _) => Action::Remove { name },
            (5..=6, _) => Action::Rename { from: name, to },
            (7..=8, Some(inode)) => {
                Action::Set { inode, value: ground.values.fetch_add(1, Ordering::SeqCst) }
            }
            (9, _) => Action::List,
            _ => Action::Look { name },
        };
        let outcome = perform(&ground, &client, number, cell, action).await;
        match outcome {
            Outcome::Made(thing) | Outcome::Seen(Some(thing)) => seen[cell] = Some(thing.inode),
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(0..10))).await;
    }
}

/// Does one thing and writes it down.
pub(crate) async fn perform(
    ground: &Ground,
    client: &Client,
    number: usize,
    cell: usize,
    action: Action,
) -> Outcome {
    let begun = ground.history.now();
    let answer = call(client, ground.cells[cell], action).await;
    let mut ended = ground.history.now();
    let outcome = match answer {
        Ok(outcome) => outcome,
        Err(error) => match error.code {
            Code::NotFound | Code::AlreadyExists => Outcome::Refused(error.code),
            code if code.retryable() => {
                ended = u64::MAX;
                Outcome::Unknown
            }
            _ => panic!("client {number} in cell {cell}: {action:?}: {error}"),
        },
    };
    let reads = matches!(action, Action::Look { .. } | Action::List);
    if !(reads && outcome == Outcome::Unknown) {
        ground.history.add(cell, Operation { client: number, begun, ended, action, outcome });
    }
    outcome
}

async fn call(client: &Client, cell: Cell, action: Action) -> Result<Outcome> {
    let (inodes, folder) = (client.inodes(), cell.folder);
    let caller = root();
    match action {
        Action::Make { name } => {
            let name = text(name);
            let made = if cell.directories {
                inodes.make_dir(folder, &name, 0o755, &caller).await?
            } else {
                let options = CreateOptions { block_size: 1 << 20, write_type: WriteType::MustCache };
                inodes.create(folder, &name, 0o644, options, &caller).await?
            };
            Ok(Outcome::Made(thing(&made)))
        }
        Action::Remove { name } => {
            if cell.directories {
                inodes.remove_dir(folder, &text(name), &caller).await?;
            } else {
                inodes.unlink(folder, &text(name), &caller).await?;
            }
            Ok(Outcome::Done)
        }
        Action::Rename { from, to } => {
            let (from, to) = (text(from), text(to));
            inodes.rename((folder, &from), (folder, &to), true, &caller).await?;
            Ok(Outcome::Done)
        }
        Action::Set { inode, value } => {
            let changes = Changes { mtime_ms: Some(value), ..Changes::default() };
            inodes.set_attr(inode, &changes, &caller).await?;
            Ok(Outcome::Done)
        }
        Action::Look { name } => match inodes.lookup(folder, &text(name), &caller).await {
            Ok(attr) => Ok(Outcome::Seen(Some(thing(&attr)))),
            Err(error) if error.code == Code::NotFound => Ok(Outcome::Seen(None)),
            Err(error) => Err(error),
        },
        Action::List => {
            let page = inodes.read_dir(folder, "", 0).await?;
            let mut listed = [None; NAMES];
            for entry in page.entries {
                let name = entry.name.strip_prefix('n').and_then(|digits| digits.parse::<usize>().ok());
                let place = name.and_then(|name| listed.get_mut(name));
                let place = place
                    .ok_or_else(|| Error::new(Code::Internal, format!("\"{}\" is listed", entry.name)))?;
                *place = entry.attr.as_ref().map(thing);
            }
            Ok(Outcome::Listed(listed))
        }
    }
}

/// The name with this number.
pub(crate) fn text(name: usize) -> String {
    format!("n{name}")
}

fn thing(attr: &Attr) -> Thing {
    Thing { inode: attr.inode, value: attr.mtime_ms }
}
