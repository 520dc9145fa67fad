//! What a former life left, and how far it is trusted.

use super::super::lease::HandOut;
use super::super::mirror::LastStop;
use super::*;
use crate::id::{ClusterId, Epoch};
use std::fs;
use std::sync::atomic::Ordering;

fn flip(path: &Path, at: u64) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at as usize] ^= 0x40;
    fs::write(path, bytes).unwrap();
}

fn mark(id: u128, epoch: u64) -> super::super::Mark {
    super::super::Mark { cluster: ClusterId(uuid::Uuid::from_u128(id)), epoch: Epoch(epoch) }
}

#[test]
fn after_a_clean_stop_everything_is_served_and_handed_out_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    let file = content(1, 2 * BLOCK + 77);
    assert!(fill_whole(&store, &file));
    let worker = store.worker();
    store.close().unwrap();
    drop(store);
    let (store, _) = open(dir.path(), 20 * PAGE);
    assert_eq!(store.opening().last_stops[0].1, LastStop::Clean);
    assert_eq!((store.worker(), store.content_bytes(file.id)), (worker, file.length));
    assert!(matches!(store.hand_out(file.id, 1, file.length).unwrap(), HandOut::Ready { .. }));
    assert!(right_if_here(&store, &file, 2, 0));
}

#[test]
fn a_torn_page_is_dropped_counted_and_never_served_after_an_unclean_stop() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    let file = content(1, 2 * BLOCK);
    assert!(fill_whole(&store, &file));
    store.sync_mirror(super::super::DirId(0), true).unwrap();
    drop(store);
    flip(&container_path(dir.path(), 1), PAGE + 5);
    // A torn write: the rest of a page never reached the disk.
    let file_on_disk = fs::OpenOptions::new().write(true).open(container_path(dir.path(), 1)).unwrap();
    super::super::container::punch(&file_on_disk, 3 * PAGE + 8192..4 * PAGE).unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    assert!(matches!(store.opening().last_stops[0].1, LastStop::Unclean { .. }));
    assert!(matches!(store.hand_out(file.id, 1, file.length).unwrap(), HandOut::Untrusted));
    assert!(right_if_here(&store, &file, 0, 0));
    assert!(!right_if_here(&store, &file, 0, 1));
    assert!(right_if_here(&store, &file, 1, 0));
    assert!(!right_if_here(&store, &file, 1, 1));
    assert_eq!(store.counts().bad_pages.load(Ordering::SeqCst), 2);
    assert!(matches!(store.hand_out(file.id, 1, file.length).unwrap(), HandOut::Absent));
    assert!(fill(&store, &file, 0, 1) && fill(&store, &file, 1, 1));
    assert!(matches!(store.hand_out(file.id, 1, file.length).unwrap(), HandOut::Ready { .. }));
}

#[test]
fn an_unverified_file_is_handed_out_only_when_all_of_it_was_checked() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    let (good, bad) = (content(1, BLOCK + 9), content(2, BLOCK));
    assert!(fill_whole(&store, &good) && fill_whole(&store, &bad));
    store.sync_mirror(super::super::DirId(0), true).unwrap();
    drop(store);
    flip(&container_path(dir.path(), 2), PAGE - 1);
    let (store, _) = open(dir.path(), 20 * PAGE);
    let verified = store.verify(good.id).unwrap();
    assert_eq!((verified.good, verified.bad), (3, 0));
    assert!(matches!(store.hand_out(good.id, 1, good.length).unwrap(), HandOut::Ready { .. }));
    let verified = store.verify(bad.id).unwrap();
    assert_eq!((verified.good, verified.bad), (1, 1));
    assert!(matches!(store.hand_out(bad.id, 1, bad.length).unwrap(), HandOut::Absent));
}

#[test]
fn a_file_that_was_flushed_when_complete_is_trusted_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    let (flushed, partial) = (content(1, BLOCK), content(2, BLOCK));
    assert!(fill_whole(&store, &flushed) && fill(&store, &partial, 0, 0));
    store.tick();
    store.sync_mirror(super::super::DirId(0), true).unwrap();
    drop(store);
    let (store, _) = open(dir.path(), 20 * PAGE);
    assert!(matches!(store.hand_out(flushed.id, 1, BLOCK).unwrap(), HandOut::Ready { .. }));
    assert!(fill(&store, &partial, 0, 1));
    assert!(matches!(store.hand_out(partial.id, 1, BLOCK).unwrap(), HandOut::Untrusted));
}

