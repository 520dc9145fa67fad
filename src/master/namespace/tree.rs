//! Steps that several commands share: finding inodes, checking that nobody holds them, and the three ways to change the
//! tree (add, take away, edit), which keep what is derived from it right.

use super::Namespace;
use super::identity::IdentityId;
use super::inode::{Body, Directory, Inode, MountNumber, UfsObject};
use super::name::Name;
use super::step::{Step, held, not_found};
use super::view::MountPoint;
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{ContainerId, ContentId, InodeId, MAX_CONTAINER, MountId};
use goosefs_core::path::check_name;
use std::sync::Arc;

/// The bit of a mode by which a directory passes its group on.
const SETGID: u32 = 0o2000;

impl Namespace {
    // ---- finding

    pub(super) fn node(&self, id: InodeId) -> Result<&Inode> {
        self.inodes.get(id).ok_or_else(|| not_found(format_args!("inode {id}")))
    }

    pub(super) fn directory_node(&self, id: InodeId) -> Result<(&Inode, &Directory)> {
        let inode = self.node(id)?;
        let not_directory =
            || Error::new(Code::NotDirectory, format!("{} is not a directory", self.describe(id)));
        Ok((inode, inode.directory().ok_or_else(not_directory)?))
    }

    /// The entry `name` of a directory.
    pub(super) fn child(&self, parent: InodeId, name: &str) -> Result<Option<InodeId>> {
        Ok(self.directory_node(parent)?.1.children.get(name))
    }

    /// The path for messages, whatever state the tree is in.
    pub(super) fn describe(&self, id: InodeId) -> String {
        self.path_of(id).map_or_else(|_| format!("inode {id}"), |path| path.as_str().to_owned())
    }

    /// The path of an entry for messages.
    pub(super) fn describe_entry(&self, parent: InodeId, name: &str) -> String {
        let parent = self.describe(parent);
        if parent == "/" { format!("/{name}") } else { format!("{parent}/{name}") }
    }

    pub(super) fn mount_of(&self, number: MountNumber) -> Option<&MountPoint> {
        self.mounts.get(&number.id()?).map(|mount| &**mount)
    }

    /// The mount whose root this inode is.
    pub(super) fn mounted_at(&self, id: InodeId) -> Option<&MountPoint> {
        let mount = self.mount_of(self.inodes.get(id)?.mount)?;
        (mount.root == id).then_some(mount)
    }

    /// A mount whose root lies below `id`.
    pub(super) fn mount_below(&self, id: InodeId) -> Option<&MountPoint> {
        self.mounts
            .values()
            .map(|mount| &**mount)
            .find(|mount| mount.root != id && self.lies_in(mount.root, id))
    }

    /// Whether `id` is `ancestor` or below it.
    pub(super) fn lies_in(&self, id: InodeId, ancestor: InodeId) -> bool {
        let mut at = id;
        loop {
            if at == ancestor {
                return true;
            }
            match self.inodes.get(at) {
                Some(inode) if at != InodeId::ROOT => at = inode.parent,
                _ => return false,
            }
        }
    }

    /// The mount an inode lies in and its path below the mount's URI; `None` where nothing is mounted.
    pub(super) fn ufs_place(&self, id: InodeId) -> Option<(MountId, String)> {
        let mount = self.mount_of(self.inodes.get(id)?.mount)?;
        let mut names = Vec::new();
        let mut at = id;
        while at != mount.root {
            let inode = self.inodes.get(at)?;
            names.push(inode.name.as_str());
            at = inode.parent;
        }
        names.reverse();
        Some((mount.id, names.join("/")))
    }

    /// The path below the mount's URI of an entry of `parent`, which need not exist.
    pub(super) fn ufs_entry(&self, parent: InodeId, name: &str) -> Option<(MountId, String)> {
        let (mount, path) = self.ufs_place(parent)?;
        Some((mount, if path.is_empty() { name.to_owned() } else { format!("{path}/{name}") }))
    }

