//! Making files, directories and symlinks.

use super::Namespace;
use super::inode::{Body, File, Inode, NO_MTIME, UfsObject, writes_through};
use super::step::{Step, invalid};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::InodeId;
use goosefs_core::path::{PATH_MAX, check_name};
use goosefs_core::proto::internal::{Persistence, WriteType};
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{CreateFile, MakeDirectory, MakeDirectoryEffect, MakeSymlink};

/// Block sizes a file may have.
const BLOCK_SIZES: std::ops::RangeInclusive<u64> = 1..=1 << 40;

/// Permission bits of directories that a file's creation makes on the way.
const MISSING_MODE: u32 = 0o755;

impl Namespace {
    pub(super) fn create_file(&mut self, step: &mut Step, command: &CreateFile) -> Result<()> {
        let (at, missing) = self.check_room(step, command.parent, &command.missing, &command.name)?;
        if !BLOCK_SIZES.contains(&command.block_size) {
            return Err(invalid(format!("a block size of {} bytes is not allowed", command.block_size))
                .hint("give 1 byte to 1 TiB"));
        }
        if missing.is_empty() && self.child(at, &command.name)?.is_some() {
            return Err(self.already_exists(at, &command.name));
        }
        self.check_containers(missing.len() as u64 + 1)?;

        let write_type = match command.write_type() {
            WriteType::Unspecified => WriteType::MustCache,
            given => given,
        };
        // Who writes through may leave an object (and its directories) before anything else is logged.
        let object = if writes_through(write_type) { UfsObject::Maybe } else { UfsObject::None };
        let parent = self.make_directories(step, at, missing, MISSING_MODE, UfsObject::None);
        let container = self.draw_container();
        let file = File {
            container,
            length: 0,
            block_size: command.block_size,
            checked_ms: 0,
            ufs_mtime_ms: NO_MTIME,
            etag: None,
            generation: 1,
            write_type,
            persistence: Persistence::NotPersisted,
            completed: false,
        };
        let mut inode = self.fresh(step, parent, &command.name, command.mode, Body::File(file));
        if inode.mount.id().is_some() {
            inode.object = object;
            self.raise_directories(parent, object);
        }
        set_writer(&mut inode, step);
        self.add(step, parent, &command.name, container, inode);
        step.answer(self.attr_of(container.inode())?);
        Ok(())
    }

    pub(super) fn make_directory(&mut self, step: &mut Step, command: &MakeDirectory) -> Result<()> {
        let (at, missing) = self.check_room(step, command.parent, &command.missing, &command.name)?;
        if missing.is_empty()
            && let Some(id) = self.child(at, &command.name)?
        {
            return self.directory_exists(step, at, id, command);
        }
        let mut names = missing.to_vec();
        names.push(command.name.clone());
        self.check_containers(names.len() as u64)?;

        let mut object = UfsObject::None;
        if command.through && self.node(at)?.mount.id().is_some() {
            if !step.effect_done {
                return self.announce_directories(step, at, &names);
            }
            object = UfsObject::Present;
        }
        let made = self.make_directories(step, at, &names, command.mode, object);
        if object == UfsObject::Present {
            self.raise_directories(at, UfsObject::Present);
            self.touch(step, at, &names[0]);
        }
        step.answer(self.attr_of(made)?);
        Ok(())
    }

    pub(super) fn make_symlink(&mut self, step: &mut Step, command: &MakeSymlink) -> Result<()> {
        let (at, _) = self.check_room(step, command.parent, &[], &command.name)?;
        if command.target.is_empty() || command.target.contains('\0') {
            return Err(invalid("the target of a symlink is empty or has a NUL"));
        }
        if command.target.len() > PATH_MAX {
            let text = format!("a symlink's target of {} bytes is over {PATH_MAX}", command.target.len());
            return Err(Error::new(Code::NameTooLong, text));
        }
        if self.child(at, &command.name)?.is_some() {
            return Err(self.already_exists(at, &command.name));
        }
        self.check_containers(1)?;
        let container = self.draw_container();
        let inode = self.fresh(step, at, &command.name, 0o777, Body::Symlink(command.target.as_str().into()));
        self.add(step, at, &command.name, container, inode);
        step.answer(self.attr_of(container.inode())?);
        Ok(())
    }

    /// Whether an entry may be made: the deepest directory that exists, and the directories to be made below it.
    fn check_room<'n>(
        &self,
        step: &Step,
        parent: u64,
        missing: &'n [String],
        name: &str,
    ) -> Result<(InodeId, &'n [String])> {
        check_name(name)?;
        let (at, missing) = self.descend(InodeId(parent), missing)?;
        self.check_free(at)?;
        self.check_name_free(at, missing.first().map_or(name, String::as_str))?;
        step.check_writable(self.mount_of(self.node(at)?.mount))?;
        Ok((at, missing))
    }

    fn directory_exists(
        &self,
        step: &mut Step,
        at: InodeId,
        id: InodeId,
        command: &MakeDirectory,
    ) -> Result<()> {
        if !command.allow_exists || self.node(id)?.directory().is_none() {
            return Err(self.already_exists(at, &command.name));
        }
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    fn announce_directories(&mut self, step: &mut Step, at: InodeId, names: &[String]) -> Result<()> {
        let Some((mount, mut path)) = self.ufs_place(at) else {
            return Err(Error::new(Code::Internal, "a mounted directory has no place in its under-storage"));
        };
        let mut paths = self.missing_in_ufs(at);
        for name in names {
            path = if path.is_empty() { name.clone() } else { format!("{path}/{name}") };
            paths.push(path.clone());
        }
        let effect = Effect::MakeDirectory(MakeDirectoryEffect { mount: mount.0, paths });
        self.announce(step, effect, Vec::new(), vec![(at, names[0].clone())]);
        Ok(())
    }

    /// The directories from `id` up that the under-storage may lack, outermost first.
    fn missing_in_ufs(&self, id: InodeId) -> Vec<String> {
        let mut paths = Vec::new();
        let mut at = id;
        while let Some(inode) = self.inodes.get(at) {
            if inode.object == UfsObject::Present {
                break;
            }
            paths.extend(self.ufs_place(at).map(|(_, path)| path).filter(|path| !path.is_empty()));
            if at == InodeId::ROOT || self.mounted_at(at).is_some() {
                break;
            }
            at = inode.parent;
        }
        paths.reverse();
        paths
    }

    pub(super) fn already_exists(&self, parent: InodeId, name: &str) -> Error {
        Error::new(Code::AlreadyExists, format!("{} already exists", self.describe_entry(parent, name)))
    }
}

/// Who writes the file from now on, as far as it says so: a client of ours by its session.
pub(super) fn set_writer(inode: &mut Inode, step: &Step) {
    if let Some(op) = &step.entry.session_op {
        inode.extra_mut().writer = op.session;
    }
}
