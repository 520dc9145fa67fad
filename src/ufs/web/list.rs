//! From a directory page to entries: files are looked at one by one, many at a time, because a page tells no entity tag
//! and its times are cut to minutes.

use super::address::{As, url_of};
use super::client::{Client, check_identity, failed, unexpected};
use super::entry;
use super::listing::{self, Listed};
use super::look;
use super::version::text;
use crate::Entry;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Error, Result};
use reqwest::header::{CONTENT_TYPE, HeaderMap};
use reqwest::{Method, Response, StatusCode};
use std::sync::Arc;
use url::Url;

/// Longest directory page. Half a million names fit; a page without end must not fill the memory.
const LONGEST_PAGE: usize = 64 << 20;

/// The entries of the directory at `path`.
pub(super) async fn list(client: Arc<Client>, path: &str) -> Result<BoxStream<'static, Result<Entry>>> {
    let (url, html) = page(&client, path).await?;
    let parsed = tokio::task::spawn_blocking({
        let url = url.clone();
        move || listing::parse(&url, &html)
    });
    let (listed, left_out) = parsed
        .await
        .map_err(|cause| Error::new(Code::Internal, format!("parsing {url} broke off")).caused_by(cause))??;
    if left_out > 0 {
        tracing::warn!(directory = %url, left_out, "listing leaves out names that are not UTF-8 or over 255 bytes");
    }
    let parallel = client.options().parallel;
    let entries = futures::stream::iter(listed)
        .map(move |listed| complete(Arc::clone(&client), url.clone(), listed))
        .buffer_unordered(parallel)
        .filter_map(async |outcome| outcome.transpose());
    Ok(entries.boxed())
}

/// The error for a directory that the server does not list.
async fn refused(client: &Client, path: &str, url: &Url, status: StatusCode) -> Error {
    let error = unexpected(&Method::GET, url, status);
    match error.code {
        // Servers say "not found" too when there is a file of that name.
        Code::NotFound if matches!(look::look(client, path).await, Ok(look::Found::File(_))) => {
            Error::new(Code::NotDirectory, format!("{url} is a file"))
        }
        Code::PermissionDenied => error.hint("does the server list directories? (nginx: autoindex on)"),
        _ => error,
    }
}

/// The directory page of `path` and where it came from. One that breaks off is fetched again.
async fn page(client: &Client, path: &str) -> Result<(Url, String)> {
    let directory = url_of(client.base(), path, As::Directory)?;
    let mut backoff = client.backoff();
    loop {
        let (url, answer) = client.send_following(&Method::GET, &directory, &HeaderMap::new()).await?;
        if answer.status() != StatusCode::OK {
            return Err(refused(client, path, &url, answer.status()).await);
        }
        check_kind(&url, answer.headers())?;
        match body(client, &url, answer).await {
            // What is not UTF-8 is within texts, which are not used: names come from links, which are ASCII.
            Ok(Some(body)) => return Ok((url, String::from_utf8_lossy(&body).into_owned())),
            Ok(None) => {
                let message = format!("the directory page {url} is over {} MiB", LONGEST_PAGE >> 20);
                return Err(Error::new(Code::Ufs, message));
            }
            Err(error) => {
                tracing::debug!(%error, "a directory page broke off and may be fetched again");
                if !backoff.pause(None).await {
                    return Err(error);
                }
            }
        }
    }
}

fn check_kind(url: &Url, headers: &HeaderMap) -> Result<()> {
    let kind = text(headers, CONTENT_TYPE).unwrap_or_default();
    if kind.to_ascii_lowercase().contains("html") {
        return check_identity(url, headers);
    }
    let message = format!("{url} answers with \"{kind}\", which is not a directory listing");
    Err(Error::new(Code::Ufs, message).hint("an HTML directory listing is needed"))
}

/// The whole body; `None` when it is too long.
async fn body(client: &Client, url: &Url, mut answer: Response) -> Result<Option<Vec<u8>>> {
    let stall = client.options().stall_timeout;
    let mut body = Vec::new();
    loop {
        let chunk = tokio::time::timeout(stall, answer.chunk()).await.map_err(|_| {
            Error::new(Code::DeadlineExceeded, format!("GET {url}: nothing came for {stall:?}"))
        })?;
        match chunk.map_err(|cause| failed(&format!("GET {url}"), cause))? {
            Some(chunk) if body.len() + chunk.len() > LONGEST_PAGE => return Ok(None),
            Some(chunk) => body.extend_from_slice(&chunk),
            None => return Ok(Some(body)),
        }
    }
}

/// The entry for one name; `None` when the file is not there (removed meanwhile, or a dangling symlink).
async fn complete(client: Arc<Client>, directory: Url, listed: Listed) -> Result<Option<Entry>> {
    if listed.directory {
        let fingerprint = Fingerprint { length: 0, mtime_ms: listed.modified_ms, etag: String::new() };
        return Ok(Some(entry(listed.name, NodeKind::Directory, fingerprint)));
    }
    let url = listing::url_of_entry(&directory, &listed.name)?;
    match look::version(&client, &url).await {
        Ok(fingerprint) => Ok(Some(entry(listed.name, NodeKind::File, fingerprint))),
        Err(error) if error.code == Code::NotFound => Ok(None),
        // It is there, as the page says, and reading it will say again that it is forbidden.
        Err(error) if error.code == Code::PermissionDenied => {
            tracing::warn!(%error, "a listed file may not be looked at");
            let length = listed.size.unwrap_or(0);
            let fingerprint = Fingerprint { length, mtime_ms: listed.modified_ms, etag: String::new() };
            Ok(Some(entry(listed.name, NodeKind::File, fingerprint)))
        }
        Err(error) => Err(error),
    }
}
