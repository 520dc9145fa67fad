//! What a node stands on: threads, and the way to its peers.
//!
//! [`System`] is the real one and the only one that production knows. `tests/sim` brings another, which runs nodes on
//! one thread, in a time and over a network of its own. Nothing in a node starts a thread, waits for blocking work or
//! connects to a peer but through this.

use super::network;
use crate::error::Result;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tonic::body::Body;
use tower::util::BoxCloneSyncService;

/// Threads for the Raft core and its network.
const THREADS: usize = 2;

/// A way to one master: takes a gRPC call of the Raft service and gives its answer, or why there is none.
pub type Line = BoxCloneSyncService<http::Request<Body>, http::Response<Body>, tonic::Status>;

/// Work in a queue of its own that blocks: the log's writer, and who applies commands.
pub trait Worker: Send {
    /// Does what is in the queue. With `wait` it waits for something to do before. False when nothing will come any
    /// more.
    fn turn(&mut self, wait: bool) -> bool;
}

/// Threads and peers.
pub trait Ground: Debug + Send + Sync + 'static {
    /// Threads for the Raft core and its network, used by nothing else; `None` to run on those of the caller.
    ///
    /// # Errors
    /// When they cannot be started.
    fn runtime(&self) -> io::Result<Option<Runtime>>;

    /// Takes turns of `worker` in order until it has ended, and drops it then.
    ///
    /// # Errors
    /// When there is no thread for it.
    fn employ(&self, name: &'static str, worker: Box<dyn Worker>) -> io::Result<()>;

    /// Runs `work`, which may block, beside the tasks of the node. It is called within a runtime.
    fn block(&self, work: Box<dyn FnOnce() + Send>);

    /// A way to the master whose Raft address is `address`; whether anybody is there shows with the first call. A call is
    /// given up when nothing was heard for `patience`.
    ///
    /// # Errors
    /// `InvalidArgument` when it is no address.
    fn line(&self, address: &str, patience: Duration) -> Result<Line>;
}

/// The machine's threads and network.
#[derive(Debug, Default)]
pub struct System;

impl Ground for System {
    fn runtime(&self) -> io::Result<Option<Runtime>> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("raft").enable_all().build().map(Some)
    }

    fn employ(&self, name: &'static str, mut worker: Box<dyn Worker>) -> io::Result<()> {
        let turns = move || while worker.turn(true) {};
        std::thread::Builder::new().name(name.into()).spawn(turns).map(drop)
    }

    fn block(&self, work: Box<dyn FnOnce() + Send>) {
        // Its end is told by the work itself.
        drop(tokio::task::spawn_blocking(work));
    }

    fn line(&self, address: &str, patience: Duration) -> Result<Line> {
        network::connection(address, patience)
    }
}

/// Runs `work` where it may block and gives back what it returned.
///
/// # Errors
/// When it panicked, or the node ends.
pub(super) async fn blocking<T: Send + 'static>(
    ground: &Arc<dyn Ground>,
    work: impl FnOnce() -> T + Send + 'static,
) -> io::Result<T> {
    let (done, wait) = oneshot::channel();
    ground.block(Box::new(move || {
        // The one who asked may have gone.
        drop(done.send(work()));
    }));
    wait.await.map_err(|_| io::Error::other("blocking work of Raft panicked"))
}
