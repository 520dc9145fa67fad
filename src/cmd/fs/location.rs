//! `goosefs fs location`: one host for each block and copy.

use super::tree;
use crate::cmd::connection::path;
use crate::cmd::out;
use anyhow::ensure;
use goosefs_client::Client;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::NodeKind;
use std::collections::BTreeSet;

pub(super) async fn run(client: &Client, text: &str) -> anyhow::Result<()> {
    let path = path(text)?;
    let attr = tree::stat(client, &path).await?;
    ensure!(attr.kind() == NodeKind::File, "{path} is not a file");
    let content = ContentId(attr.content);
    let mut holders: BTreeSet<u64> = BTreeSet::new();
    for (worker, bytes) in client.cached(&[content]).await? {
        if bytes.first().is_some_and(|bytes| *bytes > 0) {
            holders.insert(worker.0);
        }
    }
    out::line(&format!("{path} with file id {content} is on nodes: "));
    for worker in client.router().workers() {
        if holders.contains(&worker.id.0) {
            out::line(&worker.address.host);
        }
    }
    Ok(())
}
