//! The socket under a connection: TCP or Unix, used by its reader and its writer at the same time.

use socket2::SockRef;
use std::fs::File;
use std::io::{self, ErrorKind, IoSlice};
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use tokio::io::Interest;
use tokio::net::{TcpStream, UnixStream};

/// A connected stream socket.
#[derive(Debug)]
pub(crate) enum Socket {
    /// Over the network.
    Tcp(TcpStream),
    /// On this machine.
    Unix(UnixStream),
}

impl Socket {
    /// Waits until reading may succeed.
    pub(crate) async fn readable(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.readable().await,
            Socket::Unix(stream) => stream.readable().await,
        }
    }

    /// Waits until writing may succeed.
    pub(crate) async fn writable(&self) -> io::Result<()> {
        match self {
            Socket::Tcp(stream) => stream.writable().await,
            Socket::Unix(stream) => stream.writable().await,
        }
    }

    /// Reads what is there; 0 at the end of the stream, `WouldBlock` when nothing is there.
    pub(crate) fn try_read(&self, into: &mut [u8]) -> io::Result<usize> {
        let (room, mut brought) = (into.len(), 0);
        let read = match self {
            Socket::Tcp(stream) => {
                stream.try_io(Interest::READABLE, || emptied(stream.try_read(into), room, &mut brought))
            }
            Socket::Unix(stream) => {
                stream.try_io(Interest::READABLE, || emptied(stream.try_read(into), room, &mut brought))
            }
        };
        if brought > 0 { Ok(brought) } else { read.map(|()| 0) }
    }

    /// Writes what fits.
    pub(crate) fn try_write(&self, from: &[u8]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write(from),
            Socket::Unix(stream) => stream.try_write(from),
        }
    }

    /// Writes what fits of several buffers.
    pub(crate) fn try_write_vectored(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => stream.try_write_vectored(from),
            Socket::Unix(stream) => stream.try_write_vectored(from),
        }
    }

    /// Sends what fits of `length` bytes of `file` from `offset` without copying them through this process.
    pub(crate) fn try_send_file(&self, file: &File, offset: u64, length: usize) -> io::Result<usize> {
        match self {
            Socket::Tcp(stream) => {
                stream.try_io(Interest::WRITABLE, || send_file(stream.as_raw_fd(), file, offset, length))
            }
            Socket::Unix(stream) => {
                stream.try_io(Interest::WRITABLE, || send_file(stream.as_raw_fd(), file, offset, length))
            }
        }
    }

    /// Ends the connection both ways; a waiting reader and writer wake up.
    pub(crate) fn shutdown(&self) {
        // A socket that the peer has already reset says ENOTCONN: then there is nothing left to do.
        let _ = match self {
            Socket::Tcp(stream) => SockRef::from(stream).shutdown(Shutdown::Both),
            Socket::Unix(stream) => SockRef::from(stream).shutdown(Shutdown::Both),
        };
    }
}

/// A read that brought less than there was room for has emptied the socket, and epoll(7) reports what comes next. Saying
/// `WouldBlock` has tokio wait for that, where the next read would ask the kernel in vain.
fn emptied(read: io::Result<usize>, room: usize, brought: &mut usize) -> io::Result<()> {
    *brought = read?;
    if *brought > 0 && *brought < room { Err(ErrorKind::WouldBlock.into()) } else { Ok(()) }
}

#[allow(unsafe_code)]
fn send_file(socket: i32, file: &File, offset: u64, length: usize) -> io::Result<usize> {
    let mut position = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: both descriptors are open, because the caller borrows the socket and the file for the whole call, and
    // `position` is a valid off_t that outlives the call.
    let sent = unsafe { libc::sendfile(socket, file.as_raw_fd(), &raw mut position, length) };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
