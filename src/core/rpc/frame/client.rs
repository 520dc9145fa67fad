//! The calling side of a framed connection.

use crate::error::{Code, Error, Result};
use crate::proto::internal::{HelloRequest, HelloResponse};
use crate::proto::method::Method;
use crate::task::Tasks;
use bytes::Bytes;
use prost::Message;
use std::path::PathBuf;
use std::time::Duration;

/// Where to connect.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Target {
    /// `host:port`.
    Tcp(String),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// One multiplexed connection. Cheap to clone; closed when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Channel {}

impl Channel {
    /// Connects and says hello, within `timeout`.
    ///
    /// # Errors
    /// `Unavailable` when nobody answers, `WrongCluster` when either side refuses the other's mark.
    pub async fn connect(
        target: &Target,
        hello: HelloRequest,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<Channel> {
        let _ = (target, hello, tasks, timeout);
        Err(Error::new(Code::Unimplemented, "frames are being built"))
    }

    /// What the peer said about itself.
    #[must_use]
    pub fn hello(&self) -> &HelloResponse {
        unreachable!("no channel exists yet")
    }

    /// Whether the connection is gone; calls on it fail with `Unavailable`.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        true
    }

    /// Waits until the connection is gone.
    pub async fn closed(&self) {}

    /// One request, one answer. Dropping the future cancels the call on the server.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable` when the connection broke: the outcome is then not known.
    pub async fn call<Q: Message, A: Message + Default>(&self, method: Method, request: &Q) -> Result<A> {
        let _ = (method, request);
        Err(Error::new(Code::Unimplemented, "frames are being built"))
    }

    /// One request, answered by a stream of payloads. Dropping it cancels the call.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone; the peer's errors come from [`Payloads::next`].
    pub async fn read<Q: Message>(&self, method: Method, request: &Q) -> Result<Payloads> {
        let _ = (method, request);
        Err(Error::new(Code::Unimplemented, "frames are being built"))
    }

    /// Opens a stream in both directions, `request` first.
    ///
    /// # Errors
    /// `Unavailable` when the connection is gone.
    pub async fn open<Q: Message>(&self, method: Method, request: &Q) -> Result<Duplex> {
        let _ = (method, request);
        Err(Error::new(Code::Unimplemented, "frames are being built"))
    }
}

/// Payloads from the peer.
#[derive(Debug)]
pub struct Payloads {}

impl Payloads {
    /// The next payload; `None` at the end of the stream.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable` when the connection broke.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        Ok(None)
    }
}

/// A stream in both directions.
#[derive(Debug)]
pub struct Duplex {}

impl Duplex {
    /// Sends a payload; waits while the peer gives no credit.
    ///
    /// # Errors
    /// The peer's error if it ended the stream, or `Unavailable`.
    pub async fn send(&mut self, payload: Bytes) -> Result<()> {
        drop(payload);
        Ok(())
    }

    /// Sends a message without payload (a flush, say).
    ///
    /// # Errors
    /// As [`Duplex::send`].
    pub async fn send_message<Q: Message>(&mut self, message: &Q) -> Result<()> {
        let _ = message;
        Ok(())
    }

    /// The peer's next message; `None` when it ended the stream well.
    ///
    /// # Errors
    /// The peer's error, or `Unavailable`.
    pub async fn receive<A: Message + Default>(&mut self) -> Result<Option<A>> {
        Ok(None)
    }

    /// Says that nothing more will be sent; the peer's messages go on until its own end. Dropping a `Duplex` without
    /// this cancels the call.
    ///
    /// # Errors
    /// As [`Duplex::send`].
    pub async fn finish_sending(&mut self) -> Result<()> {
        Ok(())
    }
}
