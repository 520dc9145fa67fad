//! Mounts that outlive their FUSE process: killed, stopped, with the holder gone in between, and with nobody to take over.

use crate::plugin::{Ground, PATIENCE, Plugin, Process, can_mount, publish, unpublish};
use goosefs_core::mountinfo;
use goosefs_core::rpc::park::holder::Holder;
use goosefs_core::task::Tasks;
use goosefs_harness::{Binary, Processes, pattern, wait_for};
use goosefs_k8s::csi::wire::csi::volume_capability::access_mode::Mode;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// Bytes of a call of FUSE without arguments, `struct fuse_in_header`.
const SHORTEST_CALL: u64 = 40;

/// A file that the kernel cannot hold by reading ahead.
const LENGTH: usize = 48 << 20;
const NAMES: usize = 3000;

struct Node {
    cluster: Processes,
    ground: Ground,
    bytes: Vec<u8>,
}

impl Node {
    fn new() -> Node {
        let binary = Path::new(env!("CARGO_BIN_EXE_goosefs"));
        let cluster = Processes::start(binary, &["--masters", "1", "--workers", "1"]).unwrap();
        let root = cluster.folder().join("root");
        let bytes = pattern(7, LENGTH);
        for name in ["cached", "cold", "other"] {
            fs::write(root.join(name), &bytes).unwrap();
        }
        fs::create_dir(root.join("names")).unwrap();
        for number in 0..NAMES {
            fs::write(root.join(format!("names/{number}")), "").unwrap();
        }
        Node { cluster, ground: Ground::new(), bytes }
    }

    /// A FUSE process that serves and is parked.
    fn fuse(&self) -> Process {
        let before = self.parked();
        let process = self.fuse_with(&[self.holder()]);
        wait_for("the mount is parked", || self.parked() > before);
        process
    }

    /// Kills a FUSE process; the next one, which is there before the kernel has ended it, takes its place.
    fn replace_killed(&self, process: &mut Process) {
        process.signal(Signal::SIGKILL);
        let next = self.fuse();
        process.wait();
        *process = next;
    }

    /// The plugin's socket for FUSE processes.
    fn holder(&self) -> PathBuf {
        self.ground.root().join(".goosefs/holder.sock")
    }

    /// A FUSE process that serves.
    fn fuse_with(&self, holders: &[PathBuf]) -> Process {
        let point = self.ground.source().display().to_string();
        let masters = format!("-Dgoosefs.master.rpc.addresses={}", self.cluster.masters().join(","));
        let home = format!("-Dgoosefs.home={}", self.cluster.folder().display());
        let holders: Vec<String> = holders.iter().map(|holder| holder.display().to_string()).collect();
        let holders = format!("-Dgoosefs.fuse.holder.sockets={}", holders.join(","));
        let process = Process::start(&self.ground, "fuse", &["fuse", &point, &masters, &home, &holders]);
        let line = process.line();
        assert!(line.starts_with("ready fuse"), "{line}");
        process
    }

    /// Caches a file on this machine.
    fn load(&self, path: &str) {
        let masters = format!("-Dgoosefs.master.rpc.addresses={}", self.cluster.masters().join(","));
        let binary = Binary::new(env!("CARGO_BIN_EXE_goosefs"), self.ground.path());
        let said = binary.run(&["fs", "load", "--local", path, &masters]).unwrap();
        assert_eq!(said.code, Some(0), "{said:?}");
    }

    /// How often a mount was parked.
    fn parked(&self) -> usize {
        let log = fs::read_to_string(self.ground.path().join("fuse.err")).unwrap_or_default();
        log.matches("parked with the holder").count()
    }

    /// Requests that the kernel waits for.
    fn waiting(&self) -> u32 {
        const CONNECTIONS: &str = "/sys/fs/fuse/connections";
        if mountinfo::at(Path::new(CONNECTIONS)).is_none() {
            let nothing = None::<&str>;
            mount(Some("fusectl"), CONNECTIONS, Some("fusectl"), MsFlags::empty(), nothing).unwrap();
        }
        let minor = mountinfo::at(&self.ground.source()).unwrap().minor;
        fs::read_to_string(format!("{CONNECTIONS}/{minor}/waiting")).unwrap().trim().parse().unwrap()
    }

