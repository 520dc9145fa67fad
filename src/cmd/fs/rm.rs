//! `goosefs fs rm`.

use super::tree;
use crate::cli::RmArgs;
use crate::cmd::connection::path;
use crate::cmd::out;
use crate::cmd::told::told;
use anyhow::{bail, ensure};
use goosefs_client::Client;
use goosefs_core::proto::internal::NodeKind;

/// Removes each path that can be; the others are told one by one.
pub(super) async fn run(client: &Client, args: &RmArgs) -> anyhow::Result<()> {
    let mut failed = Vec::new();
    for text in &args.paths {
        match remove(client, args, text).await {
            Ok(line) => out::line(&line),
            Err(error) => failed.push(error),
        }
    }
    let count = failed.len();
    let Some(last) = failed.pop() else { return Ok(()) };
    if args.paths.len() == 1 {
        return Err(last);
    }
    failed.into_iter().chain([last]).for_each(|error| out::line(&told(&error)));
    bail!("{count} of {} paths could not be removed", args.paths.len())
}

async fn remove(client: &Client, args: &RmArgs, text: &str) -> anyhow::Result<String> {
    let path = path(text)?;
    let attr = tree::stat(client, &path).await?;
    let directory = attr.kind() == NodeKind::Directory;
    ensure!(!directory || args.recursive, "{path} is a directory, to be removed with -R");
    let removed = client.admin().remove(&path, args.recursive, args.goosefs_only).await;
    removed.map_err(|error| tree::missing(error, &path))?;
    Ok(format!("{path} has been removed"))
}
