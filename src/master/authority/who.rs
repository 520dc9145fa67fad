//! One caller and the rules.

use super::{READ, SEARCH, WRITE};
use crate::journal::Journal;
use crate::namespace::Namespace;
use goosefs_core::config::keys;
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::{Attr, Caller, NodeKind};
use goosefs_core::proto::journal::SetAttributes;
use goosefs_core::{Code, Error, Result};
use std::sync::Arc;

/// In a directory with this bit only owners take things away.
const STICKY: u32 = 0o1000;

/// Entries looked at under one lock.
const WALK_BATCH: usize = 1000;

/// A caller, as far as what it may is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Who {
    /// None for one who may do everything.
    user: Option<User>,
    /// Files are not guarded from it.
    free: bool,
    /// Masters have a control key, and it has not shown that it has it, too.
    unproven: bool,
}

#[derive(Clone, Debug)]
struct User {
    name: String,
    groups: Arc<[String]>,
    /// Who may what this one may not, for people.
    superusers: Arc<str>,
}

/// Every check succeeds for superusers, and, but for [`Who::administer`], where files are not guarded. A check names the
/// path in its error, `PermissionDenied`. What does not exist is nobody's to refuse: the call itself says so.
impl Who {
    pub(super) fn superuser() -> Who {
        Who { user: None, free: true, unproven: false }
    }

    pub(super) fn user(caller: Caller, groups: Arc<[String]>, superusers: Arc<str>, free: bool) -> Who {
        Who { user: Some(User { name: caller.user, groups, superusers }), free, unproven: false }
    }

    /// The same one, who has to show the control key and has not.
    pub(super) fn without_proof(self) -> Who {
        Who { unproven: true, ..self }
    }

    fn guarded(&self) -> Option<&User> {
        self.user.as_ref().filter(|_| !self.free)
    }

    /// Whether it may `bits` of something with these attributes.
    pub(crate) fn has(&self, attr: &Attr, bits: u32) -> bool {
        self.guarded().is_none_or(|user| user.has(attr, bits))
    }

    /// What is about the masters themselves, guarded or not.
    pub(crate) fn administer(&self, what: &str) -> Result<()> {
        match &self.user {
            Some(user) => Err(superusers_only(user, what)),
            None if self.unproven => Err(unproven(what)),
            None => Ok(()),
        }
    }

    /// What only superusers may where files are guarded.
    pub(crate) fn rule(&self, what: &str) -> Result<()> {
        match self.guarded() {
            None => Ok(()),
            Some(user) => Err(superusers_only(user, what)),
        }
    }

    /// Acting in the name of `caller`.
    pub(crate) fn act_for(&self, caller: &Caller) -> Result<()> {
        match self.guarded() {
            Some(user) if user.name != caller.user => {
                let text = format!("user {} may not act for user {}", user.name, caller.user);
                Err(Error::new(Code::PermissionDenied, text))
            }
            _ => Ok(()),
        }
    }

    /// Coming to an inode: searching all directories above it.
    pub(crate) fn reach(&self, namespace: &Namespace, inode: InodeId) -> Result<()> {
        let Some(user) = self.guarded() else { return Ok(()) };
        for directory in namespace.above(inode) {
            user.require(namespace, directory, SEARCH)?;
        }
        Ok(())
    }

    /// Coming to an inode, and `bits` of it.
    pub(crate) fn open(&self, namespace: &Namespace, inode: InodeId, bits: u32) -> Result<()> {
        let Some(user) = self.guarded() else { return Ok(()) };
        self.reach(namespace, inode)?;
        user.require(namespace, inode, bits)
    }

    /// Making entries in a directory.
    pub(crate) fn fill(&self, namespace: &Namespace, directory: InodeId) -> Result<()> {
        self.open(namespace, directory, WRITE | SEARCH)
    }

    /// Taking the entry `name` out of a directory, or replacing it.
    pub(crate) fn take(&self, namespace: &Namespace, directory: InodeId, name: &str) -> Result<()> {
        let Some(user) = self.guarded() else { return Ok(()) };
        self.fill(namespace, directory)?;
        let (Ok(above), Ok(entry)) = (namespace.attr(directory.0), namespace.lookup(directory, name)) else {
            return Ok(());
        };
        if above.mode & STICKY == 0 || user.name == above.owner || user.name == entry.owner {
            return Ok(());
        }
        Err(user.refused(namespace, InodeId(entry.inode), "remove or rename", &entry))
    }

    /// Removing all that is below a directory, page by page.
    pub(crate) async fn empty(&self, journal: &Journal, root: InodeId) -> Result<()> {
        let Some(user) = self.guarded() else { return Ok(()) };
        let each = |namespace: &Namespace, attr: &Attr| match attr.kind() {
            NodeKind::Directory if attr.children > 0 => {
                user.require(namespace, InodeId(attr.inode), WRITE | SEARCH)
            }
            _ => Ok(()),
        };
        below(journal, root, each).await
    }

