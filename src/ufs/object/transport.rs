//! How requests get to the service: time-outs, and retries of what may pass.
//!
//! A request that was sent may be sent again: repeated, those of these services do the same. Only what begins or
//! completes an upload (POST) is repeated no more than when the service itself said that it did not do it.

use super::options::Options;
use crate::requests;
use crate::wrap::Backoff;
use bytes::Bytes;
use futures::TryStreamExt;
use goosefs_core::Result;
use http::{Method, Request, Response, StatusCode};
use opendal::raw::Operation;
use opendal::{Buffer, ErrorKind, HttpBody, HttpTransport};
use reqwest::header::{CONTENT_LENGTH, RETRY_AFTER};
use std::fmt;
use std::time::Duration;

/// The slowest that a body may go out, bytes a second.
const SLOWEST: u64 = 256 << 10;

/// Where a listing says that it is one.
const LISTING_BEGINS_WITHIN: usize = 1024;

/// Connections to a service, which are kept and used again.
pub(super) struct Transport {
    http: reqwest::Client,
    header_timeout: Duration,
    backoff: Backoff,
    /// Whether a host is the service's own: others (where a machine's role is asked for) are asked once.
    host: String,
}

/// The cause of an error: nothing came for so long.
#[derive(Debug)]
pub(super) struct Silent(pub(super) Duration);

impl fmt::Display for Silent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer in {:?}", self.0)
    }
}

impl std::error::Error for Silent {}

impl Transport {
    pub(super) fn new(options: &Options) -> Result<Transport> {
        let plain = options.endpoint.as_deref().is_some_and(|endpoint| endpoint.starts_with("http://"));
        // Redirects are not followed: where they lead to, another signature is needed.
        let http = requests::connections(
            !plain,
            options.ca_file.as_deref(),
            "goosefs.underfs.object.tls.ca.file",
            options.connection_timeout,
        )?;
        #[cfg(test)]
        let http = http.dns_resolver(super::tests::names::Loopback);
        let http = requests::built(http)?;
        let host = options.endpoint.as_deref().and_then(|endpoint| endpoint.split("://").nth(1));
        let host = host.unwrap_or("amazonaws.com").to_owned();
        Ok(Transport {
            http,
            header_timeout: options.header_timeout,
            backoff: requests::backoff(options.retries),
            host,
        })
    }

    async fn attempt(&self, request: &Request<Bytes>) -> opendal::Result<reqwest::Response> {
        let failed = |message: &str| opendal::Error::new(ErrorKind::Unexpected, message);
        let url = reqwest::Url::parse(&request.uri().to_string())
            .map_err(|cause| failed("the address of a request cannot be read").set_source(cause))?;
        let mut sent = self.http.request(request.method().clone(), url).headers(request.headers().clone());
        if !request.body().is_empty() {
            sent = sent.body(request.body().clone());
        }
        let limit = self.header_timeout + Duration::from_secs(request.body().len() as u64 / SLOWEST);
        match tokio::time::timeout(limit, sent.send()).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(cause)) if cause.is_timeout() => Err(failed("connect").set_source(Silent(limit))),
            Ok(Err(cause)) => Err(failed("send").set_source(cause.without_url())),
            Err(_) => Err(failed("send").set_source(Silent(limit))),
        }
    }

    async fn send(&self, request: &Request<Bytes>) -> opendal::Result<reqwest::Response> {
        let own = request.uri().authority().is_some_and(|authority| authority.as_str().ends_with(&self.host));
        let mut backoff = self.backoff.clone();
        loop {
            let outcome = self.attempt(request).await;
            let (again, asked) = match &outcome {
                Ok(answer) => (may_pass(answer.status()), asked_pause(answer)),
                Err(error) => (request.method() != Method::POST && may_pass_by(error), None),
            };
            if !again || !own || !backoff.pause(asked).await {
                return outcome;
            }
            tracing::debug!(host = self.host, method = %request.method(), "a request is sent again");
        }
    }
}

impl HttpTransport for Transport {
    async fn fetch(&self, request: Request<Buffer>) -> opendal::Result<Response<HttpBody>> {
        let (parts, body) = request.into_parts();
        let uri = parts.uri.clone();
        let is_head = parts.method == Method::HEAD;
        let lists = parts.extensions.get::<Operation>() == Some(&Operation::List);
        let request = Request::from_parts(parts, body.to_bytes());
        let mut answer = self.send(&request).await?;
        // What a HEAD says is the length of no body.
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|text| text.to_str().ok()?.parse().ok());
        let length = length.filter(|_| !is_head);
        let mut head = Response::new(());
        *head.status_mut() = answer.status();
        *head.headers_mut() = std::mem::take(answer.headers_mut());
        head.extensions_mut().insert(uri);
        if lists && answer.status().is_success() {
            return listing(head, answer).await;
        }
        let chunks = answer.bytes_stream().try_filter(|chunk| std::future::ready(!chunk.is_empty()));
        let chunks = chunks.map_ok(Buffer::from).map_err(|cause| {
            opendal::Error::new(ErrorKind::Unexpected, "receive").set_source(cause.without_url())
        });
        Ok(head.map(|()| HttpBody::new(chunks, length)))
    }
}

/// The answer to a listing, if it is one: any other page would be read as a listing with nothing in it.
async fn listing(head: Response<()>, answer: reqwest::Response) -> opendal::Result<Response<HttpBody>> {
    let body = answer.bytes().await.map_err(|cause| {
        opendal::Error::new(ErrorKind::Unexpected, "receive").set_source(cause.without_url())
    })?;
    let beginning = &body[..body.len().min(LISTING_BEGINS_WITHIN)];
    if !String::from_utf8_lossy(beginning).contains("<ListBucketResult") {
        return Err(opendal::Error::new(ErrorKind::Unexpected, "no listing"));
    }
    let length = body.len() as u64;
    let body = futures::stream::iter([Ok(Buffer::from(body))]);
    Ok(head.map(|()| HttpBody::new(body, Some(length))))
}

fn may_pass(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 500 | 502 | 503 | 504 | 520)
}

/// Whether what kept a request from its answer may pass: neither a silent service, for which somebody waits all that
/// time, nor one whose certificate nobody trusts.
fn may_pass_by(error: &opendal::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = std::error::Error::source(error);
    while let Some(inner) = cause {
        if inner.is::<Silent>() || is_of_tls(inner) {
            return false;
        }
        cause = inner.source();
    }
    true
}

/// Whether `cause` is what TLS found wrong; the error of a connection may hold it without being caused by it.
pub(super) fn is_of_tls(cause: &(dyn std::error::Error + 'static)) -> bool {
    let held = cause.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    cause.is::<rustls::Error>() || held.is_some_and(|held| is_of_tls(held))
}

/// The pause that the service asks for.
fn asked_pause(answer: &reqwest::Response) -> Option<Duration> {
    let seconds = answer.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
