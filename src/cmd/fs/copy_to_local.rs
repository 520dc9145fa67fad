//! `goosefs fs copyToLocal`.

use super::tree::{self, Found};
use crate::cli::CopyToLocalArgs;
use crate::cmd::connection::path;
use crate::cmd::out;
use crate::cmd::print::Progress;
use anyhow::{Context, ensure};
use goosefs_client::Client;
use goosefs_core::proto::internal::NodeKind;
use std::fs;
use std::path::{Path, PathBuf};

pub(super) async fn run(client: &Client, args: &CopyToLocalArgs) -> anyhow::Result<()> {
    let source = path(&args.source)?;
    let found = tree::walk(client, &source).await?;
    let target = target(source.name(), &args.destination)?;
    let total = found.iter().map(|found| found.attr.length).sum();
    let progress = Progress::bytes(total, "copying");
    for Found { path, attr } in &found {
        if attr.kind() == NodeKind::File {
            tree::readable(client, path).await?;
        }
        let below = path.strip_prefix(&source).unwrap_or_default();
        let to = if below.is_empty() { target.clone() } else { target.join(below) };
        match attr.kind() {
            NodeKind::Directory => {
                fs::create_dir_all(&to).with_context(|| format!("make {}", to.display()))?
            }
            NodeKind::Symlink => std::os::unix::fs::symlink(&attr.target, &to)
                .with_context(|| format!("make {}", to.display()))?,
            NodeKind::File | NodeKind::Unspecified => {
                copy(client, attr, &to, &progress).await.with_context(|| format!("copy {path}"))?;
            }
        }
    }
    drop(progress);
    out::line(&format!("Copied {source} to file://{}", target.display()));
    Ok(())
}

fn target(name: Option<&str>, destination: &Path) -> anyhow::Result<PathBuf> {
    let destination = std::path::absolute(destination)?;
    let target = match name {
        Some(name) if destination.is_dir() => destination.join(name),
        _ => destination,
    };
    ensure!(fs::symlink_metadata(&target).is_err() || target.is_dir(), "{} already exists", target.display());
    Ok(target)
}

/// Copies aside and renames, so that a copy that failed leaves nothing behind.
async fn copy(
    client: &Client,
    attr: &goosefs_core::proto::internal::Attr,
    to: &Path,
    progress: &Progress,
) -> anyhow::Result<()> {
    let mut aside = to.as_os_str().to_owned();
    aside.push(".copying");
    let aside = Aside(PathBuf::from(aside));
    let Aside(aside) = &aside;
    let mut file =
        tokio::fs::File::create(aside).await.with_context(|| format!("create {}", aside.display()))?;
    let reader = client.reader(attr)?;
    let copied = reader.copy_to(0, &mut file, |bytes| progress.add(bytes)).await;
    copied?;
    fs::rename(aside, to).with_context(|| format!("rename {} to {}", aside.display(), to.display()))
}

/// A copy that is not whole yet; it goes when nobody copies any more, interrupted or not.
struct Aside(PathBuf);

impl Drop for Aside {
    fn drop(&mut self) {
        // It is not there any more when it was renamed.
        let _nothing_more_to_do = fs::remove_file(&self.0);
    }
}
