//! The reference: a map of paths, and an under-storage that is one too. Slow, obvious, and written without a look at
//! how the namespace does it.

use goosefs_core::error::Code;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::proto::journal::intent::Effect;
use std::collections::BTreeMap;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    File { length: u64, completed: bool },
    Directory,
    Symlink,
}

/// The tree by path, without the root; paths have no leading slash.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Tree(pub(super) BTreeMap<String, Kind>);

pub(super) fn join(parent: &str, name: &str) -> String {
    if parent.is_empty() { name.to_owned() } else { format!("{parent}/{name}") }
}

fn below<T: Clone>(map: &BTreeMap<String, T>, path: &str) -> Vec<(String, T)> {
    let prefix = format!("{path}/");
    map.range(prefix.clone()..)
        .take_while(|(at, _)| at.starts_with(&prefix))
        .map(|(at, value)| (at.clone(), value.clone()))
        .collect()
}

impl Tree {
    pub(super) fn add(&mut self, parent: &str, name: &str, kind: Kind) -> Result<(), Code> {
        let path = join(parent, name);
        if self.0.contains_key(&path) {
            return Err(Code::AlreadyExists);
        }
        self.0.insert(path, kind);
        Ok(())
    }

    pub(super) fn remove(&mut self, path: &str, recursive: bool, expect: NodeKind) -> Result<(), Code> {
        let kind = *self.0.get(path).ok_or(Code::NotFound)?;
        match (expect, kind == Kind::Directory) {
            (NodeKind::Directory, false) => return Err(Code::NotDirectory),
            (NodeKind::File, true) => return Err(Code::IsDirectory),
            _ => {}
        }
        let inside = below(&self.0, path);
        if !inside.is_empty() && !recursive {
            return Err(Code::NotEmpty);
        }
        self.0.remove(path);
        for (at, _) in inside {
            self.0.remove(&at);
        }
        Ok(())
    }

    pub(super) fn rename(&mut self, from: &str, to: &str, replace: bool) -> Result<(), Code> {
        let kind = *self.0.get(from).ok_or(Code::NotFound)?;
        if from == to {
            return if replace { Ok(()) } else { Err(Code::AlreadyExists) };
        }
        if to.starts_with(&format!("{from}/")) {
            return Err(Code::InvalidArgument);
        }
        if let Some(target) = self.0.get(to) {
            if !replace {
                return Err(Code::AlreadyExists);
            }
            match (kind == Kind::Directory, *target == Kind::Directory) {
                (true, false) => return Err(Code::NotDirectory),
                (false, true) => return Err(Code::IsDirectory),
                (true, true) if !below(&self.0, to).is_empty() => return Err(Code::NotEmpty),
                _ => {}
            }
        }
        let inside = below(&self.0, from);
        self.0.remove(from);
        self.0.insert(to.to_owned(), kind);
        for (at, kind) in inside {
            self.0.remove(&at);
            self.0.insert(format!("{to}{}", &at[from.len()..]), kind);
        }
        Ok(())
    }
}

/// An object of the under-storage: `None` is a directory, else length and version.
pub(super) type Object = Option<(u64, u64)>;

/// The under-storage by path.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Storage(pub(super) BTreeMap<String, Object>);

impl Storage {
    pub(super) fn list(&self, directory: &str) -> Vec<(String, Object)> {
        let prefix = if directory.is_empty() { String::new() } else { format!("{directory}/") };
        let inside = self.0.iter().filter(|(at, _)| at.starts_with(&prefix));
        inside
            .filter(|(at, _)| !at[prefix.len()..].contains('/'))
            .map(|(at, object)| (at[prefix.len()..].to_owned(), *object))
            .collect()
    }

    pub(super) fn is_directory(&self, path: &str) -> bool {
        path.is_empty() || self.0.get(path) == Some(&None)
    }

    fn make_parents(&mut self, path: &str) -> Result<(), Code> {
        let parents = path.match_indices('/').map(|(at, _)| path[..at].to_owned());
        for parent in parents {
            if self.0.entry(parent).or_insert(None).is_some() {
                return Err(Code::NotDirectory);
            }
        }
        Ok(())
    }

    /// Carries out an effect, as the leader does: doing it twice is doing it once. What an upload left, for its answer.
    pub(super) fn perform(&mut self, effect: &Effect, version: u64) -> Result<Object, Code> {
        match effect {
            Effect::Remove(removal) => {
                let inside = below(&self.0, &removal.path);
                if !removal.recursive && !inside.is_empty() {
                    return Err(Code::NotEmpty);
                }
                self.0.remove(&removal.path);
                for (at, _) in inside {
                    self.0.remove(&at);
                }
            }
            Effect::Rename(moved) => match self.0.get(&moved.from).copied() {
                Some(object) => {
                    if self.0.contains_key(&moved.to) && !moved.replace {
                        return Err(Code::AlreadyExists);
                    }
                    if !below(&self.0, &moved.to).is_empty() {
                        return Err(Code::NotEmpty);
                    }
                    self.make_parents(&moved.to)?;
                    let inside = below(&self.0, &moved.from);
                    self.0.remove(&moved.from);
                    self.0.insert(moved.to.clone(), object);
                    for (at, object) in inside {
                        self.0.remove(&at);
                        self.0.insert(format!("{}{}", moved.to, &at[moved.from.len()..]), object);
                    }
                }
                None if moved.source_optional && moved.replace && below(&self.0, &moved.to).is_empty() => {
                    self.0.remove(&moved.to);
                }
                None if moved.source_optional || self.0.contains_key(&moved.to) => {}
                None => return Err(Code::NotFound),
            },
            Effect::MakeDirectory(made) => {
                for path in &made.paths {
                    self.make_parents(path)?;
                    if self.0.entry(path.clone()).or_insert(None).is_some() {
                        return Err(Code::AlreadyExists);
                    }
                }
            }
            Effect::Persist(upload) => {
                if self.0.get(&upload.path) == Some(&None) {
                    return Err(Code::IsDirectory);
                }
                self.make_parents(&upload.path)?;
                self.0.insert(upload.path.clone(), Some((upload.length, version)));
                return Ok(Some((upload.length, version)));
            }
        }
        Ok(None)
    }
}
