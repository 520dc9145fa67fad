//! Tuned gRPC channels (frame and window sizes, keep-alive, no Nagle).
//!
//! The figures match those of [`super::server`]: a 1 MiB message in one frame costs half of what it costs in frames of
//! 16 KiB, and the windows let several of them be under way.

use crate::error::{Code, Error, Result};
use std::time::Duration;
use tonic::transport::Channel;

const FRAME: u32 = 1 << 20;
const STREAM_WINDOW: u32 = 8 << 20;
const CONNECTION_WINDOW: u32 = 32 << 20;

/// A peer is pinged so often, and given up when it does not answer for the second.
const PING: Duration = Duration::from_secs(10);
const PONG: Duration = Duration::from_secs(10);

/// A channel to `host:port`, connected at first use and again after it broke. Calls on it have no deadline of their own:
/// set one on the request.
///
/// # Errors
/// `InvalidArgument` when the address is malformed.
pub fn channel(address: &str, connect_timeout: Duration) -> Result<Channel> {
    let malformed =
        |why: String| Error::new(Code::InvalidArgument, format!("\"{address}\" is not host:port: {why}"));
    let port = address.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
    if !matches!(port, Some(Ok(_))) {
        return Err(malformed("the port is missing or not a number below 65536".to_owned()));
    }
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{address}"))
        .map_err(|e| malformed(e.to_string()))?;
    Ok(endpoint
        .connect_timeout(connect_timeout)
        .tcp_nodelay(true)
        .max_frame_size(FRAME)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .keep_alive_while_idle(true)
        .connect_lazy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn malformed_addresses_are_named() {
        for malformed in ["", "m1", "m1:", "m1:port", "m1:70000", "m 1:9200", "m1:9200/x"] {
            let error = channel(malformed, Duration::from_secs(1)).unwrap_err();
            assert_eq!(error.code, Code::InvalidArgument, "{malformed}");
            assert!(error.message.contains(malformed), "{error}");
        }
        channel("m1:9200", Duration::from_secs(1)).unwrap();
        channel("[::1]:9200", Duration::from_secs(1)).unwrap();
    }
}
