//! Removing entries.

use super::Namespace;
use super::inode::{Inode, UfsObject};
use super::step::{Step, invalid, not_found};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{Remove, RemoveEffect};

impl Namespace {
    pub(super) fn remove(&mut self, step: &mut Step, command: &Remove) -> Result<()> {
        let parent = InodeId(command.parent);
        let Some(id) = self.child(parent, &command.name)? else {
            return Err(not_found(self.describe_entry(parent, &command.name)));
        };
        self.check_removable(step, id, command)?;
        let object = self.node(id)?.object;
        if object != UfsObject::None && !command.cache_only && !step.effect_done {
            let recursive = command.recursive;
            if let Some(effect) = self.remove_effect(id, recursive) {
                self.announce(step, effect, vec![id], Vec::new());
                return Ok(());
            }
        }
        self.touch(step, parent, &command.name);
        if command.cache_only && object != UfsObject::None {
            // It is still in the under-storage: look there again.
            self.edit_directory(parent, |directory| directory.loaded = false);
        }
        self.take_away(step, id);
        Ok(())
    }

    /// The effect that takes an inode out of the under-storage; `None` where nothing is mounted.
    pub(super) fn remove_effect(&self, id: InodeId, recursive: bool) -> Option<Effect> {
        let (mount, path) = self.ufs_place(id)?;
        let directory = self.inodes.get(id).is_some_and(|inode| inode.directory().is_some());
        Some(Effect::Remove(RemoveEffect { mount: mount.0, path, directory, recursive }))
    }

    fn check_removable(&self, step: &Step, id: InodeId, command: &Remove) -> Result<()> {
        let inode = self.node(id)?;
        check_kind(inode, command.expect(), || self.describe(id))?;
        if let Some(mount) = self.mounted_at(id).or_else(|| self.mount_below(id)) {
            let text = format!("{} is the mount point of {}", mount.path, mount.ufs);
            return Err(invalid(text).hint("unmount it first"));
        }
        self.check_subtree_free(id)?;
        if !command.cache_only {
            step.check_writable(self.mount_of(inode.mount))?;
        }
        match inode.directory() {
            Some(directory) if !command.recursive && !directory.children.is_empty() => {
                Err(self.not_empty(id))
            }
            _ => Ok(()),
        }
    }

    pub(super) fn not_empty(&self, id: InodeId) -> Error {
        Error::new(Code::NotEmpty, format!("directory {} is not empty", self.describe(id)))
    }
}

/// rmdir takes directories, unlink everything else.
fn check_kind(inode: &Inode, expect: NodeKind, name: impl Fn() -> String) -> Result<()> {
    match (expect, inode.directory()) {
        (NodeKind::Directory, None) => {
            Err(Error::new(Code::NotDirectory, format!("{} is not a directory", name())))
        }
        (NodeKind::File | NodeKind::Symlink, Some(_)) => {
            Err(Error::new(Code::IsDirectory, format!("{} is a directory", name())))
        }
        _ => Ok(()),
    }
}
