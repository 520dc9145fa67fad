//! How much a namespace weighs and how fast it is. The figures are printed; the bounds hold for a build without
//! optimisation too, and `NAMESPACE_INODES=1000000 cargo test --release -- size --nocapture` gives those that count.
//!
//! An inode is a finished file without what few files have. That is told apart: etags, extended attributes, what a session
//! keeps of its operations, and what a file weighs more while it is written.

use super::bed::*;
use crate::namespace::Namespace;
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::{Caller, SessionOp, WriteType};
use goosefs_core::proto::journal::entry::Command;
use goosefs_core::proto::journal::{Applied, Entry, SetAttributes};
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

/// A namespace that keeps no log.
struct Scale {
    namespace: Namespace,
    index: u64,
}

impl Scale {
    fn mounted() -> Scale {
        let mut scale = Scale { namespace: Namespace::new(), index: 0 };
        scale.apply(mount("/", "file:///data", false));
        scale
    }

    fn apply(&mut self, command: Command) -> Applied {
        self.apply_of(None, command)
    }

    fn apply_of(&mut self, session_op: Option<SessionOp>, command: Command) -> Applied {
        self.index += 1;
        let caller = Some(Caller { user: "user".into(), group: "group".into() });
        let entry = Entry { now_ms: 1, caller, session_op, command: Some(command), ..Default::default() };
        let applied = self.namespace.apply(self.index, &entry).applied;
        assert_eq!(applied.error, None);
        applied
    }

    /// `/directory-<first number>/part-<number>.parquet`, a thousand a directory; `file` is given each directory and name.
    fn fill(&mut self, count: u64, mut file: impl FnMut(&mut Scale, u64, String)) {
        let mut parent = 0;
        for i in 0..count {
            if i % 1000 == 0 {
                let made = self.apply(mkdir(0, &format!("directory-{i:08}"), false));
                parent = made.attr.unwrap().inode;
            }
            file(self, parent, format!("part-{i:010}.parquet"));
        }
    }
}

/// Bytes of resident memory that each of `count` things took which `work` made.
fn grown(count: u64, work: impl FnOnce()) -> f64 {
    let before = resident();
    work();
    (resident() as f64 - before as f64) / count as f64
}

fn written(scale: &mut Scale, parent: u64, name: &str) {
    let made = scale.apply(create(parent, name, WriteType::MustCache));
    scale.apply(complete(made.attr.unwrap().content, 0));
}

fn op(session: u64, sequence: u64, acknowledged: u64) -> Option<SessionOp> {
    Some(SessionOp { session, sequence, acknowledged })
}

/// What is not counted as an inode's own. Nothing is dropped before the end: memory that was freed would be used again.
#[test]
#[ignore = "run by size_and_speed, in a process of its own"]
fn told_apart() {
    let count = 100_000;
    let mut loaded = Scale::mounted();
    let listed = |scale: &mut Scale, etag: &str| {
        grown(count, || {
            for first in (0..count).step_by(1000) {
                let directory = scale.apply(mkdir(0, &format!("{first}-{etag}"), false)).attr.unwrap().inode;
                let entries = (first..first + 1000).map(|i| {
                    let mut entry = found_file(&format!("part-{i:010}.parquet"), i, 1);
                    entry.fingerprint.as_mut().unwrap().etag = etag.to_owned();
                    entry
                });
                let command = batch(directory, entries.collect(), first + 1, true, true);
                scale.apply(command);
            }
        })
    };
    let (without, with) = (listed(&mut loaded, ""), listed(&mut loaded, "d41d8cd98f00b204e9800998ecf8427e"));

    let mut scale = Scale::mounted();
    let mut inodes = Vec::with_capacity(count as usize);
    scale.fill(count, |scale, parent, name| {
        inodes.push(scale.apply(create(parent, &name, WriteType::MustCache)).attr.unwrap().inode);
    });
    let changed = |inode: u64, set_xattr: &[(&str, &'static [u8])]| {
        let set_xattr = set_xattr.iter().map(|(name, value)| ((*name).to_owned(), (*value).into())).collect();
        Command::SetAttributes(SetAttributes { inode, mtime_ms: Some(5), set_xattr, ..Default::default() })
    };
    let xattr = grown(count, || {
        for inode in &inodes {
            scale.apply(changed(*inode, &[("user.test", b"0123456789abcdef")]));
        }
    });
    for session in 1..=64 {
        scale.apply(open_session(session));
    }
    let session = grown(count, || {
        for (inode, i) in inodes.iter().zip(0..) {
            scale.apply_of(op(i % 64 + 1, i / 64 + 1, 0), changed(*inode, &[]));
        }
    });

    let mut writing = Scale::mounted();
    writing.apply(open_session(1));
    let mut sequence = 0;
    let open = grown(count, || {
        writing.fill(count, |scale, parent, name| {
            sequence += 1;
            let command = create(parent, &name, WriteType::MustCache);
            scale.apply_of(op(1, sequence, sequence - 1), command);
        });
    });
    println!(
        "told apart: a listed file {without:.0} B, its etag of 32 characters {:.0} B, an extended attribute of 25 B \
         {xattr:.0} B, what a session keeps of one operation {session:.0} B; a file that is being written {open:.0} B",
        with - without
    );
}

/// Memory is that of a whole process, so the measurement has one of its own.
#[test]
fn size_and_speed() {
    let own = std::env::current_exe().unwrap();
    for test in ["measure", "told_apart"] {
        let mut alone = std::process::Command::new(&own);
        let test = format!("namespace::tests::size::{test}");
        alone.args([test.as_str(), "--exact", "--ignored", "--nocapture"]);
        assert!(alone.status().unwrap().success());
    }
}

#[test]
#[ignore = "run by size_and_speed, in a process of its own"]
fn measure() {
    let count: u64 = std::env::var("NAMESPACE_INODES").map_or(100_000, |count| count.parse().unwrap());
    let mut scale = Scale::mounted();
    let start = Instant::now();
    let bytes = grown(count, || scale.fill(count, |scale, parent, name| written(scale, parent, &name)));
    let took = start.elapsed();
    println!(
        "{count} inodes: {bytes:.0} B of resident memory each, {:.0} creates and completes/s",
        count as f64 / took.as_secs_f64()
    );
    let namespace = scale.namespace;

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
    assert!(bytes <= 300.0, "{bytes} B an inode");
    assert!(froze.as_millis() < 20, "frozen in {froze:?}");
}
