//! Clients that make, rename and remove files, and know what must be there.

use goosefs_client::Client;
use goosefs_client::meta::CreateOptions;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::WriteType;
use goosefs_harness::{LONG, Masters};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::task::JoinHandle;

fn path(name: &str) -> NsPath {
    NsPath::parse(&format!("/{name}")).unwrap()
}

/// Makes an empty file in the root.
pub(crate) async fn make(client: &Client, name: &str) -> goosefs_core::Result<()> {
    let options = CreateOptions { block_size: 1 << 20, write_type: WriteType::MustCache };
    client.paths().create(&path(name), 0o644, Some(options)).await.map(drop)
}

/// Names of the root.
pub(crate) async fn names(client: &Client) -> BTreeSet<String> {
    let listed = client.paths().list(&NsPath::root()).await.unwrap();
    listed.into_iter().map(|entry| entry.name).collect()
}

/// Writers that are at work.
pub(crate) struct Writers {
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
    writers: Vec<JoinHandle<BTreeSet<String>>>,
}

impl Writers {
    /// Starts `count` of them. They wait through any outage that does not last for long.
    pub(crate) fn start(masters: &Masters, count: usize) -> Writers {
        let (stop, acknowledged) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let writer = |number| {
            let client = masters.client_with(|config| config.deadline = LONG);
            tokio::spawn(write(client, number, stop.clone(), acknowledged.clone()))
        };
        Writers { writers: (0..count).map(writer).collect(), stop, acknowledged }
    }

    /// Operations that were acknowledged so far.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until `more` operations have been acknowledged from now on.
    pub(crate) async fn wait_for(&self, more: u64) {
        let aim = self.acknowledged() + more;
        goosefs_harness::wait_until("more is acknowledged", || async { self.acknowledged() >= aim })
            .await
            .unwrap();
    }

    /// Lets each end what it does, and gives the names that must be there.
    pub(crate) async fn finish(self) -> BTreeSet<String> {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = BTreeSet::new();
        for writer in self.writers {
            all.extend(writer.await.unwrap());
        }
        all
    }
}

async fn write(
    client: Client,
    number: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicU64>,
) -> BTreeSet<String> {
    let mut there = BTreeSet::new();
    for step in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let name = format!("writer{number}-{step}");
        make(&client, &name).await.unwrap();
        acknowledged.fetch_add(1, Ordering::SeqCst);
        // Of three that are made one stays, one is renamed and one is removed.
        match step % 3 {
            0 => drop(there.insert(name)),
            1 => {
                let new = format!("{name}-renamed");
                client.paths().rename(&path(&name), &path(&new)).await.unwrap();
                there.insert(new);
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
            _ => {
                client.paths().remove(&path(&name)).await.unwrap();
                acknowledged.fetch_add(1, Ordering::SeqCst);
            }
        }
    }
    client.shutdown(Duration::from_secs(5)).await;
    there
}
