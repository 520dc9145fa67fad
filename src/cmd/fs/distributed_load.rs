//! `goosefs fs distributedLoad`, and `load` as a job: `--submit`, `--progress`, `--stop`.

use crate::cli::{DistributedLoadArgs, LoadArgs, ProgressFormat};
use crate::cmd::connection::path;
use crate::cmd::{out, preload};
use anyhow::bail;
use goosefs_client::Client;
use goosefs_core::proto::internal::{PreloadOptions, PreloadState};

/// Files at a time, when nobody says: what GooseFS prints. The masters keep fewer under way.
const ACTIVE: u32 = 3000;

pub(super) async fn run(client: &Client, args: &DistributedLoadArgs) -> anyhow::Result<()> {
    let path = path(&args.path)?;
    let options = PreloadOptions {
        replication: args.replication,
        active: args.active_jobs.unwrap_or(0),
        bandwidth: preload::bandwidth(args.bandwidth.as_deref())?,
        beyond_capacity: args.ignore_cap,
        within_ms: args.expire_time,
        fresh: false,
    };
    let (id, new) = preload::begin(client, &path, options).await?;
    out::line(&format!("Allow up to {} active jobs", args.active_jobs.unwrap_or(ACTIVE)));
    let word = if new { "loading" } else { "is being loaded already" };
    out::line(&format!("{path} {word} (job {id}; it goes on if this command ends)"));
    let ended = preload::follow(client, id).await?;
    preload::failures(&ended).for_each(|line| out::line(&line));
    let progress = ended.progress.clone().unwrap_or_default();
    out::line(&format!("Completed count is {},Failed count is {}.", progress.loaded, progress.failed));
    match ended.state() {
        PreloadState::Succeeded => Ok(()),
        _ if !ended.reason.is_empty() => bail!("{path} was not loaded: {}", ended.reason),
        PreloadState::Stopped => bail!("job {id} was stopped before its end"),
        _ => bail!("{} of {} files were not loaded", progress.failed, progress.loaded + progress.failed),
    }
}

/// `load` with one of its flags for jobs.
pub(super) async fn as_job(client: &Client, args: &LoadArgs) -> anyhow::Result<()> {
    let path = path(&args.path)?;
    if args.submit {
        let options = PreloadOptions {
            replication: args.replication,
            bandwidth: preload::bandwidth(args.bandwidth.as_deref())?,
            beyond_capacity: args.ignore_cap,
            ..PreloadOptions::default()
        };
        let (id, new) = preload::begin(client, &path, options).await?;
        out::line(&if new {
            format!("Load '{path}' is successfully submitted. JobId: {id}")
        } else {
            format!("Load already running for path '{path}'. JobId: {id}")
        });
        return Ok(());
    }
    let known = client.preloads().of(&path, args.verbose).await?;
    if args.stop {
        let running = known.filter(|preload| preload.state() == PreloadState::Running);
        let Some(preload) = running else {
            bail!("Cannot find load job for path {path}, it might have already been stopped or finished")
        };
        client.preloads().stop(preload.id).await?;
        out::line(&format!("Load '{path}' is successfully stopped."));
        return Ok(());
    }
    let Some(preload) = known else { bail!("Load for path '{path}' cannot be found.") };
    match args.format {
        ProgressFormat::Text => {
            preload::lines(&preload, args.verbose).iter().for_each(|line| out::line(line))
        }
        ProgressFormat::Json => out::line(&preload::json(&preload, args.verbose)),
    }
    Ok(())
}
