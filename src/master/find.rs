//! Finding names: the namespace first, the under-storage for what it does not know yet.
//!
//! Called by both faces, with paths (the GooseFS protocol) and with inodes (ours).

use crate::journal::Journal;
use crate::mounts::{Freshness, Loader};
use crate::namespace::{Namespace, Resolved};
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, Fingerprint, NodeKind};
use goosefs_core::{Code, Error, Result};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Symlinks followed on one path, as Linux does.
const MOST_LINKS: usize = 40;

/// Finds names.
#[derive(Clone)]
pub(crate) struct Finder {
    journal: Arc<Journal>,
    loader: Arc<Loader>,
}

/// A path that was followed.
#[derive(Debug)]
pub(crate) struct Found {
    /// The path without symlinks on the way.
    pub(crate) path: NsPath,
    /// How far it goes.
    pub(crate) resolved: Resolved,
}

impl Found {
    /// Where the path's last name lies, or would: the deepest directory above it that exists, the directories missing
    /// below that, and the name.
    ///
    /// # Errors
    /// `InvalidArgument` for the root, which lies nowhere.
    pub(crate) fn place(&self) -> Result<(InodeId, Vec<String>, String)> {
        let Some(name) = self.path.name() else {
            return Err(Error::new(
                Code::InvalidArgument,
                "the root directory cannot be made, moved or removed",
            ));
        };
        let directories = &self.resolved.directories;
        let mut missing = self.resolved.missing.clone();
        if missing.pop().is_some() {
            return Ok((self.resolved.node, missing, name.to_owned()));
        }
        let is_directory = self.resolved.attr.kind == NodeKind::Directory as i32;
        let above =
            if is_directory { directories.len().checked_sub(2) } else { directories.len().checked_sub(1) };
        let parent = above.and_then(|at| directories.get(at)).copied().unwrap_or(InodeId::ROOT);
        Ok((parent, Vec::new(), name.to_owned()))
    }
}

impl Finder {
    pub(crate) fn new(journal: Arc<Journal>, loader: Arc<Loader>) -> Finder {
        Finder { journal, loader }
    }

    /// Follows `path` as far as it exists, symlinks on the way too; a symlink at its end only if `follow_last`.
    ///
    /// # Errors
    /// `NotDirectory` when a file is on the way, and what loading says.
    pub(crate) async fn resolve(
        &self,
        path: &NsPath,
        freshness: Freshness,
        follow_last: bool,
    ) -> Result<Found> {
        let mut path = path.clone();
        let mut links = 0;
        let mut looked_at: BTreeSet<InodeId> = BTreeSet::new();
        loop {
            let resolved = self.journal.read()?.resolve(&path);
            let kind = resolved.attr.kind();
            if kind == NodeKind::Symlink && (follow_last || !resolved.exists()) {
                links += 1;
                if links > MOST_LINKS {
                    return Err(Error::new(
                        Code::InvalidPath,
                        format!("\"{path}\" goes through too many symlinks"),
                    ));
                }
                let link = self.journal.read()?.path_of(resolved.node)?;
                path = through_link(&link, &resolved.attr.target, &resolved.missing)?;
                continue;
            }
            if !resolved.exists() && kind != NodeKind::Directory {
                return Err(Error::new(
                    Code::NotDirectory,
                    format!("a part of \"{path}\" is not a directory"),
                ));
            }
            let first_look = looked_at.insert(resolved.node);
            let changed = match (resolved.exists(), kind) {
                (false, _) if first_look => {
                    // Whether or not it was we who listed it: the name may have come since it was looked for.
                    self.loader.freshen(resolved.node, freshness).await?;
                    true
                }
                (false, _) => false,
                (true, NodeKind::File) => {
                    first_look && self.loader.freshen_file(resolved.node, freshness).await?
                }
                (true, _) => false,
            };
            if !changed {
                return Ok(Found { path, resolved });
            }
        }
    }

