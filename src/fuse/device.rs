//! The kernel's side of one mount over `/dev/fuse`: backing files and invalidations.

use crate::kernel::Kernel;
use crate::park::table::Table;
use crate::teller::Teller;
use fuser::BackingId;
use goosefs_core::{Error, Result};
use parking_lot::{Mutex, RwLock};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

// Numbers of notifications (`fuse_notify_code`). fuser writes the first two without the flag and the third not at all.
const INVAL_INODE: i32 = 2;
const INVAL_ENTRY: i32 = 3;
/// Linux 6.9 and later.
const RESEND: i32 = 7;
/// Linux 6.16 and later.
const INC_EPOCH: i32 = 8;

/// `FUSE_EXPIRE_ONLY`: the name is looked up again at its next use. Dropping it, which kernels before 6.2 do, would leave
/// a process in a directory that was only told of without its path.
const EXPIRE_ONLY: u32 = 1;

// FUSE_DEV_IOC_MAGIC is 229; fuser closes an id only by the drop of a value that needs a reply to be made.
nix::ioctl_write_ptr!(backing_close, 229, 2, u32);

// FUSE_DEV_IOC_CLONE: the new descriptor joins the connection of the one whose number is given.
nix::ioctl_read!(join_connection, 229, 0, u32);

/// The kernel behind a descriptor of `/dev/fuse`. Set after mounting, gone at the end.
#[derive(Default)]
pub(crate) struct Device {
    channel: RwLock<Option<OwnedFd>>,
    /// Who tells of names.
    teller: Mutex<Option<Teller>>,
    /// Where numbers of backing files are kept for the next process.
    table: OnceLock<Arc<Table>>,
    /// Held while the kernel takes a notification, which may wait for a call that this process has to answer.
    telling: Mutex<()>,
    /// The kernel is told nothing any more.
    hushed: AtomicBool,
}

impl Device {
    /// The mount is there.
    ///
    /// # Errors
    /// As [`Teller::start`].
    pub(crate) fn set(&self, file: OwnedFd) -> Result<()> {
        let own = clone_device(&file).or_else(|error| {
            tracing::debug!(%error, "/dev/fuse cannot be cloned");
            file.try_clone()
        });
        let own = own.map_err(|error| Error::io("duplicate the descriptor of /dev/fuse", error))?;
        *self.teller.lock() = Some(Teller::start(own)?);
        *self.channel.write() = Some(file);
        Ok(())
    }

    /// Numbers of backing files are kept in `table` from now on.
    pub(crate) fn remember(&self, table: Arc<Table>) {
        // It is set once, before the first file is opened.
        drop(self.table.set(table));
    }

    /// A copy of the descriptor, while there is one.
    pub(crate) fn copy(&self) -> Option<OwnedFd> {
        self.channel.read().as_ref()?.try_clone().ok()
    }

    /// Goes on with the connection of another process: what that read and did not answer comes again, what the kernel knows
    /// is looked up again, and backing files with the numbers `unused` are closed.
    pub(crate) fn resume(&self, unused: &[u32]) {
        for id in unused {
            self.unregister(*id);
        }
        self.notify("resend", RESEND, &[]);
        self.everything_changed();
    }

    /// Tells the kernel nothing any more, and waits up to `patience` until it has taken what it is being told. For who serves
    /// no longer: a notification that waits for a call that nobody answers keeps its process from ending.
    pub(crate) async fn hush(self: &Arc<Self>, patience: Duration) {
        let device = self.clone();
        self.hushed.store(true, Ordering::Relaxed);
        let told = tokio::task::spawn_blocking(move || device.telling.try_lock_for(patience).is_some());
        if !told.await.unwrap_or(false) {
            tracing::warn!("the kernel is still being told of a change: this process may end late");
        }
    }

    /// The mount is going: no descriptor may keep its connection alive.
    pub(crate) fn clear(&self) {
        *self.teller.lock() = None;
        *self.channel.write() = None;
    }

