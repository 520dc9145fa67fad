//! Paths of the storage to paths of the machine, kept below the root.
//!
//! Symlinks are presented as what they lead to while that lies below the root; one that leads out, nowhere, or back to a
//! directory on the way to it (which would make the tree endless) is as good as not there. The check is against
//! mistakes, not against someone who swaps links of the served directory meanwhile: who can do that can also serve what
//! he likes.

use crate::Fence;
use goosefs_core::path::check_name;
use goosefs_core::{Code, Error, Result};
use std::path::{Path, PathBuf};

/// Begins the names of objects that are being written; listings and look-ups do not see such names.
pub(super) const HIDDEN_PREFIX: &str = ".goosefs-upload-";

/// A root and the way below it.
#[derive(Debug)]
pub(super) struct Place {
    root: PathBuf,
    fence: Fence,
}

impl Place {
    pub(super) fn new(root: PathBuf, fence: Fence) -> Place {
        Place { root, fence }
    }

    /// To be asked right before the system call of every change.
    pub(super) fn may_change(&self) -> Result<()> {
        self.fence.check()
    }

    pub(super) fn fence(&self) -> Fence {
        self.fence.clone()
    }

    /// Where an existing object lies, symlinks resolved.
    ///
    /// Errors: `NotFound` when nothing is there or a symlink leads where it may not; `InvalidPath`.
    pub(super) fn existing(&self, path: &str) -> Result<PathBuf> {
        check(path)?;
        if path.split('/').any(is_hidden) {
            return Err(self.not_found(path));
        }
        let root = self.real_root()?;
        let literal = join(&root, path);
        let real = literal.canonicalize().map_err(|e| self.explain(path, e))?;
        if real != literal {
            self.check_links(&root, path, &real)?;
        }
        Ok(real)
    }

    /// The directory that `path` lies in (links resolved; it must exist) and its last name, which is not resolved.
    ///
    /// Errors: `InvalidArgument` for the root itself, else as [`Place::existing`].
    pub(super) fn parent_and_name<'p>(&self, path: &'p str) -> Result<(PathBuf, &'p str)> {
        let (parent, name) = split(path)?;
        Ok((self.existing(parent)?, name))
    }

    /// As [`Place::parent_and_name`], but makes the directories that are missing.
    pub(super) fn parent_made<'p>(&self, path: &'p str) -> Result<(PathBuf, &'p str)> {
        let (parent, name) = split(path)?;
        Ok((self.directory_made(parent)?, name))
    }

    /// The directory at `path`, made durably with its parents where they are missing. The root itself is not made: a
    /// mount of a directory that is not there (a disk that is not mounted) must not look like an empty one.
    pub(super) fn directory_made(&self, path: &str) -> Result<PathBuf> {
        check(path)?;
        let mut below = String::new();
        let mut full = self.existing("")?;
        for name in names(path) {
            let parent = full;
            push(&mut below, name);
            let made = parent.join(name);
            self.may_change()?;
            match std::fs::create_dir(made) {
                Ok(()) => super::change::sync_directory(&parent)?,
                Err(e) if e.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(e) => return Err(Error::io(format!("make directory {}", self.show(&below)), e)),
            }
            full = self.existing(&below)?;
            if !full.is_dir() {
                return Err(Error::new(
                    Code::NotDirectory,
                    format!("{} is not a directory", self.show(&below)),
                ));
            }
        }
        Ok(full)
    }

    /// How `path` is named in messages.
    pub(super) fn show(&self, path: &str) -> String {
        join(&self.root, path).display().to_string()
    }

    pub(super) fn not_found(&self, path: &str) -> Error {
        Error::new(Code::NotFound, format!("{} does not exist", self.show(path)))
    }

    /// The error for sockets, devices and the like.
    pub(super) fn special(&self, path: &str) -> Error {
        Error::new(Code::NotFound, format!("{} is neither a file nor a directory", self.show(path)))
    }

    fn real_root(&self) -> Result<PathBuf> {
        self.root.canonicalize().map_err(|e| Error::io(format!("open the root {}", self.root.display()), e))
    }

    fn explain(&self, path: &str, cause: std::io::Error) -> Error {
        match cause.kind() {
            // A file where a directory was needed on the way: nothing is there either.
            std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory => self.not_found(path),
            _ => Error::io(format!("look at {}", self.show(path)), cause),
        }
    }

    /// Follows `path` name by name: every step must stay below the root and lead to no directory that was passed.
    fn check_links(&self, root: &Path, path: &str, real: &Path) -> Result<()> {
        if !real.starts_with(root) {
            return Err(self.not_found(path).hint("a symlink there leads out of the mounted directory"));
        }
        let mut passed = vec![root.to_path_buf()];
        let mut below = String::new();
        for name in names(path) {
            push(&mut below, name);
            let step = join(root, &below).canonicalize().map_err(|e| self.explain(path, e))?;
            let leads_back = passed.iter().any(|earlier| earlier.starts_with(&step));
            if !step.starts_with(root) || leads_back {
                let hint =
                    "a symlink on the way leads out of the mounted directory or back to where it came from";
                return Err(self.not_found(path).hint(hint));
            }
            passed.push(step);
        }
        Ok(())
    }
}

/// Whether this is the name of an object that is being written.
pub(super) fn is_hidden(name: &str) -> bool {
    name.starts_with(HIDDEN_PREFIX)
}

fn check(path: &str) -> Result<()> {
    if path.is_empty() { Ok(()) } else { path.split('/').try_for_each(check_name) }
}

fn split(path: &str) -> Result<(&str, &str)> {
    check(path)?;
    if path.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "the root of a mount cannot be replaced or removed"));
    }
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", path));
    if is_hidden(name) {
        let message = format!("names that begin with \"{HIDDEN_PREFIX}\" are kept for files being written");
        return Err(Error::new(Code::InvalidPath, message));
    }
    Ok((parent, name))
}

fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter(|name| !name.is_empty())
}

fn join(root: &Path, path: &str) -> PathBuf {
    // `Path::join("")` would add a trailing slash.
    if path.is_empty() { root.to_path_buf() } else { root.join(path) }
}

fn push(below: &mut String, name: &str) {
    if !below.is_empty() {
        below.push('/');
    }
    below.push_str(name);
}
