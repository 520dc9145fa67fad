//! Saved pages, and pages made at random.

use super::*;
use proptest::prelude::*;

fn base() -> Url {
    Url::parse("http://h/a/b/").unwrap()
}

fn listed(name: &str, directory: bool, size: Option<u64>, modified_ms: Option<u64>) -> Listed {
    Listed { name: name.to_owned(), directory, size, modified_ms }
}

/// 2026-11-24 18:48 UTC.
const THEN: Option<u64> = Some(1_795_546_080_000);

#[test]
fn nginx_gives_sizes_to_the_byte_or_rounded() {
    let page = "<html>\n<head><title>Index of /a/b/</title></head>\n<body>\n<h1>Index of /</h1><hr><pre>\
        <a href=\"../\">../</a>\n\
        <a href=\"sub/\">sub/</a>       24-Nov-2026 18:48                   -\n\
        <a href=\"x%25\">x..&gt;</a>    24-Nov-2026 18:48               20000\n\
        <a href=\"big\">big</a>         24-Nov-2026 18:48     20K\n\
        <a href=\"bare\">bare</a></pre><hr></body></html>";
    let expected = vec![
        listed("sub", true, None, THEN),
        listed("x%", false, Some(20_000), THEN),
        listed("big", false, None, THEN),
        listed("bare", false, None, None),
    ];
    assert_eq!(parse(&base(), page).unwrap(), (expected, 0));
}

/// As a large mirror serves it: parent row, own format of times, theme around the table.
#[test]
fn fancyindex_of_a_mirror() {
    let page = "<html><head><title>Index of /apache/hbase/</title></head><body><a href=\"/help/\">help</a>\
        <table id=\"list\"><thead><tr><th><a href=\"?C=N&amp;O=A\">File Name</a></th></tr></thead><tbody>\
        <tr><td class=\"link\"><a href=\"../\">Parent directory/</a></td><td class=\"size\">-</td>\
            <td class=\"date\">-</td></tr>\
        <tr><td class=\"link\"><a href=\"CHANGES.md\" title=\"CHANGES.md\">CHANGES.md</a></td>\
            <td class=\"size\">120.5 KiB</td><td class=\"date\">24 Nov 2026 18:48:00 +0000</td></tr>\
        <tr><td class=\"link\"><a href=\"s\">s</a></td><td class=\"size\">512 B</td>\
            <td class=\"date\">2026-Nov-24 18:48</td></tr>\
        <tr><td class=\"link\"><a href=\"old/\">old/</a></td><td class=\"size\">-</td>\
            <td class=\"date\">yesterday</td></tr>\
        </tbody></table><footer><a href=\"/../../x\">x</a></footer></body></html>";
    let expected = vec![
        listed("CHANGES.md", false, None, THEN),
        listed("s", false, Some(512), THEN),
        listed("old", true, None, None),
    ];
    assert_eq!(parse(&base(), page).unwrap(), (expected, 0));
    let hidden_parent =
        "<table id=list><thead><tr><th><a href='?C=N&amp;O=A'>N</a></thead><tbody></tbody></table>";
    assert_eq!(parse(&base(), hidden_parent).unwrap(), (Vec::new(), 0));
}

#[test]
fn absolute_links_into_the_directory_are_entries() {
    assert_eq!(
        meaning(&base(), "/a/b/c%20d/").unwrap(),
        Link::Entry { name: "c d".to_owned(), directory: true }
    );
    assert_eq!(
        meaning(&base(), "http://h/a/b/c").unwrap(),
        Link::Entry { name: "c".to_owned(), directory: false }
    );
    for href in ["/", "/a/", "/a/b/", "../", ".", "..", "https://h/a/b/c", "http://h:81/a/b/c"] {
        assert_eq!(meaning(&base(), href).unwrap(), Link::Elsewhere, "{href}");
    }
}

/// Text that likes to be a link: dots, slashes, encodings, schemes.
fn any_href() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("..".to_owned()),
        Just(".".to_owned()),
        Just("/".to_owned()),
        Just("%2e".to_owned()),
        Just("%2F".to_owned()),
        Just("%00".to_owned()),
        Just("\\".to_owned()),
        Just("http:".to_owned()),
        Just("?".to_owned()),
        Just("%ff".to_owned()),
        Just("\t".to_owned()),
        "[a-z%:;&'\"<> ]{1,4}",
        "\\PC{1,3}",
    ];
    proptest::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;")
}

proptest! {
    #[test]
    fn whatever_a_link_says_an_entry_lies_directly_in_its_directory(href in any_href()) {
        if let Ok(Link::Entry { name, directory }) = meaning(&base(), &href) {
            prop_assert!(check_name(&name).is_ok(), "{name:?}");
            let what = if directory { As::Directory } else { As::File };
            let url = url_of(&base(), &name, what).unwrap();
            let rest = url.path().strip_prefix("/a/b/").unwrap().trim_end_matches('/').to_owned();
            prop_assert!(!rest.contains('/') && rest != ".." && rest != ".", "{url}");
            prop_assert_eq!(url.host_str(), Some("h"));
        }
    }

    #[test]
    fn any_page_parses_without_a_panic(page in "\\PC{0,300}", hrefs in proptest::collection::vec(any_href(), 0..5)) {
        let rows: String = hrefs.iter().map(|href| format!("<li><a href=\"{}\">x</a>", escaped(href))).collect();
        for text in [
            page.clone(),
            format!("<title>Directory listing for /</title><body><ul>{rows}</ul>{page}"),
            format!("<title>Index of /</title><pre><a href=\"../\">../</a>{rows}{page}</pre>"),
            format!("<table id=list><tr><td class=link>{rows}<td class=size>{page}</table>"),
        ] {
            if let Ok((listed, _)) = parse(&base(), &text) {
                for entry in listed {
                    prop_assert!(check_name(&entry.name).is_ok(), "{:?}", entry.name);
                }
            }
        }
    }

    #[test]
    fn every_name_survives_a_page(names in proptest::collection::btree_set("[^/\0]{1,20}", 0..20)) {
        let names: Vec<String> = names.into_iter().filter(|name| check_name(name).is_ok()).collect();
        let mut rows = String::new();
        for name in &names {
            let url = url_of(&base(), name, As::File).unwrap();
            let href = url.path().strip_prefix("/a/b/").unwrap();
            rows.push_str(&format!("<a href=\"{href}\">{}</a>  24-Nov-2026 18:48  7\n", escaped(name)));
        }
        let page = format!("<title>Index of /a/b/</title><pre><a href=\"../\">../</a>\n{rows}</pre>");
        let (listed, left_out) = parse(&base(), &page).unwrap();
        prop_assert_eq!(left_out, 0);
        prop_assert_eq!(listed.iter().map(|entry| entry.name.clone()).collect::<Vec<_>>(), names);
        prop_assert!(listed.iter().all(|entry| entry.size == Some(7) && entry.modified_ms == THEN));
    }
}
