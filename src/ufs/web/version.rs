//! What the head of an answer says about the version of a file.

use goosefs_core::proto::internal::Fingerprint;
use reqwest::header::{CONTENT_LENGTH, CONTENT_RANGE, DATE, ETAG, HeaderMap, LAST_MODIFIED};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The validators of one answer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Version {
    /// Length of the whole file, where the answer tells it.
    pub(super) length: Option<u64>,
    /// `Last-Modified`, seconds since 1970.
    pub(super) modified: Option<u64>,
    /// `ETag` as sent.
    pub(super) etag: String,
    /// `Date`, seconds since 1970.
    pub(super) date: Option<u64>,
}

impl Version {
    /// Reads the head of a 200 (the length is the body's) or, with `partial`, of a 206 (the length is the total of its
    /// `Content-Range`).
    pub(super) fn of(headers: &HeaderMap, partial: bool) -> Version {
        let length = if partial {
            content_range(headers).and_then(|range| range.total)
        } else {
            text(headers, CONTENT_LENGTH).and_then(|length| length.trim().parse().ok())
        };
        Version {
            length,
            modified: seconds(headers, LAST_MODIFIED),
            etag: text(headers, ETAG).unwrap_or_default().to_owned(),
            date: seconds(headers, DATE),
        }
    }

    /// The fingerprint; `None` while the length is not known.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let mtime_ms = self.modified.map(|seconds| seconds.saturating_mul(1000));
        Some(Fingerprint { length: self.length?, mtime_ms, etag: self.etag.clone() })
    }

    /// How long to wait until a further change must show in `Last-Modified`, which counts whole seconds: a file that
    /// was changed within the current second could change once more and look the same. File times lag behind the clock
    /// by a timer tick, hence a second more.
    pub(super) fn unsettled(&self) -> Option<Duration> {
        let (modified, date) = (self.modified?, self.date?);
        // A time in the future is made up; waiting for it might not end.
        let made_up = modified > date + 1;
        let settled = modified + 2;
        (date < settled && !made_up).then(|| Duration::from_secs(settled - date))
    }
}

/// A `Content-Range: bytes first-last/total`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct ContentRange {
    pub(super) first: u64,
    pub(super) last: u64,
    /// `None` for `*`.
    pub(super) total: Option<u64>,
}

pub(super) fn content_range(headers: &HeaderMap) -> Option<ContentRange> {
    let (range, total) =
        text(headers, CONTENT_RANGE)?.trim().strip_prefix("bytes")?.trim().split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let total = if total == "*" { None } else { Some(total.parse().ok()?) };
    Some(ContentRange { first: first.trim().parse().ok()?, last: last.trim().parse().ok()?, total })
}

/// The header `name`, when it is sent once and is text.
pub(super) fn text(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn seconds(headers: &HeaderMap, name: reqwest::header::HeaderName) -> Option<u64> {
    let time = httpdate::parse_http_date(text(headers, name)?).ok()?;
    Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs())
}

/// A time in milliseconds as HTTP writes it.
pub(super) fn http_date(ms: u64) -> String {
    httpdate::fmt_http_date(SystemTime::UNIX_EPOCH + Duration::from_secs(ms / 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_whole_and_a_partial_answer_tell_the_same_version() {
        let common = [
            ("etag", "\"a-3\""),
            ("last-modified", "Tue, 24 Nov 2026 18:48:45 GMT"),
            ("content-length", "3"),
        ];
        let whole = Version::of(&headers(&common), false).fingerprint().unwrap();
        let mut partial = headers(&common);
        partial.insert(CONTENT_LENGTH, "1".parse().unwrap());
        partial.insert(CONTENT_RANGE, "bytes 1-1/3".parse().unwrap());
        assert_eq!(Version::of(&partial, true).fingerprint().unwrap(), whole);
        assert_eq!(whole.mtime_ms, Some(1_795_546_125_000));
        assert_eq!(http_date(1_795_546_125_999), "Tue, 24 Nov 2026 18:48:45 GMT");
    }

    #[test]
    fn ranges_are_read_strictly() {
        let range = |text: &str| content_range(&headers(&[("content-range", text)]));
        assert_eq!(range("bytes 0-9/100"), Some(ContentRange { first: 0, last: 9, total: Some(100) }));
        assert_eq!(range("bytes 0-9/*"), Some(ContentRange { first: 0, last: 9, total: None }));
        for text in ["bytes */100", "0-9/100", "bytes 0-9", "bytes a-9/100", "bytes 0-9/-1"] {
            assert_eq!(range(text), None, "{text}");
        }
    }

    #[test]
    fn a_file_of_this_very_second_is_waited_for() {
        let version = |modified, date| Version {
            length: Some(0),
            modified: Some(modified),
            etag: String::new(),
            date: Some(date),
        };
        assert_eq!(version(10, 12).unsettled(), None);
        assert_eq!(version(10, 11).unsettled(), Some(Duration::from_secs(1)));
        assert_eq!(version(10, 10).unsettled(), Some(Duration::from_secs(2)));
        assert_eq!(version(11, 10).unsettled(), Some(Duration::from_secs(3)));
        assert_eq!(version(1000, 10).unsettled(), None);
    }
}
