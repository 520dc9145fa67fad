//! How long a master takes to come back with all of its log and image, or with nothing; and how long writers wait while
//! an image is taken.

use super::load::Files;
use super::process::Master;
use crate::creates::create;
use crate::dev::Dev;
use anyhow::Context;
use goosefs_client::Client;
use goosefs_core::id::InodeId;
use goosefs_core::path::NsPath;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Callers that create while an image is taken.
const WRITERS: usize = 4;

/// Measures and prints.
pub(crate) async fn run(dev: &Dev, clients: &[Client], files: &Files) -> anyhow::Result<()> {
    let mut masters = Master::all(&dev.dir)?;
    pause(dev, clients, &masters).await?;
    let leader = clients.first().context("no clients")?.leader().await?;
    let leading =
        masters.iter().find(|master| master.rpc == leader).context("the leader is not in dev.json")?;
    let target = leading.applied().context("the leader says nothing of its log")?;
    let image = leading.metric("goosefs_raft_snapshot_bytes").unwrap_or_default();
    let follower = masters.iter_mut().find(|master| master.rpc != leader).context("no follower")?;
    let binary = dev.binary();

    follower.kill()?;
    let begun = Instant::now();
    follower.start(binary)?;
    follower.wait_applied(target)?;
    println!(
        "  restart of a follower, {} files, after kill -9: {:.2} s",
        files.len(),
        begun.elapsed().as_secs_f64()
    );

    follower.kill()?;
    std::fs::remove_dir_all(&follower.folder)?;
    let begun = Instant::now();
    follower.start(binary)?;
    follower.wait_applied(target)?;
    println!(
        "  a wiped follower is whole again after {:.2} s, by an image of {:.0} MB",
        begun.elapsed().as_secs_f64(),
        image / 1e6
    );
    Ok(())
}

/// The longest time without an acknowledged create, before and while the leader takes an image.
async fn pause(dev: &Dev, clients: &[Client], masters: &[Master]) -> anyhow::Result<()> {
    let first = clients.first().context("no clients")?;
    let leader = first.leader().await?;
    let leader =
        masters.iter().find(|master| master.rpc == leader).context("the leader is not in dev.json")?;
    let taken = || leader.metric("goosefs_raft_snapshots_taken_total").unwrap_or_default();
    let folder = first.paths().make_dir(&NsPath::parse("/scale/pause")?, 0o755, true).await?;
    let writing = Writing::start(clients, InodeId(folder.inode));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let quiet = writing.longest();
    let before = taken();
    dev.run(&["fsadmin", "journal", "checkpoint"])?;
    let deadline = Instant::now() + Duration::from_secs(120);
    while taken() <= before && Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let during = writing.longest();
    let made = taken() - before;
    writing.stop().await?;
    println!(
        "  longest time between two acknowledged creates of {WRITERS} callers: {:.1} ms in 3 s, {:.1} ms while \
         {made:.0} image was taken",
        quiet.as_secs_f64() * 1e3,
        during.as_secs_f64() * 1e3
    );
    Ok(())
}

/// Callers that create, and the longest time in which none was answered.
struct Writing {
    stop: Arc<AtomicBool>,
    longest: Arc<AtomicU64>,
    callers: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
}

impl Writing {
    fn start(clients: &[Client], parent: InodeId) -> Writing {
        let (stop, longest) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (begun, last) = (Instant::now(), Arc::new(AtomicU64::new(0)));
        let number = Arc::new(AtomicU64::new(0));
        let callers = clients.iter().take(WRITERS).map(|client| {
            let (client, number, last) = (client.clone(), number.clone(), last.clone());
            let (stop, longest) = (stop.clone(), longest.clone());
            tokio::spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    create(&client, parent, number.fetch_add(1, Ordering::Relaxed)).await?;
                    let now = u64::try_from(begun.elapsed().as_micros())?;
                    let before = last.fetch_max(now, Ordering::Relaxed);
                    longest.fetch_max(now.saturating_sub(before), Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        });
        Writing { callers: callers.collect(), stop, longest }
    }

    /// Since the last time this was asked.
    fn longest(&self) -> Duration {
        Duration::from_micros(self.longest.swap(0, Ordering::Relaxed))
    }

    async fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Relaxed);
        for caller in self.callers {
            caller.await.context("a caller panicked")??;
        }
        Ok(())
    }
}
