//! A mount's configuration out of properties.

use crate::config::Config;
use goosefs_core::Result;
use goosefs_core::config::{Properties, keys};
use std::path::Path;

impl Config {
    /// Reads the `goosefs.fuse.*` properties and those that every role shares, for a mount at `mount_point`.
    ///
    /// # Errors
    /// `InvalidArgument` naming the property and what it takes.
    pub fn from_properties(properties: &Properties, mount_point: &Path) -> Result<Config> {
        let ttl = properties.finite_duration(&keys::FUSE_ATTR_TIMEOUT)?;
        // The kernel must not trust a name for longer than the masters do.
        let sync = Some(&keys::USER_SYNC_INTERVAL).filter(|key| properties.is_set(key));
        let sync = sync.map(|key| properties.duration(key)).transpose()?.flatten();
        let allow_other = properties.truth(&keys::FUSE_ALLOW_OTHER)?;
        let root = nix::unistd::Uid::effective().is_root();
        Ok(Config {
            // Without root it needs a line in /etc/fuse.conf, so there only what somebody set counts.
            allow_other: allow_other && (root || properties.is_set(&keys::FUSE_ALLOW_OTHER)),
            entry_ttl: sync.map_or(ttl, |sync| sync.min(ttl)),
            attr_ttl: ttl,
            deadline: properties.finite_duration(&keys::USER_RETRY_MAX)?,
            holders: properties.list(&keys::FUSE_HOLDERS).into_iter().map(Into::into).collect(),
            takeover: properties.finite_duration(&keys::FUSE_TAKEOVER)?,
            fs_name: properties.text(&keys::FUSE_FS_NAME).to_owned(),
            threads: properties.number(&keys::FUSE_THREADS)?,
            passthrough: properties.truth(&keys::FUSE_PASSTHROUGH)?,
            idmapped: properties.truth(&keys::FUSE_IDMAPPED)?,
            ..Config::new(mount_point)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn properties_become_settings() {
        let properties =
            Properties::new().with(&keys::FUSE_ATTR_TIMEOUT, "3s").with(&keys::FUSE_PASSTHROUGH, "false");
        let config = Config::from_properties(&properties, Path::new("/mnt/a")).expect("settings");
        assert_eq!(config.mount_point, Path::new("/mnt/a"));
        assert_eq!((config.attr_ttl, config.passthrough), (Duration::from_secs(3), false));
    }

    #[test]
    fn names_are_not_trusted_for_longer_than_the_sync_interval() {
        let of = |interval| {
            let properties = Properties::new().with(&keys::USER_SYNC_INTERVAL, interval);
            Config::from_properties(&properties, Path::new("/mnt/a")).expect("settings").entry_ttl
        };
        assert_eq!(of("0"), Duration::ZERO);
        assert_eq!(of("-1"), of("1h"));
    }

    #[test]
    fn a_value_that_cannot_be_is_named() {
        let properties = Properties::new().with(&keys::FUSE_THREADS, "0");
        let error = Config::from_properties(&properties, Path::new("/mnt/a")).expect_err("no thread");
        assert!(error.to_string().contains("goosefs.fuse.threads"), "{error}");
    }
}
