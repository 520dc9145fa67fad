//! The thread that tells the kernel of changed names.
//!
//! The kernel takes such news under the directory's lock, which a call holds that this process has to answer: a process
//! that is killed meanwhile leaves this thread behind, waiting where no signal reaches it. So it has descriptors of its
//! own, that of the mount and no other: whoever watches the process sees its connections close, and without a holder the
//! kernel ends the calls that nobody will answer. Called by [`crate::device`].

use goosefs_core::{Error, Result};
use nix::sched::{CloneFlags, unshare};
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::mpsc;

/// Standard streams stay open: what is logged goes there.
const STREAMS: RawFd = 2;

/// A notification and who waits until the kernel has taken it.
struct News {
    message: Vec<u8>,
    taken: mpsc::Sender<io::Result<()>>,
}

/// Dropped, it lets its thread end.
pub(crate) struct Teller {
    news: mpsc::Sender<News>,
}

impl Teller {
    /// A thread that writes to `fuse`, which should be an own clone of the mount's device: while a copy of the device itself
    /// is open, the kernel waits for the answers to all that was read from it.
    ///
    /// # Errors
    /// `Io` when there is no thread to be had.
    pub(crate) fn start(fuse: OwnedFd) -> Result<Teller> {
        let (news, told) = mpsc::channel();
        let (settle, settled) = mpsc::channel();
        std::thread::Builder::new()
            .name("fuse-teller".to_owned())
            .spawn(move || {
                let alone = unshare(CloneFlags::CLONE_FILES);
                if alone.is_ok() {
                    close_all_but(fuse.as_fd());
                }
                // Who started this thread waits for it.
                let _ = settle.send(alone.map(|()| fuse.as_raw_fd()));
                tell(fuse.as_fd(), &told);
            })
            .map_err(|error| Error::io("start the thread that tells the kernel of changes", error))?;
        match settled.recv() {
            // In everyone's table it would stay open.
            Ok(Ok(unshared)) => close(unshared),
            Ok(Err(error)) => {
                tracing::debug!(%error, "the thread that tells the kernel of changes shares its descriptors");
            }
            Err(_) => {}
        }
        Ok(Teller { news })
    }

    /// Tells the kernel, and waits until it has taken it.
    pub(crate) fn tell(&self, message: Vec<u8>) -> io::Result<()> {
        let (taken, answer) = mpsc::channel();
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        self.news.send(News { message, taken }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

fn tell(fuse: BorrowedFd<'_>, told: &mpsc::Receiver<News>) {
    while let Ok(News { message, taken }) = told.recv() {
        let outcome = nix::sys::uio::writev(fuse, &[IoSlice::new(&message)]);
        // Who told it may be gone.
        let _ = taken.send(outcome.map(drop).map_err(io::Error::from));
    }
}

/// Closes, in this thread's own table, all but `kept` and the standard streams.
fn close_all_but(kept: BorrowedFd<'_>) {
    match open_descriptors() {
        Ok(all) => {
            all.into_iter().filter(|number| *number > STREAMS && *number != kept.as_raw_fd()).for_each(close)
        }
        Err(error) => tracing::debug!(%error, "which descriptors are open is not known"),
    }
}

/// The numbers of this thread's table, and that by which they were listed, closed by now.
fn open_descriptors() -> io::Result<Vec<RawFd>> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir("/proc/thread-self/fd")? {
        all.extend(entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()));
    }
    Ok(all)
}

fn close(number: RawFd) {
    if let Err(error) = nix::unistd::close(number) {
        // That of the listed folder is closed already.
        tracing::trace!(%error, number, "closing a descriptor");
    }
}
