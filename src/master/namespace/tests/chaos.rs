//! Random commands against the reference, thousands of schedules. A failing seed is printed; `NAMESPACE_SEED=n` runs it
//! alone.

use super::bed::*;
use super::model::{Kind, Storage, Tree, join};
use crate::namespace::Namespace;
use goosefs_core::error::Code;
use goosefs_core::id::{ContentId, InodeId, IntentId};
use goosefs_core::proto::internal::{Attr, NodeKind, SessionOp, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{Applied, LoadChildren, MakeSymlink, Remove, Truncate, UfsEntry};
use std::collections::BTreeMap;

const SCHEDULES: u64 = 3000;
const STEPS: usize = 120;
const SESSION: u64 = 5;

struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % bound
    }

    fn one_in(&mut self, bound: usize) -> bool {
        self.below(bound) == 0
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())].clone()
    }
}

/// What the model does when a command takes effect.
type Deed = Box<dyn Fn(&mut Tree) -> Result<(), Code>>;

struct Chaos {
    seed: u64,
    random: Random,
    bed: Bed,
    tree: Tree,
    storage: Storage,
    version: u64,
    sequence: u64,
    /// Intents that were announced: the command's deed, and the upload that was made.
    running: Vec<(u64, Deed)>,
    /// A listing that was read and is being logged: directory, its number, `since`, what is left.
    listing: Option<(u64, u64, u64, Vec<UfsEntry>, bool)>,
}

#[test]
fn random_commands_do_what_the_reference_does() {
    let one = std::env::var("NAMESPACE_SEED").ok().map(|seed| seed.parse().unwrap());
    let seeds = one.map_or(1..SCHEDULES + 1, |seed: u64| seed..seed + 1);
    for seed in seeds {
        let mut chaos = Chaos {
            seed,
            random: Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1),
            bed: Bed::mounted(),
            tree: Tree::default(),
            storage: Storage::default(),
            version: 1,
            sequence: 0,
            running: Vec::new(),
            listing: None,
        };
        chaos.bed.ok(open_session(SESSION));
        for _ in 0..STEPS {
            chaos.step();
        }
        chaos.settle();
    }
}

impl Chaos {
    fn step(&mut self) {
        match self.random.below(20) {
            0..=2 => self.create(),
            3..=4 => self.make_directory(),
            5 => self.symlink(),
            6..=7 => self.remove(),
            8..=10 => self.rename(),
            11 => self.truncate(),
            12..=13 => self.write(),
            14 => self.persist(),
            15 => self.storage_changes(),
            16..=17 => self.list(),
            _ => self.finish_one(),
        }
        self.check_tree();
        if self.random.one_in(25) {
            self.restart();
        }
    }

    fn directories(&self) -> Vec<String> {
        let named = self.tree.0.iter().filter(|(_, kind)| **kind == Kind::Directory);
        std::iter::once(String::new()).chain(named.map(|(path, _)| path.clone())).collect()
    }

    /// A directory, and a name that may or may not be in it.
    fn entry(&mut self) -> (String, u64, String) {
        let directory = self.random.pick(&self.directories());
        let name = if self.random.one_in(3) {
            self.random.pick(&["a", "b", "c", "name-that-is-too-long-for-inline"]).to_owned()
        } else {
            let inside: Vec<_> =
                self.tree.0.keys().filter(|path| parent_of(path) == directory).cloned().collect();
            if inside.is_empty() {
                "a".to_owned()
            } else {
                self.random.pick(&inside).rsplit('/').next().unwrap().to_owned()
            }
        };
        let id = self.bed.id(&format!("/{directory}"));
        (directory, id, name)
    }

    /// Applies a command and has the model do the same: at once, or when its intent ends.
    fn run(&mut self, command: Command, deed: Deed) -> Option<Attr> {
        let seed = self.seed;
        self.sequence += 1;
        let acknowledged = self.sequence.saturating_sub(self.random.below(5) as u64 + 1);
        let op = SessionOp { session: SESSION, sequence: self.sequence, acknowledged };
        let outcome = self.bed.in_session(op, command.clone());
        if self.random.one_in(4) && error_of(&outcome).is_none_or(|error| error.code != Code::Busy) {
            // The answer was lost: the client asks again.
            let again = self.bed.in_session(op, command.clone());
            let first = Applied { dropped_contents: Vec::new(), ..outcome.applied.clone() };
            assert_eq!(again.applied, first, "seed {seed}: {command:?}");
            assert!(again.changes.is_empty(), "seed {seed}: {command:?}");
        }
        let mut after = self.tree.clone();
        let want = deed(&mut after);
        match error_of(&outcome).map(|error| error.code) {
            Some(Code::Busy) => {
                assert!(!self.running.is_empty(), "seed {seed}: {command:?} is busy with nothing");
                return None;
            }
            Some(code) => assert_eq!(want, Err(code), "seed {seed}: {command:?}"),
            None => assert_eq!(want, Ok(()), "seed {seed}: {command:?}"),
        }
        if outcome.applied.intent != 0 {
            assert!(outcome.changes.is_empty());
            if self.running.iter().all(|(intent, _)| *intent != outcome.applied.intent) {
                self.running.push((outcome.applied.intent, deed));
            }
            return None;
        }
        self.tree = after;
        outcome.applied.attr
    }

