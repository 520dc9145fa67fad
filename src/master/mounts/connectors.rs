//! One connector per mount.

use super::loading::of_storage;
use crate::desired::Desired;
use crate::namespace::MountPoint;
use futures::StreamExt;
use goosefs_core::id::MountId;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::{Fence, Ufs};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How long a storage may take to show its root before it is mounted.
const LOOK_TIMEOUT: Duration = Duration::from_secs(20);

/// Makes a connector of a URI and options that changes nothing against the fence; tests put faults in between.
pub(crate) type Connect =
    dyn Fn(&str, &BTreeMap<String, String>, &Fence) -> Result<Arc<dyn Ufs>> + Send + Sync;

/// The connectors that mounts call for.
pub(crate) struct Connectors {
    connect: Box<Connect>,
    fence: Fence,
    desired: Arc<Desired>,
    made: Mutex<HashMap<MountId, Made>>,
}

struct Made {
    uri: String,
    options: BTreeMap<String, String>,
    ufs: Arc<dyn Ufs>,
}

impl Connectors {
    /// Connectors made by `connect`, which change nothing against `fence`; `desired` knows options that are in a file.
    pub(crate) fn new(connect: Box<Connect>, fence: Fence, desired: Arc<Desired>) -> Connectors {
        Connectors { connect, fence, desired, made: Mutex::default() }
    }

    /// The connector of `mount`; another one once its URI or options changed.
    ///
    /// # Errors
    /// `InvalidArgument` when the mount's URI or options are wrong, `Unavailable` when this master does not have them.
    pub(crate) fn of(&self, mount: &MountPoint) -> Result<Arc<dyn Ufs>> {
        let options = self.desired.options_of(mount)?;
        let mut made = self.made.lock();
        if let Some(known) = made.get(&mount.id)
            && known.uri == mount.ufs
            && known.options == options
        {
            return Ok(known.ufs.clone());
        }
        let ufs = self.make(&mount.ufs, &options)?;
        let entry = Made { uri: mount.ufs.clone(), options, ufs: ufs.clone() };
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

    /// Whether a storage is there: its URI and options are right, and its root can be looked at and listed. Says whether it
    /// can be written at all: what cannot is mounted read-only, asked for or not.
    ///
    /// # Errors
    /// `InvalidArgument` naming what is wrong, else what the storage says; `Ufs` when it is silent.
    pub(crate) async fn look(&self, uri: &str, options: &BTreeMap<String, String>) -> Result<bool> {
        let ufs = self.make(uri, options)?;
        let look = async {
            ufs.stat("").await?;
            // Its first entry is enough: a page that is no listing fails before it.
            ufs.list("").await?.next().await.transpose()
        };
        match tokio::time::timeout(LOOK_TIMEOUT, look).await {
            Ok(Ok(_)) => Ok(ufs.capabilities().writable),
            Ok(Err(error)) => Err(of_storage(error.context(format!("look at {uri}")))),
            Err(_) => Err(Error::new(Code::Ufs, format!("{uri} did not answer within {LOOK_TIMEOUT:?}"))),
        }
    }

    /// Lets go of the connectors of mounts that are gone.
    pub(crate) fn keep_only(&self, mounts: &[MountPoint]) {
        self.made.lock().retain(|id, _| mounts.iter().any(|mount| mount.id == *id));
    }
}