    fn device(&self) -> Option<String> {
        mountinfo::at(&self.ground.source()).map(|mount| mount.device)
    }

    fn open(&self, name: &str) -> File {
        File::open(self.ground.source().join(name)).unwrap()
    }

    /// Reads a piece by a thread of its own, which may have to wait for the next process.
    fn reads(&self, file: &File, from: usize, length: usize) -> std::thread::JoinHandle<()> {
        let file = file.try_clone().unwrap();
        let expected = self.bytes[from..from + length].to_vec();
        std::thread::spawn(move || {
            let mut found = vec![0; expected.len()];
            file.read_exact_at(&mut found, from as u64).unwrap();
            assert!(found == expected, "other bytes at {from}");
        })
    }
}

#[test]
fn open_files_do_not_notice_that_their_process_is_another() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let device = node.device();
    node.load("/cached");
    let (cached, cold) = (node.open("cached"), node.open("cold"));
    node.reads(&cold, 0, 4096).join().unwrap();
    let mut names = fs::read_dir(node.ground.source().join("names")).unwrap();
    let mut seen = BTreeSet::from([names.next().unwrap().unwrap().file_name()]);
    for (round, signal) in [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGKILL].into_iter().enumerate() {
        process.signal(signal);
        process.wait();
        assert_eq!(node.device(), device, "the mount stays");
        let from = (round + 1) * (12 << 20);
        // The kernel reads what is wholly cached here by itself: no process is needed.
        let alone = node.reads(&cached, from, 1 << 20);
        wait_for("a cached file is read without a process", || alone.is_finished());
        alone.join().unwrap();
        let waiting = node.reads(&cold, from, 1 << 20);
        let other = node.ground.source().join("other");
        let opened = std::thread::spawn(move || {
            let file = File::open(other).unwrap();
            let mut found = [0; 4096];
            file.read_exact_at(&mut found, from as u64).unwrap();
            found
        });
        process = node.fuse();
        waiting.join().unwrap();
        assert!(opened.join().unwrap()[..] == node.bytes[from..from + 4096]);
        // Opened again beside what another process opened.
        node.reads(&node.open("cached"), 0, 1 << 20).join().unwrap();
        node.reads(&node.open("cold"), 0, 1 << 20).join().unwrap();
        assert_eq!(node.device(), device);
    }
    seen.extend(names.map(|entry| entry.unwrap().file_name()));
    assert_eq!(seen.len(), NAMES);
    drop((cached, cold));
    umount2(&node.ground.source(), MntFlags::empty()).unwrap();
    process.wait();
    assert_eq!(node.device(), None);
}

#[test]
fn a_holder_that_was_killed_gets_the_mount_again() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let cold = node.open("cold");
    let device = node.device();
    drop(plugin);
    let before = node.parked();
    let _plugin = Plugin::start(&node.ground);
    wait_for("it is parked again", || node.parked() > before);
    process.signal(Signal::SIGKILL);
    process.wait();
    let waiting = node.reads(&cold, 1 << 20, 1 << 20);
    let _process = node.fuse();
    waiting.join().unwrap();
    assert_eq!(node.device(), device);
}

#[test]
fn a_mount_that_nobody_takes_over_ends() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start_with(&node.ground, &["--takeover-seconds", "1"]);
    let mut process = node.fuse();
    let cold = node.open("cold");
    let device = node.device();
    process.signal(Signal::SIGKILL);
    process.wait();
    let error = cold.read_at(&mut [0; 4096], 20 << 20).unwrap_err();
    assert!(matches!(error.raw_os_error(), Some(libc::ENOTCONN | libc::ECONNABORTED)), "{error}");
    let _process = node.fuse();
    assert_ne!(node.device(), device);
    node.reads(&node.open("cold"), 0, 1 << 20).join().unwrap();
}

