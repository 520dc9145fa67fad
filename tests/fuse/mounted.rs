//! One mount of one test, with its guard.

use goosefs_core::mountinfo;
use goosefs_fuse::testing::TestCluster;
use goosefs_fuse::{Config, Deps, Running, start};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// After so long the connection is aborted: every call on the mount then fails.
const GUARD: Duration = Duration::from_secs(120);

/// A mount over a [`TestCluster`], served by a runtime of its own.
pub(crate) struct Mounted {
    pub(crate) cluster: TestCluster,
    running: Option<Running>,
    runtime: tokio::runtime::Runtime,
    point: PathBuf,
    done: Arc<AtomicBool>,
    dirs: Option<(tempfile::TempDir, tempfile::TempDir)>,
}

/// Whether mounts can be made here; says why not.
pub(crate) fn can_mount() -> bool {
    let can = nix::unistd::Uid::effective().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("SKIPPED: mounting needs root and /dev/fuse");
    }
    can
}

impl Mounted {
    /// A mount with settings of its own; `None` where none can be made.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Option<Mounted> {
        if !can_mount() {
            return None;
        }
        let data = tempfile::tempdir().expect("a folder for contents");
        let place = tempfile::tempdir().expect("a folder to mount at");
        let cluster = TestCluster::new(data.path());
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .expect("a runtime");
        let mut config = Config::new(place.path());
        change(&mut config);
        let deps = Deps::new(Arc::new(cluster.clone()));
        let running = runtime.block_on(start(config, deps)).expect("the mount");
        let point = running.mount_point().to_owned();
        let done: Arc<AtomicBool> = Arc::default();
        guard(&point, done.clone());
        Some(Mounted { cluster, running: Some(running), runtime, point, done, dirs: Some((data, place)) })
    }

    pub(crate) fn new() -> Option<Mounted> {
        Mounted::with(|_| {})
    }

    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.point.join(name)
    }

    pub(crate) fn running(&self) -> &Running {
        self.running.as_ref().expect("not shut down yet")
    }

    /// READ requests that the daemon saw.
    pub(crate) fn reads(&self) -> u64 {
        self.running().counters().reads.get()
    }

    /// Opens that went this way.
    pub(crate) fn opens(&self, way: &str) -> u64 {
        let label = vec![("way".to_owned(), way.to_owned())];
        self.running().counters().opens.get_or_create(&label).get()
    }

    /// Waits until `true`: the kernel tells of releases and we tell it of changes in the background.
    pub(crate) fn wait(&self, what: &str, mut until: impl FnMut() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !until() {
            assert!(Instant::now() < deadline, "{what} did not come to be within 30 s");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits until the daemon has heard of every close.
    pub(crate) fn wait_until_closed(&self) {
        self.wait("every file is closed", || self.running().counters().handles.get() == 0);
    }

    /// Unmounts and stops.
    pub(crate) fn shutdown(&mut self) {
        if let Some(running) = self.running.take() {
            self.runtime.block_on(running.shutdown(Duration::from_secs(5)));
        }
        self.done.store(true, Ordering::SeqCst);
    }

    /// Aborts the connection as if the daemon had been killed.
    pub(crate) fn kill(&self) {
        abort(&self.point);
    }

    /// Runs `work` where the mount is served.
    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        self.shutdown();
        if mountinfo::at(&self.point).is_some() {
            abort(&self.point);
            let _ = nix::mount::umount2(&self.point, nix::mount::MntFlags::MNT_DETACH);
            // Never walk into a mount that stayed.
            if let Some((_, place)) = self.dirs.take() {
                drop(place.keep());
            }
        }
    }
}

fn guard(point: &Path, done: Arc<AtomicBool>) {
    let point = point.to_owned();
    std::thread::spawn(move || {
        let deadline = Instant::now() + GUARD;
        while Instant::now() < deadline {
            if done.load(Ordering::SeqCst) {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        eprintln!("the guard aborts {}", point.display());
        abort(&point);
    });
}

fn abort(point: &Path) {
    if let Some(mount) = mountinfo::at(point).filter(|mount| mount.fstype == "fuse.goosefs-fuse") {
        drop(mount.abort());
    }
}

/// Bytes that differ at every place of a file, and between files by `seed`.
pub(crate) fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// The errno of a failed call.
pub(crate) fn errno<T: std::fmt::Debug>(outcome: std::io::Result<T>) -> i32 {
    outcome.expect_err("the call should fail").raw_os_error().unwrap_or(0)
}

/// A mapping of a file, unmapped when dropped.
pub(crate) struct Map {
    start: *mut libc::c_void,
    length: usize,
}

impl Map {
    /// Maps `length` bytes of a file for reading.
    pub(crate) fn new(file: &std::fs::File, length: usize, shared: bool) -> std::io::Result<Map> {
        let kind = if shared { libc::MAP_SHARED } else { libc::MAP_PRIVATE };
        // SAFETY: a new mapping at an address of the kernel's choice, read-only, unmapped by the drop.
        #[allow(unsafe_code)]
        let start =
            unsafe { libc::mmap(std::ptr::null_mut(), length, libc::PROT_READ, kind, file.as_raw_fd(), 0) };
        if start == libc::MAP_FAILED {
            Err(std::io::Error::last_os_error())
        } else {
            Ok(Map { start, length })
        }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping lives as long as `self`, is readable, and nobody shortens the file behind it.
        #[allow(unsafe_code)]
        unsafe {
            std::slice::from_raw_parts(self.start.cast(), self.length)
        }
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: nothing borrows from the mapping any more.
        #[allow(unsafe_code)]
        let unmapped = unsafe { libc::munmap(self.start, self.length) };
        assert_eq!(unmapped, 0, "unmapping what was mapped");
    }
}
