//! Making the files, and finding them again.

use super::cost::{Cost, Meter};
use crate::creates::create;
use anyhow::Context;
use goosefs_client::Client;
use goosefs_core::id::{ContentId, InodeId};
use goosefs_core::path::NsPath;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Callers that make them, each a client of its own.
pub(crate) const CALLERS: usize = 64;

/// Files of one directory.
pub(crate) const PER_DIRECTORY: u64 = 1000;

/// The files `/scale/d<n>/f<number>`.
#[derive(Clone)]
pub(crate) struct Files {
    directories: Arc<Vec<InodeId>>,
    nodes: Arc<Vec<u64>>,
}

impl Files {
    /// Makes `count` files, all callers at once, and prints how fast.
    pub(crate) async fn create(clients: &[Client], meter: &Meter<'_>, count: u64) -> anyhow::Result<Files> {
        let first = clients.first().context("no clients")?;
        let mut directories = Vec::new();
        for number in 0..count.div_ceil(PER_DIRECTORY) {
            let path = NsPath::parse(&format!("/scale/d{number}"))?;
            directories.push(InodeId(first.paths().make_dir(&path, 0o755, true).await?.inode));
        }
        let directories = Arc::new(directories);
        let nodes: Arc<Vec<AtomicU64>> = Arc::new((0..count).map(|_| AtomicU64::new(0)).collect());
        let (parents, made) = (directories.clone(), nodes.clone());
        Cost::head();
        for_each(clients, meter, "create, all files", count, move |client, next| {
            let (parents, made) = (parents.clone(), made.clone());
            async move {
                let parent = parents[usize::try_from(next / PER_DIRECTORY)?];
                made[usize::try_from(next)?].store(create(&client, parent, next).await?, Ordering::Relaxed);
                Ok(())
            }
        })
        .await?;
        let nodes = nodes.iter().map(|node| node.load(Ordering::Relaxed)).collect();
        Ok(Files { directories, nodes: Arc::new(nodes) })
    }

    /// Ends the writing of all of them, all callers at once, and prints how fast.
    pub(crate) async fn complete(&self, clients: &[Client], meter: &Meter<'_>) -> anyhow::Result<()> {
        let nodes = self.nodes.clone();
        for_each(clients, meter, "complete, all files", self.len(), move |client, next| {
            let nodes = nodes.clone();
            async move {
                let content = ContentId(nodes[usize::try_from(next)?]);
                client.inodes().complete(content, 0, &client.config().caller).await?;
                Ok(())
            }
        })
        .await
    }

    pub(crate) fn len(&self) -> u64 {
        self.nodes.len() as u64
    }

    /// The node of some file, another for each `seed`.
    pub(crate) fn node(&self, seed: u64) -> u64 {
        self.nodes[self.some(seed)]
    }

    /// The path of some file that [`super::rates`] leaves in place.
    pub(crate) fn path(&self, seed: u64) -> String {
        let number = self.some(seed);
        format!("/scale/d{}/f{number}", number as u64 / PER_DIRECTORY)
    }

    /// Some directory.
    pub(crate) fn directory(&self, seed: u64) -> InodeId {
        self.directories[self.some(seed) / PER_DIRECTORY as usize]
    }

    /// The directory and name of file `number`, if there is such a file.
    pub(crate) fn entry(&self, number: u64) -> Option<(InodeId, String)> {
        let directory = self.directories.get(usize::try_from(number / PER_DIRECTORY).ok()?)?;
        (number < self.len()).then(|| (*directory, format!("f{number}")))
    }

    /// Files whose number is in the middle half are only read. A multiplication spreads neighbours (Knuth, TAOCP 6.4).
    fn some(&self, seed: u64) -> usize {
        let half = (self.len() / 2).max(1);
        let spread = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
        usize::try_from(self.len() / 4 + spread % half).unwrap_or(0)
    }
}

/// Does `work` once for each number below `count`, all callers at once, and prints how fast.
async fn for_each<F, W>(
    clients: &[Client],
    meter: &Meter<'_>,
    what: &str,
    count: u64,
    work: F,
) -> anyhow::Result<()>
where
    F: Fn(Client, u64) -> W + Clone + Send + 'static,
    W: Future<Output = anyhow::Result<()>> + Send,
{
    let number = Arc::new(AtomicU64::new(0));
    let running = meter.start()?;
    let begun = Instant::now();
    let callers = clients.iter().map(|client| {
        let (client, number, work) = (client.clone(), number.clone(), work.clone());
        tokio::spawn(async move {
            loop {
                let next = number.fetch_add(1, Ordering::Relaxed);
                if next >= count {
                    return anyhow::Ok(());
                }
                work(client.clone(), next).await?;
            }
        })
    });
    for caller in futures::future::join_all(callers).await {
        caller.context("a caller panicked")??;
    }
    running.stop(count, begun.elapsed())?.print(what, CALLERS);
    Ok(())
}