/// As a worker of the node is one.
#[test]
fn with_a_second_holder_the_mount_outlives_its_process_and_the_plugin() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let second = node.ground.path().join("worker.sock");
    let tasks = Tasks::new("second holder");
    let serve = async { Holder::serve(&second, PATIENCE, &tasks) };
    let (second_holder, _lost) = node.ground.block_on(serve).unwrap();
    let plugin = Plugin::start(&node.ground);
    let holders = [node.holder(), second];
    let mut process = node.fuse_with(&holders);
    wait_for("both have it", || node.parked() == 2);
    let (device, cold) = (node.device(), node.open("cold"));
    drop(plugin);
    process.signal(Signal::SIGKILL);
    process.wait();
    wait_for("the second holder has it", || second_holder.orphans() == 1);
    let waiting = node.reads(&cold, 1 << 20, 1 << 20);
    let _process = node.fuse_with(&holders);
    waiting.join().unwrap();
    assert_eq!(node.device(), device);
    let _plugin = Plugin::start(&node.ground);
    wait_for("the next plugin has it too", || node.parked() == 4);
    node.reads(&cold, 2 << 20, 1 << 20).join().unwrap();
}

#[test]
fn a_plugin_that_is_stopped_waits_for_the_next_process_of_a_mount() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let mut plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let (device, cold) = (node.device(), node.open("cold"));
    process.signal(Signal::SIGTERM);
    process.wait();
    plugin.process.signal(Signal::SIGTERM);
    let waiting = node.reads(&cold, 1 << 20, 1 << 20);
    let _process = node.fuse_with(&[node.holder()]);
    waiting.join().unwrap();
    assert!(plugin.process.wait().success());
    assert_eq!(node.device(), device);
}

#[test]
fn a_mount_is_ended_for_good_once_no_process_serves_it() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let (point, holder) = (node.ground.source().display().to_string(), node.holder().display().to_string());
    let binary = Binary::new(env!("CARGO_BIN_EXE_goosefs"), node.ground.path());
    let unmount = || binary.run(&["csi", "unmount", &point, "--holder", &holder]).unwrap();
    let refused = unmount();
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("another process serves the mount"), "{refused:?}");
    assert!(node.device().is_some());
    process.signal(Signal::SIGTERM);
    process.wait();
    for _ in 0..2 {
        let ended = unmount();
        assert_eq!((ended.code, node.device()), (Some(0), None), "{ended:?}");
    }
}

/// A pod's own copy of what kubelet sees at `target`: changes there come here, as with mount propagation HostToContainer.
fn container(node: &Node, target: &Path) -> PathBuf {
    let inside = node.ground.path().join("container");
    fs::create_dir(&inside).unwrap();
    let nothing = None::<&str>;
    mount(Some(target), &inside, nothing, MsFlags::MS_BIND, nothing).unwrap();
    mount(nothing, &inside, nothing, MsFlags::MS_SLAVE, nothing).unwrap();
    inside
}

#[test]
fn pods_see_the_next_mount_after_one_that_has_ended() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let pods = node.ground.path().join("pods");
    let nothing = None::<&str>;
    mount(Some(&pods), &pods, nothing, MsFlags::MS_BIND, nothing).unwrap();
    mount(nothing, &pods, nothing, MsFlags::MS_SHARED, nothing).unwrap();
    let plugin = Plugin::start_with(&node.ground, &["--takeover-seconds", "1"]);
    let mut process = node.fuse_with(&[]);
    let target = node.ground.target("a");
    let show =
        publish(plugin.client(), node.ground.source(), target.clone(), Mode::MultiNodeReaderOnly, PATIENCE);
    node.ground.block_on(show).unwrap();
    let inside = container(&node, &target);
    let part = pods.join("part");
    fs::create_dir(&part).unwrap();
    mount(Some(&target.join("names")), &part, nothing, MsFlags::MS_BIND, nothing).unwrap();
    for _ in 0..2 {
        assert_eq!(fs::read(inside.join("cold")).unwrap(), node.bytes);
        process.signal(Signal::SIGKILL);
        process.wait();
        process = node.fuse_with(&[]);
        // Attributes may still be remembered of the dead one.
        wait_for("the pod sees the next mount", || File::open(inside.join("cold")).is_ok());
        wait_for("so does the part", || File::open(part.join("1")).is_ok());
    }
    let shown = mountinfo::at(&inside).unwrap();
    assert!(shown.has("ro"), "{shown:?}");
    let at_target = mountinfo::all().iter().filter(|mount| mount.mount_point == target).count();
    assert_eq!(at_target, 2, "one dead mount below, whatever came after it");
    node.ground.block_on(unpublish(plugin.client(), target.clone())).unwrap();
    assert_eq!(mountinfo::at(&target), None);
}

