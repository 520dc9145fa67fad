//! A tree's files, always in the same order, from any of them on.
//!
//! Depth first, by the bytes of names. Directories that were never looked at are listed from their storage on the way; one
//! that cannot be listed is told in its place, and the walk goes on behind it. Symlinks are not followed.

use crate::master::Master;
use crate::mounts::Freshness;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, DirEntry, NodeKind};
use goosefs_core::{Code, Error, Result};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::sync::Arc;

/// Entries of a directory that are taken at a time.
const PAGE: usize = 1000;

/// What is met.
pub(super) enum Met {
    File {
        path: NsPath,
        attr: Box<Attr>,
    },
    /// A directory that cannot be listed.
    Closed {
        path: NsPath,
        error: Error,
    },
}

pub(super) struct Walk {
    master: Arc<Master>,
    freshness: Freshness,
    /// Nothing up to this path is told.
    behind: Option<String>,
    /// What the walk begins with.
    root: Option<(NsPath, Box<Attr>)>,
    levels: Vec<Level>,
}

/// A directory on the way.
struct Level {
    path: NsPath,
    directory: InodeId,
    listed: bool,
    page: VecDeque<DirEntry>,
    /// The last name of the page.
    last: String,
    more: bool,
}

impl Walk {
    /// The tree at `path`, whose attributes are `attr`, behind the path `behind`; listings are as fresh as `freshness` says.
    pub(super) fn new(
        master: Arc<Master>,
        freshness: Freshness,
        path: NsPath,
        attr: Attr,
        behind: &str,
    ) -> Walk {
        let behind = (!behind.is_empty()).then(|| behind.to_owned());
        Walk { master, freshness, behind, root: Some((path, Box::new(attr))), levels: Vec::new() }
    }

    /// What comes next; `None` at the end.
    ///
    /// # Errors
    /// `NotLeader`.
    pub(super) async fn next(&mut self) -> Result<Option<Met>> {
        if let Some((path, attr)) = self.root.take()
            && let Some(met) = self.meet(path, attr)
        {
            return Ok(Some(met));
        }
        loop {
            let Some(level) = self.levels.last_mut() else { return Ok(None) };
            if let Some(entry) = level.page.pop_front() {
                let path = level.path.join(&entry.name);
                if let (Ok(path), Some(attr)) = (path, entry.attr)
                    && let Some(met) = self.meet(path, Box::new(attr))
                {
                    return Ok(Some(met));
                }
                continue;
            }
            if !level.more {
                self.levels.pop();
                continue;
            }
            match level.turn(&self.master, self.freshness).await {
                Ok(()) => {}
                Err(error) if error.code == Code::NotLeader => return Err(error),
                // It was removed meanwhile.
                Err(error) if matches!(error.code, Code::NotFound | Code::NotDirectory) => {
                    self.levels.pop();
                }
                Err(error) => {
                    let path = level.path.clone();
                    self.levels.pop();
                    return Ok(Some(Met::Closed { path, error }));
                }
            }
        }
    }

    /// A file is told; a directory is gone into.
    fn meet(&mut self, path: NsPath, attr: Box<Attr>) -> Option<Met> {
        let kind = attr.kind();
        if let Some(behind) = &self.behind {
            let before = order(path.as_str(), behind) != Ordering::Greater;
            let on_the_way = kind == NodeKind::Directory && is_above(path.as_str(), behind);
            if before && !on_the_way {
                return None;
            }
        }
        match kind {
            NodeKind::File => Some(Met::File { path, attr }),
            NodeKind::Directory => {
                self.levels.push(Level {
                    path,
                    directory: InodeId(attr.inode),
                    listed: false,
                    page: VecDeque::new(),
                    last: String::new(),
                    more: true,
                });
                None
            }
            NodeKind::Unspecified | NodeKind::Symlink => None,
        }
    }
}

impl Level {
    /// Takes the next page.
    async fn turn(&mut self, master: &Master, freshness: Freshness) -> Result<()> {
        if !self.listed {
            master.finder.listed(self.directory, freshness).await?;
            self.listed = true;
        }
        let (entries, more) = master.journal.read()?.children(self.directory, &self.last, PAGE)?;
        if let Some(entry) = entries.last() {
            self.last.clone_from(&entry.name);
        }
        (self.page, self.more) = (entries.into(), more);
        Ok(())
    }
}

/// The order in which a walk meets two paths.
fn order(one: &str, other: &str) -> Ordering {
    one.split('/').map(str::as_bytes).cmp(other.split('/').map(str::as_bytes))
}

/// Whether `path` lies strictly below `directory`.
fn is_above(directory: &str, path: &str) -> bool {
    directory == "/" || path.strip_prefix(directory).is_some_and(|rest| rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directorys_files_come_before_a_name_that_it_begins() {
        let met = ["/a/x", "/a/x/y", "/a/x.txt", "/a!", "/ab"];
        for pair in met.windows(2) {
            assert_eq!(order(pair[0], pair[1]), Ordering::Less, "{pair:?}");
        }
        assert!(is_above("/", "/a") && is_above("/a", "/a/x") && !is_above("/a", "/ab"));
    }
}
