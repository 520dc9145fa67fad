//! Web servers that answer nonsense: an error that names the page, and nothing of it in the namespace.

use super::{GOOSEFS, complains, turn};
use goosefs_harness::{DevCluster, Launch, pattern};
use goosefs_ufs::testing::{Answer, Scripted};
use std::fs;

const NO_RETRIES: [&str; 2] = ["--option", "goosefs.underfs.web.retries=0"];

fn listing(rows: &str) -> String {
    format!("<title>Directory listing for /</title><body><ul>{rows}</ul></body>")
}

#[test]
fn pages_that_are_no_listings_or_lead_astray_are_not_mounted() {
    let _turn = turn();
    let server = Scripted::start(|request| match request.path.as_str() {
        "/nothing/" => Answer::page("<title>Welcome</title><p>It works!"),
        "/up/" => Answer::page(&listing("<li><a href=\"../../etc\">etc</a>")),
        "/cut/" if request.method == "GET" => {
            Answer::page(&listing("<li><a href=\"a\">a</a><li><a href=\"b\">b</a>")).cut_after(80)
        }
        "/cut/" => Answer::page(""),
        _ => Answer::new("404 Not Found", &[], b""),
    });
    let server = server.unwrap();
    let cluster = DevCluster::start(Launch::small(GOOSEFS)).unwrap();
    let mount = |page: &str| {
        let uri = format!("{}{page}/", server.uri());
        let said = cluster.goosefs(&[&["fs", "mount"][..], &NO_RETRIES, &["/x", &uri]].concat());
        complains(&said, &[&uri]);
        said.stdout
    };
    let nothing = mount("nothing");
    assert!(
        nothing.contains("is not a directory listing") && nothing.contains("understood are"),
        "{nothing}"
    );
    let up = mount("up");
    assert!(up.contains("../../etc") && up.contains("directly in the listed directory"), "{up}");
    mount("cut");
    let missing = mount("missing");
    assert!(missing.contains("does not exist"), "{missing}");
    assert_eq!(cluster.goosefs(&["fs", "mount"]).lines().len(), 1, "only the root is mounted");
    assert_eq!(cluster.goosefs(&["fs", "ls", "/"]).stdout, "");
    cluster.finish().unwrap();
}

#[test]
fn a_file_that_breaks_off_is_an_error_that_leaves_nothing_behind() {
    let _turn = turn();
    let bytes = pattern(9, 300_000);
    let page = listing("<li><a href=\"f\">f</a><li><a href=\"good\">good</a>");
    let whole = bytes.clone();
    let server = Scripted::start(move |request| match request.path.as_str() {
        "/" => Answer::page(&page),
        "/f" if request.method == "GET" => Answer::file(request, &bytes, "\"t\"").cut_after(1000),
        "/f" | "/good" => Answer::file(request, &bytes, "\"t\""),
        _ => Answer::new("404 Not Found", &[], b""),
    });
    let server = server.unwrap();
    let cluster = DevCluster::start(Launch {
        // The worker says which file broke off.
        allowed: vec!["/f".to_owned()],
        ..Launch::small(GOOSEFS)
    })
    .unwrap();
    let mounted = cluster.goosefs(&[&["fs", "mount"][..], &NO_RETRIES, &["/x", &server.uri()]].concat());
    assert_eq!(mounted.code, Some(0), "{mounted:?}");
    complains(&cluster.goosefs(&["fs", "copyToLocal", "/x/f", "f"]), &["/x/f", "byte 1000"]);
    let left: Vec<String> = fs::read_dir(cluster.scratch())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with('f'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    let loaded = cluster.goosefs(&["fs", "load", "/x"]);
    assert_ne!(loaded.code, Some(0), "{loaded:?}");
    assert!(loaded.stdout.contains("/x/f was not loaded: "), "{loaded:?}");
    assert!(loaded.stdout.contains("1 of 2 files were not loaded"), "{loaded:?}");
    assert_eq!(cluster.goosefs(&["fs", "copyToLocal", "/x/good", "good"]).code, Some(0));
    assert!(fs::read(cluster.scratch().join("good")).unwrap() == whole);
    cluster.finish().unwrap();
}
