//! The replicated namespace: inodes, directories, mounts, sessions and running intents, as one plain struct.
//!
//! [`Namespace::apply`] is the only way to change it and is deterministic: the same entries in the same order give the
//! same bytes on every master. No I/O, no clock, no randomness inside. `proto/internal/journal.proto` says what every
//! command means; a command that fails changes nothing. Called by `master/journal`, which guards it by a lock; reads
//! are cheap and take `&self`. [`Namespace::freeze`] takes an image in constant time: pages of inodes and of directory
//! entries are shared with it and copied only when they are changed later.
//!
//! **Exactly once.** An entry with a `session_op` or `vendor_op` that was applied before gets its first answer. While
//! its intent runs the answer is `Applied { intent }` again. `Busy` is never remembered. An operation of a session that
//! is not open is refused as `Unauthenticated`: open a new one.
//!
//! **Intents.** Commands with an effect on the under-storage answer `Applied { intent }` (the id is the entry's index),
//! change nothing, and hold what they touch: conflicting commands answer `Busy` until `FinishIntent`, whose answer is
//! the command's.

mod attributes;
mod blocks;
mod children;
mod create;
mod decode;
mod encode;
mod few;
mod freeze;
mod identity;
mod inode;
mod intent;
mod load;
mod marks;
mod mount;
mod name;
mod numbers;
mod outcome;
mod pages;
mod persist;
mod preloads;
mod read;
mod remove;
mod rename;
mod restore;
mod session;
mod step;
#[cfg(test)]
mod tests;
mod tree;
mod view;

pub use outcome::Outcome;
pub use view::{
    Counts, Details, DirectoryState, MountPoint, RegisteredWorker, Resolved, SessionState, Unpersisted,
};

use goosefs_core::error::Result;
use goosefs_core::id::{InodeId, IntentId, MountId, WorkerId};
use goosefs_core::proto::internal::Preload;
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{self, Found, RegisterWorker};
use goosefs_core::raft::ClusterMark;
use identity::Identities;
use inode::{Body, Inode, MountNumber, UfsObject};
use intent::Running;
use marks::Derived;
use name::Name;
use pages::Table;
use session::{Answers, Places};
use std::collections::BTreeMap;
use std::sync::Arc;
use step::{Step, invalid};

/// The namespace of one cluster.
pub struct Namespace {
    // What an image holds.
    last_index: u64,
    now_ms: u64,
    steady_ms: u64,
    mark: Option<ClusterMark>,
    next_container: u64,
    next_mount: u64,
    inodes: Table,
    identities: Identities,
    mounts: BTreeMap<MountId, Arc<MountPoint>>,
    workers: BTreeMap<WorkerId, Arc<RegisteredWorker>>,
    intents: BTreeMap<IntentId, Arc<Running>>,
    answers: Answers,
    preloads: BTreeMap<u64, Arc<Preload>>,

    // What is derived from it.
    derived: Derived,
    held_inodes: BTreeMap<InodeId, IntentId>,
    held_names: BTreeMap<(InodeId, Name), IntentId>,
    vendor_places: Places,
}

impl Default for Namespace {
    fn default() -> Namespace {
        Namespace::new()
    }
}

impl Namespace {
    /// An empty namespace: a root directory that nothing is mounted on, of user and group `root`, mode 755.
    #[must_use]
    pub fn new() -> Namespace {
        let mut namespace = Namespace::blank();
        let root = Inode {
            parent: InodeId::ROOT,
            name: Name::new(""),
            identity: namespace.identities.intern("root", "root", 0o755),
            mount: MountNumber::NONE,
            object: UfsObject::None,
            pinned: false,
            mtime_ms: 0,
            ctime_ms: 0,
            atime_ms: 0,
            created_ms: 0,
            extra: None,
            body: Body::Directory(Arc::default()),
        };
        namespace.derived.add(InodeId::ROOT, &root);
        namespace.inodes.insert(InodeId::ROOT, root);
        namespace
    }

    /// Without even a root.
    fn blank() -> Namespace {
        Namespace {
            last_index: 0,
            now_ms: 0,
            steady_ms: 0,
            mark: None,
            next_container: 1,
            next_mount: mount::ROOT_MOUNT.0 + 1,
            inodes: Table::default(),
            identities: Identities::default(),
            mounts: BTreeMap::new(),
            workers: BTreeMap::new(),
            intents: BTreeMap::new(),
            answers: Answers::default(),
            preloads: BTreeMap::new(),
            derived: Derived::default(),
            held_inodes: BTreeMap::new(),
            held_names: BTreeMap::new(),
            vendor_places: Places::new(),
        }
    }

