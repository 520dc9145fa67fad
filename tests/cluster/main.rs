//! Masters, workers and clients together, within one process.

// In the suite's own functions, too, a failure is a failed test.
#![allow(clippy::unwrap_used)]

mod data;
mod failover;
mod files;
mod membership;
mod names;
mod outages;
mod preloads;
mod processes;

use goosefs_client::Client;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, WriteType};

fn path(text: &str) -> NsPath {
    NsPath::parse(text).unwrap()
}

/// Writes a new file whole.
async fn write(client: &Client, at: &str, bytes: &[u8], write_type: WriteType) -> goosefs_core::Result<Attr> {
    let options = goosefs_client::meta::CreateOptions { block_size: 4 << 20, write_type };
    let made = client.paths().create(&path(at), 0o644, Some(options)).await?;
    let caller = goosefs_harness::root();
    let mut writer = client.writer(&made, &caller)?;
    for piece in bytes.chunks(256 << 10) {
        writer.write(writer.position(), bytes::Bytes::copy_from_slice(piece)).await?;
    }
    writer.close().await
}

/// Reads a file whole.
async fn read(client: &Client, at: &str) -> goosefs_core::Result<Vec<u8>> {
    let attr = client.paths().stat(&path(at)).await?;
    let mut bytes = Vec::new();
    client.reader(&attr)?.copy_to(0, &mut bytes, |_| {}).await?;
    Ok(bytes)
}
