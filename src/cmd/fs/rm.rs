//! `goosefs fs rm`.

use super::tree;
use crate::cli::RmArgs;
use crate::cmd::connection::path;
use crate::cmd::out;
use anyhow::ensure;
use goosefs_client::Client;
use goosefs_core::proto::internal::NodeKind;

pub(super) async fn run(client: &Client, args: &RmArgs) -> anyhow::Result<()> {
    for text in &args.paths {
        let path = path(text)?;
        let attr = tree::stat(client, &path).await?;
        let directory = attr.kind() == NodeKind::Directory;
        ensure!(!directory || args.recursive, "{path} is a directory, to be removed with -R");
        let removed = client.admin().remove(&path, args.recursive, args.goosefs_only).await;
        removed.map_err(|error| tree::missing(error, &path))?;
        out::line(&format!("{path} has been removed"));
    }
    Ok(())
}
