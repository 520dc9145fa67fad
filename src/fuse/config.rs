//! What a FUSE mount is told. Plain data; whoever starts the role fills it in.

use crate::handle::kept::Bounds;
use goosefs_core::config::{Properties, keys};
use goosefs_core::{Code, Error, Result};
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
    /// The cache's directories lie on a stacked file system (overlayfs): needs a stack depth of 2, after which nobody can
    /// mount overlayfs on top of this mount.
    pub stacked: bool,
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
            stacked: false,
            keep: Bounds { count: 4096, bytes: 256 << 20, idle: Duration::from_secs(30) },
        }
    }

    /// The settings that `properties` name; `mount_point` is what the command line said.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property that cannot be used, or that no mount point was given.
    pub fn from_properties(properties: &Properties, mount_point: Option<PathBuf>) -> Result<Config> {
        let mount_point = match mount_point {
            Some(told) => told,
            None => PathBuf::from(properties.text(&keys::FUSE_MOUNT_POINT)),
        };
        if mount_point.as_os_str().is_empty() {
            return Err(Error::new(Code::InvalidArgument, "no mount point was given").hint(format!(
                "name a directory on the command line, or set {}",
                keys::FUSE_MOUNT_POINT.name
            )));
        }
        let ttl = properties.finite_duration(&keys::FUSE_ATTR_TIMEOUT)?;
        let root = nix::unistd::Uid::effective().is_root();
        let allow_other = properties.truth(&keys::FUSE_ALLOW_OTHER)?;
        Ok(Config {
            // Without root it needs a line in /etc/fuse.conf, so there the default does not count.
            allow_other: allow_other && (root || properties.is_set(&keys::FUSE_ALLOW_OTHER)),
            entry_ttl: ttl,
            attr_ttl: ttl,
            deadline: properties.finite_duration(&keys::USER_RETRY_MAX)?,
            threads: properties.number(&keys::FUSE_THREADS)?,
            passthrough: properties.truth(&keys::FUSE_PASSTHROUGH)?,
            ..Config::new(mount_point)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_become_settings() {
        let properties = Properties::new()
            .with(&keys::FUSE_ATTR_TIMEOUT, "3s")
            .with(&keys::FUSE_PASSTHROUGH, "false")
            .with(&keys::FUSE_MOUNT_POINT, "/mnt/a");
        let config = Config::from_properties(&properties, None).expect("settings");
        assert_eq!(config.mount_point, PathBuf::from("/mnt/a"));
        assert_eq!((config.attr_ttl, config.passthrough), (Duration::from_secs(3), false));
        let told = Config::from_properties(&properties, Some("/mnt/b".into())).expect("settings");
        assert_eq!(told.mount_point, PathBuf::from("/mnt/b"));
    }

    #[test]
    fn a_mount_point_is_needed() {
        let error = Config::from_properties(&Properties::new(), None).expect_err("none given");
        assert!(error.to_string().contains("mount point"), "{error}");
    }
}