    /// A path that must exist.
    ///
    /// # Errors
    /// `NotFound`, and as [`Finder::resolve`].
    pub(crate) async fn existing(
        &self,
        path: &NsPath,
        freshness: Freshness,
        follow_last: bool,
    ) -> Result<Found> {
        let found = self.resolve(path, freshness, follow_last).await?;
        if found.resolved.exists() { Ok(found) } else { Err(does_not_exist(path)) }
    }

    /// The entry `name` of a directory.
    ///
    /// # Errors
    /// `NotFound`, `NotDirectory`, and what loading says.
    pub(crate) async fn child(&self, parent: InodeId, name: &str, freshness: Freshness) -> Result<Attr> {
        let known = self.journal.read()?.lookup(parent, name);
        let changed = match &known {
            Ok(attr) if attr.kind == NodeKind::File as i32 => {
                self.loader.freshen_file(InodeId(attr.inode), freshness).await?
            }
            Err(error) if error.code == Code::NotFound => {
                // As in `resolve`: somebody else may have listed it meanwhile.
                self.loader.freshen(parent, freshness).await?;
                true
            }
            Ok(_) | Err(_) => false,
        };
        if changed { self.journal.read()?.lookup(parent, name) } else { known }
    }

    /// The entry `name` of a directory, if it is in `namespace` and as fresh as asked for. None says nothing: ask
    /// [`Finder::child`].
    pub(crate) fn known_child(
        &self,
        namespace: &Namespace,
        parent: InodeId,
        name: &str,
        freshness: Freshness,
    ) -> Option<Attr> {
        let attr = namespace.lookup(parent, name).ok()?;
        let fresh = attr.kind != NodeKind::File as i32 || freshness.interval_ms().is_none();
        fresh.then_some(attr)
    }

    /// Somebody found that the under-storage does not have the version `suspect` of a content: if that is the one we
    /// know, it is looked at again, and the next who asks hears what is there.
    ///
    /// # Errors
    /// `NotLeader`.
    pub(crate) async fn doubt(&self, content: ContentId, suspect: &Fingerprint) -> Result<()> {
        let known = {
            let namespace = self.journal.read()?;
            let inode = namespace.inode_of(content.0);
            inode.and_then(|inode| Ok((inode, namespace.details(inode)?.fingerprint)))
        };
        if let Ok((inode, Some(known))) = known
            && known == *suspect
        {
            self.loader.doubt(inode).await;
        }
        Ok(())
    }

    /// Makes sure that a directory's entries are as fresh as asked for.
    ///
    /// # Errors
    /// What loading says.
    pub(crate) async fn listed(&self, directory: InodeId, freshness: Freshness) -> Result<()> {
        self.loader.freshen(directory, freshness).await.map(drop)
    }
}

/// The error of a path that is not there, in the words that scripts look for.
pub(crate) fn does_not_exist(path: &NsPath) -> Error {
    Error::new(Code::NotFound, format!("Path \"{path}\" does not exist."))
}

/// Where `rest` below the symlink at `link` leads.
fn through_link(link: &NsPath, target: &str, rest: &[String]) -> Result<NsPath> {
    let parent = link.parent().unwrap_or_else(NsPath::root);
    let mut names: Vec<&str> =
        if target.starts_with('/') { Vec::new() } else { parent.components().collect() };
    for name in target.split('/').filter(|name| !name.is_empty() && *name != ".") {
        if name == ".." {
            names.pop();
        } else {
            names.push(name);
        }
    }
    names.extend(rest.iter().map(String::as_str));
    NsPath::parse(&format!("/{}", names.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_lead_from_their_directory_or_from_the_root() {
        let link = NsPath::parse("/a/b/link").unwrap();
        let rest = ["x".to_owned()];
        assert_eq!(through_link(&link, "../c", &rest).unwrap().as_str(), "/a/c/x");
        assert_eq!(through_link(&link, "/d/./e", &rest).unwrap().as_str(), "/d/e/x");
        assert_eq!(through_link(&link, "../../../..", &[]).unwrap().as_str(), "/");
    }
}
