//! What a FUSE mount is told. Plain data; whoever starts the role fills it in.

use crate::handle::kept::Bounds;
use std::path::PathBuf;
use std::time::Duration;

/// Everything a mount needs to know before it starts.
#[derive(Clone, Debug)]
pub struct Config {
    /// An existing directory.
    pub mount_point: PathBuf,
    /// The source that `mount` and `df` show.
    pub fs_name: String,
    /// Refuse every change.
    pub read_only: bool,
    /// Other users than the one who mounted may use the mount. Always so for root.
    pub allow_other: bool,
    /// How long the kernel trusts a name.
    pub entry_ttl: Duration,
    /// How long the kernel trusts attributes.
    pub attr_ttl: Duration,
    /// A metadata call is given up after so long.
    pub deadline: Duration,
    /// Reads, and uploads at flush and close, are given up after so long.
    pub data_deadline: Duration,
    /// Threads that read requests; what they start runs elsewhere.
    pub threads: usize,
    /// What the kernel reads ahead in files that it does not read itself, bytes. Takes effect only as root.
    pub read_ahead: u64,
    /// Let the kernel read files that are wholly cached on this machine by itself, where it can.
    pub passthrough: bool,
    /// Mounts of it may have user numbers mapped (`mount_setattr(2)`). The kernel then names callers only where something
    /// is created.
    pub idmapped: bool,
    /// The cache's directories lie on a stacked file system (overlayfs): needs a stack depth of 2, after which nobody can
    /// mount overlayfs on top of this mount.
    pub stacked: bool,
    /// Sockets of the holders that keep the mount while no process serves it: one is enough, more are safer.
    pub holders: Vec<PathBuf>,
    /// How long they keep it; zero leaves it to them.
    pub takeover: Duration,
    /// Closed files whose lease is kept for the next open.
    pub keep: Bounds,
}

impl Config {
    /// The usual settings.
    #[must_use]
    pub fn new(mount_point: impl Into<PathBuf>) -> Config {
        Config {
            mount_point: mount_point.into(),
            fs_name: "goosefs".to_owned(),
            read_only: false,
            allow_other: false,
            entry_ttl: Duration::from_secs(1),
            attr_ttl: Duration::from_secs(1),
            deadline: Duration::from_secs(120),
            data_deadline: Duration::from_secs(600),
            threads: std::thread::available_parallelism().map_or(2, usize::from).clamp(2, 8),
            read_ahead: 4 << 20,
            passthrough: true,
            idmapped: false,
            stacked: false,
            holders: Vec::new(),
            takeover: Duration::ZERO,
            keep: Bounds { count: 4096, largest: 4 << 20, bytes: 256 << 20, idle: Duration::from_secs(30) },
        }
    }
}
