//! The under-storages behind the mounts, each connected once.
//!
//! The masters' mount table is asked for when a mount is not known here, and again from time to time, because options
//! (keys, end points) change. A connector is kept as long as its URI and options are the same.

use crate::start::Connect;
use crate::troubles::Troubles;
use goosefs_core::clock::Clock;
use goosefs_core::id::MountId;
use goosefs_core::proto::internal::{MountEntry, MountsRequest, MountsResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::Ufs;
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// How old the table may be.
const AGE: Duration = Duration::from_secs(30);

/// How long a storage is waited for that was silent a moment ago.
const AFTER_SILENCE: Duration = Duration::from_secs(2);

/// Between two words about a storage that refuses what is asked of it.
const SAY_AGAIN: Duration = Duration::from_secs(60);

/// One mount.
#[derive(Clone, Debug)]
pub(crate) struct Mount {
    id: MountId,
    /// URI of the storage's root.
    pub(crate) uri: String,
    /// Takes no writes.
    pub(crate) read_only: bool,
    options: BTreeMap<String, String>,
    /// The storage.
    pub(crate) ufs: Arc<dyn Ufs>,
    silence: Arc<Silence>,
    refusal: Arc<Refusal>,
    troubles: Arc<Troubles>,
}

/// When a storage was silent for too long last.
#[derive(Debug, Default)]
struct Silence(Mutex<Option<Instant>>);

/// When it was said last that a storage refuses what is asked of it.
#[derive(Debug, Default)]
struct Refusal(Mutex<Option<Instant>>);

impl Mount {
    /// Waits for the storage, `patience` long. One that was silent a moment ago is not waited for so long again: a reader
    /// that asks for the next page, or for the same one, would not get away from it.
    ///
    /// # Errors
    /// `Ufs` when the storage is silent, else what it says.
    pub(crate) async fn within<T>(
        &self,
        patience: Duration,
        work: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        let silent = self.silence.0.lock().is_some_and(|since| since.elapsed() < patience);
        let limit = if silent { patience.min(AFTER_SILENCE) } else { patience };
        let full = (!silent).then_some(patience);
        match tokio::time::timeout(limit, work).await {
            Ok(Err(error)) if error.code == Code::DeadlineExceeded => {
                Err(self.was_silent(full, error.message))
            }
            Err(_) => {
                let message = format!("{} sent nothing for {} s", self.uri, limit.as_secs_f64());
                Err(self.was_silent(full, message))
            }
            Ok(outcome) => {
                if outcome.is_ok() && self.silence.0.lock().take().is_some() {
                    tracing::info!(storage = self.uri, "the storage answers again");
                }
                match &outcome {
                    Ok(_) => self.troubles.ended(self.id),
                    Err(error) if error.code == Code::PermissionDenied => self.was_refused(error),
                    Err(_) => {}
                }
                outcome
            }
        }
    }

    /// Readers get a bare errno, so whoever runs the worker is told why; not for each of many objects.
    fn was_refused(&self, error: &Error) {
        self.troubles.met(self.id, &error.to_string());
        let mut said = self.refusal.0.lock();
        if said.is_none_or(|said| said.elapsed() >= SAY_AGAIN) {
            *said = Some(Instant::now());
            tracing::warn!(storage = self.uri, %error, "the storage refuses a read: what is not cached cannot be read");
        }
    }

    /// Whether the storage was silent for too long within `patience`.
    pub(crate) fn is_silent(&self, patience: Duration) -> bool {
        self.silence.0.lock().is_some_and(|since| since.elapsed() < patience)
    }

    /// `patience` is how long it was waited for; none when that was cut short by an earlier silence, which is not drawn out by
    /// this one. Of many calls that end together one tells.
    fn was_silent(&self, patience: Option<Duration>, message: String) -> Error {
        self.troubles.met(self.id, &message);
        let mut since = self.silence.0.lock();
        if let Some(patience) = patience
            && since.is_none_or(|since| since.elapsed() >= patience)
        {
            *since = Some(Instant::now());
            tracing::warn!(storage = self.uri, %message, "the storage is silent: what is not cached cannot be read");
        }
        Error::new(Code::Ufs, message).hint("does the storage answer? what is cached can be read meanwhile")
    }
}

/// The mounts that are known.
pub(crate) struct Mounts {
    masters: Masters,
    connect: Arc<Connect>,
    clock: Arc<dyn Clock>,
    table: tokio::sync::Mutex<Table>,
    troubles: Arc<Troubles>,
}

#[derive(Default)]
struct Table {
    mounts: HashMap<MountId, Arc<Mount>>,
    fetched: Option<Duration>,
}

impl Mounts {
    pub(crate) fn new(masters: Masters, connect: Arc<Connect>, clock: Arc<dyn Clock>) -> Mounts {
        let troubles = Arc::new(Troubles::new(clock.clone()));
        Mounts { masters, connect, clock, table: tokio::sync::Mutex::default(), troubles }
    }

    /// Which storages refuse or are silent, in their own words.
    pub(crate) fn troubles(&self) -> BTreeMap<MountId, String> {
        self.troubles.told()
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
        let (ufs, silence, refusal) = match same {
            Some(known) if known.read_only == entry.read_only => return Ok(known.clone()),
            Some(known) => (known.ufs.clone(), known.silence.clone(), known.refusal.clone()),
            None => ((self.connect)(&entry.ufs, &options)?, Arc::default(), Arc::default()),
        };
        let (id, read_only, troubles) = (MountId(entry.mount), entry.read_only, self.troubles.clone());
        Ok(Arc::new(Mount { id, uri: entry.ufs, read_only, options, ufs, silence, refusal, troubles }))
    }
}
