//! `goosefs fs load`.

use super::tree;
use crate::cmd::connection::path;
use crate::cmd::print::Progress;
use anyhow::ensure;
use futures::stream::{self, StreamExt};
use goosefs_client::Client;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::NodeKind;

/// Files that are loaded at a time.
const AT_A_TIME: usize = 8;

pub(super) async fn run(client: &Client, text: &str) -> anyhow::Result<()> {
    let path = path(text)?;
    let mut files = tree::walk(client, &path).await?;
    files.retain(|found| found.attr.kind() == NodeKind::File && found.attr.completed);
    let progress = Progress::bytes(files.iter().map(|found| found.attr.length).sum(), "loading");
    let outcomes = stream::iter(&files).map(|found| async {
        let loaded = match tree::readable(client, &found.path).await {
            Ok(attr) => client.load(ContentId(attr.content)).await,
            Err(error) => Err(error),
        };
        progress.add(found.attr.length);
        (&found.path, loaded)
    });
    let mut failed = 0;
    let mut outcomes = outcomes.buffered(AT_A_TIME);
    while let Some((path, outcome)) = outcomes.next().await {
        match outcome {
            Ok((_, filled)) if filled.was_cached => {
                progress.line(&format!("{path} already in GooseFS fully"));
            }
            Ok(_) => progress.line(&format!("{path} loaded")),
            Err(error) => {
                failed += 1;
                progress.line(&format!("{path} was not loaded: {error}"));
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} files were not loaded", files.len());
    Ok(())
}
