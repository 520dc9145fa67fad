//! The file system without a mount: a kernel that only remembers, a cluster in memory.

use super::*;
use crate::fs::change::SetAttr;
use crate::handle::modes::Way;
use crate::kernel::testing::FakeKernel;
use crate::testing::TestCluster;
use bytes::Bytes;
use goosefs_core::clock::SystemClock;
use goosefs_core::metrics::Metrics;
use goosefs_core::proto::internal::OpenRecord;
use goosefs_core::task::Tasks;

const ME: Who = Who { uid: 0, gid: 0, pid: 1, request: 0 };

struct Bench {
    cluster: TestCluster,
    kernel: Arc<FakeKernel>,
    fs: Arc<Fs>,
    tasks: Tasks,
    _dir: tempfile::TempDir,
}

fn bench() -> Bench {
    let dir = tempfile::tempdir().expect("a folder");
    let cluster = TestCluster::new(dir.path());
    let kernel = FakeKernel::new();
    let tasks = Tasks::new("fuse");
    let fs = Fs::new(
        Config::new("/nowhere"),
        Arc::new(cluster.clone()),
        kernel.clone(),
        SystemClock::shared(),
        FuseMetrics::new(&Metrics::new()),
        tasks.clone(),
    );
    fs.allow_passthrough();
    Bench { cluster, kernel, fs, tasks, _dir: dir }
}

impl Bench {
    /// Another file takes the name of `f`, whose bytes are dropped.
    fn replace(&self, bytes: &[u8]) {
        self.cluster.evict("f").expect("the worker drops it");
        self.cluster.put("f", bytes).expect("a replacement");
    }
}

async fn until(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6000 {
        if done() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come to be within 30 s");
}

#[tokio::test]
async fn a_small_file_is_registered_once_for_many_opens() {
    let bench = bench();
    let Bench { cluster, kernel, fs, .. } = &bench;
    cluster.put("f", b"bytes").expect("a file");
    let stat = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    for _ in 0..5 {
        let opened = fs.open(ME, stat.node, libc::O_RDONLY).await.expect("open");
        assert!(matches!(opened.way, Way::Passthrough(_)));
        fs.release(opened.handle).await.expect("release");
    }
    assert_eq!((cluster.local_calls(), kernel.registered().len()), (1, 1));
    fs.drop_kept();
    assert!(kernel.registered().is_empty());
    assert_eq!(cluster.leases(), 0);
}

#[tokio::test]
async fn a_file_whose_creator_was_killed_is_completed_all_the_same() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    {
        let create = fs.create(ME, node::ROOT, "f", 0o644, libc::O_WRONLY);
        let mut create = std::pin::pin!(create);
        assert!(futures_poll(create.as_mut()).is_pending());
    }
    until("the file is complete", || cluster.completed("f") == Some((true, 0))).await;
    until("nothing is open", || fs.metrics().handles.get() == 0).await;
    assert!(fs.writing.lock().is_empty());
}

fn futures_poll<F: Future>(future: std::pin::Pin<&mut F>) -> std::task::Poll<F::Output> {
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    future.poll(&mut context)
}

#[tokio::test]
async fn what_others_change_is_told_to_the_kernel_and_forgotten() {
    let bench = bench();
    let Bench { cluster, kernel, fs, tasks, .. } = &bench;
    cluster.put("f", b"old").expect("a file");
    tasks.spawn("feed", feed::follow(fs.clone(), tasks.stop()));
    let old = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    until("the feed is listened to", || {
        cluster.put("other", b"x").expect("a file");
        !kernel.changed.lock().is_empty()
    })
    .await;
    cluster.put("f", b"newer").expect("a replacement");
    until("the kernel knows", || kernel.changed.lock().contains(&format!("node {}", old.node))).await;
    until("the kernel knows", || kernel.changed.lock().contains(&"1/f".to_owned())).await;
    assert_eq!(fs.getattr(ME, old.node).await.expect_err("gone").code, Code::Stale);
    let new = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    assert_ne!(new.node, old.node);
    assert_eq!(new.size, 5);
    assert!(tasks.shutdown(Duration::from_secs(5)).await.is_empty(), "the feed ends when told");
}

