//! A namespace with the log of what was applied to it, and short names for commands.

use crate::namespace::{Namespace, Outcome};
use goosefs_core::error::{Code, Error};
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, Caller, Fingerprint, NodeKind, SessionOp, VendorOp, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{
    Applied, CommitBlock, CompleteFile, CreateFile, Entry, FinishIntent, LoadChildren, MakeDirectory, Mount,
    OpenSession, PersistFile, Remove, Rename, UfsEntry,
};

pub(super) const BLOCK: u64 = 1000;

#[derive(Default)]
pub(super) struct Bed {
    pub(super) namespace: Namespace,
    pub(super) log: Vec<(u64, Entry)>,
    pub(super) now_ms: u64,
}

impl Bed {
    /// A writable under-storage at `/`.
    pub(super) fn mounted() -> Bed {
        let mut bed = Bed { now_ms: 1000, ..Bed::default() };
        bed.ok(mount("/", "file:///data", false));
        bed
    }

    pub(super) fn apply(&mut self, entry: Entry) -> Outcome {
        // Indexes have gaps, as Raft's own entries make them.
        let index = self.log.last().map_or(10, |(index, _)| index + 2);
        self.log.push((index, entry.clone()));
        self.namespace.apply(index, &entry)
    }

    pub(super) fn run(&mut self, command: Command) -> Outcome {
        self.now_ms += 1;
        let caller = Some(Caller { user: "u".into(), group: "g".into() });
        self.apply(Entry { now_ms: self.now_ms, caller, command: Some(command), ..Default::default() })
    }

    pub(super) fn in_session(&mut self, op: SessionOp, command: Command) -> Outcome {
        self.now_ms += 1;
        let entry =
            Entry { now_ms: self.now_ms, session_op: Some(op), command: Some(command), ..Default::default() };
        self.apply(entry)
    }

    pub(super) fn as_vendor(&mut self, op: VendorOp, command: Command) -> Outcome {
        self.now_ms += 1;
        let entry =
            Entry { now_ms: self.now_ms, vendor_op: Some(op), command: Some(command), ..Default::default() };
        self.apply(entry)
    }

    #[track_caller]
    pub(super) fn ok(&mut self, command: Command) -> Applied {
        let applied = self.run(command.clone()).applied;
        assert_eq!(applied.error, None, "{command:?}");
        applied
    }

    #[track_caller]
    pub(super) fn fails(&mut self, command: Command) -> Code {
        let before = self.image();
        let outcome = self.run(command.clone());
        let error = outcome.applied.error.unwrap_or_else(|| panic!("{command:?} succeeded"));
        assert!(outcome.changes.is_empty());
        // Nothing but index and time has moved.
        let index = self.namespace.last_index;
        let (now_ms, steady_ms) = (self.namespace.now_ms, self.namespace.steady_ms);
        let mut back = Namespace::restore(&mut &before[..]).unwrap();
        back.last_index = index;
        (back.now_ms, back.steady_ms) = (now_ms, steady_ms);
        assert!(image_of(&back) == self.image(), "{command:?} failed and changed something");
        Error::from_wire(error.clone()).code
    }

    /// Runs a command that announces an intent, and finishes that.
    #[track_caller]
    pub(super) fn through(&mut self, command: Command) -> Applied {
        let intent = self.intent(command);
        self.ok(finish(intent))
    }

    #[track_caller]
    pub(super) fn intent(&mut self, command: Command) -> u64 {
        let applied = self.ok(command.clone());
        assert_ne!(applied.intent, 0, "{command:?} announced nothing");
        applied.intent
    }

    pub(super) fn at(&self, path: &str) -> Option<Attr> {
        let resolved = self.namespace.resolve(&NsPath::parse(path).unwrap());
        resolved.exists().then_some(resolved.attr)
    }

    #[track_caller]
    pub(super) fn id(&self, path: &str) -> u64 {
        self.at(path).unwrap_or_else(|| panic!("{path} does not exist")).inode
    }

    #[track_caller]
    pub(super) fn content(&self, path: &str) -> u64 {
        self.at(path).unwrap_or_else(|| panic!("{path} does not exist")).content
    }

    pub(super) fn names(&self, path: &str) -> Vec<String> {
        let (entries, _) = self.namespace.children(InodeId(self.id(path)), "", usize::MAX).unwrap();
        entries.into_iter().map(|entry| entry.name).collect()
    }

    pub(super) fn image(&self) -> Vec<u8> {
        image_of(&self.namespace)
    }

    /// A finished file of `length` bytes on worker 1.
    #[track_caller]
    pub(super) fn write(&mut self, parent: u64, name: &str, write_type: WriteType, length: u64) -> Attr {
        let content = self.ok(create(parent, name, write_type)).attr.unwrap().content;
        self.commit(content, length, 1);
        self.ok(complete(content, length)).attr.unwrap()
    }

