//! File descriptors over a Unix socket: how a worker hands a cached container to a client on the same machine.
//!
//! `OpenContainer` is answered with one descriptor by SCM_RIGHTS. Only peers that run as the server's own user or as
//! root are served (SO_PEERCRED), because the kernel re-opens a backing file with the daemon's rights. What a
//! connection took is given back when it closes.
//!
//! On the socket the bytes are frames as elsewhere (magic, `Hello`, header and message), answered in the order of the
//! requests; `CloseLease` has no answer. A descriptor travels with the first byte of its answer, so descriptors and
//! answers have the same order.

mod client;
mod server;
pub(super) mod wire;

use crate::error::Result;
use crate::proto::internal::{
    CloseLeaseRequest, HelloRequest, HelloResponse, OpenContainerRequest, OpenContainerResponse,
};
use async_trait::async_trait;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt;

pub use client::FdClient;
pub(super) use server::check_peer;
pub use server::serve;

/// Which file a descriptor is of. No other file has the same while a descriptor of this one is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FileId {
    /// `st_dev`.
    pub device: u64,
    /// `st_ino`.
    pub inode: u64,
}

impl FileId {
    /// Asks the kernel.
    ///
    /// # Errors
    /// As fstat(2).
    pub fn of(file: &File) -> std::io::Result<FileId> {
        let metadata = file.metadata()?;
        Ok(FileId { device: metadata.dev(), inode: metadata.ino() })
    }
}

/// One connection's side of the service; dropped when the connection closes.
#[async_trait]
pub trait FdSession: Send + 'static {
    /// The descriptor of a whole cached content, or of the container that the request names.
    ///
    /// # Errors
    /// `NotFound` when it is not wholly here or not trusted; when there is no such container.
    async fn open(&mut self, request: OpenContainerRequest) -> Result<(OpenContainerResponse, OwnedFd)>;

    /// Gives leases back.
    async fn close(&mut self, request: CloseLeaseRequest);
}

/// Makes a session for each connection.
pub trait FdService: Send + Sync + 'static {
    /// A peer says hello.
    ///
    /// # Errors
    /// The refusal.
    fn connect(&self, hello: &HelloRequest) -> Result<(HelloResponse, Box<dyn FdSession>)>;
}

#[cfg(test)]
mod tests;
