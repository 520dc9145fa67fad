//! One request to a web server: time-outs, retries, redirects below the mount, and errors that say what happened.

use super::address;
use super::options::Options;
use super::turns::Turns;
use super::version::text;
use crate::requests;
use crate::wrap::Backoff;
use goosefs_core::{Code, Error, Result};
use reqwest::header::{
    ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{Method, Response, StatusCode, Version};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use url::Url;

/// How many redirects are followed for one request.
const REDIRECTS: usize = 5;

/// A mounted address and the connections to its server, which are kept and used again.
#[derive(Debug)]
pub(super) struct Client {
    base: Url,
    http: reqwest::Client,
    options: Options,
    told_without_ranges: AtomicBool,
    turns: Turns,
}

impl Client {
    pub(super) fn new(base: Url, options: &Options) -> Result<Client> {
        let connections = requests::connections(
            base.scheme() == "https",
            options.ca_file.as_deref(),
            "goosefs.underfs.web.tls.ca.file",
            options.connection_timeout,
        )?;
        let mut headers = HeaderMap::new();
        // A compressed body has other lengths and ranges than the file.
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let http = requests::built(connections.referer(false).default_headers(headers))?;
        Ok(Client {
            base,
            http,
            options: options.clone(),
            told_without_ranges: AtomicBool::new(false),
            turns: Turns::new(),
        })
    }

    /// The mounted address; it ends with a slash.
    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    pub(super) fn options(&self) -> &Options {
        &self.options
    }

    /// Says, once, that the server sends whole files when asked for ranges.
    pub(super) fn tell_without_ranges(&self) {
        if !self.told_without_ranges.swap(true, Ordering::Relaxed) {
            tracing::info!(server = %self.base, "this server knows no ranges: reads begin at the start of the file");
        }
    }

    /// The pauses between tries of one request or transfer.
    pub(super) fn backoff(&self) -> Backoff {
        requests::backoff(self.options.retries)
    }

    /// Sends an idempotent request and gives back the answer's head, whatever its status, but for those that may pass
    /// (429, 500, 502, 503, 504): these and failures of the connection are tried again with growing pauses. A server that
    /// is silent is not: whoever reads would wait many times as long as is allowed.
    ///
    /// Errors: `DeadlineExceeded` when a try took too long, else `Ufs`.
    pub(super) async fn send(&self, method: &Method, url: &Url, headers: &HeaderMap) -> Result<Response> {
        let mut backoff = self.backoff();
        loop {
            let (error, asked) = match self.attempt(method, url, headers).await {
                Ok(answer) if may_pass(answer.status()) => {
                    (unexpected(method, url, answer.status()), asked_pause(answer.headers()))
                }
                Ok(answer) => return Ok(answer),
                Err(error) if error.code == Code::DeadlineExceeded => return Err(error),
                Err(error) => (error, None),
            };
            tracing::debug!(%error, "request to a web server failed and may be sent again");
            if !backoff.pause(asked).await {
                return Err(error);
            }
        }
    }

    /// As [`Client::send`], and follows redirects that stay below the mount; says where the answer came from.
    pub(super) async fn send_following(
        &self,
        method: &Method,
        url: &Url,
        headers: &HeaderMap,
    ) -> Result<(Url, Response)> {
        let mut url = url.clone();
        for _ in 0..REDIRECTS {
            let answer = self.send(method, &url, headers).await?;
            match redirect(&answer) {
                Some(location) => url = address::redirected(&self.base, &url, location)?,
                None => return Ok((url, answer)),
            }
        }
        Err(Error::new(Code::Ufs, format!("{url} redirects more than {REDIRECTS} times")))
    }

    async fn attempt(&self, method: &Method, url: &Url, headers: &HeaderMap) -> Result<Response> {
        let request = self.http.request(method.clone(), url.clone()).headers(headers.clone());
        let limit = self.options.header_timeout;
        let turn = self.turns.next().await;
        let begun = Instant::now();
        match tokio::time::timeout(limit, request.send()).await {
            Ok(Ok(answer)) => {
                self.turns.answered(turn, keeps_connection(&answer), begun.elapsed());
                Ok(answer)
            }
            Ok(Err(cause)) => Err(failed(&format!("{method} {url}"), cause)),
            Err(_) => {
                Err(Error::new(Code::DeadlineExceeded, format!("{method} {url}: no answer in {limit:?}")))
            }
        }
    }
}

/// RFC 9112, 9.3.
fn keeps_connection(answer: &Response) -> bool {
    let said = text(answer.headers(), CONNECTION).unwrap_or("").to_ascii_lowercase();
    match answer.version() {
        Version::HTTP_09 | Version::HTTP_10 => said.contains("keep-alive"),
        _ => !said.contains("close"),
    }
}

/// Where a redirect leads.
pub(super) fn redirect(answer: &Response) -> Option<&str> {
    let redirects = answer.status().is_redirection() && answer.status() != StatusCode::NOT_MODIFIED;
    if redirects { text(answer.headers(), LOCATION) } else { None }
}

/// The error for a status that tells neither what was asked for nor that it is not there.
pub(super) fn unexpected(method: &Method, url: &Url, status: StatusCode) -> Error {
    let message = format!("{method} {url}: the server answered {status}");
    match status {
        StatusCode::NOT_FOUND | StatusCode::GONE => {
            Error::new(Code::NotFound, format!("{url} does not exist"))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Error::new(Code::PermissionDenied, message),
        _ => Error::new(Code::Ufs, message),
    }
}

/// Refuses bodies that are not the file itself.
///
/// Errors: `Ufs` when the server compresses although it was told not to.
pub(super) fn check_identity(url: &Url, headers: &HeaderMap) -> Result<()> {
    match text(headers, CONTENT_ENCODING) {
        None | Some("" | "identity") => Ok(()),
        Some(encoding) => {
            let message = format!("{url} is sent as {encoding} although plain bytes were asked for");
            Err(Error::new(Code::Ufs, message).hint("switch compression off for it at the server"))
        }
    }
}

/// The error for a connection that failed; `doing` names the request.
pub(super) fn failed(doing: &str, cause: reqwest::Error) -> Error {
    // The outer texts repeat the URL and say "error sending request"; the innermost says what happened.
    let mut innermost: &dyn std::error::Error = &cause;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    let code = if cause.is_timeout() { Code::DeadlineExceeded } else { Code::Ufs };
    let message = format!("{doing}: {innermost}");
    Error::new(code, message).caused_by(cause)
}

fn may_pass(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS
            | StatusCode::INTERNAL_SERVER_ERROR
            | StatusCode::BAD_GATEWAY
            | StatusCode::SERVICE_UNAVAILABLE
            | StatusCode::GATEWAY_TIMEOUT
    )
}

/// The pause that the server asks for.
fn asked_pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text(headers, RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
