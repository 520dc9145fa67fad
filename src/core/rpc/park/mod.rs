//! Parked mounts: a holder keeps the descriptor of `/dev/fuse` and the state of a mount while its FUSE process is away, so
//! that the next one goes on with the same connection to the kernel and no open file notices.
//!
//! A FUSE process has one connection to the holder for its mount, and parks it there as soon as it serves. When the
//! connection ends without [`Keeper::unpark`] the process has died or hands over: the holder keeps the descriptors for
//! its patience, then closes them, by which the kernel ends the mount. [`holder`] is called by the CSI plugin,
//! [`Keeper`] by FUSE.

pub mod holder;
mod keeper;

pub use keeper::{Keeper, Parked};

use super::fds::wire::{Receiver, frame, send};
use super::frame::wire::{Header, Kind, MAGIC};
use crate::error::{Code, Error, Result};
use crate::proto::method::Method;
use bytes::Bytes;
use prost::Message;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::net::UnixStream;

/// The other side has so long for each step.
const PATIENCE: Duration = Duration::from_secs(10);

/// Says hello: both sides send the magic number.
async fn greet(stream: &UnixStream, receiver: &mut Receiver) -> Result<()> {
    let greeted = async {
        send(stream, &MAGIC, &[]).await?;
        receiver.magic(stream).await
    };
    let late = |_| Error::new(Code::DeadlineExceeded, "no hello in time");
    tokio::time::timeout(PATIENCE, greeted).await.map_err(late)?
}

async fn answer<M: Message>(
    stream: &UnixStream,
    number: u32,
    message: &M,
    descriptors: &[BorrowedFd<'_>],
) -> Result<()> {
    send(stream, &frame(Header::new(Kind::End, number), message)?, descriptors).await
}

fn request<M: Message>(method: Method, message: &M) -> Result<bytes::BytesMut> {
    frame(Header { method: method.number, ..Header::new(Kind::Request, 1) }, message)
}

fn decode<M: Message + Default>(bytes: Bytes) -> Result<M> {
    M::decode(bytes)
        .map_err(|error| Error::new(Code::Corrupt, format!("a message that cannot be read: {error}")))
}

/// The two descriptors that came with a message: `/dev/fuse` and the state.
fn both(receiver: &mut Receiver) -> Result<(OwnedFd, OwnedFd)> {
    let missing = || Error::new(Code::Corrupt, "two descriptors were to come with this");
    let device = receiver.descriptor().ok_or_else(missing)?;
    Ok((device, receiver.descriptor().ok_or_else(missing)?))
}

#[cfg(test)]
mod tests;