    /// Applies the entry with log index `index`. Never panics on what an entry holds; what is wrong is answered in
    /// `applied.error`.
    pub fn apply(&mut self, index: u64, entry: &journal::Entry) -> Outcome {
        self.last_index = index;
        self.now_ms = self.now_ms.max(entry.now_ms);
        let steady_ms = if entry.steady_ms == 0 { entry.now_ms } else { entry.steady_ms };
        self.steady_ms = self.steady_ms.max(steady_ms);
        match self.answers.recall(entry, self.steady_ms, &mut self.vendor_places) {
            Ok(None) => {}
            Ok(Some(applied)) => return Outcome { applied, changes: Vec::new() },
            Err(error) => return Outcome::failed(error),
        }
        let mut step = Step::new(index, self.now_ms, entry);
        let outcome = match self.run(&mut step, entry) {
            Ok(()) => step.finish(),
            Err(error) => Outcome::failed(error),
        };
        self.answers.remember(entry, &outcome.applied, self.steady_ms, &mut self.vendor_places);
        outcome
    }

    fn run(&mut self, step: &mut Step, entry: &journal::Entry) -> Result<()> {
        let Some(command) = &entry.command else {
            return Err(invalid("an entry of the log has no command that this version knows")
                .hint("all masters must run the same version"));
        };
        match command {
            Command::Found(command) => self.found(step, command),
            Command::OpenSession(command) => {
                self.answers.open(command.session, &command.description, self.steady_ms)
            }
            Command::CloseSessions(command) => {
                self.answers.close(&command.sessions);
                Ok(())
            }
            Command::RegisterWorker(command) => self.register_worker(command),
            Command::RemoveWorker(command) => {
                self.workers.remove(&WorkerId(command.worker));
                Ok(())
            }
            Command::Mount(command) => self.mount_storage(step, command),
            Command::Unmount(command) => self.unmount(step, command),
            Command::UpdateMount(command) => self.update_mount(step, command),
            Command::CreateFile(command) => self.create_file(step, command),
            Command::MakeDirectory(command) => self.make_directory(step, command),
            Command::MakeSymlink(command) => self.make_symlink(step, command),
            Command::CommitBlock(command) => self.commit_block(step, command),
            Command::CompleteFile(command) => self.complete_file(step, command),
            Command::Remove(command) => self.remove(step, command),
            Command::Rename(command) => self.rename(step, command),
            Command::SetAttributes(command) => self.set_attributes(step, command),
            Command::Truncate(command) => self.truncate(step, command),
            Command::LoadChildren(command) => self.load_children(step, command),
            Command::ReviseFile(command) => self.revise_file(step, command),
            Command::FinishIntent(command) => self.finish_intent(step, command),
            Command::PersistFile(command) => self.persist_file(step, command),
            Command::DeclareLost(command) => self.declare_lost(step, command),
            Command::SubmitPreload(command) => self.submit_preload(step, command),
            Command::AdvancePreload(command) => self.advance_preload(step, command),
        }
    }

    fn found(&mut self, step: &mut Step, command: &Found) -> Result<()> {
        let Some(mark) = ClusterMark::from_wire(command.mark.as_ref()) else {
            return Err(invalid("a cluster is founded without an id"));
        };
        if let Some(have) = self.mark
            && (have.epoch > mark.epoch || (have.id != mark.id && have.epoch == mark.epoch))
        {
            let text = format!("this is cluster {} of epoch {}", have.id, have.epoch);
            return Err(goosefs_core::Error::new(goosefs_core::Code::WrongCluster, text));
        }
        let first = self.mark.replace(mark).is_none();
        if first && self.inodes.len() == 1 {
            let (user, group) = match (step.user(), step.group()) {
                ("", _) => ("root", "root"),
                (user, "") => (user, user),
                given => given,
            };
            let identity = self.identities.intern(user, group, 0o755);
            let now_ms = step.now_ms;
            self.edit(InodeId::ROOT, |root| {
                root.identity = identity;
                root.created_ms = now_ms;
                root.mtime_ms = now_ms;
                root.ctime_ms = now_ms;
                root.atime_ms = now_ms;
            });
        }
        Ok(())
    }

    fn register_worker(&mut self, command: &RegisterWorker) -> Result<()> {
        let id = WorkerId(command.worker);
        if command.worker == 0 || command.worker >= 1 << 63 {
            return Err(invalid(format!("{id} cannot be the id of a worker")));
        }
        let Some(address) = command.address.clone() else {
            return Err(invalid(format!("worker {id} has no address")));
        };
        let worker = RegisteredWorker { id, address, virtual_nodes: command.virtual_nodes };
        self.workers.insert(id, Arc::new(worker));
        Ok(())
    }
}
