//! What the leader does from time to time: mounts the root and founds the cluster at the first start, makes mounts
//! read-only whose storage cannot be written, closes silent sessions, completes what their writers left, announces
//! uploads that are due, gives up workers that are gone, and counts.

mod abandoned;
mod uploads;

use crate::journal::Op;
use crate::master::Master;
use crate::workers::give_up_gone;
use goosefs_core::id::MountId;
use goosefs_core::proto::internal::Caller;
use goosefs_core::proto::journal::{CloseSessions, Found, Mount, UpdateMount, entry::Command};
use goosefs_core::{Error, Result};
use std::sync::Arc;
use std::time::Duration;
use uploads::Uploads;

const PERIOD: Duration = Duration::from_secs(2);

/// Starts the upkeep; it acts while this master leads.
pub(crate) fn start(master: &Arc<Master>) {
    let first = master.clone();
    let stop = master.tasks.stop();
    let mut status = master.journal.node().status();
    master.tasks.spawn("founding", async move {
        loop {
            status.borrow_and_update();
            match found(&first).await {
                Ok(true) => return,
                Ok(false) => {}
                Err(error) if error.code.retryable() => {
                    tracing::debug!(%error, "the first entries could not be logged yet");
                }
                Err(error) => tracing::warn!(%error, "the first entries could not be logged yet"),
            }
            tokio::select! {
                () = stop.cancelled() => return,
                _ = status.changed() => {}
                () = tokio::time::sleep(PERIOD) => {}
            }
        }
    });
    let master = master.clone();
    let tasks = master.tasks.clone();
    let uploads = Arc::new(tokio::sync::Mutex::new(Uploads::default()));
    tasks.every("upkeep", PERIOD, move || {
        let (master, uploads) = (master.clone(), uploads.clone());
        async move {
            if let Err(error) = round(&master, &mut *uploads.lock().await).await
                && !error.code.retryable()
            {
                tracing::warn!(%error, "upkeep failed");
            }
        }
    });
}

/// Logs the first entries of a cluster's life: which cluster it is, and what the configuration mounts at `/`. Says
/// whether they are there now.
async fn found(master: &Master) -> Result<bool> {
    let config = &master.config;
    let founder = Caller { user: config.superuser.clone(), group: String::new() };
    let mark = master.journal.node().mark();
    let (known, mounted) = {
        let namespace = master.journal.state().read();
        (namespace.mark(), namespace.mount(MountId(1)).ok())
    };
    let root = mounted.is_some();
    if mark.is_some() && known == mark && (root || config.root_ufs.is_empty()) {
        if let Some(mounted) = mounted.filter(|mounted| mounted.ufs != config.root_ufs) {
            let (mounted, configured) = (mounted.ufs, &config.root_ufs);
            tracing::info!(
                mounted,
                configured,
                "the configured root storage is not used: the cluster has one"
            );
        }
        return Ok(true);
    }
    if !master.journal.leads() {
        return Ok(false);
    }
    if !root && !config.root_ufs.is_empty() {
        mount_root(master, &founder).await?;
    }
    // Last: nobody is answered before (`Journal::read`).
    if known != mark {
        let command = Command::Found(Found { mark: mark.map(Into::into) });
        master.journal.propose(command, &founder, Op::Unnumbered).await?;
    }
    Ok(true)
}

async fn mount_root(master: &Master, founder: &Caller) -> Result<()> {
    let config = &master.config;
    if config.make_root_folder {
        let made = tokio::fs::create_dir_all(&config.root_ufs).await;
        made.map_err(|cause| Error::io(format!("make the folder {}", config.root_ufs), cause))?;
    }
    let mut root = Mount {
        path: "/".to_owned(),
        ufs: config.root_ufs.clone(),
        read_only: config.root_read_only,
        shared: true,
        ..Mount::default()
    };
    let storage = match master.desired.at("/") {
        Some((generation, wanted)) => {
            let (read_only, shared) = (wanted.read_only, wanted.shared);
            root = Mount { ufs: wanted.uri, read_only, shared, generation, ..root };
            master.connectors.make(&root.ufs, &wanted.options)?
        }
        None => {
            root.options = config.root_options.clone().into_iter().collect();
            master.connectors.make(&root.ufs, &config.root_options)?
        }
    };
    root.read_only |= !storage.capabilities().writable;
    let ufs = root.ufs.clone();
    master.journal.propose(Command::Mount(root), founder, Op::Unnumbered).await?;
    tracing::info!(ufs, "mounted the root");
    Ok(())
}

async fn round(master: &Master, uploads: &mut Uploads) -> Result<()> {
    let counts = master.journal.state().read().counts();
    let all = master.workers.all();
    let live = all.iter().filter(|worker| worker.live).count();
    master.metrics.sizes(&counts, live, all.len() - live);
    let steady_ms = master.journal.steady_ms();
    if !master.journal.leads() {
        return Ok(());
    }
    protect_unwritable(master).await?;
    close_silent_sessions(master, steady_ms).await?;
    abandoned::complete(master).await?;
    give_up_gone(&master.journal, &master.workers, master.config.worker_gone).await?;
    uploads.announce_due(master).await
}

/// Mounts of storages that cannot be written take no writes, whatever the version said that made them: what is refused
/// only when it is uploaded would stand in the namespace until then, for everybody.
async fn protect_unwritable(master: &Master) -> Result<()> {
    let mounts = master.journal.read()?.mounts();
    for mount in mounts.into_iter().filter(|mount| !mount.read_only) {
        let writable = match master.connectors.of(&mount) {
            Ok(storage) => storage.capabilities().writable,
            Err(error) => {
                tracing::warn!(mount = mount.path, %error, "the storage of a mount cannot be used");
                continue;
            }
        };
        if writable {
            continue;
        }
        tracing::info!(
            mount = mount.path,
            ufs = mount.ufs,
            "the storage cannot be written: read-only from now on"
        );
        let command = Command::UpdateMount(UpdateMount {
            path: mount.path,
            read_only: true,
            shared: mount.shared,
            options: mount.options.into_iter().collect(),
            generation: mount.generation,
        });
        master.journal.propose(command, &Caller::default(), Op::Unnumbered).await?;
    }
    Ok(())
}

async fn close_silent_sessions(master: &Master, steady_ms: u64) -> Result<()> {
    let timeout = u64::try_from(master.config.session_timeout.as_millis()).unwrap_or(u64::MAX);
    let before = steady_ms.saturating_sub(timeout);
    let silent: Vec<u64> = master
        .journal
        .read()?
        .sessions()
        .into_iter()
        .filter(|session| session.last_ms < before)
        .map(|session| session.session)
        .collect();
    if silent.is_empty() {
        return Ok(());
    }
    let command = Command::CloseSessions(CloseSessions { sessions: silent });
    master.journal.propose(command, &Caller::default(), Op::Unnumbered).await.map(drop)
}
