//! What the under-storage holds, as listings and single looks found it.
//!
//! A directory is known from the last batch of a listing on, so a listing that failed half-way hides nothing. Entries
//! that we changed since the listing began are left as we made them: the listing is older. Files with bytes that only
//! the cache has are never replaced or removed by what a listing says.

use super::Namespace;
use super::inode::{Body, File, Inode, Listing, NO_MTIME, UfsObject};
use super::name::Name;
use super::step::{Step, invalid};
use super::tree::inode_node;
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::InodeId;
use goosefs_core::path::check_name;
use goosefs_core::proto::internal::{Fingerprint, NodeKind, Persistence, WriteType};
use goosefs_core::proto::journal::{LoadChildren, ReviseFile, UfsEntry};
use goosefs_ufs::same_version;
use std::sync::Arc;

/// Permission bits of files where the storage has none.
const FILE_MODE: u32 = 0o644;

/// Permission bits of directories where the storage has none.
const DIRECTORY_MODE: u32 = 0o755;

/// Block size of files that are found in the under-storage.
const BLOCK_SIZE: u64 = 64 << 20;

impl Namespace {
    pub(super) fn load_children(&mut self, step: &mut Step, command: &LoadChildren) -> Result<()> {
        let id = InodeId(command.directory);
        self.check_listing(id, command)?;
        for entry in &command.entries {
            check_name(&entry.name)?;
            if entry.kind() == NodeKind::File && entry.fingerprint.is_none() {
                return Err(invalid(format!("{} has no fingerprint", self.describe_entry(id, &entry.name))));
            }
        }
        self.check_containers(command.entries.len() as u64)?;
        let known = self.directory_node(id)?.1.loaded;
        if command.first {
            self.edit_directory(id, |directory| {
                let sweep = !directory.children.is_empty();
                directory.listing =
                    Some(Box::new(Listing { number: command.listing, sweep, ..Listing::default() }));
            });
        }
        for entry in &command.entries {
            self.load_entry(step, id, entry, known);
        }
        if command.last {
            self.end_listing(step, id);
        }
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    fn check_listing(&self, id: InodeId, command: &LoadChildren) -> Result<()> {
        let (inode, directory) = self.directory_node(id)?;
        if inode.mount.id().is_none() {
            return Err(invalid(format!("{} lies in no mounted under-storage", self.describe(id))));
        }
        self.check_free(id)?;
        let stale = |why: &str| {
            let text = format!("listing {} of {} {why}", command.listing, self.describe(id));
            Err(Error::new(Code::Stale, text).hint("list again"))
        };
        if command.first && command.since != 0 && command.since < directory.changed {
            return stale("is older than a change there");
        }
        let running = directory.listing.as_ref().map(|listing| listing.number);
        if !command.first && running != Some(command.listing) {
            return stale("was ended by a newer one");
        }
        Ok(())
    }

    fn load_entry(&mut self, step: &mut Step, parent: InodeId, entry: &UfsEntry, known: bool) {
        let Ok((_, directory)) = self.directory_node(parent) else { return };
        let name = Name::new(&entry.name);
        let ours = directory.listing.as_ref().is_some_and(|listing| listing.touched.contains(&name));
        if ours || self.held_names.contains_key(&(parent, name)) {
            return;
        }
        match directory.children.get(&entry.name) {
            None => self.find_entry(step, parent, entry, known),
            Some(id) => {
                self.edit_directory(parent, |directory| {
                    if let Some(listing) = directory.listing.as_mut().filter(|listing| listing.sweep) {
                        listing.seen.insert(id);
                    }
                });
                self.compare_entry(step, parent, id, entry);
            }
        }
    }

    /// An entry that the namespace does not have yet.
    fn find_entry(&mut self, step: &mut Step, parent: InodeId, entry: &UfsEntry, known: bool) {
        let Some(body) = self.found_body(step, entry) else { return };
        let Some(directory) = self.inodes.get(parent) else { return };
        let above = self.identities.get(directory.identity).clone();
        let owner = if entry.owner.is_empty() { &above.owner } else { &entry.owner };
        let group = if entry.group.is_empty() { &above.group } else { &entry.group };
        let default_mode = if matches!(body, Body::File(_)) { FILE_MODE } else { DIRECTORY_MODE };
        let mode = entry.mode.unwrap_or(default_mode) & 0o7777;
        let identity = self.identities.intern(owner, group, mode);

        let container = self.draw_container();
        let mut inode = self.fresh_as(step, parent, &entry.name, identity, body);
        inode.object = UfsObject::Present;
        if let Some(mtime_ms) = entry.fingerprint.as_ref().and_then(|fingerprint| fingerprint.mtime_ms) {
            inode.mtime_ms = mtime_ms;
            inode.atime_ms = mtime_ms;
        }
        if let Some(file) = inode.file_mut() {
            file.container = container;
        }
        let id = container.inode();
        let name = inode.name.clone();
        self.derived.add(id, &inode);
        self.inodes.insert(id, inode);
        self.edit_directory(parent, |directory| {
            directory.children.insert(name, id);
            if let Some(listing) = directory.listing.as_mut().filter(|listing| listing.sweep) {
                listing.seen.insert(id);
            }
        });
        if known {
            // Somebody may remember that there was no such name.
            step.change(parent, &entry.name, 0);
        }
    }

    /// Symlinks and unknown kinds of the under-storage are not shown.
    fn found_body(&self, step: &Step, entry: &UfsEntry) -> Option<Body> {
        match entry.kind() {
            NodeKind::File => {
                let mut file = File {
                    container: Default::default(),
                    length: 0,
                    block_size: BLOCK_SIZE,
                    checked_ms: 0,
                    ufs_mtime_ms: NO_MTIME,
                    etag: None,
                    generation: 1,
                    // What is written to it later goes where it came from.
                    write_type: WriteType::CacheThrough,
                    persistence: Persistence::NotPersisted,
                    completed: true,
                };
                file.set_persisted(entry.fingerprint.as_ref()?, step.now_ms);
                Some(Body::File(file))
            }
            NodeKind::Directory => Some(Body::Directory(Arc::default())),
            NodeKind::Symlink | NodeKind::Unspecified => None,
        }
    }

    /// An entry that the namespace has.
    fn compare_entry(&mut self, step: &mut Step, parent: InodeId, id: InodeId, entry: &UfsEntry) {
        if self.mounted_at(id).is_some() || self.held_inodes.contains_key(&id) {
            return;
        }
        let Some(inode) = self.inodes.get(id) else { return };
        match (&inode.body, entry.kind()) {
            (Body::File(file), NodeKind::File) => {
                if let (true, Some(found)) = (file.persisted() && file.completed, &entry.fingerprint) {
                    self.revise(step, id, found);
                }
            }
            // Collapsed, a directory that is known already would fall to the arm that prunes.
            #[allow(clippy::collapsible_match)]
            (Body::Directory(_), NodeKind::Directory) => {
                if inode.object != UfsObject::Present {
                    self.edit(id, |inode| inode.object = UfsObject::Present);
                    self.edit_directory(id, |directory| directory.loaded = false);
                }
            }
            (Body::File(_) | Body::Directory(_), NodeKind::File | NodeKind::Directory) => {
                self.prune(step, id);
                if self.child(parent, &entry.name).is_ok_and(|child| child.is_none()) {
                    self.find_entry(step, parent, entry, true);
                }
            }
            _ => {}
        }
    }

    fn end_listing(&mut self, step: &mut Step, id: InodeId) {
        let now_ms = step.now_ms;
        let listing = self.edit_directory(id, |directory| {
            directory.loaded = true;
            directory.synced_ms = now_ms;
            directory.listing.take()
        });
        self.edit(id, |inode| inode.object = UfsObject::Present);
        let Some(listing) = listing.flatten().filter(|listing| listing.sweep) else { return };
        let Ok((_, directory)) = self.directory_node(id) else { return };
        let unseen = directory
            .children
            .iter()
            .filter(|(name, child)| !listing.seen.contains(child) && !listing.touched.contains(*name));
        for child in unseen.map(|(_, child)| child).collect::<Vec<_>>() {
            self.prune(step, child);
        }
    }

    pub(super) fn revise_file(&mut self, step: &mut Step, command: &ReviseFile) -> Result<()> {
        let id = InodeId(command.inode);
        self.node(id)?;
        self.check_free(id)?;
        match &command.fingerprint {
            None => {
                if self.mounted_at(id).is_none() && id != InodeId::ROOT {
                    let (parent, name) = (self.node(id)?.parent, self.node(id)?.name.clone());
                    self.prune(step, id);
                    self.touch(step, parent, name.as_str());
                }
            }
            Some(found) => {
                let (_, file) = self.file_node(id)?;
                self.check_containers(1)?;
                if file.completed && file.persisted() {
                    let now_ms = step.now_ms;
                    if self.revise(step, id, found) {
                        let (parent, name) = (self.node(id)?.parent, self.node(id)?.name.clone());
                        self.touch(step, parent, name.as_str());
                    }
                    self.edit(id, |inode| {
                        if let Some(file) = inode.file_mut() {
                            file.checked_ms = now_ms;
                        }
                    });
                }
            }
        }
        if self.inodes.get(id).is_some() {
            step.answer(self.attr_of(id)?);
        }
        Ok(())
    }

    /// The object of a persisted file was found with this fingerprint: another one is another content.
    /// Whether it was.
    fn revise(&mut self, step: &mut Step, id: InodeId, found: &Fingerprint) -> bool {
        let Some(inode) = self.inodes.get(id) else { return false };
        let Some(have) = inode.file().and_then(File::fingerprint) else { return false };
        if same_version(&have, found) {
            return false;
        }
        let old = inode_node(id, Some(inode));
        let (parent, name) = (inode.parent, inode.name.clone());
        let container = self.draw_container();
        let now_ms = step.now_ms;
        self.edit(id, |inode| {
            inode.mtime_ms = found.mtime_ms.unwrap_or(now_ms);
            inode.ctime_ms = now_ms;
            inode.forget_checksum();
            if let Some(file) = inode.file_mut() {
                file.container = container;
                file.generation = 1;
                file.set_persisted(found, now_ms);
            }
        });
        step.applied.dropped_contents.push(old);
        step.change(parent, name.as_str(), old);
        true
    }

    /// A subtree without what lies below other mounts or is held by a running intent; their roots are in it.
    fn own_subtree(&self, root: InodeId) -> Vec<InodeId> {
        let mut all = vec![root];
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            next += 1;
            if self.mounted_at(id).is_some() || self.held_inodes.contains_key(&id) {
                continue;
            }
            if let Some(directory) = self.inodes.get(id).and_then(Inode::directory) {
                all.extend(directory.children.iter().map(|(_, child)| child));
            }
        }
        all
    }

