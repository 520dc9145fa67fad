//! The kernel's rules of passthrough (DESIGN §4, a to f) on a real kernel: whatever is in force, every kind of a second
//! open works and sees right bytes.

use crate::mounted::{Map, Mounted, bytes};
use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt, PermissionsExt};
use std::process::Command;

const MIB: usize = 1 << 20;

/// What a further open is like.
fn kinds() -> Vec<(&'static str, OpenOptions)> {
    let mut read = OpenOptions::new();
    read.read(true);
    let mut write = OpenOptions::new();
    write.write(true);
    let mut both = OpenOptions::new();
    both.read(true).write(true);
    let mut append = OpenOptions::new();
    append.append(true);
    let mut direct = OpenOptions::new();
    direct.read(true).custom_flags(libc::O_DIRECT);
    vec![
        ("O_RDONLY", read),
        ("O_WRONLY", write),
        ("O_RDWR", both),
        ("O_APPEND", append),
        ("O_DIRECT", direct),
    ]
}

fn check(file: &File, content: &[u8], what: &str) {
    let mut buffer = vec![0; 4096];
    file.read_exact_at(&mut buffer, 8192).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(buffer == content[8192..12288], "{what}: wrong bytes");
}

fn check_maps(file: &File, content: &[u8], what: &str) {
    for shared in [false, true] {
        let map = Map::new(file, content.len(), shared).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(map.bytes() == content, "{what}, shared {shared}: wrong bytes");
    }
}

/// Opens the file in every way while something is in force, alone and together.
fn every_kind_of_open(mount: &Mounted, content: &[u8], in_force: &str) {
    let mut open = Vec::new();
    for (kind, options) in kinds() {
        let what = format!("{kind} while {in_force}");
        let file = options.open(mount.path("file")).unwrap_or_else(|error| panic!("{what}: {error}"));
        if kind != "O_WRONLY" && kind != "O_APPEND" {
            if kind != "O_DIRECT" {
                check(&file, content, &what);
            }
            check_maps(&file, content, &what);
        }
        open.push(file);
    }
    let last = File::open(mount.path("file")).expect("one more");
    check(&last, content, in_force);
}

#[test]
fn every_kind_of_open_works_while_passthrough_is_in_force() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(MIB, 11);
    mount.cluster.put("file", &content).expect("a file");
    let first = File::open(mount.path("file")).expect("open");
    check(&first, &content, "first");
    every_kind_of_open(&mount, &content, "passthrough");
    assert!(mount.opens("through") >= 3, "writers come to the daemon");
    assert_eq!(mount.opens("cached") + mount.opens("direct"), 0);
    check(&first, &content, "first, at last");
}

#[test]
fn every_kind_of_open_works_while_the_page_cache_is_in_force() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(MIB, 12);
    mount.cluster.cache(false);
    mount.cluster.put("file", &content).expect("a file");
    let first = File::open(mount.path("file")).expect("open");
    check(&first, &content, "first");
    mount.cluster.cache(true);
    every_kind_of_open(&mount, &content, "cached");
    assert_eq!(mount.opens("passthrough"), 0, "the kernel would refuse it");
    drop(first);
    mount.wait_until_closed();
    check(&File::open(mount.path("file")).expect("open"), &content, "after all are closed");
    assert_eq!(mount.opens("passthrough"), 1, "the next open after the mode is free");
}

#[test]
fn every_kind_of_open_works_while_a_mapping_lives() {
    for shared in [false, true] {
        for cached_here in [false, true] {
            let Some(mount) = Mounted::new() else { return };
            let content = bytes(MIB, 13);
            mount.cluster.cache(cached_here);
            mount.cluster.put("file", &content).expect("a file");
            let map = {
                let file = File::open(mount.path("file")).expect("open");
                Map::new(&file, content.len(), shared).expect("map")
            };
            assert!(map.bytes() == content);
            mount.cluster.cache(true);
            every_kind_of_open(&mount, &content, &format!("mapped, shared {shared}, cached {cached_here}"));
            drop(map);
            mount.wait_until_closed();
            check(&File::open(mount.path("file")).expect("open"), &content, "after the mapping");
        }
    }
}

#[test]
fn every_kind_of_open_works_while_a_direct_file_is_mapped() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(MIB, 14);
    mount.cluster.put("file", &content).expect("a file");
    let writer = OpenOptions::new().read(true).write(true).open(mount.path("file")).expect("open");
    assert_eq!(mount.opens("direct"), 1);
    let map = Map::new(&writer, content.len(), true).expect("FUSE_DIRECT_IO_ALLOW_MMAP");
    assert!(map.bytes() == content);
    every_kind_of_open(&mount, &content, "a direct mapping");
    assert_eq!(mount.opens("passthrough"), 0);
}

