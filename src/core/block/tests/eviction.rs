//! What goes, in which order, and what never goes.

use super::super::container;
use super::super::lease::HandOut;
use super::*;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn above_the_high_watermark_the_least_recently_used_go_down_to_the_low_one() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path(), 20 * PAGE);
    let pressure = Arc::new(AtomicUsize::new(0));
    let pressed = pressure.clone();
    store.on_pressure(move || {
        pressed.fetch_add(1, Ordering::SeqCst);
    });
    let contents: Vec<Content> = (1..=9).map(|number| content(number, BLOCK)).collect();
    for one in &contents {
        clock.advance(Duration::from_millis(10));
        assert!(fill_whole(&store, one));
    }
    assert_eq!((used(&store), store.evict().unwrap()), (18 * PAGE, 0), "at the mark, not above it");
    // The oldest is used again, so the second oldest goes first.
    clock.advance(Duration::from_millis(10));
    assert!(right_if_here(&store, &contents[0], 0, 0));
    let last = content(10, PAGE);
    assert!(fill_whole(&store, &last));
    assert!(pressure.load(Ordering::SeqCst) > 0);
    let freed = store.evict().unwrap();
    assert_eq!(
        (used(&store), freed),
        (9 * PAGE, 10 * PAGE),
        "from 19 pages down to half of 20, in blocks of two"
    );
    let kept: Vec<bool> = contents.iter().map(|one| right_if_here(&store, one, 0, 0)).collect();
    assert_eq!(kept, [true, false, false, false, false, false, true, true, true]);
    assert!(right_if_here(&store, &last, 0, 0));
    assert_eq!(store.evict().unwrap(), 0);
}

#[test]
fn what_was_asked_for_again_without_being_read_stays_before_what_was_used_earlier() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path(), 12 * PAGE);
    let [first, second, third] = [1, 2, 3].map(|number| content(number, 2 * BLOCK));
    for one in [&first, &second] {
        assert!(fill_whole(&store, one));
        clock.advance(Duration::from_millis(10));
    }
    store.touch(first.id, first.generation, 1..2);
    store.touch(second.id, second.generation + 1, 0..2);
    clock.advance(Duration::from_millis(10));
    assert!(fill_whole(&store, &third));
    assert_eq!(store.evict().unwrap(), 3 * BLOCK, "from 12 pages down to half of 12");
    let kept = [&first, &second, &third].map(|one| [0, 1].map(|index| right_if_here(&store, one, index, 0)));
    assert_eq!(kept, [[false, true], [false, false], [true, true]]);
}

#[test]
fn evicting_a_block_of_a_larger_file_gives_its_disk_space_back_by_a_hole() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 64 * PAGE);
    let file = content(1, 3 * BLOCK + 5000);
    assert!(fill_whole(&store, &file));
    let before = disk_space(dir.path());
    assert!(store.drop_block(file.id.block(1)).unwrap());
    let after = disk_space(dir.path());
    assert_eq!(before - after, BLOCK);
    assert_eq!(container_path(dir.path(), 1).metadata().unwrap().len(), file.length);
    assert!(!right_if_here(&store, &file, 1, 0));
    for (index, page) in [(0, 0), (0, 1), (2, 0), (2, 1), (3, 0)] {
        assert!(right_if_here(&store, &file, index, page));
    }
    // The short last block too, all of it.
    assert!(store.drop_block(file.id.block(3)).unwrap());
    assert!(disk_space(dir.path()) <= after - 5000);
    assert_eq!(used(&store), 2 * BLOCK);
    for index in [0, 2] {
        assert!(store.drop_block(file.id.block(index)).unwrap());
    }
    assert!(!container_path(dir.path(), 1).exists());
    assert_eq!((used(&store), disk_space(dir.path())), (0, 0));
}

#[test]
fn pinned_held_read_and_leased_blocks_stay_however_full_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path(), 10 * PAGE);
    let must_stay = Content { pinned: true, ..content(1, BLOCK) };
    let (read_now, leased) = (content(2, BLOCK), content(3, BLOCK));
    let written = Content { complete: false, length: 0, ..content(4, 0) };
    for one in [&must_stay, &read_now, &leased] {
        assert!(fill_whole(&store, one));
    }
    write(&store, &written, 0, 0, BLOCK).unwrap();
    let pin = store.pin(read_now.id.block(0), Some(1)).unwrap();
    let HandOut::Ready { lease, .. } = store.hand_out(leased.id, 1, BLOCK).unwrap() else {
        panic!("not ready")
    };
    clock.advance(Duration::from_secs(100));
    let flood: Vec<Content> = (10..30).map(|number| content(number, BLOCK)).collect();
    for one in &flood {
        let _room_for_one_at_a_time = fill_whole(&store, one);
        assert!(used(&store) <= 10 * PAGE);
    }
    store.evict().unwrap();
    for one in [&must_stay, &read_now, &leased] {
        assert!(right_if_here(&store, one, 0, 0) && right_if_here(&store, one, 0, 1));
    }
    assert_eq!(read(&store, &written, 0, 0).unwrap().unwrap(), text(4, 1, 0, PAGE));
    // Nothing can go for these now: everything but two pages is kept.
    write(&store, &Content { complete: false, length: 0, ..content(5, 0) }, 0, 0, BLOCK).unwrap();
    assert!(!fill(&store, &content(6, PAGE), 0, 0));
    assert_eq!(
        write(&store, &Content { complete: false, length: 0, ..content(7, 0) }, 0, 0, 1).unwrap_err().code,
        crate::Code::NoSpace
    );
    drop((pin, lease));
    store.persisted(written.id, 1).unwrap();
    for one in flood.iter().take(3) {
        assert!(fill_whole(&store, one), "what was let go of makes room");
    }
    assert!(right_if_here(&store, &must_stay, 0, 0), "a pin on the file stays for good");
}

