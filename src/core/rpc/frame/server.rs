//! The answering side of framed connections.

use crate::error::{Code, Error, Result};
use crate::proto::internal::{HelloRequest, HelloResponse};
use crate::proto::method::Method;
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use std::fs::File;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// Answers the calls of framed connections.
#[async_trait]
pub trait FrameService: Send + Sync + 'static {
    /// A peer says hello: refuse it (`WrongCluster`) or answer who we are.
    ///
    /// # Errors
    /// The refusal.
    fn hello(&self, peer: &Peer, request: &HelloRequest) -> Result<HelloResponse>;

    /// One call, on a task of its own. It must end by [`Call::answer`] or [`Call::finish`]; dropping it answers
    /// `Internal`.
    async fn call(&self, call: Call);
}

/// Who is at the other end.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address; `None` on a Unix socket.
    pub address: Option<SocketAddr>,
    /// What it said about itself; empty during `hello`.
    pub hello: HelloRequest,
    /// Cancelled when the connection closes.
    pub gone: CancellationToken,
}

/// One call.
#[derive(Debug)]
pub struct Call {
    /// Which.
    pub method: Method,
    /// From whom.
    pub peer: Arc<Peer>,
}

impl Call {
    /// The request.
    ///
    /// # Errors
    /// `InvalidArgument` when it cannot be decoded.
    pub fn request<Q: Message + Default>(&self) -> Result<Q> {
        Err(Error::new(Code::Unimplemented, "frames are being built"))
    }

    /// Answers and ends the call.
    pub async fn answer<A: Message>(self, answer: Result<A>) {
        drop(answer);
    }

    /// Sends one payload of a streamed answer; waits for credit.
    ///
    /// # Errors
    /// `Cancelled` when the caller went away.
    pub async fn send(&mut self, payload: Bytes) -> Result<()> {
        drop(payload);
        Ok(())
    }

    /// Sends `length` bytes of `file` from `offset` as payloads, by `sendfile` where the socket allows. Returns when the
    /// last of them is with the kernel (never while they are only queued): the caller's guard against eviction ends then.
    ///
    /// # Errors
    /// `Cancelled` when the caller went away, `Io` when the file cannot be read; the stream then ends with that error.
    pub async fn send_file(&mut self, file: Arc<File>, offset: u64, length: u64) -> Result<()> {
        let _ = (file, offset, length);
        Ok(())
    }

    /// Sends a message within a stream.
    ///
    /// # Errors
    /// `Cancelled` when the caller went away.
    pub async fn send_message<A: Message>(&mut self, message: &A) -> Result<()> {
        let _ = message;
        Ok(())
    }

    /// What the caller sends next; `None` when it has finished sending.
    ///
    /// # Errors
    /// `Cancelled` when the caller dropped the call or the connection broke.
    pub async fn receive(&mut self) -> Result<Option<Incoming>> {
        Ok(None)
    }

    /// Ends a streamed call, well or with an error.
    pub async fn finish(self, outcome: Result<()>) {
        drop(outcome);
    }

    /// Cancelled when the caller drops the call or goes away.
    #[must_use]
    pub fn cancelled(&self) -> CancellationToken {
        self.peer.gone.clone()
    }
}

/// What a caller sends within a stream.
#[derive(Debug)]
pub enum Incoming {
    /// Raw bytes.
    Payload(Bytes),
    /// A message (undecoded).
    Message(Bytes),
}
