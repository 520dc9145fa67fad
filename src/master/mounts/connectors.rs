//! One connector per mount.

use crate::namespace::MountPoint;
use goosefs_core::id::MountId;
use goosefs_core::{Error, Result};
use goosefs_ufs::{Fence, Ufs};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Makes a connector of a URI and options that changes nothing against the fence; tests put faults in between.
pub(crate) type Connect =
    dyn Fn(&str, &BTreeMap<String, String>, &Fence) -> Result<Arc<dyn Ufs>> + Send + Sync;

/// The connectors that mounts call for.
pub(crate) struct Connectors {
    connect: Box<Connect>,
    fence: Fence,
    made: Mutex<HashMap<MountId, Made>>,
}

struct Made {
    uri: String,
    options: BTreeMap<String, String>,
    ufs: Arc<dyn Ufs>,
}

impl Connectors {
    /// Connectors made by `connect`, which change nothing against `fence`.
    pub(crate) fn new(connect: Box<Connect>, fence: Fence) -> Connectors {
        Connectors { connect, fence, made: Mutex::default() }
    }

    /// The connector of `mount`; another one once its URI or options changed.
    ///
    /// # Errors
    /// `InvalidArgument` when the mount's URI or options are wrong.
    pub(crate) fn of(&self, mount: &MountPoint) -> Result<Arc<dyn Ufs>> {
        let mut made = self.made.lock();
        if let Some(known) = made.get(&mount.id)
            && known.uri == mount.ufs
            && known.options == mount.options
        {
            return Ok(known.ufs.clone());
        }
        let ufs = self.make(&mount.ufs, &mount.options)?;
        let entry = Made { uri: mount.ufs.clone(), options: mount.options.clone(), ufs: ufs.clone() };
        made.insert(mount.id, entry);
        Ok(ufs)
    }

    /// A connector that is not kept, to see whether a URI and options are right.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong.
    pub(crate) fn make(&self, uri: &str, options: &BTreeMap<String, String>) -> Result<Arc<dyn Ufs>> {
        (self.connect)(uri, options, &self.fence)
            .map_err(|error: Error| error.context(format!("mount {uri}")))
    }

    /// Lets go of the connectors of mounts that are gone.
    pub(crate) fn keep_only(&self, mounts: &[MountPoint]) {
        self.made.lock().retain(|id, _| mounts.iter().any(|mount| mount.id == *id));
    }
}