#[test]
fn what_was_being_written_says_that_it_may_be_lost() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    // Another program: one that starts processes would wait in them for the answer to a close.
    let script = "exec 3>\"$1\"; echo some >&3; echo written; read go; echo more >&3 || echo refused";
    let mut writer = Command::new("sh")
        .args(["-c", script, "sh"])
        .arg(node.ground.source().join("new"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(writer.stdout.take().unwrap()).lines();
    assert_eq!(said.next().unwrap().unwrap(), "written");
    process.signal(Signal::SIGKILL);
    process.wait();
    let _process = node.fuse();
    writeln!(writer.stdin.take().unwrap(), "go").unwrap();
    assert_eq!(said.next().unwrap().unwrap(), "refused");
    let ended = writer.wait_with_output().unwrap();
    let complaint = String::from_utf8_lossy(&ended.stderr);
    assert!(complaint.contains("I/O error"), "{complaint}");
    fs::write(node.ground.source().join("next"), "whole").unwrap();
    assert_eq!(fs::read_to_string(node.ground.source().join("next")).unwrap(), "whole");
}

#[test]
fn a_call_that_a_dead_process_had_taken_is_answered_by_the_next() {
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let record: serde_json::Value =
        serde_json::from_slice(&fs::read(node.cluster.folder().join("dev.json")).unwrap()).unwrap();
    let master = Pid::from_raw(record["masters"][0]["pid"].as_i64().unwrap().try_into().unwrap());
    // The call comes to the process, which waits for its master.
    kill(master, Signal::SIGSTOP).unwrap();
    let path = node.ground.source().join("cold");
    let before = process.bytes_read();
    let call = std::thread::spawn(move || fs::metadata(path).unwrap().len());
    // The kernel answers EIO by itself for a call that it was copying to a process that is killed (fs/fuse/dev.c).
    wait_for("the process has taken the call", || {
        node.waiting() > 0 && process.bytes_read() >= before + SHORTEST_CALL
    });
    process.signal(Signal::SIGKILL);
    process.wait();
    kill(master, Signal::SIGCONT).unwrap();
    assert!(!call.is_finished());
    let _process = node.fuse();
    wait_for("the call is answered", || call.is_finished());
    assert_eq!(call.join().unwrap(), LENGTH as u64);
}

/// What waits for the next process must come to it once: a folder that is made twice is answered with EEXIST.
#[test]
fn folders_that_are_made_while_processes_change_are_made_once() {
    const WRITERS: usize = 16;
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let stop = Arc::new(AtomicBool::new(false));
    // The kernel makes one folder at a time in another.
    let places: Vec<PathBuf> =
        (0..WRITERS).map(|number| node.ground.source().join(format!("made-{number}"))).collect();
    for place in &places {
        fs::create_dir(place).unwrap();
    }
    let writers: Vec<_> = places
        .iter()
        .cloned()
        .map(|place| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut made = 0;
                while !stop.load(Ordering::Relaxed) {
                    fs::create_dir(place.join(made.to_string())).map(|()| made += 1)?;
                }
                Ok::<usize, std::io::Error>(made)
            })
        })
        .collect();
    for _ in 0..8 {
        process.signal(Signal::SIGTERM);
        process.wait();
        let failed = || writers.iter().any(std::thread::JoinHandle::is_finished);
        wait_for("all writers wait for the next process", || node.waiting() as usize >= WRITERS || failed());
        process = node.fuse();
    }
    stop.store(true, Ordering::Relaxed);
    for (writer, place) in writers.into_iter().zip(places) {
        let made = writer.join().unwrap().unwrap();
        assert_eq!(fs::read_dir(place).unwrap().count(), made);
    }
    let log = fs::read_to_string(node.ground.path().join("fuse.err")).unwrap();
    let loud: Vec<&str> =
        log.lines().filter(|line| line.contains("ERROR") || line.contains("WARN")).collect();
    assert_eq!(loud, Vec::<&str>::new());
}

