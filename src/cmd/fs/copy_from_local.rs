//! `goosefs fs copyFromLocal`.

use crate::cli::CopyFromLocalArgs;
use crate::cmd::connection::{interrupted, path};
use crate::cmd::out;
use crate::cmd::print::Progress;
use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use futures::stream::{self, StreamExt, TryStreamExt};
use goosefs_client::Client;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Code, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Bytes read and sent at a time.
const PIECE: usize = 1 << 20;

/// One file to copy.
struct Job {
    from: PathBuf,
    to: NsPath,
    length: u64,
    mode: u32,
}

pub(super) async fn run(client: &Client, args: &CopyFromLocalArgs) -> anyhow::Result<()> {
    let source = std::path::absolute(&args.source)?;
    let metadata = match std::fs::metadata(&source) {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            bail!("Path \"{}\" does not exist.", source.display())
        }
        other => other.with_context(|| format!("look at {}", source.display()))?,
    };
    let target = target(client, &source, &args.destination).await?;
    let mut jobs = Vec::new();
    if metadata.is_dir() {
        // Nothing is made before all of the source was looked at: what cannot be copied stops it while nothing is there.
        for folder in plan(&source, &target, &mut jobs)? {
            client.paths().make_dir(&folder, 0o755, true).await?;
        }
    } else {
        jobs.push(job(&source, target.clone(), &metadata)?);
    }
    let progress = Progress::bytes(jobs.iter().map(|job| job.length).sum(), "copying");
    let begun = RefCell::new(BTreeSet::new());
    let copies = stream::iter(&jobs)
        .map(|job| copy(client, job, &progress, &begun))
        .buffer_unordered(usize::from(args.thread))
        .try_collect::<Vec<()>>();
    let outcome = tokio::select! {
        outcome = copies => outcome.map(drop),
        interrupted = interrupted() => interrupted,
    };
    // Those that were under way when another one failed, or the user had enough.
    let left = begun.take();
    for path in &left {
        take_away(client, path).await;
    }
    outcome?;
    drop(progress);
    out::line(&format!("Copied file://{} to {target}", source.display()));
    Ok(())
}

/// Where the source goes: into a directory that exists, else to the very path.
async fn target(client: &Client, source: &Path, text: &str) -> anyhow::Result<NsPath> {
    let destination = path(text)?;
    match client.paths().stat(&destination).await {
        Ok(attr) if attr.kind() == NodeKind::Directory => {
            let name = source.file_name().and_then(|name| name.to_str());
            let name = name.with_context(|| format!("{} has no name that can be kept", source.display()))?;
            let inside = destination.join(name)?;
            match client.paths().stat(&inside).await {
                Ok(_) => bail!("{inside} already exists"),
                Err(error) if error.code == Code::NotFound => Ok(inside),
                Err(error) => Err(error.into()),
            }
        }
        Ok(_) => bail!("{destination} already exists"),
        Err(error) if error.code == Code::NotFound => Ok(destination),
        Err(error) => Err(error.into()),
    }
}

fn job(from: &Path, to: NsPath, metadata: &std::fs::Metadata) -> anyhow::Result<Job> {
    ensure!(metadata.is_file(), "{} is neither a file nor a directory", from.display());
    let mode = metadata.permissions().mode() & 0o7777;
    Ok(Job { from: from.to_owned(), to, length: metadata.len(), mode })
}

/// Lists the files; answers with the directories to be made, outer ones first.
fn plan(source: &Path, target: &NsPath, jobs: &mut Vec<Job>) -> anyhow::Result<Vec<NsPath>> {
    let mut made = Vec::new();
    let mut folders = vec![(source.to_owned(), target.clone())];
    while let Some((folder, to)) = folders.pop() {
        let entries = std::fs::read_dir(&folder).with_context(|| format!("list {}", folder.display()))?;
        for entry in entries {
            let entry = entry.with_context(|| format!("list {}", folder.display()))?;
            let name = entry.file_name();
            let name = name
                .to_str()
                .with_context(|| format!("{}: the name is not UTF-8", entry.path().display()))?;
            let metadata = std::fs::metadata(entry.path()).with_context(|| unusable(&entry.path()))?;
            if metadata.is_dir() {
                folders.push((entry.path(), to.join(name)?));
            } else {
                jobs.push(job(&entry.path(), to.join(name)?, &metadata)?);
            }
        }
        made.push(to);
    }
    Ok(made)
}

fn unusable(path: &Path) -> String {
    match path.is_symlink() {
        true => format!("{} is a symlink that leads nowhere; nothing was copied", path.display()),
        false => format!("look at {}", path.display()),
    }
}

/// Copies one file; one that failed half-way is taken away again. It is in `begun` until it is whole.
async fn copy(
    client: &Client,
    job: &Job,
    progress: &Progress,
    begun: &RefCell<BTreeSet<NsPath>>,
) -> anyhow::Result<()> {
    if let Some(parent) = job.to.parent() {
        client.paths().make_dir(&parent, 0o755, true).await?;
    }
    let attr = client.paths().create(&job.to, job.mode, None).await?;
    begun.borrow_mut().insert(job.to.clone());
    let copied = write(client, job, &attr, progress).await;
    if copied.is_err() {
        take_away(client, &job.to).await;
    }
    begun.borrow_mut().remove(&job.to);
    copied.with_context(|| format!("copy {} to {}", job.from.display(), job.to))
}

async fn take_away(client: &Client, path: &NsPath) {
    if let Err(error) = client.paths().remove(path).await {
        tracing::warn!(%path, %error, "what was copied half-way stays behind");
    }
}

async fn write(
    client: &Client,
    job: &Job,
    attr: &goosefs_core::proto::internal::Attr,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut file = tokio::fs::File::open(&job.from).await?;
    let mut writer = client.writer(attr, &client.config().caller)?;
    let mut piece = BytesMut::with_capacity(PIECE);
    let mut at = 0;
    loop {
        piece.reserve(PIECE);
        let count = file.read_buf(&mut piece).await?;
        if count == 0 {
            break;
        }
        sent(writer.write(at, piece.split().freeze()).await)?;
        at += count as u64;
        progress.add(count as u64);
    }
    sent(writer.close().await)?;
    Ok(())
}

fn sent<T>(outcome: Result<T>) -> anyhow::Result<T> {
    outcome.map_err(anyhow::Error::from)
}
