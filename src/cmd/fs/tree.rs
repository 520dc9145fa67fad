//! Walking the namespace, for commands that work on whole trees.

use goosefs_client::Client;
use goosefs_core::path::NsPath;
use goosefs_core::proto::internal::{Attr, NodeKind};
use goosefs_core::{Code, Error, Result};

/// A file or directory found below a path.
pub(super) struct Found {
    pub(super) path: NsPath,
    pub(super) attr: Attr,
}

/// What a path names; when nothing, the sentence that scripts of GooseFS users look for.
pub(super) async fn stat(client: &Client, path: &NsPath) -> Result<Attr> {
    client.paths().stat(path).await.map_err(|error| missing(error, path))
}

/// As [`stat`], of something to be read.
pub(super) async fn readable(client: &Client, path: &NsPath) -> Result<Attr> {
    client.paths().readable(path).await.map_err(|error| missing(error, path))
}

/// `Path "/x" does not exist.` for a `NotFound`.
pub(super) fn missing(error: Error, path: &NsPath) -> Error {
    if error.code == Code::NotFound {
        return Error::new(Code::NotFound, format!("Path \"{path}\" does not exist."));
    }
    error
}

/// `path` and all below it, directories before what they hold.
pub(super) async fn walk(client: &Client, path: &NsPath) -> Result<Vec<Found>> {
    let mut found = vec![Found { path: path.clone(), attr: stat(client, path).await? }];
    let mut at = 0;
    while at < found.len() {
        if found[at].attr.kind() == NodeKind::Directory {
            let directory = found[at].path.clone();
            for entry in client.paths().list(&directory).await? {
                if let Some(attr) = entry.attr {
                    found.push(Found { path: directory.join(&entry.name)?, attr });
                }
            }
        }
        at += 1;
    }
    Ok(found)
}
