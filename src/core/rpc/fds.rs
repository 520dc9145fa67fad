//! File descriptors over a Unix socket: how a worker hands a cached container to a client on the same machine.
//!
//! `OpenContainer` is answered with one descriptor by SCM_RIGHTS. Only peers that run as the server's own user or as
//! root are served (SO_PEERCRED), because the kernel re-opens a backing file with the daemon's rights. What a
//! connection took is given back when it closes.

use crate::error::{Code, Error, Result};
use crate::proto::internal::{
    CloseLeaseRequest, HelloRequest, HelloResponse, OpenContainerRequest, OpenContainerResponse,
};
use crate::task::Tasks;
use async_trait::async_trait;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::Duration;

/// One connection's side of the service; dropped when the connection closes.
#[async_trait]
pub trait FdSession: Send + 'static {
    /// The descriptor of a whole cached content.
    ///
    /// # Errors
    /// `NotFound` when it is not wholly here or not trusted.
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

/// Serves `path` until the role stops; a stale socket file is replaced. The socket file is removed at the end.
///
/// # Errors
/// When the socket cannot be made.
pub fn serve(path: &Path, service: std::sync::Arc<dyn FdService>, tasks: &Tasks) -> Result<()> {
    let _ = (path, service, tasks);
    Err(Error::new(Code::Unimplemented, "descriptor passing is being built"))
}

/// A connection to a worker's socket. Cheap to clone; leases end when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct FdClient {}

impl FdClient {
    /// Connects and says hello.
    ///
    /// # Errors
    /// `Unavailable` when there is no such socket, `PermissionDenied` when the worker runs as another user.
    pub async fn connect(
        path: &Path,
        hello: HelloRequest,
        tasks: &Tasks,
        timeout: Duration,
    ) -> Result<FdClient> {
        let _ = (path, hello, tasks, timeout);
        Err(Error::new(Code::Unimplemented, "descriptor passing is being built"))
    }

    /// What the worker said about itself.
    #[must_use]
    pub fn hello(&self) -> &HelloResponse {
        unreachable!("no connection exists yet")
    }

    /// Whether the connection is gone, and every lease with it.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        true
    }

    /// Asks for a content's descriptor.
    ///
    /// # Errors
    /// `NotFound` when it is not wholly there, `Unavailable` when the connection is gone.
    pub async fn open(&self, content: crate::id::ContentId) -> Result<(OpenContainerResponse, OwnedFd)> {
        let _ = content;
        Err(Error::new(Code::Unimplemented, "descriptor passing is being built"))
    }

    /// Gives leases back; does not wait.
    pub fn close(&self, leases: Vec<u64>) {
        drop(leases);
    }
}