#[tokio::test]
async fn the_kernel_is_told_of_its_own_changes_only_while_one_is_in_doubt() {
    let bench = bench();
    let Bench { cluster, kernel, fs, tasks, .. } = &bench;
    cluster.put("other", b"x").expect("a file");
    tasks.spawn("feed", feed::follow(fs.clone(), tasks.stop()));
    let told = |name: &str| kernel.changed.lock().contains(&format!("1/{name}"));
    let later_changes_of_others_are_told = || async {
        kernel.changed.lock().retain(|told| told != "1/other");
        until("another's change is told", || {
            cluster.put("other", b"x").expect("a file");
            told("other")
        })
        .await;
    };

    later_changes_of_others_are_told().await;
    fs.mkdir(ME, node::ROOT, "a", 0o755).await.expect("mkdir");
    fs.rename(ME, (node::ROOT, "a"), (node::ROOT, "b"), 0).await.expect("rename");
    let refused = fs.mkdir(ME, node::ROOT, "b", 0o755).await.expect_err("it is there");
    assert_eq!(refused.code, Code::AlreadyExists);
    later_changes_of_others_are_told().await;
    assert!(!told("a") && !told("b"), "{:?}", kernel.changed.lock());

    drop(fs.own.begin(&[(node::ROOT, "dropped")]));
    until("what is in doubt is told", || told("dropped")).await;
    fs.remove(ME, node::ROOT, "b", true).await.expect("rmdir");
    until("own changes are told while one is in doubt", || told("b")).await;
    assert!(tasks.shutdown(Duration::from_secs(5)).await.is_empty(), "the feed ends when told");
}

#[tokio::test]
async fn an_open_that_comes_just_after_a_replacement_gets_the_bytes_it_looked_up_or_looks_again() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.put("f", b"old").expect("a file");
    let old = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    cluster.put("f", b"newer").expect("a replacement");
    fs.forget_attr(old.node);
    let opened = fs.open(ME, old.node, libc::O_RDONLY).await.expect("its bytes are still here");
    assert_eq!(fs.read(opened.handle, 0, 100).await.expect("read"), "old");
    fs.release(opened.handle).await.expect("release");

    let newer = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    bench.replace(b"newest");
    fs.forget_attr(newer.node);
    let gone = fs.open(ME, newer.node, libc::O_RDONLY).await.expect_err("nobody has its bytes");
    assert_eq!(gone.code, Code::Stale, "the kernel looks the path up again");
}

#[tokio::test]
async fn whoever_lost_a_race_for_a_name_wins_the_next_one() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    let other = Who { pid: 2, ..ME };
    cluster.put("f", b"old").expect("a file");
    let old = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    bench.replace(b"newer");
    fs.forget_attr(old.node);
    let lost = fs.open(ME, old.node, libc::O_RDONLY).await.expect_err("gone");
    assert_eq!(lost.code, Code::Stale, "the kernel tries once more");

    let calls = cluster.local_calls();
    fs.lookup(other, node::ROOT, "f").await.expect("lookup");
    assert_eq!(cluster.local_calls(), calls, "who lost no race holds nothing");
    let newer = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    bench.replace(b"newest");
    fs.forget_attr(newer.node);
    assert_eq!(fs.getattr(ME, newer.node).await.expect("the kernel checks permissions first").links, 0);
    assert_eq!(fs.getattr(other, newer.node).await.expect_err("it has lost nothing").code, Code::Stale);
    let opened = fs.open(ME, newer.node, libc::O_RDONLY).await.expect("held since the look-up");
    assert_eq!(fs.read(opened.handle, 0, 100).await.expect("read"), "newer");
    fs.release(opened.handle).await.expect("release");
}

#[tokio::test]
async fn who_lost_a_race_while_permissions_were_checked_wins_the_next_one_too() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.put("f", b"old").expect("a file");
    let old = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    bench.replace(b"newer");
    fs.forget_attr(old.node);
    assert_eq!(fs.getattr(ME, old.node).await.expect_err("gone").code, Code::Stale);
    let newer = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    bench.replace(b"newest");
    fs.forget_attr(newer.node);
    let opened = fs.open(ME, newer.node, libc::O_RDONLY).await.expect("held since the look-up");
    assert_eq!(fs.read(opened.handle, 0, 100).await.expect("read"), "newer");
    fs.release(opened.handle).await.expect("release");
}

#[tokio::test]
async fn what_was_opened_for_a_request_that_comes_again_is_closed() {
    for again in [false, true] {
        let bench = bench();
        let Bench { cluster, fs, .. } = &bench;
        cluster.put("f", b"bytes").expect("a file");
        let stat = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
        let attr = fs.known(stat.node);
        let file = OpenRecord { handle: 5, node: stat.node, attr, request: 70, ..OpenRecord::default() };
        let folder =
            OpenRecord { handle: 6, directory: true, node: node::ROOT, request: 72, ..OpenRecord::default() };
        fs.adopt(&[file, folder]);
        if again {
            fs.asked_again(70);
            fs.asked_again(72);
        }
        assert_eq!((fs.handle(5).is_ok(), fs.dir(6).is_ok()), (!again, !again));
        // The kernel mixes no passthrough with the page cache.
        let opened = fs.open(ME, stat.node, libc::O_RDONLY).await.expect("open");
        assert_eq!(matches!(opened.way, Way::Passthrough(_)), again);
        fs.release(opened.handle).await.expect("release");
    }
}

