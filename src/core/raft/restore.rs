//! A cluster founded with the state of a backup.
//!
//! Done before Raft starts, by master 0 alone, on a new directory, and only once every other master has answered that its
//! directory is new as well: what runs, or could still run, is never restored over. The state becomes the snapshot of a
//! life whose only voter is this master, in an epoch that no cluster of that id has had; the others then join.

use super::backup::{self, Opened};
use super::force::{next_epoch, write_life};
use super::ground::blocking;
use super::identity::{Directory, Identity};
use super::log::LogStore;
use super::metrics::Counters;
use super::network::identify_at;
use super::transfer::receive_backup;
use super::{ClusterMark, Machine, RaftConfig, Restore};
use crate::error::{Code, Error, Result};
use crate::proto::internal::HelloRequest;
use crate::proto::raft as wire;
use crate::rpc::control::KeyFile;
use crate::rpc::frame::{Channel, Target};
use crate::task::Tasks;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Between two rounds of asking the others.
const ROUND: Duration = Duration::from_millis(200);
/// Where an offered backup lies until the cluster has begun.
const OFFERED: &str = "offered.backup";
/// How long masters that start together may take to find each other.
const USUAL: Duration = Duration::from_secs(2);

/// What a new cluster is to begin with, if it was told at the start or the roster says so.
pub(super) fn wanted(config: &RaftConfig) -> Option<Restore> {
    let offered = || {
        config.listed().filter(|roster| roster.bootstrap && roster.restore.is_some())?;
        Some(Restore { file: config.dir.join(OFFERED), offered: true, if_new: true })
    };
    config.restore.clone().or_else(offered)
}

/// Founds the cluster from the backup and gives the new identity; `None` when there is a cluster already and `restore`
/// says to go on with that, or when this is not master 0.
///
/// # Errors
/// `AlreadyExists` when there is a cluster; those of reading the backup and of writing the new life.
pub(super) async fn found(
    config: &RaftConfig,
    directory: &Directory,
    old: Identity,
    log: &LogStore,
    restore: &Restore,
    machine: &Arc<dyn Machine>,
    counters: &Counters,
) -> Result<Option<Identity>> {
    let existing = |what: String| {
        if restore.if_new {
            tracing::info!(backup = %restore.file.display(), "nothing is restored: {what}");
            return Ok(None);
        }
        Err(Error::new(Code::AlreadyExists, format!("{} is not restored: {what}", restore.file.display()))
            .hint("a backup is restored while no master runs, into empty directories of all masters"))
    };
    if old.member || !log.is_empty() {
        return existing(format!("data directory {} holds a cluster", config.dir.display()));
    }
    if config.slot != 0 {
        if restore.if_new {
            return Ok(None);
        }
        let text = "a backup is restored by the master with --id 0; the others join it";
        return Err(Error::new(Code::InvalidArgument, text).hint("start this one without --restore"));
    }
    if let Some(roster) = config.listed().filter(|roster| !roster.bootstrap) {
        return existing(format!(
            "{} does not allow to begin a cluster (bootstrap is false)",
            roster.file.display()
        ));
    }
    if restore.offered {
        fetch(config, &restore.file).await?;
    }
    // First of all, so that a damaged file is told of at once.
    let file = restore.file.clone();
    let opened = blocking(&config.ground, move || backup::open(&file))
        .await
        .map_err(|e| Error::new(Code::Internal, "reading the backup panicked").caused_by(e))??;
    if let Some(peer) = others_are_new(config, old).await {
        return existing(format!("the master at {peer} has a cluster"));
    }
    let founded = take_over(config, directory, &restore.file, opened, machine, counters).await?;
    if restore.offered {
        // It is in the new life; the copy was only ours.
        let _gone = std::fs::remove_file(&restore.file);
    }
    Ok(Some(founded))
}

/// Fetches the backup from where the roster says that it is, for as long as that takes: without it there must be no cluster.
async fn fetch(config: &RaftConfig, file: &Path) -> Result<()> {
    let tasks = Tasks::new("fetch a backup");
    let mut said = String::new();
    loop {
        let roster = config.listed().filter(|roster| roster.bootstrap);
        let Some(offer) = roster.and_then(|roster| roster.restore) else {
            let text = "the cluster may not be begun from a backup any more";
            return Err(Error::new(Code::Unavailable, text).hint("the master starts again and looks anew"));
        };
        let hello = HelloRequest { version: 1, role: "master".to_owned(), ..HelloRequest::default() };
        let (target, key) = (Target::Tcp(offer.clone()), config.control.as_ref().map(KeyFile::key));
        let fetched = match Channel::connect_proven(&target, hello, key.as_ref(), &tasks, USUAL).await {
            Ok(channel) => receive_backup(&channel, file).await,
            Err(error) => Err(error),
        };
        match fetched {
            Ok(backup) => {
                tracing::info!(offer, bytes = backup.bytes, "fetched the backup to begin with");
                tasks.shutdown(USUAL).await;
                return Ok(());
            }
            Err(error) if said != error.to_string() => {
                tracing::warn!(offer, %error, "the backup to begin with is not there yet; it is tried again");
                said = error.to_string();
            }
            Err(_) => {}
        }
        tokio::time::sleep(ROUND).await;
    }
}

/// Waits until every other master has answered; gives the address of one that has a cluster.
async fn others_are_new(config: &RaftConfig, own: Identity) -> Option<String> {
    let others: Vec<&String> =
        (0..).zip(&config.peers).filter(|(slot, _)| *slot != config.slot).map(|(_, peer)| peer).collect();
    let begun = Instant::now();
    let mut said = Vec::new();
    loop {
        let request = || wire::IdentifyRequest { slot: own.slot, node: own.node.0, ..Default::default() };
        let asked =
            others.iter().map(|peer| identify_at(&config.ground, peer, request(), config.election_max * 2));
        let answers = futures::future::join_all(asked).await;
        let mut silent = Vec::new();
        for (peer, answer) in others.iter().zip(answers) {
            match answer {
                Ok(answer) if answer.empty => {}
                Ok(_) => return Some((*peer).clone()),
                Err(_) => silent.push((*peer).clone()),
            }
        }
        if silent.is_empty() {
            return None;
        }
        if begun.elapsed() > USUAL && said != silent {
            tracing::warn!("a restore needs every master; no answer from {}", silent.join(", "));
            said = silent;
        }
        tokio::time::sleep(ROUND).await;
    }
}

async fn take_over(
    config: &RaftConfig,
    directory: &Directory,
    from: &Path,
    opened: Opened,
    machine: &Arc<dyn Machine>,
    counters: &Counters,
) -> Result<Identity> {
    let Opened { meta, mark, records, file } = opened;
    let (restored, path) = (machine.clone(), from.to_owned());
    let frozen = blocking(&config.ground, move || {
        file.image(|image| restored.restore(image))
            .map_err(|e| e.context(format!("backup {}", path.display())))?;
        Ok::<_, Error>(restored.freeze())
    })
    .await
    .map_err(|e| Error::new(Code::Internal, "restoring the backup panicked").caused_by(e))??;
    let id = config.cluster.unwrap_or(mark.id);
    let new = Identity::new(config.slot, Some(ClusterMark { id, epoch: next_epoch(mark.epoch) }), true);
    write_life(config, new, frozen, meta.last_log_id, counters).await?;
    directory.save(new)?;
    let was = mark.epoch;
    let epoch = new.mark.map(|mark| mark.epoch).unwrap_or(was);
    tracing::info!(backup = %from.display(), records, cluster = %id, %was, %epoch, "the cluster was restored from a backup");
    Ok(new)
}
