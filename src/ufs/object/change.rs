//! Changes to the tree, each of which may be repeated.

use super::remote::Remote;
use super::tree::{
    Found, RENAME_MARK, below, check, check_below_root, ensure_directory, keep_parent, look, name, parent,
};
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Code, Result};
use std::sync::Arc;

/// Keys that are removed with one request, where the service knows such.
const BATCH: usize = 500;

/// Objects that are copied at once by the rename of a directory.
const PARALLEL_COPIES: usize = 8;

pub(super) async fn make_directory(remote: Arc<Remote>, path: String) -> Result<()> {
    check(&path)?;
    ensure_directory(&remote, &path).await
}

pub(super) async fn remove(remote: Arc<Remote>, path: String, kind: NodeKind) -> Result<()> {
    check_below_root(&remote, "remove", &path)?;
    if kind == NodeKind::Directory {
        let marker = below(&path);
        for key in first_keys(&remote, &marker).await? {
            if key != marker {
                return Err(remote.error(Code::NotEmpty, &path, "is not empty"));
            }
            remote.delete(&[key]).await?;
        }
    } else {
        match look(&remote, &path).await? {
            Found::File(_) => remote.delete(std::slice::from_ref(&path)).await?,
            Found::Directory => return Err(remote.error(Code::IsDirectory, &path, "is a directory")),
            Found::Nothing => return Ok(()),
        }
    }
    keep_parent(&remote, &path).await
}

pub(super) async fn remove_all(remote: Arc<Remote>, path: String) -> Result<()> {
    check_below_root(&remote, "remove", &path)?;
    if remote.head(&path).await?.is_some() {
        remote.delete(std::slice::from_ref(&path)).await?;
    }
    remove_below(&remote, &path).await?;
    keep_parent(&remote, &path).await
}

/// Removes the directory at `path` with all that lies below it. Its own marker goes last, so that what was broken off
/// shows as the directory that it is.
async fn remove_below(remote: &Remote, path: &str) -> Result<()> {
    let marker = below(path);
    let mut keys = Vec::new();
    let mut lister = remote.list(&marker, true, None)?;
    let mut own = false;
    loop {
        let next = lister.next_dyn().await.map_err(|error| remote.list_failed(path, &error))?;
        let last = next.is_none();
        if let Some(next) = next {
            let (key, _) = next.into_parts();
            if key == marker { own = true } else { keys.push(key) }
        }
        if keys.len() >= BATCH || last {
            // Longest first: what stands for a directory goes after what lies in it.
            keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
            remote.delete(&std::mem::take(&mut keys)).await?;
        }
        if last {
            break;
        }
    }
    if own { remote.delete(&[marker]).await } else { Ok(()) }
}

/// The first two keys below `prefix`: enough to see whether there is more than a marker.
async fn first_keys(remote: &Remote, prefix: &str) -> Result<Vec<String>> {
    let mut lister = remote.list(prefix, true, Some(2))?;
    let mut keys = Vec::new();
    while keys.len() < 2 {
        let next = lister.next_dyn().await.map_err(|error| remote.list_failed(prefix, &error))?;
        let Some(next) = next else { break };
        keys.push(next.into_parts().0);
    }
    Ok(keys)
}

pub(super) async fn rename(remote: Arc<Remote>, from: String, to: String, replace: bool) -> Result<()> {
    check_below_root(&remote, "rename", &from)?;
    check_below_root(&remote, "rename something to", &to)?;
    let (source, target) = futures::try_join!(look(&remote, &from), look(&remote, &to))?;
    let taken = || Err(remote.error(Code::AlreadyExists, &to, "exists already"));
    match (source, target) {
        // Done before, perhaps but for the mark.
        (Found::Nothing, Found::File(_)) => Ok(()),
        (Found::Nothing, Found::Directory) => remote.delete(&[mark_of(&to)]).await,
        (Found::Nothing, Found::Nothing) => Err(remote.error(Code::NotFound, &from, "does not exist")),
        (Found::File(_), Found::Directory) => Err(remote.error(Code::IsDirectory, &to, "is a directory")),
        (Found::File(_), Found::File(_)) if !replace => taken(),
        (Found::File(_), _) => rename_file(&remote, &from, &to).await,
        (Found::Directory, Found::File(_)) => Err(remote.error(Code::NotDirectory, &to, "is no directory")),
        (Found::Directory, target) => {
            let (mark, marker) = (mark_of(&to), below(&to));
            let broke_off =
                target == Found::Directory && remote.small(&mark).await?.is_some_and(|by| by == from);
            if target == Found::Directory && !broke_off {
                let more = first_keys(&remote, &marker).await?.iter().any(|key| *key != marker);
                if more || !replace {
                    return taken();
                }
            }
            rename_directory(&remote, &from, &to, &mark).await
        }
    }
}

fn mark_of(to: &str) -> String {
    format!("{}{RENAME_MARK}", below(to))
}

async fn rename_file(remote: &Remote, from: &str, to: &str) -> Result<()> {
    if from == to {
        return Ok(());
    }
    ensure_directory(remote, parent(to)).await?;
    remote.copy(from, to).await?;
    remote.delete(&[from.to_owned()]).await?;
    keep_parent(remote, from).await
}

/// Copies everything and removes the source. The mark says, as long as it is there, that a directory that is there
/// already is this rename's own, from before it broke off.
async fn rename_directory(remote: &Remote, from: &str, to: &str, mark: &str) -> Result<()> {
    if to == from {
        return Ok(());
    }
    if to.starts_with(&below(from)) {
        return Err(remote.error(Code::InvalidArgument, to, "lies within what is to be renamed"));
    }
    ensure_directory(remote, to).await?;
    remote.put(mark, from).await?;
    let source = below(from);
    let mut lister = remote.list(&source, true, None)?;
    let mut copies = FuturesUnordered::new();
    let mut more = true;
    while more || !copies.is_empty() {
        if more && copies.len() < PARALLEL_COPIES {
            let next = lister.next_dyn().await.map_err(|error| remote.list_failed(from, &error))?;
            match next {
                Some(next) => copies.push(copy_below(remote, next.into_parts().0, &source, to)),
                None => more = false,
            }
        } else if let Some(copied) = copies.next().await {
            copied?;
        }
    }
    remove_below(remote, from).await?;
    remote.delete(&[mark.to_owned()]).await?;
    keep_parent(remote, from).await
}

/// Copies `key`, which lies below `source`, to the same place below `to`.
async fn copy_below(remote: &Remote, key: String, source: &str, to: &str) -> Result<()> {
    let rest = key.strip_prefix(source).unwrap_or_default();
    let target = format!("{}{rest}", below(to));
    match &*key {
        key if name(key) == RENAME_MARK => Ok(()),
        // Markers hold nothing: one is as good as a copy of the other.
        key if key.ends_with('/') => remote.put(&target, "").await,
        key => remote.copy(key, &target).await,
    }
}
