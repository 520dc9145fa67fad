//! The under-storages behind the mounts, each connected once.
//!
//! The masters' mount table is asked for when a mount is not known here, and again from time to time, because options
//! (keys, end points) change. A connector is kept as long as its URI and options are the same.

use crate::start::Connect;
use goosefs_core::clock::Clock;
use goosefs_core::id::MountId;
use goosefs_core::proto::internal::{MountEntry, MountsRequest, MountsResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::Ufs;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

/// How old the table may be.
const AGE: Duration = Duration::from_secs(30);

/// One mount.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    /// URI of the storage's root.
    pub(crate) uri: String,
    /// Takes no writes.
    pub(crate) read_only: bool,
    options: BTreeMap<String, String>,
    /// The storage.
    pub(crate) ufs: Arc<dyn Ufs>,
}

/// The mounts that are known.
pub(crate) struct Mounts {
    masters: Masters,
    connect: Arc<Connect>,
    clock: Arc<dyn Clock>,
    table: tokio::sync::Mutex<Table>,
}

#[derive(Default)]
struct Table {
    mounts: HashMap<MountId, Arc<Mount>>,
    fetched: Option<Duration>,
}

impl Mounts {
    pub(crate) fn new(masters: Masters, connect: Arc<Connect>, clock: Arc<dyn Clock>) -> Mounts {
        Mounts { masters, connect, clock, table: tokio::sync::Mutex::default() }
    }

    /// The storage of `mount`.
    ///
    /// # Errors
    /// `NotFound` when there is no such mount, else what the masters or the connector said.
    pub(crate) async fn get(&self, mount: MountId) -> Result<Arc<Mount>> {
        let mut table = self.table.lock().await;
        let now = self.clock.monotonic();
        let old = table.fetched.is_none_or(|fetched| fetched + AGE < now);
        if let Some(found) = table.mounts.get(&mount)
            && !old
        {
            return Ok(found.clone());
        }
        let refreshed = self.refresh(&mut table, now).await;
        match (table.mounts.get(&mount), refreshed) {
            (Some(found), _) => Ok(found.clone()),
            (None, Err(error)) => Err(error),
            (None, Ok(())) => {
                Err(Error::new(Code::NotFound, format!("mount {mount} does not exist (any more)")))
            }
        }
    }

    async fn refresh(&self, table: &mut Table, now: Duration) -> Result<()> {
        let ask = self.masters.call(method::MOUNTS, &MountsRequest {});
        // With a table in hand nobody waits long for a newer one.
        let patience = if table.mounts.is_empty() { Duration::from_secs(60) } else { Duration::from_secs(1) };
        let response: MountsResponse = match tokio::time::timeout(patience, ask).await {
            Ok(response) => response?,
            Err(_) => return Err(Error::new(Code::DeadlineExceeded, "no master told its mounts in time")),
        };
        let mut mounts = HashMap::new();
        for entry in response.mounts {
            let id = MountId(entry.mount);
            match self.mount(table.mounts.get(&id), entry) {
                Ok(mount) => {
                    mounts.insert(id, mount);
                }
                Err(error) => tracing::error!(mount = %id, %error, "a mount's storage cannot be used"),
            }
        }
        table.mounts = mounts;
        table.fetched = Some(now);
        Ok(())
    }

    fn mount(&self, known: Option<&Arc<Mount>>, entry: MountEntry) -> Result<Arc<Mount>> {
        let options: BTreeMap<String, String> = entry.options.into_iter().collect();
        let same = known.filter(|known| known.uri == entry.ufs && known.options == options);
        let ufs = match same {
            Some(known) if known.read_only == entry.read_only => return Ok(known.clone()),
            Some(known) => known.ufs.clone(),
            None => (self.connect)(&entry.ufs, &options)?,
        };
        Ok(Arc::new(Mount { uri: entry.ufs, read_only: entry.read_only, options, ufs }))
    }
}
