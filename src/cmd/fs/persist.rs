//! `goosefs fs persist`.

use super::tree::{self, Found};
use crate::cli::PersistArgs;
use crate::cmd::connection::path;
use crate::cmd::print::Progress;
use anyhow::ensure;
use futures::stream::{self, StreamExt};
use goosefs_client::Client;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{NodeKind, Persistence};
use goosefs_core::{Code, Error, Result};
use std::time::Duration;

pub(super) async fn run(client: &Client, args: &PersistArgs) -> anyhow::Result<()> {
    let mut files = Vec::new();
    for text in &args.paths {
        files.extend(tree::walk(client, &path(text)?).await?);
    }
    files.retain(|found| found.attr.kind() == NodeKind::File);
    tokio::time::sleep(Duration::from_millis(args.wait)).await;
    let progress = Progress::bytes(files.iter().map(|found| found.attr.length).sum(), "persisting");
    let outcomes = stream::iter(&files).map(|found| async {
        let persisted = persist(client, found, Duration::from_millis(args.timeout)).await;
        progress.add(found.attr.length);
        (&found.path, &found.attr, persisted)
    });
    let mut failed = 0;
    let mut outcomes = outcomes.buffered(usize::from(args.parallelism));
    while let Some((path, attr, outcome)) = outcomes.next().await {
        match outcome {
            Ok(true) => progress.line(&format!("persisted file {path} with size {}", attr.length)),
            Ok(false) => progress.line(&format!("{path} is already persisted")),
            Err(error) => {
                failed += 1;
                progress.line(&format!("{path} was not persisted: {error}"));
            }
        }
    }
    ensure!(failed == 0, "{failed} of {} files were not persisted", files.len());
    Ok(())
}

/// Says whether there was something to do.
async fn persist(client: &Client, found: &Found, patience: Duration) -> Result<bool> {
    let attr = &found.attr;
    if attr.persistence() == Persistence::Persisted {
        return Ok(false);
    }
    if !attr.completed {
        return Err(Error::new(Code::Incomplete, "it is still being written"));
    }
    let upload = client.inodes().persist(ContentId(attr.content), attr.length, &client.config().caller);
    match tokio::time::timeout(patience, upload).await {
        Ok(outcome) => outcome.map(|_| true),
        Err(_) => {
            Err(Error::new(Code::DeadlineExceeded, format!("it took over {} ms", patience.as_millis())))
        }
    }
}
