//! Reading a range of a file of a known version, over as many requests as it takes.
//!
//! Every request is conditional, and every answer's own validators are compared. That is not enough: a server sends
//! what it finds in the file *while* it sends, so a file that is overwritten in place in the middle of one answer would
//! give old and new bytes under the old tag. Bytes are therefore held back until a look at the file, begun after they
//! came, has shown the same version; the look runs beside the transfer, so it costs no throughput.

use super::address::{As, url_of};
use super::client::{Client, check_identity, failed, unexpected};
use super::look;
use super::version::{Version, content_range, http_date};
use crate::requests::Tries;
use crate::same_version;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use goosefs_core::proto::internal::Fingerprint;
use goosefs_core::{Code, Error, Result};
use reqwest::header::{HeaderMap, HeaderValue, IF_MATCH, IF_UNMODIFIED_SINCE, RANGE};
use reqwest::{Method, Response, StatusCode};
use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use url::Url;

/// After how many bytes the first look is taken; each next one after twice as many.
const FIRST_WINDOW: usize = 1 << 20;

/// Most bytes between two looks, and most that come in during one: twice this is held at most.
const WIDEST_WINDOW: usize = 4 << 20;

/// How often a file that was changed within the current second is waited for.
const SETTLE_TRIES: u32 = 3;

/// The bytes of `range`, if the file is of version `expected`.
pub(super) async fn read(
    client: Arc<Client>,
    path: &str,
    range: Range<u64>,
    expected: Fingerprint,
) -> Result<BoxStream<'static, Result<Bytes>>> {
    let url = url_of(client.base(), path, As::File)?;
    if range.start > range.end || range.end > expected.length {
        let message = format!("bytes {range:?} of {url} lie outside its {} bytes", expected.length);
        return Err(Error::new(Code::InvalidArgument, message));
    }
    let source = Source { client, url, expected };
    if range.is_empty() {
        source.verify().await?;
        return Ok(futures::stream::empty().boxed());
    }
    let body = source.open(&range).await?;
    let reading = Reading {
        tries: Tries::new(source.client.backoff(), range.start),
        source: Arc::new(source),
        body: Some(body),
        rest: range,
        window: FIRST_WINDOW,
        fresh: Held::default(),
        looked_at: Held::default(),
        look: None,
        ready: VecDeque::new(),
    };
    let chunks = futures::stream::try_unfold(reading, async |mut reading| {
        let chunk = reading.next().await?;
        Ok(chunk.map(|chunk| (chunk, reading)))
    });
    Ok(chunks.boxed())
}

/// One version of one file.
struct Source {
    client: Arc<Client>,
    url: Url,
    expected: Fingerprint,
}

impl Source {
    fn stale(&self) -> Error {
        Error::new(Code::Stale, format!("{} was replaced on its server", self.url))
    }

    /// Errors: `Stale` when the server has another version now.
    async fn verify(&self) -> Result<()> {
        let now = look::version(&self.client, &self.url).await?;
        if same_version(&now, &self.expected) { Ok(()) } else { Err(self.stale()) }
    }

    /// Begins a transfer of `range`, which is not empty.
    async fn open(&self, range: &Range<u64>) -> Result<Transfer> {
        let mut conditional = true;
        let mut settle_tries = SETTLE_TRIES;
        loop {
            let headers = self.request(range, conditional);
            let (_, answer) = self.client.send_following(&Method::GET, &self.url, &headers).await?;
            let partial = match answer.status() {
                StatusCode::OK => false,
                StatusCode::PARTIAL_CONTENT => true,
                // Some servers compare tags wrongly; the version decides.
                StatusCode::PRECONDITION_FAILED | StatusCode::NOT_MODIFIED if conditional => {
                    self.verify().await?;
                    conditional = false;
                    continue;
                }
                StatusCode::RANGE_NOT_SATISFIABLE => {
                    self.verify().await?;
                    return Err(unexpected(&Method::GET, &self.url, answer.status()));
                }
                status => return Err(unexpected(&Method::GET, &self.url, status)),
            };
            let version = Version::of(answer.headers(), partial);
            self.check(&version)?;
            check_identity(&self.url, answer.headers())?;
            if let Some(wait) = version.unsettled()
                && settle_tries > 0
            {
                settle_tries -= 1;
                drop(answer);
                tokio::time::sleep(wait).await;
                continue;
            }
            return self.transfer(range, answer, partial);
        }
    }

    fn request(&self, range: &Range<u64>, conditional: bool) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut set = |name, text: &str| {
            if let Ok(value) = HeaderValue::from_str(text) {
                headers.insert(name, value);
            }
        };
        set(RANGE, &format!("bytes={}-{}", range.start, range.end - 1));
        if conditional {
            // If-Match compares strongly: a weak tag never matches.
            if self.expected.etag.starts_with('"') {
                set(IF_MATCH, &self.expected.etag);
            } else if let Some(mtime_ms) = self.expected.mtime_ms {
                set(IF_UNMODIFIED_SINCE, &http_date(mtime_ms));
            }
        }
        headers
    }

    fn check(&self, version: &Version) -> Result<()> {
        let length = version.length.unwrap_or(self.expected.length);
        let seen = Version { length: Some(length), ..version.clone() }.fingerprint();
        if seen.is_some_and(|seen| same_version(&seen, &self.expected)) { Ok(()) } else { Err(self.stale()) }
    }

    fn transfer(&self, range: &Range<u64>, answer: Response, partial: bool) -> Result<Transfer> {
        let mut skip = 0;
        if partial {
            let sent = content_range(answer.headers());
            if sent.is_none_or(|sent| sent.first != range.start || sent.last < sent.first) {
                let message = format!("GET {}: the server sent another range than bytes {range:?}", self.url);
                return Err(Error::new(Code::Ufs, message));
            }
        } else {
            // What lies before is read and dropped.
            skip = range.start;
            if *range != (0..self.expected.length) {
                self.client.tell_without_ranges();
            }
        }
        let stall = self.client.options().stall_timeout;
        Ok(Transfer { chunks: answer.bytes_stream().boxed(), skip, stall })
    }
}

