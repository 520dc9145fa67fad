//! `goosefs fs cat`.

use crate::cmd::connection::path;
use crate::cmd::out;
use anyhow::ensure;
use goosefs_client::Client;
use goosefs_core::proto::internal::NodeKind;

/// Bytes read and printed at a time.
const PIECE: u64 = 1 << 20;

pub(super) async fn run(client: &Client, text: &str) -> anyhow::Result<()> {
    let path = path(text)?;
    let attr = super::tree::readable(client, &path).await?;
    ensure!(attr.kind() == NodeKind::File, "{path} is not a file");
    let reader = client.reader(&attr)?;
    let mut at = 0;
    while at < reader.length() {
        let piece = reader.read_at(at, PIECE).await?;
        ensure!(!piece.is_empty(), "{path} ended at {at} of {} bytes", reader.length());
        at += piece.len() as u64;
        out::bytes(&piece);
    }
    Ok(())
}
