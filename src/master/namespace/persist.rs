//! Bringing what the cache alone holds of a file to the under-storage.

use super::Namespace;
use super::blocks::content_of;
use super::inode::UfsObject;
use super::step::{Step, invalid};
use goosefs_core::error::{Code, Error, Result};
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::proto::internal::{Fingerprint, Persistence};
use goosefs_core::proto::journal::intent::Effect;
use goosefs_core::proto::journal::{PersistEffect, PersistFile};

impl Namespace {
    /// Announces the upload of a content. One that is persisted already answers at once, and one whose upload runs
    /// answers the running intent.
    pub(super) fn persist_file(&mut self, step: &mut Step, command: &PersistFile) -> Result<()> {
        let content = content_of(command.content)?;
        let id = self.inode_of_content(content)?;
        let (inode, file) = self.file_node(id)?;
        // Whoever else writes may have grown it: the upload is of all there is, which includes what was asked for.
        let length = if file.completed { command.length } else { command.length.max(file.length) };
        if file.persisted() && file.length == length {
            step.answer(self.attr_of(id)?);
            return Ok(());
        }
        if let Some(running) = self.running_upload(id, length) {
            step.applied.intent = running;
            return Ok(());
        }
        self.check_free(id)?;
        let Some((mount, path)) = self.ufs_place(id) else {
            let text = format!("{} lies in no mounted under-storage", self.describe(id));
            return Err(invalid(text).hint("mount one above it"));
        };
        step.check_writable(self.mount_of(inode.mount))?;
        if file.persistence == Persistence::Lost {
            let text = format!("the only copy of {} was on a worker that is gone", self.describe(id));
            return Err(Error::new(Code::Lost, text));
        }
        if file.completed && file.length != length {
            let text = format!("{} has {} bytes, not {length}", self.describe(id), file.length);
            return Err(invalid(text));
        }
        self.check_blocks(id, inode, length)?;

        let effect = PersistEffect {
            mount: mount.0,
            path,
            content: content.0,
            length,
            generation: u64::from(file.generation),
        };
        let parent = inode.parent;
        self.edit(id, |inode| {
            inode.object = inode.object.max(UfsObject::Maybe);
            if let Some(file) = inode.file_mut() {
                file.set_unpersisted(Persistence::ToBePersisted);
            }
        });
        self.raise_directories(parent, UfsObject::Maybe);
        self.announce(step, Effect::Persist(effect), vec![id], Vec::new());
        Ok(())
    }

    fn running_upload(&self, id: InodeId, length: u64) -> Option<u64> {
        let intent = self.held_inodes.get(&id)?;
        match &self.intents.get(intent)?.intent.effect {
            Some(Effect::Persist(effect)) if effect.length == length => Some(intent.0),
            _ => None,
        }
    }

    pub(super) fn finish_persist(
        &mut self,
        step: &mut Step,
        effect: &PersistEffect,
        verified: Option<&Fingerprint>,
    ) -> Result<()> {
        let Some(verified) = verified.filter(|fingerprint| fingerprint.length == effect.length) else {
            self.abandon_persist(step, effect);
            let text = format!("the upload of {} was not verified at {} bytes", effect.path, effect.length);
            return Err(Error::new(Code::Ufs, text));
        };
        let id = self.inode_of_content(ContentId(effect.content))?;
        let (inode, file) = self.file_node(id)?;
        if u64::from(file.generation) == effect.generation && file.length == effect.length {
            self.mark_persisted(step, id, verified);
        } else {
            // Written to meanwhile: an object is there, but not of these bytes.
            let (parent, name) = (inode.parent, inode.name.clone());
            self.edit(id, |inode| inode.object = UfsObject::Present);
            self.raise_directories(parent, UfsObject::Present);
            self.touch(step, parent, name.as_str());
        }
        self.tell(step, id);
        step.answer(self.attr_of(id)?);
        Ok(())
    }

    /// The upload failed, so the bytes are where they were. An object may have been left behind all the same.
    pub(super) fn abandon_persist(&mut self, step: &mut Step, effect: &PersistEffect) {
        let Ok(id) = self.inode_of_content(ContentId(effect.content)) else { return };
        self.edit(id, |inode| {
            if let Some(file) = inode.file_mut()
                && file.persistence == Persistence::ToBePersisted
            {
                let waiting = file.waiting_state();
                file.set_unpersisted(waiting);
            }
        });
        self.tell(step, id);
    }
}
