//! Looking at one address: is it a file, of which version, or a directory?

use super::address::{self, As, url_of};
use super::client::{Client, check_identity, redirect, unexpected};
use super::version::Version;
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use reqwest::header::{HeaderMap, HeaderValue, RANGE};
use reqwest::{Method, Response, StatusCode};
use url::Url;

/// What lies at an address.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Found {
    File(Fingerprint),
    Directory,
}

/// Looks at `path`. A directory is what the server redirects to with a slash at its end, as every server does that has
/// directories.
pub(super) async fn look(client: &Client, path: &str) -> Result<Found> {
    if path.is_empty() {
        return look_at_root(client).await;
    }
    let url = url_of(client.base(), path, As::File)?;
    let answer = client.send(&Method::HEAD, &url, &HeaderMap::new()).await?;
    match redirect(&answer) {
        Some(location) if address::adds_a_slash(&url, location) => Ok(Found::Directory),
        Some(location) => {
            let to = address::redirected(client.base(), &url, location)?;
            let (url, answer) = client.send_following(&Method::HEAD, &to, &HeaderMap::new()).await?;
            Ok(Found::File(file(client, &url, &answer).await?))
        }
        None => Ok(Found::File(file(client, &url, &answer).await?)),
    }
}

/// The version of the file at `url`, which is known to be one.
pub(super) async fn version(client: &Client, url: &Url) -> Result<Fingerprint> {
    let (url, answer) = client.send_following(&Method::HEAD, url, &HeaderMap::new()).await?;
    file(client, &url, &answer).await
}

async fn look_at_root(client: &Client) -> Result<Found> {
    let base = client.base();
    let (_, answer) = client.send_following(&Method::HEAD, base, &HeaderMap::new()).await?;
    match answer.status() {
        status if status.is_success() => Ok(Found::Directory),
        // No HEAD there: whether it can be listed shows when it is.
        status if no_head(status) => Ok(Found::Directory),
        status => Err(unexpected(&Method::HEAD, base, status)),
    }
}

/// Reads the answer to a HEAD; a server that does not know HEAD, or does not tell the length, is asked for one byte.
async fn file(client: &Client, url: &Url, answer: &Response) -> Result<Fingerprint> {
    if answer.status() == StatusCode::OK {
        let encoded = check_identity(url, answer.headers()).is_err();
        if let Some(fingerprint) = Version::of(answer.headers(), false).fingerprint()
            && !encoded
        {
            return Ok(fingerprint);
        }
    } else if !no_head(answer.status()) {
        return Err(unexpected(&Method::HEAD, url, answer.status()));
    }
    ask_for_a_byte(client, url).await
}

async fn ask_for_a_byte(client: &Client, url: &Url) -> Result<Fingerprint> {
    let headers = HeaderMap::from_iter([(RANGE, HeaderValue::from_static("bytes=0-0"))]);
    let (url, answer) = client.send_following(&Method::GET, url, &headers).await?;
    let partial = match answer.status() {
        StatusCode::OK => false,
        StatusCode::PARTIAL_CONTENT => true,
        status => return Err(unexpected(&Method::GET, &url, status)),
    };
    check_identity(&url, answer.headers())?;
    Version::of(answer.headers(), partial).fingerprint().ok_or_else(|| {
        Error::new(Code::Ufs, format!("the server does not tell the length of {url}"))
            .hint("only files with a Content-Length can be cached")
    })
}

fn no_head(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED)
}
