//! Creates per second, each acknowledged by a quorum of three masters that share this machine's disk, against
//! fdatasyncs per second of the same disk.

use crate::dev::Dev;
use crate::report::{self, rate};
use anyhow::Context;
use goosefs_client::meta::CreateOptions;
use goosefs_client::{Client, Config};
use goosefs_core::metrics::Metrics;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Caller, WriteType};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

const TIME: Duration = Duration::from_secs(3);

/// A client of the cluster.
pub(crate) fn client(dev: &Dev) -> Client {
    let masters = dev.masters.split(',').map(str::to_owned).collect();
    let caller = Caller { user: "root".to_owned(), group: "root".to_owned() };
    Client::new(Config { caller, ..Config::new(masters) }, &Metrics::new())
}

pub(crate) async fn run(dev: &Dev, folder: &Path, rounds: usize) -> anyhow::Result<()> {
    let client = client(dev);
    let root = NsPath::parse("/creates")?;
    client.paths().make_dir(&root, 0o755, true).await?;
    let number = Arc::new(AtomicU64::new(0));
    for callers in [1, 32] {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            ours.push(creates(&client, &root, &number, callers).await?);
            theirs.push(syncs(folder, "syncs")?);
        }
        report::ratio(
            &format!("creates by {callers} callers / fdatasyncs of one writer"),
            "/s",
            ("goosefs_client create (write type MUST_CACHE), three masters on this disk", &mut ours),
            ("write 4 KiB at the end of a file and fdatasync, again and again", &mut theirs),
        );
    }
    client.shutdown(Duration::from_secs(5)).await;
    Ok(())
}

async fn creates(
    client: &Client,
    root: &NsPath,
    number: &Arc<AtomicU64>,
    callers: usize,
) -> anyhow::Result<f64> {
    let parent = goosefs_core::id::InodeId(client.paths().stat(root).await?.inode);
    let begun = Instant::now();
    let workers = (0..callers).map(|_| {
        let (client, number) = (client.clone(), number.clone());
        tokio::spawn(async move {
            let mut made = 0_u64;
            while begun.elapsed() < TIME {
                create(&client, parent, number.fetch_add(1, Ordering::Relaxed)).await?;
                made += 1;
            }
            Ok::<u64, anyhow::Error>(made)
        })
    });
    let mut made = 0;
    for worker in futures::future::join_all(workers).await {
        made += worker.context("a caller panicked")??;
    }
    Ok(rate(made as f64, begun.elapsed()))
}

/// One create, as FUSE makes it; returns the file's node.
pub(crate) async fn create(
    client: &Client,
    parent: goosefs_core::id::InodeId,
    number: u64,
) -> goosefs_core::Result<u64> {
    let options = CreateOptions { block_size: 64 << 20, write_type: WriteType::MustCache };
    let name = format!("f{number}");
    let made = client.inodes().create(parent, &name, 0o644, options, &client.config().caller).await?;
    Ok(made.content)
}

/// fdatasyncs per second of one writer of a file in `folder`.
pub(crate) fn syncs(folder: &Path, name: &str) -> anyhow::Result<f64> {
    let path = folder.join(name);
    let mut file = std::fs::File::create(&path)?;
    let begun = Instant::now();
    let mut made = 0_u64;
    while begun.elapsed() < TIME / 2 {
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        made += 1;
    }
    let speed = rate(made as f64, begun.elapsed());
    std::fs::remove_file(&path)?;
    Ok(speed)
}
