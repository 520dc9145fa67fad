//! One mount: made, served by fuser's threads, taken away.

use crate::config::Config;
use crate::device::Device;
use crate::ops::Ops;
use crate::park::session::{over, replace};
use crate::park::table::Table;
use crate::preflight;
use fuser::{MountOption, Session, SessionACL};
use goosefs_core::mountinfo::{self, Mount};
use goosefs_core::proto::internal::{ClusterMark, MountRecord};
use goosefs_core::{Code, Error, Result};
use nix::errno::Errno;
use nix::mount::MsFlags;
use nix::unistd::{Uid, getgid, getuid};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Makes the type `fuse.goosefs-fuse`.
const SUBTYPE: &str = "goosefs-fuse";

/// How long an unmount is tried before the mount is detached under those who use it.
const BUSY_FOR: Duration = Duration::from_secs(1);

/// A mount that is being served.
#[derive(Debug)]
pub(crate) struct Mounted {
    point: PathBuf,
    mount: Option<Mount>,
    ended: CancellationToken,
    gone: bool,
    /// The next process serves it: this session ends, and that is no failure.
    handed_over: Arc<AtomicBool>,
    /// The session's descriptor, which is open until it has ended.
    descriptor: RawFd,
}

/// What a mount needs that shall outlive its process.
pub(crate) struct Parking {
    /// What is open.
    pub(crate) table: Arc<Table>,
    /// What another process left, to go on with.
    pub(crate) left: Option<Left>,
    /// The cluster that is shown.
    pub(crate) cluster: Option<ClusterMark>,
}

/// A mount that another process left.
pub(crate) struct Left {
    /// `/dev/fuse` with its connection.
    pub(crate) fuse: OwnedFd,
    /// How the kernel was greeted.
    pub(crate) greeted: MountRecord,
    /// Numbers of backing files that no open file needs any more.
    pub(crate) unused: Vec<u32>,
}

/// Mounts and starts serving. Blocks for the kernel's handshake.
pub(crate) fn mount(
    config: &Config,
    point: PathBuf,
    ops: Ops,
    device: &Arc<Device>,
    parking: Option<Parking>,
) -> Result<Mounted> {
    let resumed = parking.as_ref().and_then(|parking| parking.left.as_ref());
    let resumed = resumed.map(|left| left.unused.clone());
    let session = match (Uid::effective().is_root(), parking) {
        (true, Some(parking)) => parked(config, &point, ops, parking)?,
        (true, None) => mount_as_root(config, &point, ops)?,
        (false, _) => Session::new(ops, &point, &options(config)).map_err(|error| {
            Error::io(format!("mount {}", point.display()), error)
                .hint("goosefs.fuse.allow.other needs the line user_allow_other in /etc/fuse.conf")
        })?,
    };
    let file = session
        .as_fd()
        .try_clone_to_owned()
        .map_err(|error| Error::io("duplicate the descriptor of /dev/fuse", error))?;
    device.set(file)?;
    // Before the first call is taken: what this process had taken itself would come to it twice.
    if let Some(unused) = resumed {
        device.resume(&unused);
    }
    let descriptor = session.as_fd().as_raw_fd();
    let ended = CancellationToken::new();
    let (tell, name) = (ended.clone(), point.display().to_string());
    let handed_over = Arc::new(AtomicBool::new(false));
    let on_purpose = handed_over.clone();
    std::thread::Builder::new()
        .name("fuse-session".to_owned())
        .spawn(move || {
            if let Err(error) = session.run()
                && !on_purpose.load(Ordering::Relaxed)
            {
                tracing::warn!(mount_point = %name, %error, "serving the mount ended");
            }
            tell.cancel();
        })
        .map_err(|error| Error::io("start the thread that serves the mount", error))?;
    let mount = mountinfo::at(&point);
    raise_read_ahead(config, mount.as_ref());
    Ok(Mounted { point, mount, ended, gone: false, handed_over, descriptor })
}

/// Mounts by ourselves: fuser would unmount the path again when its session ends, and by then another mount may lie
/// there.
fn mount_as_root(config: &Config, point: &Path, ops: Ops) -> Result<Session<Ops>> {
    let device = attach(config, point)?;
    let served = Session::from_fd(ops, device, SessionACL::All, options(config));
    served.map_err(|error| unserved(point, Error::io(format!("serve {}", point.display()), error)))
}

/// A mount that outlives its process: goes on with what one left, or makes it.
fn parked(config: &Config, point: &Path, ops: Ops, parking: Parking) -> Result<Session<Ops>> {
    let Parking { table, left, cluster } = parking;
    match left {
        Some(left) => over(&left.fuse, ops, options(config), &table, Some(&left.greeted), cluster),
        None => {
            let device = attach(config, point)?;
            let served = over(&device, ops, options(config), &table, None, cluster);
            served.map_err(|error| unserved(point, error))
        }
    }
}

/// Nobody serves it: leaves nothing half-done behind.
fn unserved(point: &Path, error: Error) -> Error {
    if let Err(error) = preflight::detach(point) {
        tracing::warn!(%error, "could not unmount what cannot be served");
    }
    error
}

