//! What clients asked and were told, and when.
//!
//! The namespace is cut into *cells*: a folder with [`NAMES`] names, of files or of directories, on which all operations
//! stay, renames too. Linearizability holds of a whole when it holds of each of its independent parts, so cells are
//! checked one by one; a rename, which touches two names, lies in one cell.

use goosefs_core::Code;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Names in a cell.
pub(crate) const NAMES: usize = 3;

/// What a name stands for: inode and mtime, which is the attribute that is set.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Thing {
    pub(crate) inode: u64,
    pub(crate) value: u64,
}

/// What was asked; names are numbers below [`NAMES`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    /// Make what is not there.
    Make { name: usize },
    /// Remove.
    Remove { name: usize },
    /// Rename to a name that is not there.
    Rename { from: usize, to: usize },
    /// Set the attribute of an inode that was seen before.
    Set { inode: u64, value: u64 },
    /// Look a name up.
    Look { name: usize },
    /// List the folder.
    List,
}

/// What was answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It was made.
    Made(Thing),
    /// It was done.
    Done,
    /// This is there, or nothing.
    Seen(Option<Thing>),
    /// This is there.
    Listed([Option<Thing>; NAMES]),
    /// It was refused and nothing was done.
    Refused(Code),
    /// Nobody knows whether it was done or will be.
    Unknown,
}

/// One operation. `ended` is `u64::MAX` when its outcome is not known: it may take effect at any time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) client: usize,
    pub(crate) begun: u64,
    pub(crate) ended: u64,
    pub(crate) action: Action,
    pub(crate) outcome: Outcome,
}

/// The operations of every cell.
pub(crate) struct History {
    cells: Vec<Mutex<Vec<Operation>>>,
    /// Moments are told apart by counting, so that none is the same as another.
    clock: AtomicU64,
}

impl History {
    pub(crate) fn new(cells: usize) -> History {
        History { cells: (0..cells).map(|_| Mutex::default()).collect(), clock: AtomicU64::new(0) }
    }

    /// The next moment.
    pub(crate) fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    pub(crate) fn add(&self, cell: usize, operation: Operation) {
        self.cells[cell].lock().unwrap().push(operation);
    }

    /// The operations of each cell.
    pub(crate) fn cells(&self) -> Vec<Vec<Operation>> {
        self.cells.iter().map(|cell| cell.lock().unwrap().clone()).collect()
    }
}