#[test]
fn opens_of_every_kind_race_each_other_without_an_error() {
    let Some(mount) = Mounted::new() else { return };
    let seed = std::time::UNIX_EPOCH.elapsed().map_or(1, |since| u64::from(since.subsec_nanos()) | 1);
    println!("seed {seed}");
    let content = bytes(MIB, seed);
    for file in 0..3 {
        mount.cluster.put(&format!("file-{file}"), &content).expect("a file");
    }
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            let (mount, content) = (&mount, &content);
            scope.spawn(move || {
                let mut state = seed.wrapping_mul(thread + 1) | 1;
                let mut random = move |below: u64| {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    state % below
                };
                let mut held = Vec::new();
                for step in 0..300 {
                    let (kind, options) = kinds().swap_remove(usize::try_from(random(5)).expect("small"));
                    let what = format!("seed {seed}, thread {thread}, step {step}, {kind}");
                    let path = mount.path(&format!("file-{}", random(3)));
                    let file = options.open(path).unwrap_or_else(|error| panic!("{what}: {error}"));
                    match kind {
                        "O_RDONLY" => check(&file, content, &what),
                        "O_RDWR" if random(4) == 0 => check_maps(&file, content, &what),
                        "O_RDWR" => check(&file, content, &what),
                        _ => {}
                    }
                    held.push(file);
                    if random(4) != 0 {
                        held.clear();
                    }
                    if random(20) == 0 {
                        mount.cluster.cache(random(2) == 0);
                    }
                    if random(30) == 0 {
                        std::thread::sleep(std::time::Duration::from_millis(random(20)));
                    }
                }
            });
        }
    });
    mount.wait_until_closed();
    let ways = ["passthrough", "through", "cached", "direct"].map(|way| (way, mount.opens(way)));
    println!("{ways:?}");
    assert_eq!(ways.iter().map(|(_, count)| count).sum::<u64>(), 4 * 300);
}

#[test]
fn truncating_a_file_that_is_read_by_passthrough_makes_a_new_one() {
    let Some(mount) = Mounted::new() else { return };
    let (old, new) = (bytes(MIB, 15), bytes(MIB / 2, 16));
    mount.cluster.put("file", &old).expect("a file");
    let reader = File::open(mount.path("file")).expect("open");
    check(&reader, &old, "before");
    let mut writer =
        OpenOptions::new().read(true).write(true).truncate(true).open(mount.path("file")).expect("O_TRUNC");
    assert_eq!(fs::metadata(mount.path("file")).expect("stat").len(), 0);
    writer.write_all(&new).expect("write");
    assert_eq!(fs::metadata(mount.path("file")).expect("stat").len(), new.len() as u64);
    check(&writer, &new, "the writer reads what it wrote");
    let second = File::open(mount.path("file")).expect("a reader of the new bytes beside the old one");
    check(&second, &new, "new");
    check(&reader, &old, "the old reader has the old file");
    drop((writer, reader, second));
    mount.wait_until_closed();
    assert!(fs::read(mount.path("file")).expect("read") == new);
    assert_eq!(mount.cluster.completed("file"), Some((true, new.len() as u64)));
    assert_eq!(mount.opens("passthrough"), 2, "the first, and the new one at last");
}

#[test]
fn truncating_a_file_in_the_page_cache_shows_the_new_bytes() {
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.cache(false);
    let (old, new) = (bytes(MIB, 17), bytes(MIB, 18));
    mount.cluster.put("file", &old).expect("a file");
    let reader = File::open(mount.path("file")).expect("open");
    check(&reader, &old, "before");
    fs::write(mount.path("file"), &new).expect("rewritten");
    mount.wait("the writer is closed", || mount.cluster.completed("file") == Some((true, new.len() as u64)));
    assert!(fs::read(mount.path("file")).expect("read") == new, "no page of the old bytes");
}

#[test]
fn programs_run_from_the_mount() {
    let Some(mount) = Mounted::new() else { return };
    let echo = fs::read("/bin/echo").expect("echo");
    for cached in [true, false] {
        mount.cluster.cache(cached);
        let name = format!("echo-{cached}");
        mount.cluster.put(&name, &echo).expect("a file");
        fs::set_permissions(mount.path(&name), fs::Permissions::from_mode(0o755)).expect("chmod");
        let said = Command::new(mount.path(&name)).arg("honk").output().expect("exec");
        assert_eq!(said.stdout, b"honk\n");
        let mut file = File::open(mount.path(&name)).expect("open");
        let mut magic = [0; 4];
        file.read_exact(&mut magic).expect("read");
        assert_eq!(&magic, b"\x7fELF");
    }
}
