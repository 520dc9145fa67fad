//! FUSE's side: takes a mount over, parks its own.

use super::super::fds::wire::{Receiver, decode_error, send};
use super::super::frame::wire::Kind;
use super::{PATIENCE, both, decode, greet, request};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{
    Empty, EndMountRequest, ParkMountRequest, TakeMountRequest, TakeMountResponse, UnparkMountRequest,
};
use crate::proto::method::{self, Method};
use bytes::Bytes;
use prost::Message;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;
use tokio::net::UnixStream;

/// A mount that was parked.
#[derive(Debug)]
pub struct Parked {
    /// `major:minor` of the mount.
    pub device: String,
    /// `/dev/fuse`.
    pub fuse: OwnedFd,
    /// What its process left.
    pub state: OwnedFd,
}

/// A connection to the holder, for one mount.
#[derive(Debug)]
pub struct Keeper {
    stream: UnixStream,
    receiver: Receiver,
    mount_point: String,
}

impl Keeper {
    /// Connects to the holder at `socket` for the mount at `mount_point`.
    ///
    /// # Errors
    /// `Unavailable` when no holder serves there.
    pub async fn connect(socket: &Path, mount_point: &Path) -> Result<Keeper> {
        let stream = UnixStream::connect(socket).await.map_err(|error| {
            Error::new(Code::Unavailable, format!("no holder at {}: {error}", socket.display()))
        })?;
        let mut receiver = Receiver::default();
        greet(&stream, &mut receiver).await?;
        Ok(Keeper { stream, receiver, mount_point: mount_point.display().to_string() })
    }

    async fn call<M: Message, R: Message + Default>(
        &mut self,
        method: Method,
        message: &M,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<R> {
        let late =
            |_| Error::new(Code::DeadlineExceeded, format!("the holder does not answer {}", method.name));
        let asked = async {
            send(&self.stream, &request(method, message)?, descriptors).await?;
            let answer = self.receiver.next(&self.stream).await?;
            let closed = || Error::new(Code::Unavailable, "the holder has closed the connection");
            let (header, bytes): (_, Bytes) = answer.ok_or_else(closed)?;
            match header.kind {
                Kind::Error => Err(decode_error(bytes)),
                _ => decode(bytes),
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.map_err(late)?
    }

    /// The mount, if the holder has it and no living process does. It is ours from now on.
    ///
    /// # Errors
    /// `Busy` when another process serves it.
    pub async fn take(&mut self) -> Result<Option<Parked>> {
        let message = TakeMountRequest { mount_point: self.mount_point.clone() };
        let response: TakeMountResponse = self.call(method::TAKE_MOUNT, &message, &[]).await?;
        if !response.found {
            return Ok(None);
        }
        let (fuse, state) = both(&mut self.receiver)?;
        Ok(Some(Parked { device: response.device, fuse, state }))
    }

    /// Leaves copies of these with the holder, which keeps them for `patience` while we are away.
    ///
    /// # Errors
    /// `Busy` when another process serves the mount.
    pub async fn park(
        &mut self,
        device: &str,
        patience: Duration,
        fuse: BorrowedFd<'_>,
        state: BorrowedFd<'_>,
    ) -> Result<()> {
        let message = ParkMountRequest {
            mount_point: self.mount_point.clone(),
            device: device.to_owned(),
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        };
        self.call::<_, Empty>(method::PARK_MOUNT, &message, &[fuse, state]).await.map(drop)
    }

    /// The mount goes: the holder lets go of it.
    ///
    /// # Errors
    /// When the holder is gone.
    pub async fn unpark(&mut self) -> Result<()> {
        let message = UnparkMountRequest { mount_point: self.mount_point.clone() };
        self.call::<_, Empty>(method::UNPARK_MOUNT, &message, &[]).await.map(drop)
    }

    /// Nobody will take the mount over: the holder lets go of it.
    ///
    /// # Errors
    /// `Busy` while a process serves it.
    pub async fn end(&mut self) -> Result<()> {
        let message = EndMountRequest { mount_point: self.mount_point.clone() };
        self.call::<_, Empty>(method::END_MOUNT, &message, &[]).await.map(drop)
    }

    /// Returns when the holder is gone.
    pub async fn closed(&mut self) {
        // It says nothing by itself: whatever comes is its end.
        let _ = self.receiver.next(&self.stream).await;
    }
}