    /// Follows `missing` below `parent` as far as the directories exist: the deepest one, and the names that remain.
    pub(super) fn descend<'n>(
        &self,
        parent: InodeId,
        missing: &'n [String],
    ) -> Result<(InodeId, &'n [String])> {
        let mut at = parent;
        self.directory_node(at)?;
        for (done, name) in missing.iter().enumerate() {
            check_name(name)?;
            match self.child(at, name)? {
                Some(id) => {
                    self.directory_node(id)?;
                    at = id;
                }
                None => {
                    for name in &missing[done..] {
                        check_name(name)?;
                    }
                    return Ok((at, &missing[done..]));
                }
            }
        }
        Ok((at, &[]))
    }

    /// Every inode of a subtree: parents before their children.
    pub(super) fn subtree(&self, root: InodeId) -> Vec<InodeId> {
        let mut all = vec![root];
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            next += 1;
            if let Some(directory) = self.inodes.get(id).and_then(Inode::directory) {
                all.extend(directory.children.iter().map(|(_, child)| child));
            }
        }
        all
    }

    // ---- who holds what

    /// Refuses when a running intent holds the inode or something above it.
    pub(super) fn check_free(&self, id: InodeId) -> Result<()> {
        match self.holder(id) {
            Some(intent) => Err(held(self.describe(id), intent)),
            None => Ok(()),
        }
    }

    /// Refuses when a running intent is about to make this entry.
    pub(super) fn check_name_free(&self, parent: InodeId, name: &str) -> Result<()> {
        if self.held_names.is_empty() {
            return Ok(());
        }
        match self.held_names.get(&(parent, Name::new(name))) {
            Some(intent) => Err(held(self.describe_entry(parent, name), *intent)),
            None => Ok(()),
        }
    }

    /// Refuses when a running intent holds anything above, at or below the inode.
    pub(super) fn check_subtree_free(&self, id: InodeId) -> Result<()> {
        self.check_free(id)?;
        match self.held_below(id) {
            Some(intent) => Err(held(format_args!("something in {}", self.describe(id)), intent)),
            None => Ok(()),
        }
    }

    // ---- changing

    /// Changes one inode and what is derived from it.
    pub(super) fn edit<R>(&mut self, id: InodeId, edit: impl FnOnce(&mut Inode) -> R) -> Option<R> {
        let inode = self.inodes.get_mut(id)?;
        Some(self.derived.follow(id, inode, edit))
    }

    /// Changes a directory, whose derived facts do not depend on what is changed.
    pub(super) fn edit_directory<R>(
        &mut self,
        id: InodeId,
        edit: impl FnOnce(&mut Directory) -> R,
    ) -> Option<R> {
        self.inodes.get_mut(id)?.directory_mut().map(edit)
    }

    /// A container number that was never used.
    pub(super) fn draw_container(&mut self) -> ContainerId {
        let container = ContainerId(self.next_container);
        self.next_container += 1;
        container
    }

    /// Refuses when `count` more container numbers cannot be drawn.
    pub(super) fn check_containers(&self, count: u64) -> Result<()> {
        if self.next_container.saturating_add(count) < MAX_CONTAINER {
            return Ok(());
        }
        Err(Error::new(Code::NoSpace, "all container numbers are used up"))
    }

    /// Adds an entry to a directory that exists and has no such entry.
    pub(super) fn add(
        &mut self,
        step: &mut Step,
        parent: InodeId,
        name: &str,
        container: ContainerId,
        inode: Inode,
    ) {
        let id = container.inode();
        let shared = inode.name.clone();
        self.derived.add(id, &inode);
        self.inodes.insert(id, inode);
        self.link(step, parent, shared, id);
        step.change(parent, name, 0);
    }

    /// Puts an inode that is in the table into a directory.
    pub(super) fn link(&mut self, step: &Step, parent: InodeId, name: Name, id: InodeId) {
        let now_ms = step.now_ms;
        if let Some(directory) = self.inodes.get_mut(parent) {
            directory.mtime_ms = now_ms;
            directory.ctime_ms = now_ms;
            if let Some(directory) = directory.directory_mut() {
                directory.children.insert(name, id);
            }
        }
    }

    /// Takes an entry out of its directory; the inode stays in the table.
    pub(super) fn unlink(&mut self, step: &Step, parent: InodeId, name: &str) {
        let now_ms = step.now_ms;
        if let Some(directory) = self.inodes.get_mut(parent) {
            directory.mtime_ms = now_ms;
            directory.ctime_ms = now_ms;
            if let Some(directory) = directory.directory_mut() {
                directory.children.remove(name);
            }
        }
    }

    /// Takes an entry and everything below it away. Contents are handed to `step` to be dropped by workers.
    pub(super) fn take_away(&mut self, step: &mut Step, id: InodeId) {
        let Some(inode) = self.inodes.get(id) else { return };
        let (parent, name) = (inode.parent, inode.name.clone());
        self.unlink(step, parent, name.as_str());
        let node = inode_node(id, self.inodes.get(id));
        step.change(parent, name.as_str(), node);
        for id in self.subtree(id) {
            self.discard(step, id);
        }
    }

    /// Removes one inode from the table.
    pub(super) fn discard(&mut self, step: &mut Step, id: InodeId) {
        if let Some(inode) = self.inodes.remove(id) {
            self.derived.remove(id, &inode);
            if let Some(file) = inode.file() {
                step.drop_content(file.content());
            }
        }
    }

    /// Notes that we changed what the under-storage holds in a directory: older listings are stale there, and a running
    /// one must not be believed about `name`.
    pub(super) fn touch(&mut self, step: &Step, parent: InodeId, name: &str) {
        let index = step.index;
        self.edit_directory(parent, |directory| {
            directory.changed = index;
            if let Some(listing) = &mut directory.listing {
                listing.touched.insert(Name::new(name));
            }
        });
    }

    /// Raises what is known of the under-storage's directories from `id` up to its mount's root.
    pub(super) fn raise_directories(&mut self, id: InodeId, least: UfsObject) {
        let mut at = id;
        while let Some(inode) = self.inodes.get(at) {
            if inode.mount == MountNumber::NONE || inode.object >= least {
                return;
            }
            let parent = inode.parent;
            self.edit(at, |inode| inode.object = least);
            if at == InodeId::ROOT {
                return;
            }
            at = parent;
        }
    }

    /// A new inode of the entry's caller, at the time of the entry; a setgid directory passes its group on, and to directories the bit as well.
    pub(super) fn fresh(&mut self, step: &Step, parent: InodeId, name: &str, mode: u32, body: Body) -> Inode {
        let above = self.inodes.get(parent).map(|inode| self.identities.get(inode.identity));
        let given = above.filter(|above| above.mode & SETGID != 0).map(|above| above.group.clone());
        let inherits = given.is_some() && matches!(body, Body::Directory(_));
        let mode = (mode & 0o7777) | if inherits { SETGID } else { 0 };
        let identity = self.identities.intern(step.user(), given.as_deref().unwrap_or(step.group()), mode);
        self.fresh_as(step, parent, name, identity, body)
    }

    /// A new inode at the time of the entry.
    pub(super) fn fresh_as(
        &mut self,
        step: &Step,
        parent: InodeId,
        name: &str,
        identity: IdentityId,
        body: Body,
    ) -> Inode {
        Inode {
            parent,
            name: Name::new(name),
            identity,
            mount: self.inodes.get(parent).map_or(MountNumber::NONE, |inode| inode.mount),
            object: UfsObject::None,
            pinned: false,
            mtime_ms: step.now_ms,
            ctime_ms: step.now_ms,
            atime_ms: step.now_ms,
            created_ms: step.now_ms,
            extra: None,
            body,
        }
    }

    /// Makes the directories `names` below `parent`, each in the one before. They are known to be empty. The innermost.
    pub(super) fn make_directories(
        &mut self,
        step: &mut Step,
        parent: InodeId,
        names: &[String],
        mode: u32,
        object: UfsObject,
    ) -> InodeId {
        let mut at = parent;
        for name in names {
            let body = Directory { loaded: true, synced_ms: step.now_ms, ..Directory::default() };
            let mut inode = self.fresh(step, at, name, mode, Body::Directory(Arc::new(body)));
            if inode.mount != MountNumber::NONE {
                inode.object = object;
            }
            let container = self.draw_container();
            self.add(step, at, name, container, inode);
            at = container.inode();
        }
        at
    }

    /// The inode of a content that exists.
    pub(super) fn inode_of_content(&self, content: ContentId) -> Result<InodeId> {
        let id = match self.derived.replaced.get(&content) {
            Some(id) => *id,
            None => content.container().inode(),
        };
        match self.inodes.get(id).and_then(Inode::file) {
            Some(file) if file.content() == content => Ok(id),
            _ if content.container().0 < self.next_container => {
                Err(Error::new(Code::Stale, format!("content {content} was replaced or removed")))
            }
            _ => Err(not_found(format_args!("content {content}"))),
        }
    }
}

/// The number clients know a node by: a file's content id, else the inode id.
pub(super) fn inode_node(id: InodeId, inode: Option<&Inode>) -> u64 {
    inode.and_then(Inode::file).map_or(id.0, |file| file.content().0)
}
