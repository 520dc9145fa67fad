//! Each wrapper over a local directory, with faults where they matter; the suite over all of them stacked.

use super::*;
use crate::suite::{self, bytes_of, listed};
use crate::testing::Tree;
use crate::{Attributes, Ufs, connect};
use futures::StreamExt;
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::NodeKind;
use goosefs_core::{Code, Error};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

fn local(folder: &TempDir) -> Arc<dyn Ufs> {
    connect(folder.path().to_str().unwrap(), &BTreeMap::new()).unwrap()
}

fn faulty(folder: &TempDir) -> (Arc<dyn Ufs>, Faults) {
    let faults = Faults::none();
    (Arc::new(Faulty::new(local(folder), faults.clone())), faults)
}

fn quick() -> Backoff {
    Backoff::new(2, Duration::from_millis(1), Duration::from_millis(2))
}

#[tokio::test]
async fn all_stacked_pass_the_suite() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::awkward(folder.path()).unwrap();
    let metrics = Metrics::new();
    let counted = UfsMetrics::register(&metrics, "test");
    let (inner, _) = faulty(&folder);
    let limited = Limit::new(inner, 4);
    let ufs = Metered::new(Arc::new(Retry::new(Arc::new(limited), quick())), counted.clone());
    suite::run(&ufs, &mut tree).await;
    assert!(counted.read_bytes() > 0 && counted.written_bytes() > 0);
    assert!(
        metrics.text().contains("goosefs_test_ufs_calls_total{operation=\"stat\"}"),
        "{}",
        metrics.text()
    );
}

#[tokio::test]
async fn what_may_pass_is_tried_again_and_what_may_not_is_not() {
    let folder = TempDir::new().unwrap();
    let (inner, faults) = faulty(&folder);
    let ufs = Retry::new(inner, quick());
    let away = || Fault::Fail(Error::new(Code::Unavailable, "away"));
    for _ in 0..2 {
        faults.next(Operation::Stat, away());
    }
    ufs.stat("").await.unwrap();
    for _ in 0..3 {
        faults.next(Operation::Stat, away());
    }
    assert_eq!(ufs.stat("").await.unwrap_err().code, Code::Unavailable);
    assert!(faults.done());
    faults.next(Operation::Stat, Fault::Fail(Error::new(Code::Ufs, "broken")));
    assert_eq!(ufs.stat("").await.unwrap_err().code, Code::Ufs);
    assert!(faults.done());
}

#[tokio::test]
async fn what_was_done_although_it_failed_may_be_repeated() {
    let folder = TempDir::new().unwrap();
    let (inner, faults) = faulty(&folder);
    let ufs = Retry::new(inner, quick());
    let lost = || Fault::DoneButFail(Error::new(Code::Unavailable, "answer lost"));
    faults.next(Operation::MakeDirectory, lost());
    ufs.make_directory("a/b", &Attributes::default()).await.unwrap();
    faults.next(Operation::Rename, lost());
    ufs.rename("a/b", "a/c", true).await.unwrap();
    faults.next(Operation::Remove, lost());
    ufs.remove("a/c", NodeKind::Directory).await.unwrap();
    assert!(faults.done());
}

#[tokio::test]
async fn streams_break_where_they_are_told() {
    let folder = TempDir::new().unwrap();
    let mut tree = Tree::at(folder.path());
    tree.put("a", b"x").unwrap();
    tree.put("b", b"x").unwrap();
    let (ufs, faults) = faulty(&folder);
    faults.next(Operation::List, Fault::BreakAfter(1, Error::new(Code::Ufs, "broke")));
    assert_eq!(listed(&*ufs, "").await.unwrap_err().code, Code::Ufs);
    faults.next(Operation::List, Fault::EndAfter(1));
    assert_eq!(listed(&*ufs, "").await.unwrap().len(), 1);
    let version = ufs.stat("a").await.unwrap().fingerprint;
    faults.next(Operation::Read, Fault::EndAfter(0));
    assert_eq!(bytes_of(&*ufs, "a", 0..1, &version).await.unwrap(), b"");
}

#[tokio::test]
async fn no_more_than_the_limit_is_open_at_once() {
    let folder = TempDir::new().unwrap();
    Tree::at(folder.path()).put("a", b"x").unwrap();
    let ufs = Arc::new(Limit::new(local(&folder), 1));
    let version = ufs.stat("a").await.unwrap().fingerprint;
    let mut open = ufs.read("a", 0..1, &version).await.unwrap();
    open.next().await.unwrap().unwrap();
    let waiting = tokio::spawn({
        let ufs = Arc::clone(&ufs);
        async move { ufs.stat("a").await }
    });
    // It can never finish while the stream is open, however long this waits.
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    drop(open);
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn failures_are_counted_and_not_found_is_none() {
    let folder = TempDir::new().unwrap();
    let (inner, faults) = faulty(&folder);
    let counted = UfsMetrics::register(&Metrics::new(), "test");
    let ufs = Metered::new(inner, counted.clone());
    ufs.stat("missing").await.unwrap_err();
    faults.next(Operation::Stat, Fault::Fail(Error::new(Code::Ufs, "broken")));
    ufs.stat("").await.unwrap_err();
    assert_eq!((counted.calls("stat"), counted.failures("stat")), (2, 1));
}
