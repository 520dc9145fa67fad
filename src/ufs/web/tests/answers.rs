//! Answers that are awkward or wrong: what comes out is the right bytes or one clear error, in bounded time.

use super::mounted;
use crate::Ufs;
use crate::suite::bytes_of;
use crate::testing::{Answer, Request, Scripted, pattern};
use goosefs_core::proto::internal::{Fingerprint, NodeKind};
use goosefs_core::{Code, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const TAG: &str = "\"t\"";

/// A server with one file whose GETs are answered by `get`, given the number of GETs before.
fn server(
    bytes: &Arc<Vec<u8>>,
    get: impl Fn(&Request, usize, &[u8]) -> Answer + Send + Sync + 'static,
) -> (Scripted, Arc<AtomicUsize>) {
    let gets = Arc::new(AtomicUsize::new(0));
    let (counted, bytes) = (Arc::clone(&gets), Arc::clone(bytes));
    let server = Scripted::start(move |request| {
        if request.method == "GET" {
            get(request, counted.fetch_add(1, Ordering::SeqCst), &bytes)
        } else {
            Answer::file(request, &bytes, TAG)
        }
    });
    (server.unwrap(), gets)
}

fn content() -> Arc<Vec<u8>> {
    Arc::new(pattern(9, 100_000))
}

fn version(bytes: &[u8]) -> Fingerprint {
    Fingerprint { length: bytes.len() as u64, mtime_ms: None, etag: TAG.to_owned() }
}

async fn read(ufs: &Arc<dyn Ufs>, bytes: &[u8]) -> Result<Vec<u8>> {
    bytes_of(&**ufs, "f", 1000..90_000, &version(bytes)).await
}

#[tokio::test]
async fn a_server_that_closes_half_way_is_asked_for_the_rest() {
    let bytes = content();
    let (server, gets) = server(&bytes, |request, number, bytes| {
        let answer = Answer::file(request, bytes, TAG);
        if number < 3 { answer.cut_after(20_000) } else { answer }
    });
    assert!(read(&mounted(&server.uri(), &[]), &bytes).await.unwrap() == bytes[1000..90_000]);
    assert_eq!(gets.load(Ordering::SeqCst), 4);
}

#[tokio::test]
async fn a_server_that_always_closes_half_way_is_given_up_by_name() {
    let bytes = content();
    let (server, gets) = server(&bytes, |request, _, bytes| Answer::file(request, bytes, TAG).cut_after(10));
    let error = read(&mounted(&server.uri(), &[("retries", "2")]), &bytes).await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("/f at byte 10"), "{error}");
    assert_eq!(gets.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_file_that_changes_between_two_requests_of_one_read_is_stale() {
    let bytes = content();
    let (server, _) = server(&bytes, |request, number, bytes| match number {
        0 => Answer::file(request, bytes, TAG).cut_after(20_000),
        _ => Answer::file(request, bytes, "\"other\""),
    });
    let error = read(&mounted(&server.uri(), &[]), &bytes).await.unwrap_err();
    // The HEAD still shows the old tag, so a failed precondition alone is not believed, but the answer's own tag is.
    assert_eq!(error.code, Code::Stale);
}

#[tokio::test]
async fn a_tag_that_is_matched_wrongly_does_not_make_a_file_stale() {
    let bytes = content();
    let (server, _) = server(&bytes, |request, _, bytes| {
        if request.headers.contains_key("if-match") {
            return Answer::new("412 Precondition Failed", &[], b"");
        }
        Answer::file(request, bytes, TAG)
    });
    assert!(read(&mounted(&server.uri(), &[]), &bytes).await.unwrap() == bytes[1000..90_000]);
}

#[tokio::test]
async fn a_server_without_ranges_is_read_from_its_beginning() {
    let bytes = content();
    let (server, _) = server(&bytes, |_, _, bytes| Answer::new("200 OK", &["ETag: \"t\""], bytes));
    assert!(read(&mounted(&server.uri(), &[]), &bytes).await.unwrap() == bytes[1000..90_000]);
}

#[tokio::test]
async fn a_server_that_sends_another_range_or_length_is_refused() {
    let bytes = content();
    for (range, code) in [
        ("Content-Range: bytes 0-88999/100000", Code::Ufs),
        ("Content-Range: bytes 1000-89999/100001", Code::Stale),
        ("X-None: 1", Code::Ufs),
    ] {
        let (server, _) = server(&bytes, move |_, _, bytes| {
            Answer::new("206 Partial Content", &["ETag: \"t\"", range], &bytes[..89_000])
        });
        let error = read(&mounted(&server.uri(), &[]), &bytes).await.unwrap_err();
        assert_eq!(error.code, code, "{range}: {error}");
    }
}

#[tokio::test]
async fn more_bytes_than_asked_for_are_dropped_and_fewer_are_fetched_again() {
    let bytes = content();
    let (server, _) = server(&bytes, |_, _, bytes| {
        let range = "Content-Range: bytes 1000-99999/100000";
        Answer::new("206 Partial Content", &["ETag: \"t\"", range], &bytes[1000..])
    });
    assert!(read(&mounted(&server.uri(), &[]), &bytes).await.unwrap() == bytes[1000..90_000]);
    let (server, gets) = self::server(&bytes, |request, _, bytes| {
        let (first, _) = request.range().unwrap();
        let range = format!("Content-Range: bytes {first}-{}/100000", first + 49_999);
        let end = (first + 50_000).min(bytes.len());
        Answer::new("206 Partial Content", &["ETag: \"t\"", &range], &bytes[first..end])
    });
    assert!(read(&mounted(&server.uri(), &[]), &bytes).await.unwrap() == bytes[1000..90_000]);
    assert_eq!(gets.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn compressed_bodies_are_refused() {
    let bytes = content();
    let (server, _) = server(&bytes, |_, _, bytes| {
        let headers = ["ETag: \"t\"", "Content-Encoding: gzip"];
        Answer::new("200 OK", &headers, bytes)
    });
    let error = read(&mounted(&server.uri(), &[]), &bytes).await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("gzip"), "{error}");
}

#[tokio::test]
async fn an_overloaded_server_is_asked_again_and_given_up_at_last() {
    let bytes = content();
    let (server, _) = server(&bytes, |request, number, bytes| match number {
        0 => Answer::new("503 Service Unavailable", &["Retry-After: 0"], b"<html>busy</html>"),
        1 => Answer::new("502 Bad Gateway", &[], b""),
        _ => Answer::file(request, bytes, TAG),
    });
    assert!(read(&mounted(&server.uri(), &[]), &bytes).await.is_ok());
    let (server, gets) =
        self::server(&bytes, |_, _, _| Answer::new("503 Service Unavailable", &["Retry-After: 0"], b""));
    let error = read(&mounted(&server.uri(), &[("retries", "2")]), &bytes).await.unwrap_err();
    assert_eq!((error.code, gets.load(Ordering::SeqCst)), (Code::Ufs, 3));
    assert!(error.message.contains("503"), "{error}");
}

#[tokio::test]
async fn a_server_that_is_silent_is_given_up_in_time() {
    let bytes = content();
    let patience = Duration::from_secs(60);
    let (server, _) = server(&bytes, move |request, _, bytes| {
        std::thread::sleep(patience);
        Answer::file(request, bytes, TAG)
    });
    let start = Instant::now();
    let ufs = mounted(&server.uri(), &[("header.timeout", "100ms"), ("retries", "20")]);
    let error = read(&ufs, &bytes).await.unwrap_err();
    assert_eq!(error.code, Code::DeadlineExceeded);
    assert!(error.message.contains("/f"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(20), "waited for again and again: {:?}", start.elapsed());
}

#[tokio::test]
async fn lengths_are_found_without_head_or_without_its_length() {
    for refusal in ["405 Method Not Allowed", "200 OK"] {
        let bytes = content();
        let server = Scripted::start({
            let bytes = Arc::clone(&bytes);
            move |request| match request.method.as_str() {
                "HEAD" => Answer::without_length(refusal, &["ETag: \"t\""], b""),
                _ => Answer::file(request, &bytes, TAG),
            }
        });
        let server = server.unwrap();
        let ufs = mounted(&server.uri(), &[]);
        let entry = ufs.stat("f").await.unwrap();
        assert_eq!((entry.kind, entry.fingerprint), (NodeKind::File, version(&bytes)));
        assert!(read(&ufs, &bytes).await.unwrap() == bytes[1000..90_000], "{refusal}");
    }
}

#[tokio::test]
async fn a_file_without_any_length_is_named() {
    let server = Scripted::start(|_| Answer::without_length("200 OK", &[], b"")).unwrap();
    let error = mounted(&server.uri(), &[]).stat("f").await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("/f") && error.hint.contains("Content-Length"), "{error}");
}

#[tokio::test]
async fn redirects_are_followed_below_the_mount_only() {
    let bytes = content();
    let server = Scripted::start({
        let bytes = Arc::clone(&bytes);
        move |request| match request.path.as_str() {
            "/m/f" => Answer::new("302 Found", &["Location: real"], b""),
            "/m/real" => Answer::file(request, &bytes, TAG),
            "/m/away" => Answer::new("302 Found", &["Location: http://127.0.0.1:9/m/x"], b""),
            "/m/up" => Answer::new("301 Moved Permanently", &["Location: ../etc"], b""),
            "/m/round" => Answer::new("302 Found", &["Location: round"], b""),
            _ => Answer::new("404 Not Found", &[], b"<html>no</html>"),
        }
    });
    let server = server.unwrap();
    let ufs = mounted(&format!("{}m", server.uri()), &[]);
    assert!(read(&ufs, &bytes).await.unwrap() == bytes[1000..90_000]);
    for (path, names) in [("away", "127.0.0.1:9"), ("up", "/etc"), ("round", "redirects more than")] {
        let error = ufs.stat(path).await.unwrap_err();
        assert_eq!(error.code, Code::Ufs, "{error}");
        assert!(error.message.contains(names), "{error}");
    }
}

/// Python's `http.server` listens with a backlog of 5; what comes beyond it waits a second or more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_closes_after_each_answer_is_not_flooded_with_connections() {
    let under_way = Arc::new(AtomicUsize::new(0));
    let most = Arc::new(AtomicUsize::new(0));
    let (counted, seen) = (under_way.clone(), most.clone());
    let server = Scripted::start(move |request| {
        seen.fetch_max(counted.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        std::thread::sleep(Duration::from_millis(2));
        counted.fetch_sub(1, Ordering::SeqCst);
        Answer::file(request, &[7; 100], TAG)
    });
    let server = server.unwrap();
    let ufs = mounted(&server.uri(), &[]);
    let looks = (0..64).map(async |_| ufs.stat("f").await);
    assert!(futures::future::join_all(looks).await.iter().all(Result::is_ok));
    let most = most.load(Ordering::SeqCst);
    assert!((2..=8).contains(&most), "{most} at once");
}