    fn notify(&self, what: &str, number: i32, parts: &[&[u8]]) {
        let Some(message) = notification(number, parts) else { return };
        self.in_turn(|| {
            self.tell(what, |channel| {
                nix::unistd::write(channel, &message).map(drop).map_err(io::Error::from)
            });
        });
    }

    /// Tells one thing at a time, and nothing any more once it is hushed.
    fn in_turn(&self, tell: impl FnOnce()) {
        let _telling = self.telling.lock();
        if !self.hushed.load(Ordering::Relaxed) {
            tell();
        }
    }

    fn tell(&self, what: &str, tell: impl FnOnce(&OwnedFd) -> io::Result<()>) {
        if let Some(channel) = &*self.channel.read() {
            self.was_told(what, tell(channel));
        }
    }

    fn was_told(&self, what: &str, outcome: io::Result<()>) {
        match outcome {
            Ok(()) => {}
            // ENOTDIR, ENOTEMPTY and ENOENT say that the kernel does not have it, or keeps it because it is in use.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::ENOENT | libc::ENOTDIR | libc::ENOTEMPTY | libc::ENOTCONN | libc::ENODEV)
                ) => {}
            Err(error) => tracing::debug!(%error, what, "the kernel did not take an invalidation"),
        }
    }
}

/// Another device of the same connection.
fn clone_device(fuse: &OwnedFd) -> io::Result<OwnedFd> {
    let clone = std::fs::OpenOptions::new().read(true).write(true).open("/dev/fuse")?;
    let mut number = fuse.as_raw_fd() as u32;
    // SAFETY: both descriptors are open for the call, and the kernel reads four bytes at a valid address.
    #[allow(unsafe_code)]
    unsafe { join_connection(clone.as_raw_fd(), &raw mut number) }?;
    Ok(clone.into())
}

/// fuse_out_header (length, the notification's number, 0 for "no request"), then its parts.
fn notification(number: i32, parts: &[&[u8]]) -> Option<Vec<u8>> {
    let length = 16 + parts.iter().map(|part| part.len()).sum::<usize>();
    let length = u32::try_from(length).ok()?;
    let header = [&length.to_ne_bytes()[..], &number.to_ne_bytes(), &0_u64.to_ne_bytes()];
    Some([header.concat(), parts.concat()].concat())
}

impl Kernel for Device {
    fn register(&self, file: BorrowedFd<'_>) -> io::Result<u32> {
        match &*self.channel.read() {
            Some(channel) => {
                let id = BackingId::create_raw(channel.as_fd(), file)?;
                if let Some(table) = self.table.get() {
                    table.numbered(id);
                }
                Ok(id)
            }
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn unregister(&self, id: u32) {
        self.tell("close backing file", |channel| {
            // SAFETY: the descriptor is open for the call, and the kernel reads four bytes at a valid address.
            #[allow(unsafe_code)]
            let closed = unsafe { backing_close(channel.as_raw_fd(), &id) };
            closed.map(drop).map_err(io::Error::from)
        });
    }

    fn entry_changed(&self, parent: u64, name: &str) {
        let Ok(length) = u32::try_from(name.len()) else { return };
        let parts = [&parent.to_ne_bytes()[..], &length.to_ne_bytes(), &EXPIRE_ONLY.to_ne_bytes()];
        let Some(message) = notification(INVAL_ENTRY, &[&parts.concat(), name.as_bytes(), &[0]]) else {
            return;
        };
        self.in_turn(|| {
            if let Some(teller) = &*self.teller.lock() {
                self.was_told("entry", teller.tell(message));
            }
        });
    }

    fn node_changed(&self, node: u64) {
        // An offset below zero leaves the pages. The kernel voids them itself when the attributes, which it now asks
        // for, have another time or size (FUSE_AUTO_INVAL_DATA).
        let parts = [node.to_ne_bytes(), (-1_i64).to_ne_bytes(), 0_i64.to_ne_bytes()];
        self.notify("node", INVAL_INODE, &[&parts.concat()]);
    }

    fn everything_changed(&self) {
        self.notify("epoch", INC_EPOCH, &[]);
    }
}
