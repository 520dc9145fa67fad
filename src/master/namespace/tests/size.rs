//! How much a namespace weighs and how fast it is. The figures are printed; the bounds hold for a build without
//! optimisation too, and `NAMESPACE_INODES=1000000 cargo test --release -- size --nocapture` gives those that count.

use super::bed::*;
use crate::namespace::Namespace;
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::{Caller, WriteType};
use goosefs_core::proto::journal::Entry;
use std::time::Instant;

fn resident() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4096
}

struct Sink(u64);

impl std::io::Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Memory is that of a whole process, so the measurement has one of its own.
#[test]
fn size_and_speed() {
    let own = std::env::current_exe().unwrap();
    let mut alone = std::process::Command::new(own);
    alone.args(["namespace::tests::size::measure", "--exact", "--ignored", "--nocapture"]);
    assert!(alone.status().unwrap().success());
}

#[test]
#[ignore = "run by size_and_speed, in a process of its own"]
fn measure() {
    let count: u64 = std::env::var("NAMESPACE_INODES").map_or(100_000, |count| count.parse().unwrap());
    let caller = Some(Caller { user: "user".into(), group: "group".into() });
    let entry =
        |command| Entry { now_ms: 1, caller: caller.clone(), command: Some(command), ..Default::default() };
    let mut namespace = Namespace::new();
    namespace.apply(1, &entry(mount("/", "file:///data", false)));
    let before = resident();
    let start = Instant::now();
    let mut index = 1;
    let mut parent = 0;
    for i in 0..count {
        index += 1;
        if i % 1000 == 0 {
            let made = namespace.apply(index, &entry(mkdir(0, &format!("directory-{i:08}"), false)));
            parent = made.applied.attr.unwrap().inode;
            index += 1;
        }
        let made = namespace
            .apply(index, &entry(create(parent, &format!("part-{i:010}.parquet"), WriteType::MustCache)));
        assert_eq!(made.applied.error, None);
    }
    let took = start.elapsed();
    let bytes = (resident() - before) / count as usize;
    println!(
        "{count} inodes: {bytes} B of resident memory each, {:.0} creates/s",
        count as f64 / took.as_secs_f64()
    );

    let start = Instant::now();
    let frozen = namespace.freeze();
    let froze = start.elapsed();
    let mut sink = Sink(0);
    let start = Instant::now();
    frozen.write(&mut sink).unwrap();
    let wrote = start.elapsed();
    drop(frozen);
    println!("image: frozen in {froze:?}, {} B an inode, written in {wrote:?}", sink.0 / count);

    let image = image_of(&namespace);
    let start = Instant::now();
    let back = Namespace::restore(&mut &image[..]).unwrap();
    println!("image: read back in {:?}", start.elapsed());
    assert_eq!(back.counts(), namespace.counts());

    let start = Instant::now();
    let looks = 200_000;
    for i in 0..looks {
        let at = i * 7919 % count;
        let directory =
            back.child(InodeId::ROOT, &format!("directory-{:08}", at / 1000 * 1000)).unwrap().unwrap();
        assert!(back.lookup(directory, &format!("part-{at:010}.parquet")).is_ok());
    }
    println!("{:.0} pairs of lookups/s", looks as f64 / start.elapsed().as_secs_f64());
    assert!(bytes <= 300, "{bytes} B an inode");
    assert!(froze.as_millis() < 20, "frozen in {froze:?}");
}
