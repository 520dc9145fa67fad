//! Figures, not promises: run with
//! `cargo test --release -p goosefs-ufs measure -- --ignored --nocapture --test-threads 1`.

use super::mounted;
use crate::testing::{Page, Serving, Tree, or_skip, pattern};
use crate::{Entry, Ufs};
use futures::{StreamExt, TryStreamExt};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const ROUNDS: usize = 5;

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

fn curl(arguments: &[&str]) -> Duration {
    let start = Instant::now();
    assert!(Command::new("curl").args(arguments).status().unwrap().success());
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes its time and asserts nothing"]
async fn measure_listing_ten_thousand_files() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::at(folder.path());
    for number in 0..10_000 {
        tree.put(&format!("file number {number}.bin"), b"x").unwrap();
    }
    let Some(serving) = or_skip("measure", Serving::of(folder.path(), Page::Autoindex).start()) else {
        return;
    };
    let (mut whole, mut page, mut bare) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let ufs = mounted(&serving.uri(), &[]);
        let start = Instant::now();
        let entries = ufs.list("").await.unwrap();
        page.push(start.elapsed());
        let entries: Vec<Entry> = entries.try_collect().await.unwrap();
        whole.push(start.elapsed());
        assert_eq!(entries.len(), 10_000);
        // The same number of HEADs by curl, 16 at once, on kept connections.
        let url = format!("{}file%20number%20[0-9999].bin", serving.uri());
        let command = ["-s", "-I", "-o", "/dev/null", "--parallel", "--parallel-max", "16", &url];
        bare.push(curl(&command));
    }
    let (whole, page, bare) = (median(whole), median(page), median(bare));
    println!(
        "listing 10,000 files: {whole:?}, of which the page {page:?}; curl -I --parallel of all: {bare:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes its time and asserts nothing"]
async fn measure_one_stream_of_400_mb() {
    const LENGTH: u64 = 400_000_000;
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::at(folder.path());
    tree.put("file", &pattern(1, LENGTH as usize)).unwrap();
    let Some(serving) = or_skip("measure", Serving::of(folder.path(), Page::Autoindex).start()) else {
        return;
    };
    let ufs = mounted(&serving.uri(), &[]);
    let version = ufs.stat("file").await.unwrap().fingerprint;
    let (mut ours, mut blocks, mut theirs) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        theirs.push(curl(&["-s", "-o", "/dev/null", &format!("{}file", serving.uri())]));
        let start = Instant::now();
        drain(&*ufs, 0..LENGTH, &version).await;
        ours.push(start.elapsed());
        let start = Instant::now();
        let ranges = (0..LENGTH).step_by(64 << 20).map(|from| from..LENGTH.min(from + (64 << 20)));
        let reads = futures::stream::iter(ranges).map(|range| drain(&*ufs, range, &version));
        reads.buffer_unordered(4).collect::<Vec<()>>().await;
        blocks.push(start.elapsed());
    }
    let (ours, blocks, theirs) = (median(ours), median(blocks), median(theirs));
    println!(
        "400 MB: one stream {ours:?}, blocks of 64 MiB four at once {blocks:?}, curl -o /dev/null {theirs:?}"
    );
    println!(
        "ratio to curl: {:.2} and {:.2}",
        theirs.div_duration_f64(ours),
        theirs.div_duration_f64(blocks)
    );
}

async fn drain(
    ufs: &dyn Ufs,
    range: std::ops::Range<u64>,
    version: &goosefs_core::proto::internal::Fingerprint,
) {
    let mut stream = ufs.read("file", range, version).await.unwrap();
    while let Some(chunk) = stream.next().await {
        std::hint::black_box(chunk.unwrap());
    }
}
