//! fuser's session on a `/dev/fuse` that was greeted before.
//!
//! fuser greets the kernel itself and cannot be told that this is done. So it greets one end of a pair of sockets, on whose
//! other end the kernel's greeting is played, as it came from the kernel or from the state that a process left; then the
//! descriptor of `/dev/fuse` takes the place of its end.

use super::table::Table;
use crate::ops::Ops;
use fuser::{Session, SessionACL};
use goosefs_core::proto::internal::{ClusterMark, MountRecord};
use goosefs_core::{Error, Result};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// Room for the kernel's greeting; it refuses to write into less than 8 KiB.
const ROOM: usize = 64 << 10;

/// Serves `device`. With `greeted` the kernel was greeted by a predecessor; else it is now, and `table` remembers how, and
/// of which cluster the kernel is told.
///
/// # Errors
/// What the kernel says.
pub(crate) fn over(
    device: &OwnedFd,
    ops: Ops,
    options: fuser::Config,
    table: &Table,
    greeted: Option<&MountRecord>,
    cluster: Option<ClusterMark>,
) -> Result<Session<Ops>> {
    let failed = |error: io::Error| Error::io("greet the kernel", error);
    let init = match greeted {
        Some(mount) => mount.init.to_vec(),
        None => read(device.as_fd()).map_err(failed)?,
    };
    let (played, session_end) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|error| failed(error.into()))?;
    send(played.as_raw_fd(), &init, MsgFlags::MSG_NOSIGNAL).map_err(|error| failed(error.into()))?;
    let session = Session::from_fd(ops, session_end, SessionACL::All, options).map_err(failed)?;
    let mut answer = vec![0; ROOM];
    let length = recv(played.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)
        .map_err(|error| failed(error.into()))?;
    answer.truncate(length);
    match greeted {
        None => {
            nix::unistd::write(device, &answer).map_err(|error| failed(error.into()))?;
            table.agreed(&MountRecord { init: init.into(), agreed: answer.into(), cluster })?;
        }
        Some(mount) => {
            if mount.agreed[..] != answer[..] {
                tracing::info!("this mount keeps the settings of the process that made it");
            }
            if mount.cluster.is_none() {
                table.agreed(&MountRecord { cluster, ..mount.clone() })?;
            }
        }
    }
    replace(session.as_fd(), device.as_fd()).map_err(failed)?;
    Ok(session)
}

fn read(device: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    let mut request = vec![0; ROOM];
    loop {
        match nix::unistd::read(device, &mut request) {
            Ok(length) => {
                request.truncate(length);
                return Ok(request);
            }
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN | nix::errno::Errno::ENOENT) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Puts what is behind `by` in the place of what is behind `of`, for everybody who uses that descriptor.
pub(crate) fn replace(of: BorrowedFd<'_>, by: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both descriptors are open for the call. Who owns `of` goes on owning it: only what it refers to changes.
    #[allow(unsafe_code)]
    let replaced = unsafe { libc::dup3(by.as_raw_fd(), of.as_raw_fd(), libc::O_CLOEXEC) };
    if replaced < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
