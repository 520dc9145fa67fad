//! Questions to one master, whether it leads or not, which no client of ours would ask it.

use goosefs_core::Result;
use goosefs_core::proto::internal::{AttrResponse, ResolveRequest};
use goosefs_core::proto::method;
use goosefs_core::task::Tasks;
use goosefs_harness::connect_to;
use std::time::Duration;

/// Asks the master at `address` for a file of the root, over a new connection.
pub(crate) async fn ask(address: &str, name: &str, tasks: &Tasks) -> Result<AttrResponse> {
    let channel = connect_to(address, tasks).await?;
    let request = ResolveRequest { path: format!("/{name}"), sync_interval_ms: None, access: 0 };
    tokio::time::timeout(Duration::from_secs(1), channel.call(method::RESOLVE, &request))
        .await
        .unwrap_or_else(|_| {
            Err(goosefs_core::Error::new(
                goosefs_core::Code::Unavailable,
                format!("{address} does not answer"),
            ))
        })
}
