//! The leader makes the mount table what the mounts file says: after it was elected, when the file changes, and when
//! something failed, again and again at growing intervals.
//!
//! A storage is looked at before anything is done for it, so a mistake in the file leaves what is mounted as it was. What
//! fails is told once, by path, and keeps nothing else from going on. What only the cache has is never dropped.

use super::mounts::{Listed, Outcome, Wanted};
use super::plan::{Plan, plan};
use crate::journal::Op;
use crate::master::Master;
use crate::mounts::Freshness;
use futures::StreamExt;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::journal::{Mount, Unmount, UpdateMount, entry::Command};
use goosefs_core::{Error, Result};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// Between two comparisons of the table with the file.
const COMPARE: Duration = Duration::from_secs(1);

/// The longest time between two attempts at what failed.
const LONGEST: Duration = Duration::from_secs(60);

/// Storages that are looked at at the same time.
const LOOKS: usize = 8;

/// What could not be done, by path.
type Failures = BTreeMap<String, Error>;

/// Starts the task, if there is a file.
pub(crate) fn start(master: &Arc<Master>) {
    if !master.desired.is_given() {
        return;
    }
    let stop = master.tasks.stop();
    let mut keeper = Keeper { master: master.clone(), state: Attempts::new() };
    let mut listed = master.desired.listed();
    master.tasks.spawn("mounts", async move {
        loop {
            let wanted = listed.borrow_and_update().clone();
            tokio::select! {
                () = stop.cancelled() => return,
                () = keeper.round(wanted) => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = listed.changed() => {}
                () = tokio::time::sleep(COMPARE) => {}
            }
        }
    });
}

struct Keeper {
    master: Arc<Master>,
    state: Attempts,
}

/// How the attempts with one version of the file go while this master leads.
struct Attempts {
    of: Option<Arc<Listed>>,
    /// That version, with the flags that its storages allow.
    possible: Listed,
    failures: BTreeMap<String, String>,
    pause: Duration,
    next: Instant,
}

impl Attempts {
    fn new() -> Attempts {
        Attempts {
            of: None,
            possible: Listed::default(),
            failures: BTreeMap::new(),
            pause: COMPARE,
            next: Instant::now(),
        }
    }
}

impl Keeper {
    async fn round(&mut self, listed: Option<Arc<Listed>>) {
        let master = self.master.clone();
        let Some(listed) = listed else { return };
        let Ok(table) = master.journal.read().map(|namespace| namespace.mounts()) else {
            if !master.journal.leads() {
                // The next time it leads it begins anew.
                self.state.of = None;
                master.desired.keep_only(&listed, &master.journal.state().read().mounts());
                master.desired.came_out(Outcome::default());
            }
            return;
        };
        if !self.state.of.as_ref().is_some_and(|of| Arc::ptr_eq(of, &listed)) {
            let possible = possible(&master, &listed);
            let failures = std::mem::take(&mut self.state.failures);
            self.state = Attempts { of: Some(listed.clone()), possible, failures, ..Attempts::new() };
        } else if !self.state.failures.is_empty() && Instant::now() < self.state.next {
            return;
        }
        let mut failures = Failures::new();
        let first = plan(&self.state.possible, &table, &BTreeSet::new());
        if !first.is_empty() {
            failures = look(&master, &first).await;
            let held = failures.keys().cloned().collect();
            carry_out(&master, plan(&self.state.possible, &table, &held), listed.generation, &mut failures)
                .await;
            let table = master.journal.state().read().mounts();
            master.connectors.keep_only(&table);
            master.desired.keep_only(&listed, &table);
        }
        if master.journal.leads() {
            self.came_out(first.refused, failures);
        }
    }

    fn came_out(&mut self, refused: BTreeMap<String, String>, failures: Failures) {
        let failures = failures.into_iter().map(|(path, error)| (path, error.to_string()));
        let failures: BTreeMap<String, String> = refused.into_iter().chain(failures).collect();
        for (path, error) in &failures {
            if self.state.failures.get(path) != Some(error) {
                tracing::warn!(path, error, "a mount is not as the mounts file says; it is tried again");
            }
        }
        self.state.pause = if failures.is_empty() { COMPARE } else { (self.state.pause * 2).min(LONGEST) };
        self.state.next = Instant::now() + self.state.pause;
        self.state.failures.clone_from(&failures);
        let generation = self.state.possible.generation;
        self.master.desired.came_out(Outcome { generation, failures });
    }
}

/// Storages that cannot be written are mounted read-only, whatever the file says.
fn possible(master: &Master, listed: &Listed) -> Listed {
    let mut possible = listed.clone();
    for wanted in possible.mounts.values_mut().filter(|wanted| !wanted.read_only) {
        // What cannot be connected is told of when it is looked at.
        let storage = master.connectors.make(&wanted.uri, &wanted.options);
        wanted.read_only = storage.is_ok_and(|storage| !storage.capabilities().writable);
    }
    possible
}

/// Looks at the storages that something is to be done with; those that are not there or not right.
async fn look(master: &Master, plan: &Plan) -> Failures {
    let mut looks = Vec::new();
    for wanted in plan.mount.iter().chain(&plan.update).cloned() {
        let connectors = master.connectors.clone();
        looks.push(async move {
            let looked = connectors.look(&wanted.uri, &wanted.options).await;
            (wanted.path, looked.err())
        });
    }
    let looked: Vec<_> = futures::stream::iter(looks).buffer_unordered(LOOKS).collect().await;
    looked.into_iter().filter_map(|(path, error)| Some((path, error?))).collect()
}

async fn carry_out(master: &Master, plan: Plan, generation: u64, failures: &mut Failures) {
    let mut note = |path: &str, outcome: Result<()>, done: &str| match outcome {
        Ok(()) => {
            tracing::info!(path, generation, "{done} as the mounts file says");
            true
        }
        Err(error) => {
            failures.insert(path.to_owned(), error);
            false
        }
    };
    let mut stuck = BTreeSet::new();
    for path in plan.unmount {
        let command = Command::Unmount(Unmount { path: path.clone(), keep: true });
        if !note(&path, propose(master, command).await, "unmounted") {
            stuck.insert(path);
        }
    }
    for wanted in plan.mount.iter().filter(|wanted| !stuck.contains(&wanted.path)) {
        note(&wanted.path, mount(master, wanted, generation).await, "mounted");
    }
    for wanted in plan.update {
        let path = wanted.path.clone();
        let command = Command::UpdateMount(UpdateMount {
            path: wanted.path,
            read_only: wanted.read_only,
            shared: wanted.shared,
            options: Default::default(),
            generation,
        });
        note(&path, propose(master, command).await, "updated");
    }
}

async fn mount(master: &Master, wanted: &Wanted, generation: u64) -> Result<()> {
    // What the storage has there must be known, so that nothing is hidden by accident.
    master.finder.resolve(&NsPath::parse(&wanted.path)?, Freshness::Loaded, false).await?;
    let command = Command::Mount(Mount {
        path: wanted.path.clone(),
        ufs: wanted.uri.clone(),
        read_only: wanted.read_only,
        shared: wanted.shared,
        // They stay in the file.
        options: Default::default(),
        generation,
    });
    propose(master, command).await
}

async fn propose(master: &Master, command: Command) -> Result<()> {
    let caller = Caller { user: master.config.superuser.clone(), group: String::new() };
    master.journal.propose(command, &caller, Op::Unnumbered).await.map(drop)
}
