//! Killed by SIGKILL in the middle of work, again and again: a child process of this test works on a store and says on
//! its standard output what it was promised; what it said must hold in the next life.

use super::*;
use rand::Rng;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

const QUOTA: u64 = 12 * PAGE;
const DIR: &str = "GOOSEFS_KILL_DIR";

/// Not a test by itself: what the child runs. Without a directory to work on there is nothing to do.
#[test]
fn child() {
    let Ok(dir) = std::env::var(DIR) else { return };
    let (store, clock) = open(Path::new(&dir), QUOTA);
    let mut rng = rand::rng();
    let mut ends: BTreeMap<u64, u64> = store
        .held_contents(None, 100)
        .into_iter()
        .map(|(id, _)| (id.container().0, store.content_bytes(id)))
        .collect();
    loop {
        clock.advance(Duration::from_millis(10));
        let number = rng.random_range(11..=13_u64);
        let written = Content { complete: false, length: 0, ..content(number, 0) };
        match rng.random_range(0..10) {
            0..5 => {
                let file = content(rng.random_range(1..=6), 2 * BLOCK);
                let (index, page) = (rng.random_range(0..2), rng.random_range(0..2));
                let _none_without_room = fill(&store, &file, index, page);
            }
            5..7 => {
                let end = ends.entry(number).or_default();
                let length = rng.random_range(1..=PAGE / 4).min(BLOCK - *end);
                if length > 0 && write(&store, &written, 0, *end, length).is_ok() {
                    *end += length;
                    say(&format!("has {number} {end}"));
                }
            }
            7 => {
                if ends.insert(number, 0).is_some_and(|end| end > 0) {
                    say(&format!("drops {number}"));
                    store.drop_content(written.id, true).unwrap();
                    say(&format!("dropped {number}"));
                }
            }
            8 => drop(store.evict()),
            _ => store.tick(),
        }
    }
}

fn say(what: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\nSAYS {what}").unwrap();
    out.flush().unwrap();
}

/// What the child was promised before it was killed.
#[derive(Clone, Copy, Debug)]
struct Promise {
    at_least: u64,
    being_dropped: bool,
}

fn one_life(dir: &Path, life: Duration, promises: &mut BTreeMap<u64, Promise>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "block::tests::kill::child", "--nocapture", "--test-threads=1"])
        .env(DIR, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let out = child.stdout.take().unwrap();
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(out).lines().map_while(std::result::Result::ok);
        lines.filter_map(|line| Some(line.strip_prefix("SAYS ")?.to_owned())).collect::<Vec<_>>()
    });
    std::thread::sleep(life);
    child.kill().unwrap();
    child.wait().unwrap();
    for said in reader.join().unwrap() {
        let words: Vec<&str> = said.split(' ').collect();
        let Ok(number) = words[1].parse() else { continue };
        match (words[0], words.get(2).and_then(|end| end.parse().ok())) {
            ("has", Some(at_least)) => {
                promises.insert(number, Promise { at_least, being_dropped: false });
            }
            ("drops", _) => {
                promises.entry(number).and_modify(|promise| promise.being_dropped = true);
            }
            ("dropped", _) => drop(promises.remove(&number)),
            _ => {}
        }
    }
}

#[test]
fn what_was_promised_before_a_kill_holds_after_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut promises = BTreeMap::new();
    let mut said = 0;
    let mut cached = 0;
    for life in 0..8 {
        let millis = rand::rng().random_range(200..900);
        println!("life {life} lasts {millis} ms");
        one_life(dir.path(), Duration::from_millis(millis), &mut promises);
        let (store, _) = open(dir.path(), QUOTA);
        assert_eq!(store.opening().lost, []);
        assert!(used(&store) <= QUOTA, "{} of {QUOTA} used", used(&store));
        let on_disk = disk_space(dir.path());
        assert!(on_disk <= used(&store), "{on_disk} on disk, {} counted", used(&store));
        for (number, promise) in &promises {
            let written = Content { complete: false, length: 0, ..content(*number, 0) };
            let has = store.content_bytes(written.id);
            assert!(
                has >= promise.at_least || (promise.being_dropped && has == 0),
                "{number}: {has}, {promise:?}"
            );
            for page in 0..has.div_ceil(PAGE) {
                let bytes = read(&store, &written, 0, page as u32).unwrap().unwrap();
                assert!(
                    bytes == text(*number, 1, page * PAGE, bytes.len() as u64),
                    "page {page} of {number}"
                );
            }
            said += 1;
        }
        for number in 1..=6 {
            let file = content(number, 2 * BLOCK);
            for (index, page) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                cached += u32::from(right_if_here(&store, &file, index, page));
            }
        }
        // What is held now may be more than what was said: the kill came between commit and word.
        promises.clear();
        for (id, _) in store.held_contents(None, 100) {
            let at_least = store.content_bytes(id);
            promises.insert(id.container().0, Promise { at_least, being_dropped: false });
        }
    }
    assert!(said > 0, "no child ever committed anything: this test tried nothing");
    println!("{said} only copies and {cached} cached pages looked at");
}
