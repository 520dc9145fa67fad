//! One listening port: gRPC and frames, told apart by the first bytes of a connection.

use super::frame::FrameService;
use crate::error::{Code, Error, Result};
use crate::task::Tasks;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::net::TcpListener;

/// Binds `address` (`host:port`) now, so that a port in use is reported before anything else is started.
///
/// # Errors
/// `InvalidArgument` when the address cannot be resolved, `Busy` when the port is in use; both name `what` and the address.
pub async fn bind(what: &str, address: &str) -> Result<TcpListener> {
    let _ = (what, address);
    Err(Error::new(Code::Unimplemented, "servers are being built"))
}

/// Serves `listener` until the role stops: gRPC by `routes`, frames by `frames`. Connections in flight are drained.
///
/// # Errors
/// When the listener cannot be used.
pub fn serve(
    name: &str,
    listener: TcpListener,
    routes: tonic::service::Routes,
    frames: Option<Arc<dyn FrameService>>,
    tasks: &Tasks,
) -> Result<SocketAddr> {
    let _ = (name, listener, routes, frames, tasks);
    Err(Error::new(Code::Unimplemented, "servers are being built"))
}
