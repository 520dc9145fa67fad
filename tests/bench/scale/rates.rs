//! Operations per second by 1, 16 and 64 callers.

use super::load::{CALLERS, Files, PER_DIRECTORY};
use crate::creates::{self, create};
use crate::report::rate;
use anyhow::Context;
use goosefs_client::Client;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(3);

/// How many callers there are at once.
const STEPS: [usize; 3] = [1, 16, CALLERS];

/// Measures and prints one line an operation.
pub(crate) async fn run(clients: &[Client], files: &Files, folder: &Path) -> anyhow::Result<()> {
    println!("  operations/s by {STEPS:?} callers");
    let some = |seed| files.node(seed);
    line(clients, "getattr by inode, frames", |client, seed| {
        let node = some(seed);
        async move { client.inodes().attr(node).await.map(|_| true) }
    })
    .await?;
    line(clients, "GetStatus by path, vendor protocol", |client, seed| {
        let path = NsPath::parse(&files.path(seed));
        async move { client.admin().status(&path?, None).await.map(|_| true) }
    })
    .await?;
    line(clients, "list 1,000 entries, frames", |client, seed| {
        let directory = files.directory(seed);
        async move {
            client
                .inodes()
                .read_dir(directory, "", u32::try_from(PER_DIRECTORY).unwrap_or(0))
                .await
                .map(|_| true)
        }
    })
    .await?;
    let new = clients.first().context("no clients")?;
    let new = new.paths().make_dir(&NsPath::parse("/scale/new")?, 0o755, true).await?;
    let parent = InodeId(new.inode);
    line(clients, "create", |client, seed| async move { create(&client, parent, seed).await.map(|_| true) })
        .await?;
    syncs(folder)?;
    // The first and the last quarter of the files, each file once.
    let quarter = files.len() / 4;
    line(clients, "rename", |client, seed| {
        let entry = files.entry(seed).filter(|_| seed < quarter);
        async move {
            let Some((parent, name)) = entry else { return Ok(false) };
            let to = format!("renamed-{name}");
            let caller = &client.config().caller;
            client.inodes().rename((parent, &name), (parent, &to), false, caller).await.map(|_| true)
        }
    })
    .await?;
    line(clients, "delete", |client, seed| {
        let entry = files.entry(files.len() - 1 - seed.min(files.len() - 1)).filter(|_| seed < quarter);
        async move {
            let Some((parent, name)) = entry else { return Ok(false) };
            client.inodes().unlink(parent, &name, &client.config().caller).await.map(|()| true)
        }
    })
    .await
}

/// One operation by each number of callers. `make` is given a number that no other call has; it answers false when there
/// is nothing left to do.
async fn line<F, W>(clients: &[Client], name: &str, make: F) -> anyhow::Result<()>
where
    F: Fn(Client, u64) -> W,
    W: Future<Output = goosefs_core::Result<bool>> + Send + 'static,
{
    let number = AtomicU64::new(0);
    let mut speeds = Vec::new();
    for callers in STEPS {
        let begun = Instant::now();
        let over = AtomicBool::new(false);
        let calls = clients.iter().take(callers).map(|client| {
            let (number, over, make) = (&number, &over, &make);
            async move {
                let mut made = 0_u64;
                while begun.elapsed() < TIME && !over.load(Ordering::Relaxed) {
                    // A task of its own, so that callers use every processor.
                    let call = make(client.clone(), number.fetch_add(1, Ordering::Relaxed));
                    if !tokio::spawn(call).await.context("a call panicked")?? {
                        over.store(true, Ordering::Relaxed);
                        break;
                    }
                    made += 1;
                }
                anyhow::Ok(made)
            }
        });
        let made = futures::future::try_join_all(calls).await?;
        speeds.push(rate(made.iter().sum::<u64>() as f64, begun.elapsed()));
    }
    let speeds: Vec<String> = speeds.iter().map(|speed| format!("{speed:>9.0}")).collect();
    println!("    {name:<36} {}", speeds.join(" "));
    Ok(())
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
    println!("    {:<36} {mean:>9.0}", "fdatasync, one of three writers");
    Ok(())
}
