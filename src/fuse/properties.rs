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
        Ok(Config {
            user: properties.user(),
            allow_other: properties.truth(&keys::FUSE_ALLOW_OTHER)?,
            entry_ttl: ttl,
            attr_ttl: ttl,
            deadline: properties.finite_duration(&keys::USER_RETRY_MAX)?,
            threads: properties.number(&keys::FUSE_THREADS)?,
            passthrough: properties.truth(&keys::FUSE_PASSTHROUGH)?,
            ..Config::new(mount_point)
        })
    }
}