    fn create(&mut self) {
        let (directory, id, name) = self.entry();
        let write_type = self.random.pick(&[
            WriteType::MustCache,
            WriteType::CacheThrough,
            WriteType::AsyncThrough,
            WriteType::Unspecified,
        ]);
        let command = create(id, &name, write_type);
        let kind = Kind::File { length: 0, completed: false };
        self.run(command, Box::new(move |tree| tree.add(&directory, &name, kind)));
    }

    fn make_directory(&mut self) {
        let (directory, id, name) = self.entry();
        let command = mkdir(id, &name, self.random.one_in(2));
        self.run(command, Box::new(move |tree| tree.add(&directory, &name, Kind::Directory)));
    }

    fn symlink(&mut self) {
        let (directory, parent, name) = self.entry();
        let command = Command::MakeSymlink(MakeSymlink { parent, name: name.clone(), target: "t".into() });
        self.run(command, Box::new(move |tree| tree.add(&directory, &name, Kind::Symlink)));
    }

    fn remove(&mut self) {
        let (directory, parent, name) = self.entry();
        let expect = self.random.pick(&[NodeKind::Unspecified, NodeKind::File, NodeKind::Directory]);
        let recursive = self.random.one_in(2);
        let path = join(&directory, &name);
        let command =
            Command::Remove(Remove { parent, name, recursive, expect: expect.into(), ..Default::default() });
        self.run(command, Box::new(move |tree| tree.remove(&path, recursive, expect)));
    }

    fn rename(&mut self) {
        let (directory, id, name) = self.entry();
        let (new_directory, new_id, new_name) = self.entry();
        let replace = self.random.one_in(2);
        let command = rename(id, &name, new_id, &new_name, replace);
        let (from, to) = (join(&directory, &name), join(&new_directory, &new_name));
        self.run(command, Box::new(move |tree| tree.rename(&from, &to, replace)));
    }

    fn some_file(&mut self) -> Option<(String, Attr)> {
        let files: Vec<_> = self
            .tree
            .0
            .iter()
            .filter(|(_, kind)| matches!(kind, Kind::File { .. }))
            .map(|(path, _)| path.clone())
            .collect();
        if files.is_empty() {
            return None;
        }
        let path = self.random.pick(&files);
        let attr = self.bed.at(&format!("/{path}")).unwrap();
        Some((path, attr))
    }

    fn truncate(&mut self) {
        let Some((path, attr)) = self.some_file() else { return };
        let command = Command::Truncate(Truncate { content: attr.content });
        let empty = Kind::File { length: 0, completed: false };
        self.run(
            command,
            Box::new(move |tree| {
                tree.0.insert(path.clone(), empty);
                Ok(())
            }),
        );
    }

    /// Writes some more of an open file, or completes it.
    fn write(&mut self) {
        let Some((path, attr)) = self.some_file() else { return };
        if attr.completed {
            return;
        }
        if self.random.one_in(2) {
            let kind = Kind::File { length: attr.length, completed: true };
            let command = complete(attr.content, attr.length);
            self.run(
                command,
                Box::new(move |tree| {
                    tree.0.insert(path.clone(), kind);
                    Ok(())
                }),
            );
        } else if attr.length % attr.block_size == 0 {
            let length = self.random.pick(&[attr.block_size, 7]);
            let kind = Kind::File { length: attr.length + length, completed: false };
            let index = attr.length / attr.block_size;
            let command = commit(attr.content, index, length, 1 + index);
            self.run(
                command,
                Box::new(move |tree| {
                    tree.0.insert(path.clone(), kind);
                    Ok(())
                }),
            );
        }
    }

    fn persist(&mut self) {
        if let Some((_, attr)) = self.some_file() {
            self.run(persist(attr.content, attr.length), Box::new(|_| Ok(())));
        }
    }

