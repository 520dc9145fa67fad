//! A mount that outlives its process: what the next process must know, kept where a dead one leaves it.
//!
//! [`table`] is the state: what is open, and how the kernel was greeted. [`session`] serves a mount from the start or goes
//! on with one that was left. [`keep`] leaves both with the holders. Used by `start`, through [`Outliving`]; without a
//! holder nothing of this runs.

pub(crate) mod keep;
pub(crate) mod session;
pub(crate) mod table;

use crate::device::Device;
use crate::fs::Fs;
use crate::session::{Left, Mounted, Parking};
use goosefs_core::Result;
use goosefs_core::proto::internal::{ClusterMark, MountRecord, OpenRecord};
use goosefs_core::rpc::park::Keeper;
use goosefs_core::task::Tasks;
use keep::Kept;
use std::collections::BTreeSet;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use table::Table;

/// A mount on its way to being served, which is to outlive its process.
pub(crate) struct Outliving {
    holders: Vec<PathBuf>,
    patience: Duration,
    point: PathBuf,
    keepers: Vec<Option<Keeper>>,
    table: Arc<Table>,
    left: Option<(OwnedFd, MountRecord)>,
    open: Vec<OpenRecord>,
    goes_on: bool,
    in_use: BTreeSet<u32>,
    cluster: Option<ClusterMark>,
}

impl Outliving {
    /// Asks the holders whether a process has left a mount of `cluster` at `point`. They keep it for `patience` without one.
    ///
    /// # Errors
    /// `Busy` when another process serves it.
    pub(crate) async fn ask(
        holders: &[PathBuf],
        patience: Duration,
        point: &Path,
        cluster: Option<ClusterMark>,
    ) -> Result<Outliving> {
        let (keepers, left) = keep::ask(holders, point, cluster.as_ref()).await?;
        let goes_on = left.is_some();
        let (table, left, open) = match left {
            Some(left) => (left.table, Some((left.fuse, left.mount)), left.open),
            None => (Table::new()?, None, Vec::new()),
        };
        Ok(Outliving {
            holders: holders.to_vec(),
            patience,
            point: point.to_owned(),
            keepers,
            table: Arc::new(table),
            left,
            open,
            goes_on,
            in_use: BTreeSet::new(),
            cluster,
        })
    }

    /// Whether there is a mount to go on with.
    pub(crate) fn goes_on(&self) -> bool {
        self.goes_on
    }

    /// What was open is open in `fs`, and what will be is remembered.
    pub(crate) fn adopt(&mut self, fs: &Fs, device: &Device) {
        fs.remember_opens(self.table.clone(), self.table.first_handle());
        device.remember(self.table.clone());
        self.in_use = fs.adopt(&self.open);
    }

    /// What mounting needs.
    pub(crate) fn parking(&mut self) -> Parking {
        let left = self.left.take().map(|(fuse, greeted)| {
            let all = 1..=self.table.highest();
            Left { fuse, greeted, unused: all.filter(|id| !self.in_use.contains(id)).collect() }
        });
        Parking { table: self.table.clone(), left, cluster: self.cluster.take() }
    }

    /// Leaves the mount with the holders from now on, where the kernel allows.
    pub(crate) fn keep(self, mounted: &Mounted, device: &Device, tasks: &Tasks) -> Option<Kept> {
        if self.goes_on {
            tracing::info!(mount_point = %self.point.display(), open = self.open.len(), "goes on with its mount");
        }
        if !self.table.can_be_taken_over() {
            tracing::warn!("this kernel does not let a mount outlive its process (6.9 and later do)");
            return None;
        }
        let mount = keep::Mount {
            point: self.point,
            device: mounted.device()?.to_owned(),
            patience: self.patience,
            fuse: device.copy()?,
            table: self.table,
        };
        Some(Kept::start(mount, self.holders.into_iter().zip(self.keepers).collect(), tasks))
    }
}
