//! Frames with descriptors on a Unix socket.

use crate::error::{Code, Error, Result};
use crate::rpc::frame::broken;
use crate::rpc::frame::wire::{self, HEADER, Header, Kind, MAGIC, MAX_HELLO};
use bytes::{Buf, Bytes, BytesMut};
use nix::errno::Errno;
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use prost::Message;
use std::collections::VecDeque;
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Bytes taken from the socket at a time.
const CHUNK: usize = 8 << 10;

/// Descriptors that may arrive with one chunk; the kernel never joins the descriptors of two messages.
const DESCRIPTORS: usize = 4;

/// Sends `bytes` whole, `descriptors` with the first of them.
///
/// # Errors
/// `Busy` when the kernel has too many descriptors in flight and nothing was sent, `Unavailable` when the connection
/// broke.
pub(in crate::rpc) async fn send(
    stream: &UnixStream,
    mut bytes: &[u8],
    mut descriptors: &[BorrowedFd<'_>],
) -> Result<()> {
    while !bytes.is_empty() {
        stream.writable().await.map_err(broken)?;
        match stream.try_io(Interest::WRITABLE, || send_some(stream.as_raw_fd(), bytes, descriptors)) {
            Ok(count) => {
                descriptors = &[];
                bytes = &bytes[count..];
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(error) if error.raw_os_error() == Some(libc::ETOOMANYREFS) => {
                return Err(Error::new(Code::Busy, "too many descriptors are on their way").caused_by(error));
            }
            Err(error) => return Err(broken(error)),
        }
    }
    Ok(())
}

fn send_some(socket: RawFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<usize> {
    let slices = [IoSlice::new(bytes)];
    let rights: Vec<RawFd> = descriptors.iter().map(AsRawFd::as_raw_fd).collect();
    let control = [ControlMessage::ScmRights(&rights)];
    let control = if rights.is_empty() { &control[..0] } else { &control[..] };
    let sent = sendmsg::<()>(socket, &slices, control, MsgFlags::MSG_NOSIGNAL, None);
    Ok(sent?)
}

/// A frame with `message` as bytes.
///
/// # Errors
/// `InvalidArgument` when the message is too long.
pub(in crate::rpc) fn frame<M: Message>(header: Header, message: &M) -> Result<BytesMut> {
    let mut out = BytesMut::new();
    wire::encode(header, message, &mut out)?;
    Ok(out)
}

/// The frame that ends request `number` with `error`.
pub(in crate::rpc) fn error_frame(number: u32, error: &Error) -> Result<BytesMut> {
    frame(Header::new(Kind::Error, number), &error.to_wire())
}

/// The error of an `Error` frame.
pub(in crate::rpc) fn decode_error(message: Bytes) -> Error {
    crate::proto::internal::WireError::decode(message)
        .map_or_else(|_| Error::new(Code::Internal, "an error that cannot be read"), Error::from_wire)
}

/// Takes frames and descriptors off a socket.
#[derive(Debug, Default)]
pub(in crate::rpc) struct Receiver {
    buffer: BytesMut,
    descriptors: VecDeque<OwnedFd>,
}

impl Receiver {
    /// Takes the magic number.
    ///
    /// # Errors
    /// `Unavailable` when the peer speaks something else.
    pub(in crate::rpc) async fn magic(&mut self, stream: &UnixStream) -> Result<()> {
        while self.buffer.len() < MAGIC.len() {
            if !self.fill(stream).await? {
                return Err(Error::new(Code::Unavailable, "the connection was closed by the other side"));
            }
        }
        if self.buffer.split_to(MAGIC.len()) == MAGIC[..] {
            return Ok(());
        }
        Err(Error::new(Code::Unavailable, "the other side does not hand out descriptors"))
    }

    /// The next frame; `None` when the peer has closed the connection between two.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke, `Corrupt` for a frame outside the limits.
    pub(in crate::rpc) async fn next(&mut self, stream: &UnixStream) -> Result<Option<(Header, Bytes)>> {
        loop {
            if let Some(bytes) = self.buffer.first_chunk::<HEADER>() {
                let header = Header::decode(bytes, MAX_HELLO)?;
                if self.buffer.len() >= HEADER + header.body() {
                    self.buffer.advance(HEADER);
                    return Ok(Some((header, self.buffer.split_to(header.body()).freeze())));
                }
            }
            if !self.fill(stream).await? && self.buffer.is_empty() {
                return Ok(None);
            }
        }
    }

    /// Reads until the peer closes the connection.
    ///
    /// # Errors
    /// `Unavailable` when the connection broke.
    pub(in crate::rpc) async fn drain(&mut self, stream: &UnixStream) -> Result<()> {
        while self.fill(stream).await? {
            self.buffer.clear();
            self.descriptors.clear();
        }
        Ok(())
    }

    /// The oldest descriptor that has arrived.
    pub(in crate::rpc) fn descriptor(&mut self) -> Option<OwnedFd> {
        self.descriptors.pop_front()
    }

    /// Whether descriptors arrived that nothing asked for.
    pub(in crate::rpc) fn holds_descriptors(&self) -> bool {
        !self.descriptors.is_empty()
    }

    /// Takes what has arrived; false at the end of the stream.
    async fn fill(&mut self, stream: &UnixStream) -> Result<bool> {
        loop {
            stream.readable().await.map_err(broken)?;
            match stream.try_io(Interest::READABLE, || receive_some(stream.as_raw_fd())) {
                Ok((bytes, descriptors)) => {
                    self.descriptors.extend(descriptors);
                    self.buffer.extend_from_slice(&bytes);
                    if bytes.is_empty() && !self.buffer.is_empty() {
                        return Err(Error::new(Code::Unavailable, "the connection ended within a frame"));
                    }
                    return Ok(!bytes.is_empty());
                }
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(error) => return Err(broken(error)),
            }
        }
    }
}

fn receive_some(socket: RawFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut bytes = vec![0; CHUNK];
    let mut control = nix::cmsg_space!([RawFd; DESCRIPTORS]);
    let mut descriptors = Vec::new();
    let count = {
        let mut slices = [IoSliceMut::new(&mut bytes)];
        let flags = MsgFlags::MSG_CMSG_CLOEXEC;
        let received = recvmsg::<()>(socket, &mut slices, Some(&mut control), flags)?;
        // Descriptors beyond the space were closed by the kernel; whoever sends so many is no peer of ours.
        let messages = received.cmsgs().map_err(|_: Errno| io::Error::from(io::ErrorKind::InvalidData))?;
        for message in messages {
            if let ControlMessageOwned::ScmRights(received) = message {
                descriptors.extend(received.into_iter().map(own));
            }
        }
        received.bytes
    };
    bytes.truncate(count);
    Ok((bytes, descriptors))
}

#[allow(unsafe_code)]
fn own(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us in recvmsg, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
