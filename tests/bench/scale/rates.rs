//! Operations per second by 1, 16 and 64 callers, with what bounds them.

use super::cost::{Cost, Meter};
use super::load::{CALLERS, Files, PER_DIRECTORY};
use crate::creates::{self, create};
use anyhow::Context;
use goosefs_client::Client;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(3);

/// How many callers there are at once.
const STEPS: [usize; 3] = [1, 16, CALLERS];

/// What is measured and on what.
pub(super) struct Rates<'a> {
    pub(super) clients: &'a [Client],
    pub(super) meter: &'a Meter<'a>,
    /// Only operations whose names begin so; all when there is none.
    pub(super) only: &'a [String],
}

impl Rates<'_> {
    /// Measures and prints lines of each operation.
    pub(super) async fn run(&self, files: &Files, folder: &Path) -> anyhow::Result<()> {
        Cost::head();
        self.reads(files).await?;
        self.changes(files).await?;
        syncs(folder)
    }

    async fn reads(&self, files: &Files) -> anyhow::Result<()> {
        let all = files.clone();
        self.lines("getattr by inode, frames", move |client, seed| {
            let node = all.node(seed);
            async move { client.inodes().attr(node).await.map(|_| true) }
        })
        .await?;
        let all = files.clone();
        self.lines("GetStatus by path, vendor protocol", move |client, seed| {
            let path = NsPath::parse(&all.path(seed));
            async move { client.admin().status(&path?, None).await.map(|_| true) }
        })
        .await?;
        let all = files.clone();
        self.lines("list 1,000 entries, frames", move |client, seed| {
            let directory = all.directory(seed);
            let entries = u32::try_from(PER_DIRECTORY).unwrap_or(0);
            async move { client.inodes().read_dir(directory, "", entries).await.map(|_| true) }
        })
        .await
    }

    async fn changes(&self, files: &Files) -> anyhow::Result<()> {
        let first = self.clients.first().context("no clients")?;
        let new = first.paths().make_dir(&NsPath::parse("/scale/new")?, 0o755, true).await?;
        let parent = InodeId(new.inode);
        self.lines(
            "create",
            move |client, seed| async move { create(&client, parent, seed).await.map(|_| true) },
        )
        .await?;
        // The first and the last quarter of the files, each file once.
        let quarter = files.len() / 4;
        let all = files.clone();
        self.lines("rename", move |client, seed| {
            let entry = all.entry(seed).filter(|_| seed < quarter);
            async move {
                let Some((parent, name)) = entry else { return Ok(false) };
                let to = format!("renamed-{name}");
                let caller = &client.config().caller;
                client.inodes().rename((parent, &name), (parent, &to), false, caller).await.map(|_| true)
            }
        })
        .await?;
        let all = files.clone();
        self.lines("delete", move |client, seed| {
            let entry = all.entry(all.len() - 1 - seed.min(all.len() - 1)).filter(|_| seed < quarter);
            async move {
                let Some((parent, name)) = entry else { return Ok(false) };
                client.inodes().unlink(parent, &name, &client.config().caller).await.map(|()| true)
            }
        })
        .await
    }

    /// One operation by each number of callers. `make` is given a number that no other call has; it answers false when
    /// there is nothing left to do.
    async fn lines<F, W>(&self, name: &str, make: F) -> anyhow::Result<()>
    where
        F: Fn(Client, u64) -> W + Send + Sync + 'static,
        W: Future<Output = goosefs_core::Result<bool>> + Send + 'static,
    {
        if !self.only.is_empty() && !self.only.iter().any(|only| name.starts_with(only)) {
            return Ok(());
        }
        let (number, make) = (Arc::new(AtomicU64::new(0)), Arc::new(make));
        for callers in STEPS {
            let running = self.meter.start()?;
            let begun = Instant::now();
            let calls = self.clients.iter().take(callers).map(|client| {
                let (client, number, make) = (client.clone(), number.clone(), make.clone());
                tokio::spawn(async move {
                    let mut made = 0_u64;
                    while begun.elapsed() < TIME
                        && make(client.clone(), number.fetch_add(1, Ordering::Relaxed)).await?
                    {
                        made += 1;
                    }
                    anyhow::Ok(made)
                })
            });
            let mut made = 0;
            for call in futures::future::join_all(calls).await {
                made += call.context("a caller panicked")??;
            }
            running.stop(made, begun.elapsed())?.print(name, callers);
        }
        Ok(())
    }
}

/// What the disk can do: three that sync at once, as three masters do.
fn syncs(folder: &Path) -> anyhow::Result<()> {
    let speeds = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..3)
            .map(|number| scope.spawn(move || creates::syncs(folder, &format!("syncs-{number}"))))
            .collect();
        writers
            .into_iter()
            .map(|writer| writer.join().map_err(|_| anyhow::anyhow!("a writer panicked"))?)
            .collect::<anyhow::Result<Vec<f64>>>()
    })?;
    let mean = speeds.iter().sum::<f64>() / speeds.len() as f64;
    println!(
        "  {:<36}{:>8}{mean:>9.0}   what the disk can do: three files at once",
        "fdatasync, one of 3 writers", 1
    );
    Ok(())
}
