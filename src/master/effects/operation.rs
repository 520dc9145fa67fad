//! One attempt at one side effect.

use super::{Effects, malformed};
use goosefs_core::id::MountId;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::proto::journal::{Intent, PersistEffect, RemoveEffect, RenameEffect, intent::Effect};
use goosefs_core::{Code, Result};
use goosefs_ufs::{Attributes, Ufs};
use std::sync::Arc;

impl Effects {
    /// Does it; doing it again is harmless. Gives the fingerprint of what was persisted.
    pub(super) async fn attempt(&self, intent: &Intent) -> Result<Option<Fingerprint>> {
        match intent.effect.as_ref().ok_or_else(|| malformed(intent))? {
            Effect::Remove(effect) => {
                let ufs = self.storage(effect.mount)?;
                remove(&*ufs, effect).await.map(|()| None)
            }
            Effect::Rename(effect) => {
                let ufs = self.storage(effect.mount)?;
                rename(&*ufs, effect).await.map(|()| None)
            }
            Effect::MakeDirectory(effect) => {
                let ufs = self.storage(effect.mount)?;
                for path in &effect.paths {
                    ufs.make_directory(path, &Attributes::default()).await?;
                }
                Ok(None)
            }
            Effect::Persist(effect) => self.persist(effect).await.map(Some),
        }
    }

    fn storage(&self, mount: u64) -> Result<Arc<dyn Ufs>> {
        let mount = self.journal.state().read().mount(MountId(mount))?;
        self.connectors.of(&mount)
    }

    async fn persist(&self, effect: &PersistEffect) -> Result<Fingerprint> {
        if effect.length > 0 {
            return self.uploads.upload(effect).await;
        }
        // No worker has anything of an empty file.
        let writer = self.storage(effect.mount)?.create(&effect.path, &Attributes::default()).await?;
        writer.finish().await
    }
}

async fn remove(ufs: &dyn Ufs, effect: &RemoveEffect) -> Result<()> {
    match (effect.directory, effect.recursive) {
        (true, true) => ufs.remove_all(&effect.path).await,
        (true, false) => ufs.remove(&effect.path, NodeKind::Directory).await,
        (false, _) => ufs.remove(&effect.path, NodeKind::File).await,
    }
}

async fn rename(ufs: &dyn Ufs, effect: &RenameEffect) -> Result<()> {
    let renamed = match ufs.rename(&effect.from, &effect.to, effect.replace).await {
        // Directories that were made in the namespace alone get there with the first thing that is put into them.
        Err(error) if error.code == Code::NotFound => {
            if let Some((parent, _)) = effect.to.rsplit_once('/') {
                ufs.make_directory(parent, &Attributes::default()).await?;
            }
            ufs.rename(&effect.from, &effect.to, effect.replace).await
        }
        outcome => outcome,
    };
    match renamed {
        Err(error) if error.code == Code::NotFound && effect.source_optional => {
            ufs.remove(&effect.to, NodeKind::File).await
        }
        outcome => outcome,
    }
}
