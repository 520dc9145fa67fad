//! Handing out descriptors of whole, trusted containers.
//!
//! The record that a descriptor left is flushed before it leaves, because from then on the kernel may read the file
//! without asking: it is never punched again, only unlinked. A [`Lease`] keeps the container from being evicted; it
//! ends when it is dropped.

use super::container;
use super::index::{DirId, HandOutState, Incarnation, Input};
use super::store::Store;
use crate::id::{ContainerId, ContentId};
use crate::{Error, Result};
use std::fs::File;
use std::os::fd::OwnedFd;

/// Answer to the wish for a descriptor.
#[derive(Debug)]
pub enum HandOut {
    /// The content is not wholly in one directory.
    Absent,
    /// It is, but was not verified since an unclean stop; see [`Store::verify`].
    Untrusted,
    /// Here it is.
    Ready {
        /// The file, open for reading.
        file: OwnedFd,
        /// The directory lies on a stacked file system.
        stacked: bool,
        /// Keeps it from eviction.
        lease: Lease,
    },
}

/// Keeps a container from being evicted.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    container: ContainerId,
    incarnation: Incarnation,
}

impl Store {
    /// Hands out the descriptor of a content of `length` bytes, if all of it is here and trusted. Blocks.
    pub fn hand_out(&self, content: ContentId, generation: u64, length: u64) -> Result<HandOut> {
        let container = content.container();
        let state = self.inner.index.lock().hand_out(container, generation, length, self.now_ms());
        let (dir, incarnation, first) = match state {
            HandOutState::Absent => return Ok(HandOut::Absent),
            HandOutState::Untrusted => return Ok(HandOut::Untrusted),
            HandOutState::Granted { dir, incarnation, first } => (dir, incarnation, first),
        };
        let lease = Lease { store: self.clone(), container, incarnation };
        if first {
            self.dir(dir).mirror.mark([super::record::Key::Container(container)]);
            self.sync_mirror(dir, true)?;
        }
        match self.open_for_hand_out(dir, container, length) {
            Ok(file) if self.inner.index.lock().is_current(container, incarnation) => {
                let stacked = self.dir(dir).abilities.stacked;
                Ok(HandOut::Ready { file: file.into(), stacked, lease })
            }
            Ok(_) => Ok(HandOut::Absent),
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => Ok(HandOut::Absent),
            Err(cause) => Err(Error::io(format_args!("open container {container}"), cause)),
        }
    }

    /// The file's length must be the content's: passthrough reads end where the file does. A writer that gave up may
    /// have left it longer.
    fn open_for_hand_out(&self, dir: DirId, id: ContainerId, length: u64) -> std::io::Result<File> {
        let path = &self.dir(dir).path;
        let file = container::open_read_only(path, id)?;
        if file.metadata()?.len() != length {
            container::open(path, id)?.set_len(length)?;
        }
        Ok(file)
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let (container, incarnation, now_ms) = (self.container, self.incarnation, self.store.now_ms());
        self.store.inner.index.lock().apply(Input::LeaseEnded { container, incarnation, now_ms });
    }
}