#[test]
fn a_damaged_only_copy_is_an_error_and_not_a_missing_page() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    let written = Content { complete: false, length: 0, ..content(1, 0) };
    write(&store, &written, 0, 0, 1000).unwrap();
    drop(store);
    flip(&container_path(dir.path(), 1), 500);
    let (store, _) = open(dir.path(), 20 * PAGE);
    let error = read(&store, &written, 0, 0).unwrap_err();
    assert_eq!(error.code, crate::Code::Corrupt);
    assert_eq!(store.counts().lost_blocks.load(Ordering::SeqCst), 1);
    assert_eq!(store.held_contents(None, 10), [(written.id, 1)], "it is kept for a person to look at");
}

#[test]
fn a_missing_file_of_an_only_copy_is_reported_and_strangers_files_are_removed() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    let written = Content { complete: false, length: 0, ..content(1, 0) };
    write(&store, &written, 0, 0, 1000).unwrap();
    drop(store);
    fs::remove_file(container_path(dir.path(), 1)).unwrap();
    let orphan = container_path(dir.path(), 77);
    fs::create_dir_all(orphan.parent().unwrap()).unwrap();
    fs::write(&orphan, b"nobody speaks of it").unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    assert_eq!(store.opening().lost, [written.id.block(0)]);
    assert_eq!(store.opening().orphans, 1);
    assert!(!orphan.exists());
    assert_eq!((used(&store), store.usage().held), (0, 0));
}

#[test]
fn a_smaller_quota_is_kept_from_the_start_and_only_copies_stay() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path(), 20 * PAGE);
    let written = Content { complete: false, length: 0, ..content(1, 0) };
    write(&store, &written, 0, 0, BLOCK).unwrap();
    let files: Vec<Content> = (2..9).map(|number| content(number, BLOCK)).collect();
    for file in &files {
        clock.advance(Duration::from_millis(5));
        assert!(fill_whole(&store, file));
    }
    store.close().unwrap();
    drop(store);
    let (store, _) = open(dir.path(), 8 * PAGE);
    assert_eq!((used(&store), store.opening().trimmed), (4 * PAGE, 12 * PAGE));
    assert!(disk_space(dir.path()) <= 8 * PAGE);
    assert_eq!(read(&store, &written, 0, 1).unwrap().unwrap(), text(1, 1, PAGE, PAGE));
    assert!(right_if_here(&store, &files[6], 0, 0), "the last used one stays");
}

#[test]
fn another_cluster_or_epoch_empties_the_directories_and_puts_only_copies_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 20 * PAGE);
    assert_eq!(store.adopt(mark(1, 1)).unwrap().dropped, 0);
    let cached = content(1, BLOCK);
    let written = Content { complete: false, length: 0, ..content(2, 0) };
    assert!(fill_whole(&store, &cached));
    write(&store, &written, 0, 0, 5000).unwrap();
    assert_eq!(store.adopt(mark(1, 1)).unwrap(), super::super::store::Adopted::default());
    assert!(right_if_here(&store, &cached, 0, 0));
    let adopted = store.adopt(mark(1, 2)).unwrap();
    assert_eq!(adopted.quarantined.len(), 1);
    assert!(adopted.dropped >= BLOCK);
    assert_eq!((store.content_bytes(cached.id), store.content_bytes(written.id)), (0, 0));
    assert_eq!(fs::read(&adopted.quarantined[0]).unwrap()[..5000], text(2, 1, 0, 5000));
    let kept = used(&store);
    assert!(kept >= 5000, "what was put aside counts: {kept}");
    store.close().unwrap();
    drop(store);
    let (store, _) = open(dir.path(), 20 * PAGE);
    assert_eq!((store.mark(), used(&store)), (Some(mark(1, 2)), kept));
    fs::remove_dir_all(dir.path().join("quarantine")).unwrap();
    assert_eq!(store.content_bytes(written.id), 0);
}

#[test]
fn a_directory_of_another_worker_is_emptied_before_it_is_used() {
    let (first, second) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    for dir in [&first, &second] {
        let (store, _) = open(dir.path(), 20 * PAGE);
        store.adopt(mark(1, 1)).unwrap();
        assert!(fill_whole(&store, &content(1, BLOCK)));
        store.close().unwrap();
    }
    let mut both = config(first.path(), 20 * PAGE);
    both.tiers[0].dirs.push(DirSpec { path: second.path().to_owned(), quota: 20 * PAGE });
    let store = Store::open(&both, ManualClock::at(1)).unwrap();
    assert_eq!(store.opening().foreign.len(), 1);
    assert_eq!(store.opening().foreign[0].0, second.path());
    assert_eq!(disk_space(second.path()), 0);
    assert!(right_if_here(&store, &content(1, BLOCK), 0, 0));
}
