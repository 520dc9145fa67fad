//! Mounting under-storages.
//!
//! A mount's root is a directory of its own that takes the place of whatever had its name. What it hides must not be the
//! only copy of anything; it is found again in its under-storage after the unmount.

use super::Namespace;
use super::inode::{Body, Inode, MountNumber, UfsObject};
use super::step::{Step, invalid, not_found};
use super::view::MountPoint;
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{InodeId, MountId};
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::Persistence;
use goosefs_core::proto::journal::{Mount, Unmount, UpdateMount};
use std::collections::HashMap;
use std::sync::Arc;

/// The mount of `/`.
pub(super) const ROOT_MOUNT: MountId = MountId(1);

/// Permission bits of a mount's root and of directories made above it.
const MOUNT_MODE: u32 = 0o755;

impl Namespace {
    pub(super) fn mount_storage(&mut self, step: &mut Step, command: &Mount) -> Result<()> {
        let path = NsPath::parse(&command.path)?;
        if command.ufs.is_empty() {
            return Err(invalid(format!("nothing to mount at {path}: the URI is empty")));
        }
        if let Some(taken) = self.mounts.values().find(|mount| mount.path == path.as_str()) {
            let text = format!("{} is mounted at {path} already", taken.ufs);
            return Err(Error::new(Code::AlreadyExists, text).hint("unmount it first"));
        }
        let id = if path.is_root() { ROOT_MOUNT } else { MountId(self.next_mount) };
        if id.0 > u64::from(u32::MAX) {
            return Err(Error::new(Code::NoSpace, "all mount numbers are used up"));
        }
        let root = match (path.parent(), path.name()) {
            (Some(parent), Some(name)) => self.mount_directory(step, &parent, name, id)?,
            _ => self.mount_root(step)?,
        };
        if !path.is_root() {
            self.next_mount += 1;
        }
        let mount = MountPoint {
            id,
            root,
            path: path.as_str().to_owned(),
            ufs: command.ufs.clone(),
            read_only: command.read_only,
            shared: command.shared,
            options: sorted(&command.options),
            generation: command.generation,
        };
        self.mounts.insert(id, Arc::new(mount));
        step.applied.mount = id.0;
        step.answer(self.attr_of(root)?);
        Ok(())
    }

    /// Gives the root directory, which exists from the start, its under-storage.
    fn mount_root(&mut self, step: &mut Step) -> Result<InodeId> {
        self.check_hidden(InodeId::ROOT)?;
        // Directories that lead to other mounts stay, in the root's mount from now on.
        for id in self.subtree_of_mount(InodeId::ROOT) {
            self.edit(id, |inode| inode.mount = MountNumber(ROOT_MOUNT.0 as u32));
        }
        self.edit(InodeId::ROOT, |inode| inode.object = UfsObject::Present);
        self.edit_directory(InodeId::ROOT, |directory| directory.loaded = false);
        self.tell(step, InodeId::ROOT);
        Ok(InodeId::ROOT)
    }

    fn mount_directory(
        &mut self,
        step: &mut Step,
        parent: &NsPath,
        name: &str,
        id: MountId,
    ) -> Result<InodeId> {
        let names: Vec<String> = parent.components().map(str::to_owned).collect();
        let (at, missing) = self.descend(InodeId::ROOT, &names)?;
        self.check_free(at)?;
        self.check_name_free(at, missing.first().map_or(name, String::as_str))?;
        let hidden = if missing.is_empty() { self.child(at, name)? } else { None };
        if let Some(hidden) = hidden {
            self.directory_node(hidden)?;
            if let Some(mount) = self.mount_below(hidden) {
                return Err(invalid(format!("it would hide the mount {}", mount.path)));
            }
            self.check_subtree_free(hidden)?;
            self.check_hidden(hidden)?;
        }
        self.check_containers(names.len() as u64 + 1)?;

        if let Some(hidden) = hidden {
            self.touch(step, at, name);
            self.take_away(step, hidden);
        }
        let parent = self.make_directories(step, at, missing, MOUNT_MODE, UfsObject::None);
        let container = self.draw_container();
        let mut inode = self.fresh(step, parent, name, MOUNT_MODE, Body::Directory(Arc::default()));
        inode.mount = MountNumber(id.0 as u32);
        inode.object = UfsObject::Present;
        self.add(step, parent, name, container, inode);
        Ok(container.inode())
    }

