//! Resident memory after many files were created and a minute passed.

use crate::creates::{client, create};
use crate::dev::Dev;
use crate::report;
use anyhow::Context;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Files that are created before memory is looked at.
const FILES: u64 = 100_000;

const CALLERS: usize = 64;

/// What the processes may do with their memory before it is looked at.
const REST: Duration = Duration::from_secs(60);

pub(crate) async fn run(dev: &Dev) -> anyhow::Result<()> {
    let client = client(dev);
    let root = NsPath::parse("/memory")?;
    let parent = InodeId(client.paths().make_dir(&root, 0o755, true).await?.inode);
    let number = Arc::new(AtomicU64::new(0));
    let workers = (0..CALLERS).map(|_| {
        let (client, number) = (client.clone(), number.clone());
        tokio::spawn(async move {
            loop {
                let next = number.fetch_add(1, Ordering::Relaxed);
                if next >= FILES {
                    return Ok::<(), anyhow::Error>(());
                }
                create(&client, parent, next).await?;
            }
        })
    });
    for worker in futures::future::join_all(workers).await {
        worker.context("a caller panicked")??;
    }
    client.shutdown(Duration::from_secs(5)).await;
    tokio::time::sleep(REST).await;
    println!("\nresident memory after {FILES} files were created and {} s passed", REST.as_secs());
    for process in dev.processes()? {
        println!("  {:<10} {:>8.1} MB", process.name, report::resident(process.pid)? / 1e6);
    }
    Ok(())
}