    /// The under-storage does not have `id` any more: takes away what only came from there. What the cache alone holds,
    /// mount points, and what a running intent holds stay, with the directories above them.
    fn prune(&mut self, step: &mut Step, id: InodeId) {
        let all = self.own_subtree(id);
        let kept_alone = |inode: &Inode| match &inode.body {
            Body::File(file) => !file.persisted() || !file.completed,
            Body::Directory(_) => inode.object == UfsObject::None,
            Body::Symlink(_) => true,
        };
        let stays = |id: InodeId| {
            self.inodes.get(id).is_some_and(kept_alone)
                || self.mounted_at(id).is_some()
                || self.held_inodes.contains_key(&id)
                || self.held_names.keys().any(|(parent, _)| *parent == id)
        };
        let mut keep = std::collections::BTreeSet::new();
        for id in all.iter().copied().filter(|id| stays(*id)) {
            let mut at = id;
            while keep.insert(at) && at != InodeId::ROOT {
                let Some(inode) = self.inodes.get(at) else { break };
                at = inode.parent;
            }
        }
        if !keep.contains(&id) {
            self.take_away(step, id);
            return;
        }
        for each in all {
            if !keep.contains(&each) {
                // Its parent stays, or it went with its parent.
                if self.inodes.get(each).is_some() {
                    self.take_away(step, each);
                }
            } else if self.mounted_at(each).is_none() && !self.held_inodes.contains_key(&each) {
                self.edit(each, |inode| inode.object = UfsObject::None);
            }
        }
    }
}