    /// Refuses to hide what only the cache has.
    fn check_hidden(&self, id: InodeId) -> Result<()> {
        let alone = |inode: &Inode| match &inode.body {
            Body::File(file) => !(file.persisted() && file.completed),
            Body::Directory(_) => false,
            Body::Symlink(_) => true,
        };
        let found = self.subtree_of_mount(id).into_iter().find(|id| self.inodes.get(*id).is_some_and(alone));
        match found {
            Some(found) => {
                let text = format!("the mount would hide {}, which only the cache has", self.describe(found));
                Err(Error::new(Code::NotEmpty, text).hint("move it away first"))
            }
            None => Ok(()),
        }
    }

    /// A subtree without the mounts below it.
    fn subtree_of_mount(&self, root: InodeId) -> Vec<InodeId> {
        let mount = self.inodes.get(root).map(|inode| inode.mount);
        let mut all = vec![root];
        let mut next = 0;
        while let Some(id) = all.get(next).copied() {
            next += 1;
            if let Some(directory) = self.inodes.get(id).and_then(Inode::directory) {
                let children = directory.children.iter().map(|(_, child)| child);
                all.extend(
                    children.filter(|child| self.inodes.get(*child).map(|inode| inode.mount) == mount),
                );
            }
        }
        all
    }

    pub(super) fn unmount(&mut self, step: &mut Step, command: &Unmount) -> Result<()> {
        let mount = self.mount_named(&command.path)?;
        if mount.id == ROOT_MOUNT {
            return Err(invalid("the root cannot be unmounted"));
        }
        if let Some(below) = self.mount_below(mount.root) {
            let text = format!("{} lies below {}", below.path, mount.path);
            return Err(invalid(text).hint("unmount it first"));
        }
        self.check_subtree_free(mount.root)?;
        if command.keep {
            self.check_kept_elsewhere(&mount)?;
        }
        self.mounts.remove(&mount.id);
        let parent = self.node(mount.root)?.parent;
        self.take_away(step, mount.root);
        // Its name may be that of a directory which the mount has hidden.
        self.edit_directory(parent, |directory| directory.loaded = false);
        step.applied.mount = mount.id.0;
        Ok(())
    }

    /// Refuses to drop what only the cache has.
    fn check_kept_elsewhere(&self, mount: &MountPoint) -> Result<()> {
        let alone = |inode: &Inode| match &inode.body {
            // What is lost cannot be lost again.
            Body::File(file) => !file.persisted() && file.persistence != Persistence::Lost,
            Body::Directory(_) => false,
            Body::Symlink(_) => true,
        };
        let all = self.subtree_of_mount(mount.root);
        let mut found = all.iter().filter(|id| self.inodes.get(**id).is_some_and(alone));
        let Some(first) = found.next() else { return Ok(()) };
        let (path, first, count) = (&mount.path, self.describe(*first), 1 + found.count());
        let text =
            format!("unmounting {path} would drop {} that only the cache has, {first} first", files(count));
        Err(Error::new(Code::NotEmpty, text).hint(format!(
            "persist them (goosefs fs persist {path}), copy them away, or drop them (goosefs fs unmount --force {path})"
        )))
    }

    pub(super) fn update_mount(&mut self, step: &mut Step, command: &UpdateMount) -> Result<()> {
        let mount = self.mount_named(&command.path)?;
        let updated = MountPoint {
            read_only: command.read_only,
            shared: command.shared,
            options: sorted(&command.options),
            generation: command.generation,
            ..(*mount).clone()
        };
        step.applied.mount = mount.id.0;
        self.mounts.insert(mount.id, Arc::new(updated));
        self.tell(step, mount.root);
        step.answer(self.attr_of(mount.root)?);
        Ok(())
    }

    fn mount_named(&self, path: &str) -> Result<Arc<MountPoint>> {
        let path = NsPath::parse(path)?;
        let found = self.mounts.values().find(|mount| mount.path == path.as_str());
        found.cloned().ok_or_else(|| not_found(format_args!("a mount at {path}")))
    }
}

/// `1 file`, `2 files`.
fn files(count: usize) -> String {
    if count == 1 { "1 file".to_owned() } else { format!("{count} files") }
}

fn sorted(options: &HashMap<String, String>) -> std::collections::BTreeMap<String, String> {
    options.iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
