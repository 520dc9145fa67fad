//! Asks a mount whether its daemon lives. The question hangs while the daemon is away, so each is asked on a thread of
//! its own, and never a second one while the first is open.

use goosefs_core::mountinfo::Mount;
use goosefs_core::{Error, Result};
use nix::errno::Errno;
use nix::sys::statvfs::{Statvfs, statvfs};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What a mount has room for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Space {
    /// Bytes: all, used, free for everybody.
    pub(super) bytes: [u64; 3],
    /// Files: all, used, free.
    pub(super) files: [u64; 3],
}

impl Space {
    fn of(found: &Statvfs) -> Space {
        let size = found.fragment_size();
        let bytes = |blocks: u64| blocks.saturating_mul(size);
        let used = found.blocks().saturating_sub(found.blocks_free());
        Space {
            bytes: [bytes(found.blocks()), bytes(used), bytes(found.blocks_available())],
            files: [found.files(), found.files().saturating_sub(found.files_free()), found.files_available()],
        }
    }
}

/// What a mount answered.
type Answer = std::result::Result<Space, Errno>;

/// Questions that are open, by the device of the mount.
#[derive(Clone, Default, Debug)]
pub(super) struct Probes(Arc<Mutex<BTreeMap<String, watch::Receiver<Option<Answer>>>>>);

/// Whether this answer says that the daemon is gone for good.
pub(super) fn is_dead(errno: Errno) -> bool {
    matches!(errno, Errno::ENOTCONN | Errno::ECONNABORTED)
}

impl Probes {
    /// What the mount answers; waits for ever when it does not.
    ///
    /// # Errors
    /// When no thread can be had.
    pub(super) async fn ask(&self, mount: &Mount) -> Result<Answer> {
        let mut answer = self.question(mount)?;
        let answered = answer.wait_for(Option::is_some).await.map(|answer| *answer);
        // A thread that ended without an answer has left the mount as unknown as before.
        Ok(answered.ok().flatten().unwrap_or(Err(Errno::EIO)))
    }

    fn question(&self, mount: &Mount) -> Result<watch::Receiver<Option<Answer>>> {
        let mut open = self.0.lock();
        if let Some(answer) = open.get(&mount.device) {
            return Ok(answer.clone());
        }
        let (tell, answer) = watch::channel(None);
        let (probes, mount) = (self.clone(), mount.clone());
        let device = mount.device.clone();
        std::thread::Builder::new()
            .name("csi-statvfs".to_owned())
            .spawn(move || {
                let found = statvfs(&mount.mount_point).map(|found| Space::of(&found));
                probes.0.lock().remove(&mount.device);
                tell.send_replace(Some(found));
            })
            .map_err(|error| Error::io("start a thread that asks a mount", error))?;
        open.insert(device, answer.clone());
        Ok(answer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[tokio::test]
    async fn a_mount_that_lives_says_what_it_has() {
        let mount = goosefs_core::mountinfo::at(Path::new("/proc")).unwrap();
        let probes = Probes::default();
        assert!(probes.ask(&mount).await.unwrap().is_ok());
        assert!(probes.0.lock().is_empty());
    }
}
