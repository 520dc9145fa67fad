//! The holder's side: mounts by their place, each with at most one living process.

use super::super::fds::check_peer;
use super::super::fds::wire::{Receiver, error_frame, send};
use super::super::frame::wire::{Header, Kind};
use super::{answer, both, decode, greet};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{
    Empty, ParkMountRequest, TakeMountRequest, TakeMountResponse, UnparkMountRequest,
};
use crate::proto::method;
use crate::rpc::server::accept_unix;
use crate::rpc::unix;
use crate::task::Tasks;
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::net::UnixStream;

/// One mount.
#[derive(Debug)]
struct Held {
    device: String,
    fuse: OwnedFd,
    state: OwnedFd,
    /// The connection of its process; none while it is away.
    process: Option<u64>,
    /// How often its process went away.
    absences: u64,
}

/// The mounts that are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Holder {
    held: Arc<Mutex<BTreeMap<String, Held>>>,
    patience: Duration,
    tasks: Tasks,
    connections: Arc<AtomicU64>,
}

impl Holder {
    /// Serves `path` until the role stops. A mount whose process is away for longer than `patience` is given up.
    ///
    /// # Errors
    /// As [`unix::listen`].
    pub fn serve(path: &Path, patience: Duration, tasks: &Tasks) -> Result<Holder> {
        let (listener, file) = unix::listen(path)?;
        let holder =
            Holder { held: Arc::default(), patience, tasks: tasks.clone(), connections: Arc::default() };
        let served = holder.clone();
        tasks.spawn(format!("holder {}", path.display()), async move {
            // Removed when this task ends.
            let _file = file;
            let stop = served.tasks.stop();
            accept_unix("holder", &listener, &stop, |stream| {
                let (holder, stop) = (served.clone(), stop.clone());
                served.tasks.spawn_request("a mount's process", async move {
                    tokio::select! {
                        () = holder.connection(&stream) => {}
                        () = stop.cancelled() => {}
                    }
                });
            })
            .await;
        });
        Ok(holder)
    }

    /// Devices (`major:minor`) of the mounts that are kept.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.held.lock().values().map(|held| held.device.clone()).collect()
    }

    /// Mounts whose process is away.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.held.lock().values().filter(|held| held.process.is_none()).count()
    }

    async fn connection(&self, stream: &UnixStream) {
        let id = self.connections.fetch_add(1, Ordering::Relaxed);
        if let Err(error) = self.calls(stream, id).await {
            tracing::debug!(%error, "a FUSE process was cut off");
        }
        self.gone(id);
    }

    async fn calls(&self, stream: &UnixStream, id: u64) -> Result<()> {
        check_peer(stream)?;
        let mut receiver = Receiver::default();
        greet(stream, &mut receiver).await?;
        while let Some((header, message)) = receiver.next(stream).await? {
            let outcome = self.call(stream, &mut receiver, id, header, message).await;
            if let Err(error) = outcome {
                send(stream, &error_frame(header.stream, &error)?, &[]).await?;
            }
        }
        Ok(())
    }

    async fn call(
        &self,
        stream: &UnixStream,
        receiver: &mut Receiver,
        id: u64,
        header: Header,
        message: Bytes,
    ) -> Result<()> {
        if header.kind != Kind::Request {
            return Err(Error::new(Code::Corrupt, "not a request"));
        }
        let number = header.stream;
        if header.method == method::TAKE_MOUNT.number {
            let request: TakeMountRequest = decode(message)?;
            return match self.take(&request.mount_point, id)? {
                None => answer(stream, number, &TakeMountResponse::default(), &[]).await,
                Some((device, fuse, state)) => {
                    let response = TakeMountResponse { found: true, device };
                    answer(stream, number, &response, &[fuse.as_fd(), state.as_fd()]).await
                }
            };
        }
        if header.method == method::PARK_MOUNT.number {
            let request: ParkMountRequest = decode(message)?;
            self.park(request, both(receiver)?, id)?;
        } else if header.method == method::UNPARK_MOUNT.number {
            let request: UnparkMountRequest = decode(message)?;
            self.unpark(&request.mount_point, id);
        } else {
            return Err(Error::new(Code::Unimplemented, format!("no method {}", header.method)));
        }
        answer(stream, number, &Empty {}, &[]).await
    }

    fn take(&self, mount_point: &str, id: u64) -> Result<Option<(String, OwnedFd, OwnedFd)>> {
        let mut all = self.held.lock();
        let Some(held) = all.get_mut(mount_point) else { return Ok(None) };
        if held.process.is_some_and(|process| process != id) {
            return Err(served(mount_point));
        }
        let copy = |of: &OwnedFd| of.try_clone().map_err(|error| Error::io("copy a descriptor", error));
        let taken = (held.device.clone(), copy(&held.fuse)?, copy(&held.state)?);
        held.process = Some(id);
        tracing::info!(mount_point, "a FUSE process takes its predecessor's mount over");
        Ok(Some(taken))
    }

    fn park(&self, request: ParkMountRequest, both: (OwnedFd, OwnedFd), id: u64) -> Result<()> {
        let mut all = self.held.lock();
        let known = all.get(&request.mount_point);
        if known.is_some_and(|held| held.process.is_some_and(|process| process != id)) {
            return Err(served(&request.mount_point));
        }
        let absences = known.map_or(0, |held| held.absences);
        let (fuse, state) = both;
        let held = Held { device: request.device, fuse, state, process: Some(id), absences };
        drop(all.insert(request.mount_point, held));
        Ok(())
    }

    fn unpark(&self, mount_point: &str, id: u64) {
        let mut all = self.held.lock();
        if all.get(mount_point).is_some_and(|held| held.process == Some(id)) {
            all.remove(mount_point);
        }
    }

    /// A connection has ended: its mount waits for the next process.
    fn gone(&self, id: u64) {
        for (mount_point, held) in &mut *self.held.lock() {
            if held.process != Some(id) {
                continue;
            }
            held.process = None;
            held.absences += 1;
            tracing::info!(mount_point, "its FUSE process is gone: the mount is parked");
            let (holder, mount_point, absence) = (self.clone(), mount_point.clone(), held.absences);
            self.tasks.spawn_request("a parked mount", async move {
                let stop = holder.tasks.stop();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(holder.patience) => holder.give_up(&mount_point, absence),
                }
            });
        }
    }

    fn give_up(&self, mount_point: &str, absence: u64) {
        let mut all = self.held.lock();
        if all.get(mount_point).is_some_and(|held| held.process.is_none() && held.absences == absence) {
            tracing::warn!(mount_point, patience = ?self.patience, "no FUSE process came: the mount ends");
            // With the last descriptor of /dev/fuse the kernel ends the connection.
            all.remove(mount_point);
        }
    }
}

fn served(mount_point: &str) -> Error {
    Error::new(Code::Busy, format!("another process serves the mount at {mount_point}"))
}