#[tokio::test]
async fn an_open_beside_a_removal_has_its_bytes_or_says_so_at_once() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.cache(false);
    cluster.put("f", b"bytes").expect("a file");
    let stat = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    // The removal began when nothing was open, and ends after the open is made.
    let taking = fs.races.take();
    let mut open = std::pin::pin!(fs.open(ME, stat.node, libc::O_RDONLY));
    assert!(futures_poll(open.as_mut()).is_pending(), "it waits for the removal");
    let caller = Caller::default();
    fs.backend.remove(caller, goosefs_core::id::InodeId::ROOT, "f", false).await.expect("unlink");
    drop(taking);
    match open.await {
        Ok(opened) => assert_eq!(fs.read(opened.handle, 0, 100).await.expect("read"), "bytes"),
        Err(error) => assert_eq!(error.code, Code::Stale),
    }
}

#[tokio::test]
async fn an_open_file_that_was_removed_has_attributes_and_no_name() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.put("f", b"bytes").expect("a file");
    let stat = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    let opened = fs.open(ME, stat.node, libc::O_RDONLY).await.expect("open");
    cluster.evict("f").expect("the worker drops it");
    fs.remove(ME, node::ROOT, "f", false).await.expect("unlink");
    fs.forget_attr(stat.node);
    let shown = fs.getattr(ME, stat.node).await.expect("still open");
    assert_eq!((shown.size, shown.links), (5, 0));
    fs.release(opened.handle).await.expect("release");
    assert_eq!(fs.getattr(ME, stat.node).await.expect_err("gone").code, Code::Stale);
    assert_eq!(fs.open(ME, stat.node, libc::O_RDONLY).await.expect_err("gone").code, Code::Stale);
}

#[tokio::test]
async fn two_writers_share_one_file_and_the_last_completes_it() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    let (stat, first) = fs.create(ME, node::ROOT, "f", 0o644, libc::O_WRONLY).await.expect("create");
    let second = fs.open(ME, stat.node, libc::O_WRONLY).await.expect("open");
    fs.write(first.handle, 0, Bytes::from_static(b"one")).await.expect("write");
    fs.write(second.handle, 3, Bytes::from_static(b"two")).await.expect("write");
    fs.release(first.handle).await.expect("release");
    assert_eq!(cluster.completed("f"), Some((false, 0)));
    assert_eq!(fs.getattr(ME, stat.node).await.expect("stat").size, 6);
    fs.release(second.handle).await.expect("release");
    assert_eq!(cluster.completed("f"), Some((true, 6)));
    assert!(fs.writing.lock().is_empty());
}

#[tokio::test]
async fn a_file_that_cannot_be_completed_yet_is_completed_later() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.fail_completes(1);
    let (stat, opened) = fs.create(ME, node::ROOT, "f", 0o644, libc::O_WRONLY).await.expect("create");
    fs.write(opened.handle, 0, Bytes::from_static(b"bytes")).await.expect("write");
    fs.flush(opened.handle).await.expect("close");
    let released = fs.release(opened.handle);
    let reader = async {
        until("the first try failed", || fs.writing_of(ContentId(stat.node)).is_some()).await;
        let reading = fs.open(ME, stat.node, libc::O_RDONLY).await.expect("open");
        assert_eq!(fs.read(reading.handle, 0, 100).await.expect("read"), &b"bytes"[..]);
        fs.release(reading.handle).await.expect("release");
    };
    let (released, ()) = tokio::join!(released, reader);
    released.expect("release");
    assert_eq!(cluster.completed("f"), Some((true, 5)));
    assert!(fs.writing.lock().is_empty());
}

#[tokio::test]
async fn a_size_that_cannot_be_set_changes_nothing_else() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.put("f", b"bytes").expect("a file");
    let stat = fs.lookup(ME, node::ROOT, "f").await.expect("lookup");
    let set = SetAttr { size: Some(3), mode: Some(0o600), ..SetAttr::default() };
    assert_eq!(fs.setattr(ME, stat.node, set).await.expect_err("size").code, Code::Unimplemented);
    let after = fs.getattr(ME, stat.node).await.expect("stat");
    assert_eq!((after.size, after.perm), (5, 0o755));
    assert!(fs.writing.lock().is_empty());
    assert_eq!(cluster.completed("f"), Some((true, 5)));
}

#[tokio::test]
async fn a_call_that_takes_too_long_ends_with_its_deadline() {
    let bench = bench();
    let Bench { cluster, fs, .. } = &bench;
    cluster.cache(false);
    cluster.put("f", b"bytes").expect("a file");
    cluster.hold_reads(true);
    let limit = Duration::from_millis(20);
    let source = fs.backend.source(&fs.lookup_attr("f").await);
    let outcome = fs.within(limit, "read", source.read(0, 1)).await;
    assert_eq!(outcome.expect_err("held").code, Code::DeadlineExceeded);
}

impl Fs {
    async fn lookup_attr(&self, name: &str) -> Attr {
        let caller = Caller::default();
        self.backend.lookup(caller, goosefs_core::id::InodeId::ROOT, name).await.expect("lookup")
    }
}
