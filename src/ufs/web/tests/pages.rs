//! Directory pages that are hostile, broken or no listings at all.

use super::mounted;
use crate::Entry;
use crate::suite::listed;
use crate::testing::{Answer, Scripted};
use goosefs_core::{Code, Result};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Lists a server whose directory page has `rows` in nginx's manner; every file is there and empty.
async fn listing(rows: &str) -> Result<BTreeMap<String, Entry>> {
    let page = format!(
        "<html><head><title>Index of /</title></head><body><h1>Index of /</h1><hr><pre>\
         <a href=\"../\">../</a>\n{rows}</pre><hr></body></html>"
    );
    served(&page).await
}

async fn served(page: &str) -> Result<BTreeMap<String, Entry>> {
    let page = page.to_owned();
    let server = Scripted::start(move |request| match request.path.as_str() {
        "/m/" => Answer::page(&page),
        _ => Answer::file(request, b"", "\"t\""),
    });
    let server = server.unwrap();
    listed(&*mounted(&format!("{}m/", server.uri()), &[]), "").await
}

fn names(entries: BTreeMap<String, Entry>) -> Vec<String> {
    entries.into_keys().collect()
}

#[tokio::test]
async fn a_page_that_lists_nothing_is_no_empty_directory() {
    for page in [
        "",
        "<html><head><title>Welcome to nginx!</title></head><body><h1>Welcome</h1><a href=\"a\">a</a></body></html>",
        "<html><title>Index of /</title><body>nothing here</body></html>",
        "<title>Directory listing for /</title><p>nothing here</p>",
        "<table id=\"list\"><tr><td>nothing here</td></tr></table>",
        "not even HTML \0\u{fffd}",
    ] {
        let error = served(page).await.unwrap_err();
        assert_eq!(error.code, Code::Ufs, "{page}");
        assert!(
            error.message.contains("/m/") && error.message.contains("not a directory listing"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn an_empty_directory_is_empty() {
    assert!(listing("").await.unwrap().is_empty());
}

#[tokio::test]
async fn what_lies_elsewhere_is_refused_by_name_and_lists_nothing() {
    for href in [
        "../../etc",
        "/etc/passwd",
        "../m2/x",
        "..%2f..%2fetc",
        "a%2Fb",
        "a/b",
        "a%00b",
        "%2e%2e/%2e%2e/etc",
        "good/../../../etc",
        "//",
    ] {
        let rows = format!("<a href=\"good\">good</a>\n<a href=\"{href}\">x</a>\n");
        let outcome = listing(&rows).await;
        let error = match outcome {
            Err(error) => error,
            Ok(entries) => panic!("{href} was listed: {:?}", names(entries)),
        };
        assert_eq!(error.code, Code::Ufs, "{href}: {error}");
        assert!(error.message.contains(href) && !error.message.contains('\n'), "{error}");
    }
}

#[tokio::test]
async fn sorting_parents_and_other_sites_are_no_entries() {
    let rows = "<a href=\"?C=N&amp;O=D\">Name</a> <a href=\"#top\">top</a> <a href=\"/\">home</a> \
                <a href=\"./\">here</a> <a href=\"http://elsewhere.example/x\">x</a> \
                <a href=\"mailto:a@b\">mail</a> <a href=\"javascript:x()\">js</a> <a href=\"\">empty</a> \
                <a>no link</a> <a href=\"file?download=1\">d</a> <a href=\"kept\">kept</a>";
    assert_eq!(names(listing(rows).await.unwrap()), ["kept"]);
}

#[tokio::test]
async fn names_come_from_links_once_each_and_never_from_their_text() {
    let rows = "<a href=\"a%20b\">something else entirely</a> 24-Nov-2026 18:48 3\n\
                <a href=\"a%20b\">again</a>\n<a href=\"x%ff\">not UTF-8</a>\n<a href=\"d/\">file?</a>\n";
    let long = format!("<a href=\"{}\">long</a>", "y".repeat(256));
    assert_eq!(names(listing(&format!("{rows}{long}")).await.unwrap()), ["a b", "d"]);
}

#[tokio::test]
async fn a_listed_file_that_is_gone_is_left_out_and_a_broken_one_voids_the_listing() {
    let page = "<title>Directory listing for /</title><body><ul><li><a href=\"gone\">g</a><li><a href=\"there\">t</a></ul>";
    for (status, outcome) in [
        ("404 Not Found", Ok(vec!["there".to_owned()])),
        ("403 Forbidden", Ok(vec!["gone".to_owned(), "there".to_owned()])),
        ("500 Internal Server Error", Err(Code::Ufs)),
    ] {
        let server = Scripted::start(move |request| match request.path.as_str() {
            "/" => Answer::page(page),
            "/gone" => Answer::new(status, &[], b""),
            _ => Answer::file(request, b"", "\"t\""),
        });
        let server = server.unwrap();
        let ufs = mounted(&server.uri(), &[("retries", "1")]);
        let seen = listed(&*ufs, "").await.map(names).map_err(|error| error.code);
        assert_eq!(seen, outcome, "{status}");
    }
}

#[tokio::test]
async fn what_is_not_html_is_no_listing() {
    let server = Scripted::start(|_| Answer::new("200 OK", &["Content-Type: application/json"], b"[]"));
    let error = listed(&*mounted(&server.unwrap().uri(), &[]), "").await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("application/json"), "{error}");
}

#[tokio::test]
async fn a_page_that_is_cut_off_is_fetched_again_and_never_taken_for_whole() {
    let page =
        "<title>Directory listing for /</title><body><ul><li><a href=\"a\">a</a><li><a href=\"b\">b</a></ul>";
    for (good_from, outcome) in [(1, Ok(2)), (usize::MAX, Err(Code::Ufs))] {
        let pages = AtomicUsize::new(0);
        let server = Scripted::start(move |request| {
            if request.path != "/" {
                return Answer::file(request, b"", "\"t\"");
            }
            let whole = pages.fetch_add(1, Ordering::SeqCst) >= good_from;
            if whole { Answer::page(page) } else { Answer::page(page).cut_after(80) }
        });
        let server = server.unwrap();
        let seen = listed(&*mounted(&server.uri(), &[("retries", "2")]), "").await;
        assert_eq!(seen.map(|entries| entries.len()).map_err(|error| error.code), outcome);
    }
}
