//! A disk that fails when it is told to: a file system of ours, served by the test's process, on which real processes
//! keep their files.
//!
//! It can lose its power (all that was not fsynced is gone: bytes, sizes, and names whose *folder* was not fsynced),
//! be full, fail every fsync, and stop answering. What is on it lies in this process's memory, so it outlives the
//! processes that use it and ends with the test. Takes root. A process that is killed while the disk does not answer
//! stays until it does, or until the disk is dropped: dropping ends the kernel's connection first.

mod content;
mod ops;
mod tree;

use anyhow::{Context, ensure};
use fuser::{MountOption, Session, SessionACL};
use goosefs_core::mountinfo::{self, Mount};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use ops::Ops;
use rand::SeedableRng;
use rand::rngs::StdRng;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use tree::Tree;

pub use tree::Lost;

/// Bytes of a disk that is not full.
const ROOM: u64 = 4 << 30;

/// Threads that serve one disk.
const THREADS: usize = 2;

/// Makes the type `fuse.goosefs-frail`.
const SUBTYPE: &str = "goosefs-frail";

#[derive(Debug)]
struct State {
    tree: Tree,
    silent: bool,
    fsync_fails: bool,
}

/// What the test and the threads that serve the mount share.
#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    answers: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, as soon as it answers.
    fn answering(&self) -> MutexGuard<'_, State> {
        let answers = self.answers.wait_while(self.lock(), |state| state.silent);
        answers.unwrap_or_else(PoisonError::into_inner)
    }
}

/// A disk, mounted. Unmounted when it is dropped.
#[derive(Debug)]
pub struct FrailDisk {
    point: PathBuf,
    mount: Option<Mount>,
    shared: Arc<Shared>,
}

impl FrailDisk {
    /// Mounts an empty disk at `point`, a folder that is made.
    ///
    /// # Errors
    /// When this process may not mount (it takes root and /dev/fuse).
    pub fn mount(point: &Path) -> anyhow::Result<FrailDisk> {
        ensure!(nix::unistd::geteuid().is_root(), "mounting a disk takes root");
        sweep();
        fs::create_dir_all(point)?;
        let point = fs::canonicalize(point)?;
        let device = File::options().read(true).write(true).open("/dev/fuse").context("open /dev/fuse")?;
        let data = format!(
            "fd={},rootmode=40000,user_id=0,group_id=0,default_permissions,allow_other,subtype={SUBTYPE}",
            device.as_raw_fd()
        );
        let source = format!("{SUBTYPE}-{}", std::process::id());
        let flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
        mount(Some(source.as_str()), &point, Some("fuse"), flags, Some(data.as_str()))?;
        let state = State { tree: Tree::new(ROOM), silent: false, fsync_fails: false };
        let shared = Arc::new(Shared { state: Mutex::new(state), answers: Condvar::new() });
        let disk = FrailDisk { mount: mountinfo::at(&point), point, shared };
        let mut options = fuser::Config::default();
        options.mount_options = vec![MountOption::FSName(source), MountOption::DefaultPermissions];
        options.n_threads = Some(THREADS);
        options.clone_fd = false;
        let session = Session::from_fd(Ops(disk.shared.clone()), device.into(), SessionACL::All, options)?;
        // It ends with an error when the connection does, which is how it is to end.
        let serve = move || drop(session.run());
        std::thread::Builder::new().name("frail-disk".to_owned()).spawn(serve)?;
        Ok(disk)
    }

    /// Where it is mounted.
    #[must_use]
    pub fn point(&self) -> &Path {
        &self.point
    }

    /// The power fails: all that was not fsynced is gone. With a seed, each unsynced page is thrown for, since a disk
    /// may have written any of them. Whoever uses the disk is to be killed before.
    pub fn power_cut(&self, seed: Option<u64>) -> Lost {
        self.shared.lock().tree.cut(seed.map(StdRng::seed_from_u64))
    }

    /// Only so many bytes more can be written.
    pub fn leave(&self, bytes: u64) {
        let mut state = self.shared.lock();
        state.tree.room = ROOM;
        state.tree.room = ROOM - state.tree.free() + bytes;
    }

    /// Ends what [`FrailDisk::leave`] did.
    pub fn give_room(&self) {
        self.shared.lock().tree.room = ROOM;
    }

    /// Whether every fsync fails with EIO. What it was to write then counts as written and is lost with the power.
    pub fn fail_fsync(&self, fails: bool) {
        self.shared.lock().fsync_fails = fails;
    }

