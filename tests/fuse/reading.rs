//! Reading: passthrough where the whole file is here, the daemon otherwise, the right bytes always.

use crate::mounted::{Mounted, bytes};
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;

#[test]
fn a_cached_file_is_read_by_the_kernel_alone() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(5 * MIB + 123, 1);
    mount.cluster.put("file", &content).expect("a file");
    assert_eq!(fs::metadata(mount.path("file")).expect("stat").len(), content.len() as u64);
    assert!(fs::read(mount.path("file")).expect("read") == content);
    assert_eq!(mount.opens("passthrough"), 1);
    assert_eq!(mount.reads(), 0, "the daemon must see no READ");
}

#[test]
fn a_file_that_is_not_here_is_read_through_the_daemon() {
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.cache(false);
    let content = bytes(3 * MIB + 7, 2);
    mount.cluster.put("file", &content).expect("a file");
    assert!(fs::read(mount.path("file")).expect("read") == content);
    assert_eq!(mount.opens("cached"), 1);
    let seen = mount.reads();
    assert!(seen > 0);
    mount.wait_until_closed();
    assert!(fs::read(mount.path("file")).expect("read") == content);
    assert_eq!(mount.reads(), seen, "the page cache of an unchanged file is kept");
}

#[test]
fn a_closed_file_is_opened_again_without_asking_the_worker() {
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.put("small", b"small").expect("a file");
    for _ in 0..10 {
        assert_eq!(fs::read(mount.path("small")).expect("read"), b"small");
        mount.wait_until_closed();
    }
    assert_eq!(mount.opens("passthrough"), 10);
    assert_eq!(mount.cluster.local_calls(), 1);
    assert_eq!(mount.cluster.leases(), 1);
}

#[test]
fn leases_are_given_back_at_the_end() {
    let Some(mut mount) = Mounted::new() else { return };
    mount.cluster.put("small", b"small").expect("a file");
    assert_eq!(fs::read(mount.path("small")).expect("read"), b"small");
    mount.shutdown();
    assert_eq!(mount.cluster.leases(), 0);
}

#[test]
fn empty_files_and_reads_at_the_end_give_nothing() {
    let Some(mount) = Mounted::new() else { return };
    for cached in [true, false] {
        mount.cluster.cache(cached);
        let name = format!("empty-{cached}");
        mount.cluster.put(&name, b"").expect("a file");
        assert_eq!(fs::read(mount.path(&name)).expect("read"), b"");
        let name = format!("short-{cached}");
        mount.cluster.put(&name, b"short").expect("a file");
        let file = File::open(mount.path(&name)).expect("open");
        let mut buffer = [0; 16];
        assert_eq!(file.read_at(&mut buffer, 3).expect("read"), 2);
        assert_eq!(file.read_at(&mut buffer, 5).expect("read"), 0);
        assert_eq!(file.read_at(&mut buffer, 5000).expect("read"), 0);
    }
}

#[test]
fn many_readers_at_random_places_get_the_right_bytes() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(8 * MIB + 1, 3);
    for cached in [true, false] {
        mount.cluster.cache(cached);
        let name = format!("file-{cached}");
        mount.cluster.put(&name, &content).expect("a file");
        std::thread::scope(|scope| {
            for reader in 0..8_u64 {
                let (path, content) = (mount.path(&name), &content);
                scope.spawn(move || {
                    let file = File::open(path).expect("open");
                    let mut state = reader + 1;
                    for _ in 0..200 {
                        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                        let at = usize::try_from(state >> 33).expect("small") % content.len();
                        let length = (1 + at % 70_000).min(content.len() - at);
                        let mut buffer = vec![0; length];
                        file.read_exact_at(&mut buffer, at as u64).expect("read");
                        assert!(buffer == content[at..at + length], "wrong bytes at {at}");
                    }
                });
            }
        });
    }
}

#[test]
fn a_replaced_file_is_another_one_and_the_old_handle_keeps_the_old_bytes() {
    let Some(mount) = Mounted::with(|config| {
        // Long enough that only the feed can bring the news in time.
        config.entry_ttl = Duration::from_secs(600);
        config.attr_ttl = Duration::from_secs(600);
    }) else {
        return;
    };
    let (old, new) = (bytes(2 * MIB, 4), bytes(3 * MIB, 5));
    mount.cluster.put("file", &old).expect("a file");
    let mut handle = File::open(mount.path("file")).expect("open");
    let mut first = vec![0; MIB];
    handle.read_exact(&mut first).expect("read");
    mount.cluster.put("file", &new).expect("a replacement");
    mount.wait("the new size shows", || {
        fs::metadata(mount.path("file")).expect("stat").len() == new.len() as u64
    });
    assert!(fs::read(mount.path("file")).expect("read") == new);
    let mut rest = Vec::new();
    handle.read_to_end(&mut rest).expect("read");
    first.extend(rest);
    assert!(first == old, "never a mix");
    assert_eq!(mount.opens("passthrough"), 2);
}

#[test]
fn an_evicted_file_stays_readable_for_who_has_it_open() {
    let Some(mount) = Mounted::new() else { return };
    let content = bytes(2 * MIB, 6);
    mount.cluster.put("file", &content).expect("a file");
    let mut handle = File::open(mount.path("file")).expect("open");
    mount.cluster.evict("file").expect("evicted");
    let mut read = Vec::new();
    handle.read_to_end(&mut read).expect("read");
    assert!(read == content);
    handle.seek(SeekFrom::Start(0)).expect("seek");
    let second = fs::read(mount.path("file")).expect("a second open takes the file that the first one has");
    assert!(second == content);
}

#[test]
fn a_killed_reader_ends_though_the_cluster_does_not_answer() {
    use nix::sys::signal::{Signal, kill};
    let Some(mount) = Mounted::new() else { return };
    mount.cluster.cache(false);
    mount.cluster.hold_reads(true);
    for (signal, direct) in
        [(Signal::SIGKILL, false), (Signal::SIGTERM, false), (Signal::SIGKILL, true), (Signal::SIGTERM, true)]
    {
        // Each its own file: who reads through the page cache waits for pages that an earlier reader asked for.
        let name = format!("file-{signal}-{direct}");
        mount.cluster.put(&name, &bytes(MIB, 7)).expect("a file");
        let before = mount.reads();
        let mut reader = Command::new("dd")
            .arg(format!("if={}", mount.path(&name).display()))
            .args(["of=/dev/null", "bs=1M"])
            .args(direct.then_some("iflag=direct"))
            .stderr(Stdio::null())
            .spawn()
            .expect("dd");
        mount.wait("the read came to the daemon", || mount.reads() > before);
        let pid = nix::unistd::Pid::from_raw(i32::try_from(reader.id()).expect("a pid"));
        let told = Instant::now();
        kill(pid, signal).expect("kill");
        mount.wait("the reader ended", || reader.try_wait().expect("wait").is_some());
        assert!(told.elapsed() < Duration::from_secs(20), "{name} took {:?}", told.elapsed());
    }
    mount.cluster.hold_reads(false);
    assert_eq!(fs::read(mount.path("file-SIGTERM-true")).expect("read").len(), MIB, "the mount works on");
}
