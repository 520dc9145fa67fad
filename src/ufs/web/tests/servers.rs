//! Against real servers: nginx with autoindex and fancyindex, Python's `http.server`.

use super::super::client::Client;
use super::mounted;
use crate::suite::{self, bytes_of, listed};
use crate::testing::{Page, Serving, Tree, or_skip};
use crate::web::Options;
use futures::StreamExt;
use goosefs_core::Code;
use goosefs_core::proto::internal::NodeKind;
use reqwest::Method;
use reqwest::header::HeaderMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};
use tempfile::TempDir;

fn serve(test: &str, root: &Path, page: Page) -> Option<Serving> {
    or_skip(test, Serving::of(root, page).start())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_server_passes_the_suite() {
    for page in Page::ALL {
        let folder = TempDir::new().unwrap();
        let mut tree = Tree::awkward(folder.path()).unwrap();
        let Some(serving) = serve(&format!("suite by {page:?}"), folder.path(), page) else { continue };
        suite::run(&*mounted(&serving.uri(), &[]), &mut tree).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn https_passes_the_suite_and_only_with_trust() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::awkward(folder.path()).unwrap();
    let serving = Serving::of(folder.path(), Page::Autoindex).tls().start();
    let Some(serving) = or_skip("https", serving) else { return };
    let ca_file = serving.ca_file().unwrap().to_str().unwrap();
    suite::run(&*mounted(&serving.uri(), &[("tls.ca.file", ca_file)]), &mut tree).await;
    let error = mounted(&serving.uri(), &[("retries", "0")]).stat("").await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains("certificate"), "{error}");
}

#[tokio::test]
async fn all_servers_show_the_same_names_and_lengths() {
    let folder = TempDir::new().unwrap();
    Tree::awkward(folder.path()).unwrap();
    let mut seen = Vec::new();
    for page in Page::ALL {
        let Some(serving) = serve("same names", folder.path(), page) else { continue };
        let entries = listed(&*mounted(&serving.uri(), &[]), "").await.unwrap();
        let names: Vec<(String, NodeKind, u64)> =
            entries.into_values().map(|e| (e.name, e.kind, e.fingerprint.length)).collect();
        seen.push(names);
    }
    assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{seen:?}");
}

#[tokio::test]
async fn a_mount_below_the_root_of_the_server_sees_only_that() {
    let folder = TempDir::new().unwrap();
    Tree::awkward(folder.path()).unwrap();
    for page in Page::ALL {
        let Some(serving) = serve("below the root", folder.path(), page) else { continue };
        let ufs = mounted(&format!("{}deep/er", serving.uri()), &[]);
        assert_eq!(listed(&*ufs, "").await.unwrap().into_keys().collect::<Vec<_>>(), ["and"], "{page:?}");
        assert_eq!(ufs.stat("and/deeper/still.bin").await.unwrap().fingerprint.length, 70_000);
    }
}

#[tokio::test]
async fn directories_that_may_not_be_listed_and_addresses_without_server_are_named() {
    let folder = TempDir::new().unwrap();
    let serving = Serving::of(folder.path(), Page::Autoindex).directives("location /no/ { autoindex off; }");
    let Some(mut serving) = or_skip("forbidden", serving.start()) else { return };
    fs::create_dir(folder.path().join("no")).unwrap();
    let ufs = mounted(&serving.uri(), &[("retries", "1")]);
    let error = listed(&*ufs, "no").await.unwrap_err();
    assert_eq!(error.code, Code::PermissionDenied);
    assert!(error.message.contains("/no/") && error.hint.contains("autoindex"), "{error}");
    serving.stop();
    let error = listed(&*ufs, "").await.unwrap_err();
    assert_eq!(error.code, Code::Ufs);
    assert!(error.message.contains(&serving.uri()) && error.message.contains("refused"), "{error}");
    serving.start_again().unwrap();
    assert_eq!(listed(&*ufs, "").await.unwrap().len(), 1);
}

/// Overwrites the file in place, as `cp` does, while its answer is on the way: the server sends new bytes under the old
/// tag, and none of them may come out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_overwritten_in_place_during_one_answer_never_mixes() {
    const LENGTH: usize = 32 << 20;
    for truncating in [false, true] {
        let folder = TempDir::new().unwrap();
        let mut tree = Tree::at(folder.path());
        let Some(serving) = serve("overwritten in place", folder.path(), Page::Autoindex) else { return };
        tree.put("file", &vec![b'o'; LENGTH]).unwrap();
        let ufs = mounted(&serving.uri(), &[]);
        let version = ufs.stat("file").await.unwrap().fingerprint;
        let mut stream = ufs.read("file", 0..LENGTH as u64, &version).await.unwrap();
        stream.next().await.unwrap().unwrap();
        let path = folder.path().join("file");
        let mut file = fs::OpenOptions::new().write(true).truncate(truncating).open(path).unwrap();
        file.write_all(&vec![b'n'; LENGTH]).unwrap();
        let error = loop {
            match stream.next().await.expect("all of the old version came, from a file that was overwritten")
            {
                Ok(chunk) => assert!(chunk.iter().all(|byte| *byte == b'o'), "new bytes under the old tag"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.code, Code::Stale, "{error}");
    }
}

/// Times of HTTP count seconds. A file of this very second is read once a further change would show.
#[tokio::test]
async fn a_file_of_this_very_second_is_never_mixed() {
    let folder = TempDir::new().unwrap();
    let Some(serving) = serve("this second", folder.path(), Page::Autoindex) else { return };
    let ufs = mounted(&serving.uri(), &[]);
    let path = folder.path().join("file");
    for _ in 0..2 {
        fs::write(&path, vec![b'a'; 1000]).unwrap();
        let version = ufs.stat("file").await.unwrap().fingerprint;
        let start = Instant::now();
        let first = bytes_of(&*ufs, "file", 0..500, &version);
        let overwrite = async {
            tokio::time::sleep(Duration::from_millis(5)).await;
            fs::OpenOptions::new().write(true).open(&path).unwrap().write_all_at(&[b'b'; 1000], 0).unwrap();
        };
        let (first, ()) = tokio::join!(first, overwrite);
        let second = bytes_of(&*ufs, "file", 500..1000, &version).await;
        if let (Ok(first), Ok(second)) = (first, second) {
            assert_eq!(first[0], second[0], "after {:?}", start.elapsed());
        }
    }
}

/// A stream that nobody reads must not be taken for one that stalls.
#[tokio::test]
async fn a_slow_reader_gets_everything() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::at(folder.path());
    let bytes = crate::testing::pattern(3, 24 << 20);
    tree.put("file", &bytes).unwrap();
    let Some(serving) = serve("slow reader", folder.path(), Page::Autoindex) else { return };
    let ufs = mounted(&serving.uri(), &[("stall.timeout", "300ms"), ("retries", "0")]);
    let version = ufs.stat("file").await.unwrap().fingerprint;
    let mut stream = ufs.read("file", 0..bytes.len() as u64, &version).await.unwrap();
    let mut read = stream.next().await.unwrap().unwrap().to_vec();
    // Longer than the time-out, on purpose.
    tokio::time::sleep(Duration::from_millis(700)).await;
    while let Some(chunk) = stream.next().await {
        read.extend_from_slice(&chunk.unwrap());
    }
    assert!(read == bytes);
}

/// nginx numbers its connections.
const NUMBERED: &str = "location = /connections { return 200 $connection; }";

async fn connections_of(serving: &Serving) -> u32 {
    let url = format!("{}connections", serving.uri()).parse().unwrap();
    let client = Client::new(url, &Options::default()).unwrap();
    let answer = client.send(&Method::GET, client.base(), &HeaderMap::new()).await.unwrap();
    answer.text().await.unwrap().parse().unwrap()
}

#[tokio::test]
async fn a_listing_and_its_files_use_few_connections_and_one_look_a_file() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::at(folder.path());
    for number in 0..200 {
        tree.put(&format!("f{number}"), b"x").unwrap();
    }
    let serving = Serving::of(folder.path(), Page::Autoindex).directives(NUMBERED).start();
    let Some(serving) = or_skip("connections", serving) else { return };
    let ufs = mounted(&serving.uri(), &[("parallel", "8")]);
    assert_eq!(listed(&*ufs, "").await.unwrap().len(), 200);
    let looks = serving.requests().iter().filter(|line| line.starts_with("HEAD /f")).count();
    assert_eq!(looks, 200);
    let connections = connections_of(&serving).await;
    assert!(connections < 20, "{connections} connections for one listing by 8");
}

#[tokio::test]
async fn many_ranges_use_few_connections() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::at(folder.path());
    tree.put("file", &vec![1; 64 << 16]).unwrap();
    let serving = Serving::of(folder.path(), Page::Autoindex).directives(NUMBERED).start();
    let Some(serving) = or_skip("connections", serving) else { return };
    let ufs = mounted(&serving.uri(), &[]);
    let version = ufs.stat("file").await.unwrap().fingerprint;
    for page in 0..64 {
        bytes_of(&*ufs, "file", page << 16..(page + 1) << 16, &version).await.unwrap();
    }
    let connections = connections_of(&serving).await;
    assert!(connections < 10, "{connections} connections for 64 ranges one after the other");
}