/// The kernel takes news of a name under its directory's lock, which a call holds: killed in that moment, a process cannot
/// end before the call is answered by the next one, which must not have to wait for that.
#[test]
fn a_process_that_is_killed_while_it_tells_the_kernel_of_names_is_followed_by_the_next() {
    const WRITERS: usize = 4;
    const AT_LEAST: usize = 200;
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let crowd = node.ground.source().join("crowd");
    fs::create_dir(&crowd).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let (here, elsewhere) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut writers = Vec::new();
    let mut others = Vec::new();
    for writer in 0..WRITERS {
        let (stop_here, here, crowd) = (stop.clone(), here.clone(), crowd.clone());
        writers.push(std::thread::spawn(move || {
            for number in 0.. {
                if stop_here.load(Ordering::Relaxed) {
                    return;
                }
                match fs::create_dir(crowd.join(format!("here-{writer}-{number}"))) {
                    // What a killed process had made without saying so is made again by the next.
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => panic!("{error}"),
                    Ok(()) | Err(_) => here.fetch_add(1, Ordering::Relaxed),
                };
            }
        }));
        let (stop, elsewhere) = (stop.clone(), elsewhere.clone());
        let client = node.ground.block_on(async { node.cluster.client() });
        others.push(node.ground.beside(async move {
            let (root, caller) = (goosefs_core::id::InodeId::ROOT, goosefs_harness::root());
            let folder = client.inodes().lookup(root, "crowd", &caller).await.unwrap();
            for number in 0.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let (parent, name) =
                    (goosefs_core::id::InodeId(folder.inode), format!("there-{writer}-{number}"));
                client.inodes().make_dir(parent, &name, 0o755, &caller).await.unwrap();
                elsewhere.fetch_add(1, Ordering::Relaxed);
            }
        }));
    }
    for _ in 0..8 {
        let (before_here, before_elsewhere) =
            (here.load(Ordering::Relaxed), elsewhere.load(Ordering::Relaxed));
        wait_for("names change, here and elsewhere", || {
            here.load(Ordering::Relaxed) > before_here + AT_LEAST
                && elsewhere.load(Ordering::Relaxed) > before_elsewhere + AT_LEAST
        });
        node.replace_killed(&mut process);
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }
    for other in others {
        node.ground.block_on(other).unwrap();
    }
}

/// An open asks masters whether the file is still there after it has noted it, and may be cut off then.
#[test]
fn what_was_opened_for_calls_that_a_killed_process_did_not_answer_is_not_open_for_ever() {
    const READERS: usize = 8;
    const AT_LEAST: usize = 200;
    if !can_mount() {
        return;
    }
    let node = Node::new();
    let _plugin = Plugin::start(&node.ground);
    let mut process = node.fuse();
    let stop = Arc::new(AtomicBool::new(false));
    let opened = Arc::new(AtomicUsize::new(0));
    let readers: Vec<_> = (0..READERS)
        .map(|reader| {
            let (stop, opened) = (stop.clone(), opened.clone());
            let file = node.ground.source().join(if reader % 2 == 0 { "cold" } else { "other" });
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    drop(File::open(&file).unwrap());
                    opened.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..8 {
        let before = opened.load(Ordering::Relaxed);
        wait_for("files are opened", || opened.load(Ordering::Relaxed) > before + AT_LEAST);
        node.replace_killed(&mut process);
    }
    stop.store(true, Ordering::Relaxed);
    readers.into_iter().for_each(|reader| reader.join().unwrap());
    let adopted = |process: &Process| {
        let said = process.said();
        let line = said.lines().rfind(|line| line.contains("goes on with its mount")).unwrap().to_owned();
        line.rsplit_once("open=").unwrap().1.trim().to_owned()
    };
    // The next one is told of all that is open.
    wait_for("nothing is open for the next process", || {
        node.replace_killed(&mut process);
        adopted(&process) == "0"
    });
}
