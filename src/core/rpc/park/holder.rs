//! The holder's side: mounts by their place, each with at most one living process.

use super::super::fds::check_peer;
use super::super::fds::wire::{Receiver, error_frame, send};
use super::super::frame::wire::{Header, Kind};
use super::{answer, both, decode, greet};
use crate::error::{Code, Error, Result};
use crate::proto::internal::{
    Empty, EndMountRequest, ParkMountRequest, TakeMountRequest, TakeMountResponse, UnparkMountRequest,
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
use tokio::sync::{mpsc, watch};

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
    /// It is kept so long without one.
    patience: Duration,
}

/// A mount that was given up.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lost {
    /// Where it was.
    pub mount_point: String,
    /// How long it was kept without a process.
    pub patience: Duration,
}

/// The mounts that are kept. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Holder {
    held: Arc<Mutex<BTreeMap<String, Held>>>,
    patience: Duration,
    tasks: Tasks,
    connections: Arc<AtomicU64>,
    /// Moves with every change of what is kept.
    changes: watch::Sender<u64>,
    lost: mpsc::UnboundedSender<Lost>,
}

impl Holder {
    /// Serves `path` until the role stops. A mount whose process is away for longer than it asked for, or than
    /// `patience`, is given up, which the receiver is told.
    ///
    /// # Errors
    /// As [`unix::listen`].
    pub fn serve(
        path: &Path,
        patience: Duration,
        tasks: &Tasks,
    ) -> Result<(Holder, mpsc::UnboundedReceiver<Lost>)> {
        let (listener, file) = unix::listen(path)?;
        let (lost, given_up) = mpsc::unbounded_channel();
        let holder = Holder {
            held: Arc::default(),
            patience,
            tasks: tasks.clone(),
            connections: Arc::default(),
            changes: watch::Sender::default(),
            lost,
        };
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
        Ok((holder, given_up))
    }

    /// Devices (`major:minor`) of the mounts that are kept.
    #[must_use]
    pub fn devices(&self) -> Vec<String> {
        self.held.lock().values().map(|held| held.device.clone()).collect()
    }

    /// Wakes with every change of what is kept.
    #[must_use]
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count += 1);
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
        } else if header.method == method::END_MOUNT.number {
            let request: EndMountRequest = decode(message)?;
            self.end(&request.mount_point)?;
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
        self.changed();
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
        let patience = match request.patience_ms {
            0 => self.patience,
            told => Duration::from_millis(told),
        };
        let held = Held { device: request.device, fuse, state, process: Some(id), absences, patience };
        drop(all.insert(request.mount_point, held));
        self.changed();
        Ok(())
    }

    fn end(&self, mount_point: &str) -> Result<()> {
        let mut all = self.held.lock();
        if all.get(mount_point).is_some_and(|held| held.process.is_some()) {
            return Err(served(mount_point));
        }
        if all.remove(mount_point).is_some() {
            tracing::info!(mount_point, "nobody will take it over: the mount ends");
            self.changed();
        }
        Ok(())
    }

    fn unpark(&self, mount_point: &str, id: u64) {
        let mut all = self.held.lock();
        if all.get(mount_point).is_some_and(|held| held.process == Some(id)) {
            all.remove(mount_point);
            self.changed();
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
            self.changed();
            tracing::info!(mount_point, "its FUSE process is gone: the mount is parked");
            let (holder, mount_point, absence) = (self.clone(), mount_point.clone(), held.absences);
            let patience = held.patience;
            self.tasks.spawn_request("a parked mount", async move {
                let stop = holder.tasks.stop();
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(patience) => holder.give_up(&mount_point, absence),
                }
            });
        }
    }

    fn give_up(&self, mount_point: &str, absence: u64) {
        let mut all = self.held.lock();
        let waits = |held: &Held| held.process.is_none() && held.absences == absence;
        let Some(patience) = all.get(mount_point).filter(|held| waits(held)).map(|held| held.patience) else {
            return;
        };
        tracing::warn!(mount_point, ?patience, "no FUSE process came: the mount ends");
        // With the last descriptor of /dev/fuse the kernel ends the connection.
        all.remove(mount_point);
        self.changed();
        // Nobody may want to know.
        let _ = self.lost.send(Lost { mount_point: mount_point.to_owned(), patience });
    }
}

fn served(mount_point: &str) -> Error {
    Error::new(Code::Busy, format!("another process serves the mount at {mount_point}"))
}