fn attach(config: &Config, point: &Path) -> Result<OwnedFd> {
    let device = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/fuse")
        .map_err(|error| Error::io("open /dev/fuse", error))?;
    let mode = std::fs::metadata(point)
        .map_err(|error| Error::io(format!("mount point {}", point.display()), error))?
        .mode();
    let data = format!(
        "fd={},rootmode={:o},user_id={},group_id={},default_permissions,allow_other,subtype={SUBTYPE}",
        device.as_raw_fd(),
        mode & libc::S_IFMT,
        getuid(),
        getgid(),
    );
    let mut flags = MsFlags::MS_NODEV | MsFlags::MS_NOSUID | MsFlags::MS_NOATIME;
    flags.set(MsFlags::MS_RDONLY, config.read_only);
    nix::mount::mount(Some(config.fs_name.as_str()), point, Some("fuse"), flags, Some(data.as_str()))
        .map_err(|error| Error::io(format!("mount {}", point.display()), error.into()))?;
    Ok(device.into())
}

fn options(config: &Config) -> fuser::Config {
    let mut options = fuser::Config::default();
    options.mount_options = vec![
        MountOption::FSName(config.fs_name.clone()),
        // As a plain option, which fusermount knows too.
        MountOption::CUSTOM(format!("subtype={SUBTYPE}")),
        MountOption::DefaultPermissions,
        MountOption::NoAtime,
    ];
    if config.read_only {
        options.mount_options.push(MountOption::RO);
    }
    options.acl = if config.allow_other { SessionACL::All } else { SessionACL::Owner };
    options.n_threads = Some(config.threads.max(1));
    // The kernel aborts requests that a clone of the descriptor had read when that clone dies.
    options.clone_fd = false;
    options
}

/// The kernel caps what it reads ahead at 128 KiB unless told otherwise here.
fn raise_read_ahead(config: &Config, mount: Option<&Mount>) {
    let Some(mount) = mount.filter(|_| Uid::effective().is_root()) else { return };
    let path = format!("/sys/class/bdi/{}/read_ahead_kb", mount.device);
    if let Err(error) = std::fs::write(&path, (config.read_ahead >> 10).to_string()) {
        tracing::info!(%path, %error, "read-ahead stays at the kernel's default: cold reads will be slower");
    }
}

impl Mounted {
    /// Where it is mounted.
    pub(crate) fn point(&self) -> &Path {
        &self.point
    }

    /// `major:minor`.
    pub(crate) fn device(&self) -> Option<&str> {
        self.mount.as_ref().map(|mount| mount.device.as_str())
    }

    /// Cancelled when the mount is no longer served: it was unmounted, here or from outside.
    pub(crate) fn ended(&self) -> CancellationToken {
        self.ended.clone()
    }

    /// Leaves the mount as it is, for the next process: nothing is answered any more, so that what was read and not
    /// answered comes to that one again.
    pub(crate) fn hand_over(&mut self) {
        if self.gone || self.ended.is_cancelled() {
            return;
        }
        self.gone = true;
        self.handed_over.store(true, Ordering::Relaxed);
        let nothing = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
        let replaced = nothing.and_then(|nothing| {
            // SAFETY: the session, which has not ended, owns the descriptor, and goes on owning it.
            #[allow(unsafe_code)]
            let served = unsafe { BorrowedFd::borrow_raw(self.descriptor) };
            replace(served, nothing.as_fd())
        });
        if let Err(error) = replaced {
            tracing::warn!(%error, "requests under way are cut off");
        }
    }

    /// Whether it still lies on top at its place, perhaps remounted with other options.
    fn is_there(&self) -> bool {
        let device = |mount: Mount| mount.device;
        mountinfo::at(&self.point).map(device) == self.mount.clone().map(device)
    }

    /// Unmounts, and waits until what was under way is answered. When somebody still uses the mount it is detached, so
    /// that nobody new finds it, and what they have open fails after `grace`.
    pub(crate) async fn unmount(&mut self, grace: Duration) {
        if self.gone {
            return;
        }
        self.gone = true;
        let until = Instant::now() + BUSY_FOR.min(grace);
        loop {
            if self.ended.is_cancelled() || !self.is_there() {
                break;
            }
            match self.try_unmount().await {
                Ok(()) => break,
                Err(Errno::EBUSY) if Instant::now() < until => {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
                Err(error) => {
                    self.detach(error);
                    break;
                }
            }
        }
        if tokio::time::timeout(grace, self.ended.cancelled()).await.is_err() {
            tracing::warn!(mount_point = %self.point.display(), "still in use after the grace: open files fail now");
            self.abort();
        }
    }

    async fn try_unmount(&self) -> Result<(), Errno> {
        let point = self.point.clone();
        // Unmounting waits for the daemon, so it must not run where the daemon's tasks do.
        let tried =
            tokio::task::spawn_blocking(move || nix::mount::umount2(&point, nix::mount::MntFlags::empty()));
        tried.await.unwrap_or(Err(Errno::EIO))
    }

    fn detach(&self, why: Errno) {
        if why == Errno::EBUSY {
            tracing::warn!(mount_point = %self.point.display(), "in use: detached, its users keep it until they end");
        }
        if let Err(error) = preflight::detach(&self.point) {
            tracing::warn!(mount_point = %self.point.display(), %error, "could not unmount");
        }
    }

    fn abort(&self) {
        let Some(mount) = &self.mount else { return };
        if let Err(error) = mount.abort() {
            tracing::debug!(%error, "the connection is gone already, or only root may end it");
        }
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if !self.gone && !self.ended.is_cancelled() && self.is_there() {
            tracing::warn!(mount_point = %self.point.display(), "dropped without being unmounted: detaching it");
            self.detach(Errno::UnknownErrno);
            self.abort();
        }
    }
}

/// A mount that could not be made says so by its path.
pub(crate) fn thread_ended(point: &Path) -> Error {
    Error::new(Code::Internal, format!("mounting {} ended early", point.display()))
}