    /// Answers nothing until [`FrailDisk::answer`].
    pub fn fall_silent(&self) {
        self.shared.lock().silent = true;
    }

    /// Ends what [`FrailDisk::fall_silent`] did.
    pub fn answer(&self) {
        self.shared.lock().silent = false;
        self.shared.answers.notify_all();
    }

    /// Ends the kernel's connection: every call on the mount fails from now on, and whoever waits for it goes on.
    pub fn end(&self) {
        self.answer();
        let Some(mount) = &self.mount else { return };
        // Another mount may have the number by now.
        if mountinfo::at(&self.point).as_ref() == Some(mount)
            && let Err(error) = mount.abort()
        {
            eprintln!("{} cannot be ended: {error}", self.point.display());
        }
    }
}

impl Drop for FrailDisk {
    fn drop(&mut self) {
        self.end();
        if mountinfo::at(&self.point) == self.mount
            && let Err(error) = umount2(&self.point, MntFlags::MNT_DETACH)
        {
            eprintln!("{} stays mounted: {error}", self.point.display());
        }
    }
}

/// Unmounts the disks of tests that were killed. Their connections ended with them.
fn sweep() {
    let text = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for line in text.lines() {
        let Some((before, after)) = line.split_once(&format!(" - fuse.{SUBTYPE} {SUBTYPE}-")) else {
            continue;
        };
        let pid = after.split(' ').next().unwrap_or_default();
        let Some(point) = before.split(' ').nth(4) else { continue };
        if !Path::new("/proc").join(pid).exists() {
            let _ = umount2(Path::new(point), MntFlags::MNT_DETACH);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wait_for;
    use std::io::ErrorKind;
    use std::os::unix::fs::FileExt;

    fn disk(at: &Path) -> Option<FrailDisk> {
        FrailDisk::mount(at).inspect_err(|error| eprintln!("SKIPPED: no disk of ours here: {error:#}")).ok()
    }

    fn sync(folder: &Path) {
        File::open(folder).unwrap().sync_all().unwrap();
    }

    #[test]
    fn a_mounted_disk_loses_what_was_not_fsynced_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = disk(&dir.path().join("disk")) else { return };
        let folder = disk.point().join("folder");
        fs::create_dir(&folder).unwrap();
        let file = File::create(folder.join("file")).unwrap();
        file.write_all_at(&[1; 10_000], 0).unwrap();
        file.sync_data().unwrap();
        sync(&folder);
        sync(disk.point());
        file.write_all_at(&[2; 20_000], 0).unwrap();
        fs::write(folder.join("other"), "x").unwrap();
        fs::rename(folder.join("file"), folder.join("moved")).unwrap();
        drop(file);
        assert_eq!(fs::read(folder.join("moved")).unwrap(), [2; 20_000]);
        let lost = disk.power_cut(None);
        assert_eq!((lost.pages, lost.folders), (6, 1));
        assert_eq!(fs::read(folder.join("file")).unwrap(), [1; 10_000]);
        let names: Vec<_> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
    }

    #[test]
    fn a_mounted_disk_is_full_fails_its_fsyncs_and_falls_silent_as_it_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let Some(disk) = disk(&dir.path().join("disk")) else { return };
        let both = File::options().create_new(true).read(true).write(true).clone();
        let file = both.open(disk.point().join("file")).unwrap();
        file.write_all_at(&[1; 8192], 0).unwrap();
        disk.leave(4096);
        let space = nix::sys::statvfs::statvfs(disk.point()).unwrap();
        assert_eq!(space.blocks_available() * space.fragment_size(), 4096);
        assert_eq!(file.write_all_at(&[1; 8192], 8192).unwrap_err().kind(), ErrorKind::StorageFull);
        disk.give_room();
        file.write_all_at(&[1; 8192], 8192).unwrap();
        disk.fail_fsync(true);
        assert_eq!(file.sync_all().unwrap_err().raw_os_error(), Some(libc::EIO));
        disk.fail_fsync(false);
        file.sync_all().unwrap();
        disk.fall_silent();
        let reading = std::thread::spawn(move || file.read_exact_at(&mut [0; 8192], 0));
        std::thread::sleep(std::time::Duration::from_millis(100));
        assert!(!reading.is_finished());
        disk.answer();
        wait_for("the disk answers", || reading.is_finished());
        reading.join().unwrap().unwrap();
    }
}
