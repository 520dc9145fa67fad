//! Leaves the mount with the holders, and again with the next one at the same socket when one is gone.

use super::table::Table;
use goosefs_core::proto::internal::{ClusterMark, MountRecord, OpenRecord};
use goosefs_core::rpc::frame::check_cluster;
use goosefs_core::rpc::park::{Keeper, Parked};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Result, mountinfo};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// A holder that is gone is looked for so often.
const LOOK: Duration = Duration::from_secs(1);

/// What a process left.
pub(crate) struct Left {
    pub(crate) fuse: OwnedFd,
    pub(crate) table: Table,
    pub(crate) mount: MountRecord,
    pub(crate) open: Vec<OpenRecord>,
}

/// Connects to the holders and asks them for the mount at `point`; the connections are in the order of `holders`. No
/// holder is no error: the mount then ends with its process. A mount of another cluster than `ours`, or of another epoch,
/// ends here: node numbers that the kernel knows mean other files now.
///
/// # Errors
/// `Busy` when another process serves the mount.
pub(crate) async fn ask(
    holders: &[PathBuf],
    point: &Path,
    ours: Option<&ClusterMark>,
) -> Result<(Vec<Option<Keeper>>, Option<Left>)> {
    let mut keepers = Vec::new();
    let mut left = None;
    for holder in holders {
        let (keeper, found) = ask_one(holder, point, ours).await?;
        keepers.push(keeper);
        left = left.or(found);
    }
    Ok((keepers, left))
}

async fn ask_one(
    holder: &Path,
    point: &Path,
    ours: Option<&ClusterMark>,
) -> Result<(Option<Keeper>, Option<Left>)> {
    let asked = async {
        let mut keeper = Keeper::connect(holder, point).await?;
        let parked = keeper.take().await?;
        Ok::<_, goosefs_core::Error>((keeper, parked))
    };
    let (mut keeper, parked) = match asked.await {
        Ok(asked) => asked,
        Err(error) if error.code == Code::Busy => return Err(error),
        Err(error) => {
            tracing::debug!(%error, "nothing is taken over");
            return Ok((None, None));
        }
    };
    let Some(parked) = parked else { return Ok((Some(keeper), None)) };
    let left = match usable(parked, point, ours) {
        Ok(left) => Some(left),
        Err(why) => {
            tracing::warn!(mount_point = %point.display(), %why, "the mount cannot be taken over, it is made anew");
            // What it was ends here, for those too who have files of it open.
            keeper.unpark().await?;
            None
        }
    };
    Ok((Some(keeper), left))
}

fn usable(parked: Parked, point: &Path, ours: Option<&ClusterMark>) -> Result<Left> {
    if mountinfo::at(point).is_none_or(|mount| mount.device != parked.device) {
        return Err(goosefs_core::Error::new(Code::NotFound, "it was unmounted"));
    }
    let (table, mount, open) = Table::left(parked.state)?;
    check_cluster(ours, mount.cluster.as_ref()).map_err(|error| error.context("what it shows"))?;
    Ok(Left { fuse: parked.fuse, table, mount, open })
}

/// A mount that is left with holders.
#[derive(Debug)]
pub(crate) struct Kept {
    /// How many holders have it now.
    parked: Arc<AtomicUsize>,
    leave: CancellationToken,
    given_up: tokio::sync::Mutex<Vec<oneshot::Receiver<()>>>,
}

/// What is left with holders.
pub(crate) struct Mount {
    pub(crate) point: PathBuf,
    pub(crate) device: String,
    /// How long they keep it without a process.
    pub(crate) patience: Duration,
    pub(crate) fuse: OwnedFd,
    pub(crate) table: Arc<Table>,
}

impl Kept {
    /// Parks `mount` from now on with each of the holders, by the connection that is there already or by a new one.
    pub(crate) fn start(mount: Mount, holders: Vec<(PathBuf, Option<Keeper>)>, tasks: &Tasks) -> Kept {
        let (parked, leave) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let mount = Arc::new(mount);
        let mut given_up = Vec::new();
        for (holder, keeper) in holders {
            let (tell, done) = oneshot::channel();
            given_up.push(done);
            let keeping =
                Keeping { mount: mount.clone(), holder, parked: parked.clone(), leave: leave.clone() };
            let stop = tasks.stop();
            tasks.spawn(format!("park with {}", keeping.holder.display()), async move {
                tokio::select! {
                    () = keeping.keep(keeper) => {}
                    () = stop.cancelled() => {}
                }
                // Nobody waits for it when the process ends.
                let _ = tell.send(());
            });
        }
        Kept { parked, leave, given_up: given_up.into() }
    }

    /// Whether a holder has the mount: its process may go.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire) > 0
    }

    /// The mount goes: the holders let go of it, which is waited for.
    pub(crate) async fn unpark(&self) {
        self.leave.cancel();
        for done in self.given_up.lock().await.drain(..) {
            // A task that has ended has let go.
            let _ = done.await;
        }
    }
}

/// One holder, and the next that listens at its socket.
struct Keeping {
    mount: Arc<Mount>,
    holder: PathBuf,
    parked: Arc<AtomicUsize>,
    leave: CancellationToken,
}

impl Keeping {
    async fn keep(&self, mut keeper: Option<Keeper>) {
        let (holder, point) = (self.holder.display(), self.mount.point.display());
        let mut told = false;
        loop {
            match self.park(keeper.take()).await {
                Ok(mut held) => {
                    told = false;
                    self.parked.fetch_add(1, Ordering::AcqRel);
                    tracing::info!(mount_point = %point, %holder, "parked with the holder");
                    let leaves = tokio::select! {
                        () = held.closed() => false,
                        () = self.leave.cancelled() => true,
                    };
                    self.parked.fetch_sub(1, Ordering::AcqRel);
                    if leaves {
                        if let Err(error) = held.unpark().await {
                            tracing::debug!(%error, "the holder is gone");
                        }
                        return;
                    }
                }
                Err(error) if !std::mem::replace(&mut told, true) => self.say(&error),
                Err(_) => {}
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.leave.cancelled() => return,
            }
        }
    }

    /// Parks by `keeper`, or by a new connection; gives the connection back.
    async fn park(&self, keeper: Option<Keeper>) -> Result<Keeper> {
        let mount = &self.mount;
        let mut keeper = match keeper {
            Some(keeper) => keeper,
            None => Keeper::connect(&self.holder, &mount.point).await?,
        };
        let (fuse, state) = (mount.fuse.as_fd(), mount.table.descriptor());
        keeper.park(&mount.device, mount.patience, fuse, state).await?;
        Ok(keeper)
    }

    /// A mount that another holder has is safe.
    fn say(&self, error: &goosefs_core::Error) {
        if self.parked.load(Ordering::Acquire) == 0 {
            tracing::warn!(%error, "the mount is not parked: it would not outlive this process");
        } else {
            tracing::info!(%error, "the mount is parked with another holder only");
        }
    }
}