/// The body of one answer.
struct Transfer {
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
    /// Bytes to drop before those that were asked for.
    skip: u64,
    /// How long it may bring nothing.
    stall: Duration,
}

impl Transfer {
    /// What comes next of the bytes that were asked for. Cancelling loses none.
    async fn next(&mut self) -> Event {
        loop {
            let mut chunk = match tokio::time::timeout(self.stall, self.chunks.next()).await {
                Ok(Some(Ok(chunk))) => chunk,
                Ok(Some(Err(cause))) => return Event::Failed(cause),
                Ok(None) => return Event::Closed,
                Err(_) => return Event::Stalled,
            };
            let dropped = usize::try_from(self.skip).unwrap_or(usize::MAX).min(chunk.len());
            self.skip -= dropped as u64;
            let wanted = chunk.split_off(dropped);
            if !wanted.is_empty() {
                return Event::Came(wanted);
            }
        }
    }
}

/// Bytes that wait for a look.
#[derive(Default)]
struct Held {
    chunks: Vec<Bytes>,
    bytes: usize,
}

/// A read under way.
struct Reading {
    source: Arc<Source>,
    /// `None` after a transfer broke off.
    body: Option<Transfer>,
    /// What has not come yet.
    rest: Range<u64>,
    tries: Tries,
    window: usize,
    /// Came since the last look began.
    fresh: Held,
    /// Came before `look` began.
    looked_at: Held,
    look: Option<BoxFuture<'static, Result<()>>>,
    /// May be given out.
    ready: VecDeque<Bytes>,
}

/// What happened first.
enum Event {
    Looked(Result<()>),
    Came(Bytes),
    Failed(reqwest::Error),
    Closed,
    Stalled,
}

impl Reading {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(chunk) = self.ready.pop_front() {
                return Ok(Some(chunk));
            }
            self.begin_look();
            if self.rest.is_empty() && self.look.is_none() {
                return Ok(None);
            }
            match self.wait().await? {
                Event::Looked(outcome) => {
                    self.look = None;
                    outcome?;
                    self.ready.extend(std::mem::take(&mut self.looked_at).chunks);
                }
                Event::Came(chunk) => self.came(chunk),
                Event::Failed(cause) => self.broke_off(failed(&self.doing(), cause)).await?,
                Event::Closed => {
                    let message = format!("{}: the server closed before the end", self.doing());
                    self.broke_off(Error::new(Code::Ufs, message)).await?;
                }
                Event::Stalled => {
                    let stall = self.source.client.options().stall_timeout;
                    let message = format!("{}: nothing came for {stall:?}", self.doing());
                    self.broke_off(Error::new(Code::DeadlineExceeded, message)).await?;
                }
            }
        }
    }

    fn doing(&self) -> String {
        format!("GET {} at byte {}", self.source.url, self.rest.start)
    }

    fn begin_look(&mut self) {
        let enough = self.fresh.bytes >= self.window || self.rest.is_empty();
        if self.look.is_none() && self.fresh.bytes > 0 && enough {
            self.looked_at = std::mem::take(&mut self.fresh);
            self.window = (self.window * 2).min(WIDEST_WINDOW);
            let source = Arc::clone(&self.source);
            self.look = Some(async move { source.verify().await }.boxed());
        }
    }

    /// Waits for whichever comes first. Drops nothing: both sides go on where they were the next time.
    async fn wait(&mut self) -> Result<Event> {
        let wants_more = !self.rest.is_empty() && self.fresh.bytes < WIDEST_WINDOW;
        if wants_more && self.body.is_none() {
            self.body = Some(self.source.open(&self.rest).await?);
        }
        let look = async {
            match &mut self.look {
                Some(look) => look.await,
                None => std::future::pending().await,
            }
        };
        let transfer = async {
            match &mut self.body {
                Some(body) if wants_more => body.next().await,
                _ => std::future::pending().await,
            }
        };
        Ok(tokio::select! {
            biased;
            outcome = look => Event::Looked(outcome),
            event = transfer => event,
        })
    }

    fn came(&mut self, mut chunk: Bytes) {
        let left = usize::try_from(self.rest.end - self.rest.start).unwrap_or(usize::MAX);
        // A server that sends more than the range is not asked to stop politely.
        chunk.truncate(left);
        self.rest.start += chunk.len() as u64;
        if self.rest.is_empty() {
            self.body = None;
        }
        self.fresh.bytes += chunk.len();
        self.fresh.chunks.push(chunk);
    }

    /// Counts a transfer that broke off with `error`, and pauses before the next.
    async fn broke_off(&mut self, error: Error) -> Result<()> {
        self.body = None;
        tracing::debug!(%error, "transfer from a web server broke off and may go on with a new request");
        if self.tries.again(self.rest.start).await { Ok(()) } else { Err(error) }
    }
}
