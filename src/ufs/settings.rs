//! The settings of storages among the properties of a process, which hold for every mount that does not set them itself.

use crate::{Fence, Ufs, connect_over};
use goosefs_core::Result;
use goosefs_core::config::Properties;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

/// What the names of such properties begin with.
const PREFIXES: [&str; 6] =
    ["aws.", "s3a.", "fs.cosn.", "goosefs.underfs.s3.", "goosefs.underfs.object.", "alluxio.underfs."];

/// The storages' settings of one process: credentials, end points. Shown without values.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Settings(BTreeMap<String, String>);

impl Settings {
    /// Those among `properties`.
    #[must_use]
    pub fn of(properties: &Properties) -> Settings {
        let ours =
            properties.iter().filter(|(name, ..)| PREFIXES.iter().any(|prefix| name.starts_with(prefix)));
        Settings(ours.map(|(name, value, _)| (name.to_owned(), value.to_owned())).collect())
    }

    /// As [`crate::connect_fenced`], with these where `options` say nothing.
    ///
    /// # Errors
    /// As [`crate::connect`].
    pub fn connect(
        &self,
        uri: &str,
        options: &BTreeMap<String, String>,
        fence: &Fence,
    ) -> Result<Arc<dyn Ufs>> {
        connect_over(&self.0, uri, options, fence)
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}