#[test]
fn a_file_that_was_handed_out_is_never_punched_and_counts_until_its_last_holder_closes_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 12 * PAGE);
    let file = content(1, 2 * BLOCK);
    assert!(fill_whole(&store, &file));
    let HandOut::Ready { file: fd, lease, .. } = store.hand_out(file.id, 1, file.length).unwrap() else {
        panic!("not ready")
    };
    let kernel = File::from(fd);
    drop(lease);
    let whole = || {
        let got = container::read_exact(&kernel, 0, file.length as usize).unwrap();
        got == text(1, 1, 0, file.length)
    };
    // One block of it cannot go alone: the whole file goes, by its name.
    assert!(store.drop_block(file.id.block(1)).unwrap());
    assert_eq!(store.content_bytes(file.id), 0);
    assert!(!container_path(dir.path(), 1).exists());
    assert!(whole());
    assert_eq!(used(&store), 4 * PAGE, "still on the disk");
    store.tick();
    assert_eq!(used(&store), 4 * PAGE);
    // It comes back as a file of its own, whatever the old one's holder does.
    assert!(fill_whole(&store, &file));
    kernel.read_exact_at(&mut [0; 16], 0).unwrap();
    assert!(right_if_here(&store, &file, 0, 0) && whole());
    drop(kernel);
    store.tick();
    assert_eq!(used(&store), 4 * PAGE);
}

#[test]
fn what_programs_have_open_without_a_lease_stays_and_others_go() {
    let dir = tempfile::tempdir().unwrap();
    let (store, clock) = open(dir.path(), 10 * PAGE);
    let [first, second, third, fourth] = [1, 2, 3, 4].map(|number| content(number, BLOCK));
    let mut kernel = Vec::new();
    for one in [&first, &second] {
        assert!(fill_whole(&store, one));
        let HandOut::Ready { file, lease, .. } = store.hand_out(one.id, 1, BLOCK).unwrap() else {
            panic!("not ready")
        };
        kernel.push(File::from(file));
        drop(lease);
        clock.advance(Duration::from_millis(10));
    }
    assert!(fill_whole(&store, &third));
    for number in [5, 6] {
        write(&store, &Content { complete: false, length: 0, ..content(number, 0) }, 0, 0, BLOCK).unwrap();
    }
    assert_eq!(used(&store), 10 * PAGE);
    let cached = || [&first, &second, &third, &fourth].map(|one| store.content_bytes(one.id) / BLOCK);
    clock.advance(Duration::from_millis(10));
    assert!(fill_whole(&store, &fourth));
    assert_eq!(cached(), [1, 1, 0, 1], "the longest unused of those that nobody has open");
    // What is dropped all the same takes its room until it is closed.
    store.drop_content(first.id, false).unwrap();
    assert_eq!((cached(), used(&store)), ([0, 1, 0, 1], 10 * PAGE));
    assert!(fill_whole(&store, &third));
    assert_eq!(cached(), [0, 1, 1, 0]);
    drop(kernel);
    // Nobody has to come round before that counts.
    assert!(fill_whole(&store, &fourth));
    assert_eq!(cached(), [0, 1, 1, 1]);
    assert!(fill_whole(&store, &first));
    assert_eq!(cached(), [1, 0, 1, 1]);
}

#[test]
fn the_hand_out_mark_outlives_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 12 * PAGE);
    let file = content(1, 2 * BLOCK);
    assert!(fill_whole(&store, &file));
    let handed = store.hand_out(file.id, 1, file.length).unwrap();
    let HandOut::Ready { file: fd, lease, .. } = handed else { panic!("not ready") };
    let kernel = File::from(fd);
    drop((store, lease));
    let (store, _) = open(dir.path(), 12 * PAGE);
    assert!(store.drop_block(file.id.block(0)).unwrap());
    assert_eq!(container::read_exact(&kernel, 0, 100).unwrap(), text(1, 1, 0, 100));
    assert!(!container_path(dir.path(), 1).exists());
}

#[test]
fn bytes_in_flight_count_and_a_fill_given_up_gives_its_room_back() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = open(dir.path(), 4 * PAGE);
    let (one, two) = (content(1, 2 * BLOCK), content(2, BLOCK));
    let slot = store.slot(&one, 0).unwrap();
    let rooms: Vec<_> = (0..2).map(|page| slot.reserve(page).unwrap()).collect();
    assert_eq!(used(&store), 2 * PAGE);
    let other = store.slot(&one, 1).unwrap();
    let more: Vec<_> = (0..2).map(|page| other.reserve(page).unwrap()).collect();
    assert_eq!(used(&store), 4 * PAGE);
    assert!(store.slot(&two, 0).is_none(), "nothing may be evicted for bytes in flight");
    drop((more, other));
    assert!(fill_whole(&store, &two));
    drop((rooms, slot));
    assert_eq!(used(&store), 2 * PAGE);
    let mut writer = store.write_block(&Content { complete: false, ..content(3, 0) }, 0, 0).unwrap();
    writer.append(&[7; 100_000]).unwrap();
    assert_eq!(used(&store), 3 * PAGE, "a writer's room is ahead of it");
    drop(writer);
    assert_eq!(used(&store), 2 * PAGE, "what was not committed is void");
    assert_eq!(disk_space(dir.path()), 2 * PAGE);
}