    /// Ends one running intent: it fails, or it is carried out, now and then twice, as after a change of leaders.
    fn finish_one(&mut self) {
        if self.running.is_empty() {
            return;
        }
        let (intent, deed) = self.running.remove(self.random.below(self.running.len()));
        let effect = self.bed.namespace.intent(IntentId(intent)).unwrap().effect.unwrap();
        self.version += 1;
        let performed =
            if self.random.one_in(5) { Err(Code::Ufs) } else { self.storage.perform(&effect, self.version) };
        if performed.is_ok() && self.random.one_in(4) {
            assert_eq!(self.storage.perform(&effect, self.version), performed, "seed {}", self.seed);
        }
        let (end, want) = match performed {
            Err(code) => (fail(intent, code), Err(code)),
            Ok(Some((length, version))) => (finish_persist(intent, fingerprint(length, version)), Ok(())),
            Ok(None) => (finish(intent), Ok(())),
        };
        let outcome = self.bed.run(end);
        let have = error_of(&outcome).map_or(Ok(()), |error| Err(error.code));
        assert_eq!(have, want, "seed {}: {effect:?}", self.seed);
        // Written to during the upload: the tree is as it is.
        if have.is_ok() && !matches!(effect, Effect::Persist(_)) {
            deed(&mut self.tree).unwrap();
        }
    }

    /// Somebody else changes the under-storage.
    fn storage_changes(&mut self) {
        self.version += 1;
        let mut directories: Vec<_> = self
            .storage
            .0
            .iter()
            .filter(|(_, object)| object.is_none())
            .map(|(path, _)| path.clone())
            .collect();
        directories.push(String::new());
        let path = join(&self.random.pick(&directories), self.random.pick(&["a", "b", "c", "d"]));
        match (self.random.below(3), self.storage.0.get(&path)) {
            (0, Some(Some(_))) => {
                self.storage.0.remove(&path);
            }
            (1, None) => {
                self.storage.0.insert(path, None);
            }
            (_, None | Some(Some(_))) => {
                self.storage.0.insert(path, Some((self.version % 7, self.version)));
            }
            _ => {}
        }
    }

    /// Reads a listing, or logs the next batch of the one that was read.
    fn list(&mut self) {
        let Some((directory, number, since, mut rest, first)) = self.listing.take() else {
            let directory = self.random.pick(&self.directories());
            if self.storage.is_directory(&directory) {
                let id = self.bed.id(&format!("/{directory}"));
                let entries = self.found(&directory);
                let since = self.bed.namespace.last_index();
                self.listing = Some((id, self.bed.log.len() as u64, since, entries, true));
            }
            return;
        };
        let count = self.random.below(rest.len() + 1);
        let later = rest.split_off(count);
        let last = later.is_empty();
        let command = LoadChildren { directory, entries: rest, listing: number, first, last, since };
        if self.load(command) && !last {
            self.listing = Some((directory, number, since, later, false));
        }
    }

    fn found(&self, directory: &str) -> Vec<UfsEntry> {
        let entries = self.storage.list(directory).into_iter();
        entries
            .map(|(name, object)| match object {
                Some((length, version)) => found_file(&name, length, version),
                None => found_directory(&name),
            })
            .collect()
    }

    /// Logs a batch. Bytes that only the cache has must not suffer. Whether it was taken.
    fn load(&mut self, command: LoadChildren) -> bool {
        let before = self.cached_only();
        let outcome = self.bed.run(Command::LoadChildren(command));
        assert_eq!(before, self.cached_only(), "seed {}: a listing took bytes", self.seed);
        for dropped in &outcome.applied.dropped_contents {
            assert!(before.values().all(|attr| attr.content != *dropped), "seed {}", self.seed);
        }
        self.tree = self.seen_tree();
        match error_of(&outcome).map(|error| error.code) {
            None => true,
            Some(Code::Busy | Code::Stale | Code::NotFound) => false,
            Some(code) => panic!("seed {}: {code:?}", self.seed),
        }
    }

    fn cached_only(&self) -> BTreeMap<String, Attr> {
        let unpersisted = self.bed.namespace.unpersisted(ContentId(0), usize::MAX).into_iter();
        unpersisted
            .map(|one| {
                let path = self.bed.namespace.path_of(one.inode).unwrap().as_str().to_owned();
                (path, self.bed.namespace.attr(one.content.0).unwrap())
            })
            .collect()
    }