    /// What belongs to whoever writes a file: its owner, though the mode may say no, and who may write it.
    pub(crate) fn write(&self, namespace: &Namespace, inode: InodeId) -> Result<()> {
        let Some(user) = self.guarded() else { return Ok(()) };
        self.reach(namespace, inode)?;
        match namespace.attr(inode.0) {
            Ok(attr) if attr.owner == user.name => Ok(()),
            _ => user.require(namespace, inode, WRITE),
        }
    }

    /// Changing attributes.
    pub(crate) async fn change(&self, journal: &Journal, command: &SetAttributes) -> Result<()> {
        let Some(user) = self.guarded() else { return Ok(()) };
        let inode = InodeId(command.inode);
        let each = |namespace: &Namespace, attr: &Attr| user.change(namespace, attr, command);
        {
            let namespace = journal.read()?;
            self.reach(&namespace, inode)?;
            each(&namespace, &namespace.attr(inode.0)?)?;
        }
        if command.recursive { below(journal, inode, each).await } else { Ok(()) }
    }
}

impl User {
    fn has(&self, attr: &Attr, bits: u32) -> bool {
        let shift = match () {
            () if self.name == attr.owner => 6,
            () if self.groups.contains(&attr.group) => 3,
            () => 0,
        };
        (attr.mode >> shift) & bits == bits
    }

    fn require(&self, namespace: &Namespace, inode: InodeId, bits: u32) -> Result<()> {
        let Ok(attr) = namespace.attr(inode.0) else { return Ok(()) };
        if self.has(&attr, bits) {
            return Ok(());
        }
        let what = match bits {
            READ => "read",
            SEARCH => "search",
            bits if bits & WRITE != 0 => "write",
            _ => "use",
        };
        Err(self.refused(namespace, inode, what, &attr))
    }

    /// Owners go to others by superusers only, groups by owners within their own, modes by owners; what else there is
    /// belongs to whoever may write.
    fn change(&self, namespace: &Namespace, attr: &Attr, command: &SetAttributes) -> Result<()> {
        let (inode, own) = (InodeId(attr.inode), attr.owner == self.name);
        let refused = |what: &str| Err(self.refused(namespace, inode, what, attr));
        if command.owner.as_ref().is_some_and(|owner| *owner != attr.owner) {
            return refused("change the owner of");
        }
        let group = command.group.as_ref().filter(|group| **group != attr.group);
        if group.is_some_and(|group| !own || !self.groups.contains(group)) {
            return refused("change the group of");
        }
        if command.mode.is_some() && !own {
            return refused("change the mode of");
        }
        if own || self.has(attr, WRITE) { Ok(()) } else { refused("change") }
    }

    fn refused(&self, namespace: &Namespace, inode: InodeId, what: &str, attr: &Attr) -> Error {
        let path =
            namespace.path_of(inode).map_or_else(|_| format!("inode {inode}"), |path| path.to_string());
        let text = format!("user {} may not {what} {path}", self.name);
        let (owner, group, mode) = (&attr.owner, &attr.group, attr.mode);
        Error::new(Code::PermissionDenied, text).hint(format!("it belongs to {owner}:{group}, mode {mode:o}"))
    }
}

/// Asks `each` about all that is below a directory.
async fn below(
    journal: &Journal,
    root: InodeId,
    each: impl Fn(&Namespace, &Attr) -> Result<()>,
) -> Result<()> {
    let mut directories = vec![(root, String::new())];
    while let Some((directory, after)) = directories.pop() {
        {
            let namespace = journal.read()?;
            // Removed meanwhile, or no directory.
            let Ok((entries, more)) = namespace.children(directory, &after, WALK_BATCH) else { continue };
            if let Some(last) = entries.last().filter(|_| more) {
                directories.push((directory, last.name.clone()));
            }
            for attr in entries.iter().filter_map(|entry| entry.attr.as_ref()) {
                each(&namespace, attr)?;
                if attr.kind() == NodeKind::Directory {
                    directories.push((InodeId(attr.inode), String::new()));
                }
            }
        }
        tokio::task::yield_now().await;
    }
    Ok(())
}

fn superusers_only(user: &User, what: &str) -> Error {
    let text = format!("user {} may not {what}", user.name);
    Error::new(Code::PermissionDenied, text).hint(&*user.superusers)
}

fn unproven(what: &str) -> Error {
    let key = keys::CONTROL_KEY_FILE.name;
    let text = format!("to {what} takes the control key of the masters");
    Error::new(Code::PermissionDenied, text)
        .hint(format!("run the command where the file of {key} is: in Kubernetes in a pod of a master"))
}