    #[track_caller]
    pub(super) fn commit(&mut self, content: u64, length: u64, worker: u64) {
        for index in 0..length.div_ceil(BLOCK) {
            self.ok(commit(content, index, BLOCK.min(length - index * BLOCK), worker));
        }
    }

    /// Uploads a file, as the leader does.
    #[track_caller]
    pub(super) fn persist(&mut self, content: u64, length: u64) -> Applied {
        let intent = self.intent(persist(content, length));
        self.ok(finish_persist(intent, fingerprint(length, 5)))
    }

    /// A whole listing in one batch.
    #[track_caller]
    pub(super) fn load(&mut self, directory: u64, entries: Vec<UfsEntry>) -> Outcome {
        let listing = self.log.len() as u64;
        let outcome = self.run(batch(directory, entries, listing, true, true));
        assert_eq!(outcome.applied.error, None);
        outcome
    }
}

pub(super) fn image_of(namespace: &Namespace) -> Vec<u8> {
    let mut out = Vec::new();
    namespace.freeze().write(&mut out).unwrap();
    out
}

pub(super) fn error_of(outcome: &Outcome) -> Option<Error> {
    outcome.applied.error.clone().map(Error::from_wire)
}

pub(super) fn mount(path: &str, ufs: &str, read_only: bool) -> Command {
    Command::Mount(Mount { path: path.into(), ufs: ufs.into(), read_only, ..Default::default() })
}

pub(super) fn create(parent: u64, name: &str, write_type: WriteType) -> Command {
    Command::CreateFile(CreateFile {
        parent,
        name: name.into(),
        mode: 0o644,
        block_size: BLOCK,
        write_type: write_type.into(),
        ..Default::default()
    })
}

pub(super) fn mkdir(parent: u64, name: &str, through: bool) -> Command {
    Command::MakeDirectory(MakeDirectory {
        parent,
        name: name.into(),
        mode: 0o755,
        through,
        ..Default::default()
    })
}

pub(super) fn commit(content: u64, index: u64, length: u64, worker: u64) -> Command {
    let block = ContentId(content).block(index).0;
    Command::CommitBlock(CommitBlock { block, worker, length, generation: 0 })
}

pub(super) fn complete(content: u64, length: u64) -> Command {
    Command::CompleteFile(CompleteFile { content, length, ..Default::default() })
}

pub(super) fn remove(parent: u64, name: &str) -> Command {
    Command::Remove(Remove { parent, name: name.into(), ..Default::default() })
}

pub(super) fn remove_all(parent: u64, name: &str) -> Command {
    Command::Remove(Remove { parent, name: name.into(), recursive: true, ..Default::default() })
}

pub(super) fn rename(parent: u64, name: &str, new_parent: u64, new_name: &str, replace: bool) -> Command {
    Command::Rename(Rename { parent, name: name.into(), new_parent, new_name: new_name.into(), replace })
}

pub(super) fn persist(content: u64, length: u64) -> Command {
    Command::PersistFile(PersistFile { content, length, once: false })
}

pub(super) fn finish(intent: u64) -> Command {
    Command::FinishIntent(FinishIntent { intent, ..Default::default() })
}

pub(super) fn finish_persist(intent: u64, persisted: Fingerprint) -> Command {
    Command::FinishIntent(FinishIntent { intent, persisted: Some(persisted), ..Default::default() })
}

pub(super) fn fail(intent: u64, code: Code) -> Command {
    let error = Error::new(code, "the storage said no").to_wire();
    Command::FinishIntent(FinishIntent { intent, error: Some(error), ..Default::default() })
}

pub(super) fn open_session(session: u64) -> Command {
    Command::OpenSession(OpenSession { session, description: "test".into() })
}

pub(super) fn fingerprint(length: u64, mtime_ms: u64) -> Fingerprint {
    Fingerprint { length, mtime_ms: Some(mtime_ms), etag: String::new() }
}

pub(super) fn found_file(name: &str, length: u64, mtime_ms: u64) -> UfsEntry {
    UfsEntry {
        name: name.into(),
        kind: NodeKind::File.into(),
        fingerprint: Some(fingerprint(length, mtime_ms)),
        ..Default::default()
    }
}

pub(super) fn found_directory(name: &str) -> UfsEntry {
    UfsEntry { name: name.into(), kind: NodeKind::Directory.into(), ..Default::default() }
}

pub(super) fn batch(
    directory: u64,
    entries: Vec<UfsEntry>,
    listing: u64,
    first: bool,
    last: bool,
) -> Command {
    Command::LoadChildren(LoadChildren { directory, entries, listing, first, last, since: 0 })
}
