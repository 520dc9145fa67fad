//! The kernel's side of one mount over `/dev/fuse`: backing files and invalidations.

use crate::kernel::Kernel;
use fuser::{BackingId, INodeNo, Notifier};
use parking_lot::RwLock;
use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `FUSE_NOTIFY_INC_EPOCH`: every name that the kernel remembers is void. Linux 6.16 and later.
const INC_EPOCH: i32 = 8;

// FUSE_DEV_IOC_MAGIC is 229; fuser closes an id only by the drop of a value that needs a reply to be made.
nix::ioctl_write_ptr!(backing_close, 229, 2, u32);

struct Channel {
    file: OwnedFd,
    notifier: Notifier,
}

/// The kernel behind a descriptor of `/dev/fuse`. Set after mounting, gone at the end.
#[derive(Default)]
pub(crate) struct Device {
    channel: RwLock<Option<Channel>>,
}

impl Device {
    /// The mount is there.
    pub(crate) fn set(&self, file: OwnedFd, notifier: Notifier) {
        *self.channel.write() = Some(Channel { file, notifier });
    }

    /// The mount is going: no descriptor may keep its connection alive.
    pub(crate) fn clear(&self) {
        *self.channel.write() = None;
    }

    fn tell(&self, what: &str, tell: impl FnOnce(&Channel) -> io::Result<()>) {
        let channel = self.channel.read();
        let Some(channel) = &*channel else { return };
        match tell(channel) {
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

impl Kernel for Device {
    fn register(&self, file: BorrowedFd<'_>) -> io::Result<u32> {
        match &*self.channel.read() {
            Some(channel) => BackingId::create_raw(channel.file.as_fd(), file),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn unregister(&self, id: u32) {
        self.tell("close backing file", |channel| {
            // SAFETY: the descriptor is open for the call, and the kernel reads four bytes at a valid address.
            #[allow(unsafe_code)]
            let closed = unsafe { backing_close(channel.file.as_raw_fd(), &id) };
            closed.map(drop).map_err(io::Error::from)
        });
    }

    fn entry_changed(&self, parent: u64, name: &str) {
        self.tell("entry", |channel| channel.notifier.inval_entry(INodeNo(parent), OsStr::new(name)));
    }

    fn node_changed(&self, node: u64) {
        self.tell("node", |channel| channel.notifier.inval_inode(INodeNo(node), 0, 0));
    }

    fn everything_changed(&self) {
        self.tell("epoch", |channel| {
            // fuse_out_header: length, error (here the notification's number), unique (0 for a notification).
            let mut message = [0_u8; 16];
            message[..4].copy_from_slice(&16_u32.to_ne_bytes());
            message[4..8].copy_from_slice(&INC_EPOCH.to_ne_bytes());
            let mut file = std::fs::File::from(channel.file.try_clone()?);
            file.write_all(&message)
        });
    }
}
