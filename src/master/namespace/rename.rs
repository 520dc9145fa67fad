//! Renaming, within one mount.

use super::Namespace;
use super::inode::UfsObject;
use super::name::Name;
use super::step::{Step, invalid, not_found};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::InodeId;
use goosefs_core::path::check_name;
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{Rename, RenameEffect};

impl Namespace {
    pub(super) fn rename(&mut self, step: &mut Step, command: &Rename) -> Result<()> {
        let (parent, new_parent) = (InodeId(command.parent), InodeId(command.new_parent));
        check_name(&command.new_name)?;
        let Some(id) = self.child(parent, &command.name)? else {
            return Err(not_found(self.describe_entry(parent, &command.name)));
        };
        let target = self.child(new_parent, &command.new_name)?;
        if target == Some(id) {
            if !command.replace {
                return Err(self.already_exists(new_parent, &command.new_name));
            }
            step.answer(self.attr_of(id)?);
            return Ok(());
        }
        self.check_movable(step, id, new_parent, &command.new_name)?;
        if let Some(target) = target {
            self.check_replaceable(id, target, command)?;
        }
        if !step.effect_done
            && let Some(effect) = self.rename_effect(id, target, command)
        {
            let inodes = target.into_iter().chain([id]).collect();
            self.announce(step, effect, inodes, vec![(new_parent, command.new_name.clone())]);
            return Ok(());
        }
        self.move_entry(step, id, target, command);
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    fn check_movable(&self, step: &Step, id: InodeId, new_parent: InodeId, new_name: &str) -> Result<()> {
        if self.lies_in(new_parent, id) {
            return Err(invalid(format!("{} cannot be moved into itself", self.describe(id))));
        }
        if let Some(mount) = self.mounted_at(id).or_else(|| self.mount_below(id)) {
            let text = format!("{} is the mount point of {}", mount.path, mount.ufs);
            return Err(invalid(text).hint("unmount it first"));
        }
        self.check_subtree_free(id)?;
        self.check_free(new_parent)?;
        self.check_name_free(new_parent, new_name)?;
        let (from, to) = (self.node(id)?.mount, self.node(new_parent)?.mount);
        if from != to {
            let text = format!(
                "{} and {} lie on different mounts",
                self.describe(id),
                self.describe_entry(new_parent, new_name)
            );
            return Err(Error::new(Code::CrossMount, text).hint("copy, then remove"));
        }
        step.check_writable(self.mount_of(from))
    }

    fn check_replaceable(&self, id: InodeId, target: InodeId, command: &Rename) -> Result<()> {
        let new_parent = InodeId(command.new_parent);
        if !command.replace {
            return Err(self.already_exists(new_parent, &command.new_name));
        }
        let moved = self.node(id)?.directory();
        match (moved, self.node(target)?.directory()) {
            (Some(_), None) => {
                let text = format!("{} is not a directory", self.describe(target));
                return Err(Error::new(Code::NotDirectory, text));
            }
            (None, Some(_)) => {
                let text = format!("{} is a directory", self.describe(target));
                return Err(Error::new(Code::IsDirectory, text));
            }
            (Some(_), Some(directory)) if !directory.children.is_empty() => {
                return Err(self.not_empty(target));
            }
            _ => {}
        }
        if let Some(mount) = self.mounted_at(target) {
            return Err(invalid(format!("{} is the mount point of {}", mount.path, mount.ufs)));
        }
        self.check_subtree_free(target)
    }

    /// What has to happen in the under-storage; `None` when it knows neither of the two.
    fn rename_effect(&self, id: InodeId, target: Option<InodeId>, command: &Rename) -> Option<Effect> {
        let source = self.inodes.get(id)?;
        if source.object == UfsObject::None {
            let target =
                target.filter(|id| self.inodes.get(*id).is_some_and(|to| to.object != UfsObject::None))?;
            return self.remove_effect(target, false);
        }
        let (mount, from) = self.ufs_place(id)?;
        let (_, to) = self.ufs_entry(InodeId(command.new_parent), &command.new_name)?;
        Some(Effect::Rename(RenameEffect {
            mount: mount.0,
            from,
            to,
            replace: command.replace,
            source_optional: source.object == UfsObject::Maybe,
        }))
    }

    fn move_entry(&mut self, step: &mut Step, id: InodeId, target: Option<InodeId>, command: &Rename) {
        let (parent, new_parent) = (InodeId(command.parent), InodeId(command.new_parent));
        self.touch(step, parent, &command.name);
        self.touch(step, new_parent, &command.new_name);
        if let Some(target) = target {
            self.take_away(step, target);
        }
        self.unlink(step, parent, &command.name);
        step.change(parent, &command.name, 0);
        let now_ms = step.now_ms;
        let name = Name::new(&command.new_name);
        self.edit(id, |inode| {
            inode.parent = new_parent;
            inode.name = name.clone();
            inode.ctime_ms = now_ms;
        });
        self.link(step, new_parent, name, id);
        step.change(new_parent, &command.new_name, 0);
        let object = self.inodes.get(id).map_or(UfsObject::None, |inode| inode.object);
        self.raise_directories(new_parent, object);
    }
}