    /// The tree as readers see it.
    fn seen_tree(&self) -> Tree {
        let mut tree = Tree::default();
        let mut ahead = vec![(InodeId::ROOT, String::new())];
        while let Some((id, path)) = ahead.pop() {
            let (entries, more) = self.bed.namespace.children(id, "", usize::MAX).unwrap();
            assert!(!more);
            for entry in entries {
                let attr = entry.attr.unwrap();
                let at = join(&path, &entry.name);
                assert_eq!(
                    self.bed.namespace.path_of(InodeId(attr.inode)).unwrap().as_str(),
                    format!("/{at}")
                );
                let kind = match attr.kind() {
                    NodeKind::Directory => {
                        ahead.push((InodeId(attr.inode), at.clone()));
                        Kind::Directory
                    }
                    NodeKind::Symlink => Kind::Symlink,
                    _ => {
                        assert_eq!(self.bed.namespace.attr(attr.content).unwrap(), attr);
                        Kind::File { length: attr.length, completed: attr.completed }
                    }
                };
                tree.0.insert(at, kind);
            }
        }
        tree
    }

    fn check_tree(&self) {
        assert_eq!(self.seen_tree(), self.tree, "seed {}", self.seed);
        let counts = self.bed.namespace.counts();
        let count =
            |wanted: fn(&Kind) -> bool| self.tree.0.values().filter(|kind| wanted(kind)).count() as u64;
        assert_eq!(counts.files, count(|kind| matches!(kind, Kind::File { .. })), "seed {}", self.seed);
        assert_eq!(counts.directories, 1 + count(|kind| *kind == Kind::Directory), "seed {}", self.seed);
        assert_eq!(self.bed.namespace.inodes.len(), 1 + self.tree.0.len() as u64, "seed {}", self.seed);
    }

    /// Goes on with a restored image; now and then the whole log is replayed to compare.
    fn restart(&mut self) {
        let image = self.bed.image();
        let back = Namespace::restore(&mut &image[..]).unwrap();
        assert!(image_of(&back) == image, "seed {}: the image changed", self.seed);
        assert_eq!(back.counts(), self.bed.namespace.counts(), "seed {}", self.seed);
        if self.random.one_in(4) {
            let mut other = Namespace::new();
            for (index, entry) in &self.bed.log {
                other.apply(*index, entry);
            }
            assert!(image_of(&other) == image, "seed {}: a replay differs", self.seed);
        }
        self.bed.namespace = back;
    }

    /// All intents end and every directory is listed: then namespace and storage agree.
    fn settle(&mut self) {
        self.listing = None;
        while !self.running.is_empty() {
            self.finish_one();
        }
        self.check_tree();
        let mut ahead = vec![String::new()];
        while let Some(directory) = ahead.pop() {
            if self.storage.is_directory(&directory) {
                let directory_id = self.bed.id(&format!("/{directory}"));
                let entries = self.found(&directory);
                let number = self.bed.log.len() as u64;
                let since = self.bed.namespace.last_index();
                let command = LoadChildren {
                    directory: directory_id,
                    entries,
                    listing: number,
                    first: true,
                    last: true,
                    since,
                };
                assert!(self.load(command), "seed {}", self.seed);
            }
            let inside = self
                .tree
                .0
                .iter()
                .filter(|(path, kind)| **kind == Kind::Directory && parent_of(path) == directory);
            ahead.extend(inside.map(|(path, _)| path.clone()));
        }
        self.compare_with_storage();
        self.restart();
    }

    fn compare_with_storage(&self) {
        let seed = self.seed;
        for (path, object) in &self.storage.0 {
            // A file or symlink of the cache may hide a directory of the storage with all that is in it.
            let hidden =
                path.match_indices('/').any(|(at, _)| self.tree.0.get(&path[..at]) != Some(&Kind::Directory));
            if hidden {
                continue;
            }
            let attr =
                self.bed.at(&format!("/{path}")).unwrap_or_else(|| panic!("seed {seed}: {path} is missing"));
            let version = self.bed.namespace.details(InodeId(attr.inode)).unwrap();
            // A file that is being written is not revised before its writer is done.
            let have = version.fingerprint.filter(|_| attr.completed);
            if let (Some((length, mtime_ms)), Some(have)) = (object, have) {
                assert_eq!(have, fingerprint(*length, *mtime_ms), "seed {seed}: {path}");
                assert_eq!(version.ufs_path, *path);
            }
        }
        for (path, kind) in &self.tree.0 {
            let attr = self.bed.at(&format!("/{path}")).unwrap();
            let details = self.bed.namespace.details(InodeId(attr.inode)).unwrap();
            if matches!(kind, Kind::File { completed: true, .. }) && details.fingerprint.is_some() {
                let object = self.storage.0.get(path).copied().flatten();
                assert!(object.is_some(), "seed {seed}: {path} is persisted nowhere");
            }
        }
    }
}

fn parent_of(path: &str) -> &str {
    path.rsplit_once('/').map_or("", |(parent, _)| parent)
}
