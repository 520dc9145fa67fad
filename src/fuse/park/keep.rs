//! Leaves the mount with the holder, and again with the next holder when that one is gone.

use super::table::Table;
use goosefs_core::proto::internal::{MountRecord, OpenRecord};
use goosefs_core::rpc::park::{Keeper, Parked};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Result, mountinfo};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
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

/// Connects to the holder and asks it for the mount at `point`. No holder is no error: the mount then ends with its
/// process.
///
/// # Errors
/// `Busy` when another process serves the mount.
pub(crate) async fn ask(holder: &Path, point: &Path) -> Result<(Option<Keeper>, Option<Left>)> {
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
    let left = match usable(parked, point) {
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

fn usable(parked: Parked, point: &Path) -> Result<Left> {
    if mountinfo::at(point).is_none_or(|mount| mount.device != parked.device) {
        return Err(goosefs_core::Error::new(Code::NotFound, "it was unmounted"));
    }
    let (table, mount, open) = Table::left(parked.state)?;
    Ok(Left { fuse: parked.fuse, table, mount, open })
}

/// A mount that is left with the holder.
#[derive(Debug)]
pub(crate) struct Kept {
    /// Whether a holder has it now.
    parked: Arc<AtomicBool>,
    leave: CancellationToken,
    given_up: tokio::sync::Mutex<Option<tokio::sync::oneshot::Receiver<()>>>,
}

/// What is left with the holder.
pub(crate) struct Mount {
    pub(crate) holder: PathBuf,
    pub(crate) point: PathBuf,
    pub(crate) device: String,
    pub(crate) fuse: OwnedFd,
    pub(crate) table: Arc<Table>,
}

impl Mount {
    /// Parks by `keeper`, or by a new connection; gives the connection back.
    async fn park(&self, keeper: Option<Keeper>) -> Result<Keeper> {
        let mut keeper = match keeper {
            Some(keeper) => keeper,
            None => Keeper::connect(&self.holder, &self.point).await?,
        };
        keeper.park(&self.device, self.fuse.as_fd(), self.table.descriptor()).await?;
        Ok(keeper)
    }
}

impl Kept {
    /// Parks `mount` from now on; `keeper` is a connection that is there already.
    pub(crate) fn start(mount: Mount, keeper: Option<Keeper>, tasks: &Tasks) -> Kept {
        let parked: Arc<AtomicBool> = Arc::default();
        let leave = CancellationToken::new();
        let (tell, given_up) = tokio::sync::oneshot::channel();
        let (seen, left, stop) = (parked.clone(), leave.clone(), tasks.stop());
        tasks.spawn("park", async move {
            let keeping = keep(mount, keeper, &seen, &left);
            tokio::select! {
                () = keeping => {}
                () = stop.cancelled() => {}
            }
            let _ = tell.send(());
        });
        Kept { parked, leave, given_up: tokio::sync::Mutex::new(Some(given_up)) }
    }

    /// Whether a holder has the mount: its process may go.
    pub(crate) fn is_parked(&self) -> bool {
        self.parked.load(Ordering::Acquire)
    }

    /// The mount goes: the holder lets go of it, which is waited for.
    pub(crate) async fn unpark(&self) {
        self.leave.cancel();
        if let Some(done) = self.given_up.lock().await.take() {
            let _ = done.await;
        }
    }
}

async fn keep(mount: Mount, mut keeper: Option<Keeper>, parked: &AtomicBool, leave: &CancellationToken) {
    let mut told = false;
    loop {
        match mount.park(keeper.take()).await {
            Ok(mut held) => {
                told = false;
                parked.store(true, Ordering::Release);
                tracing::info!(mount_point = %mount.point.display(), "parked with the holder");
                tokio::select! {
                    () = held.closed() => parked.store(false, Ordering::Release),
                    () = leave.cancelled() => {
                        parked.store(false, Ordering::Release);
                        if let Err(error) = held.unpark().await {
                            tracing::debug!(%error, "the holder is gone");
                        }
                        return;
                    }
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(%error, "the mount is not parked: it would not outlive this process");
                }
            }
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = leave.cancelled() => return,
        }
    }
}
