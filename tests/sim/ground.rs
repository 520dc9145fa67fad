//! What simulated masters stand on: work that would block, and the workers of a node, get their turn from the
//! simulation, at moments of its choice.

use crate::network::Network;
use goosefs_core::raft::{Ground, Line, Worker};
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;

type Work = Box<dyn FnOnce() + Send>;

/// The queues of one process.
#[derive(Default)]
pub(crate) struct Queues {
    pub(crate) workers: Vec<(&'static str, Box<dyn Worker>)>,
    pub(crate) works: Vec<Work>,
}

/// The ground of one process of one master.
pub(crate) struct Simulated {
    pub(crate) master: usize,
    pub(crate) network: Network,
    pub(crate) queues: Arc<Mutex<Queues>>,
}

impl fmt::Debug for Simulated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the ground of master {}", self.master)
    }
}

/// The Raft address of a master.
pub(crate) fn address(master: usize) -> String {
    format!("master-{master}:9202")
}

impl Ground for Simulated {
    fn runtime(&self) -> io::Result<Option<Runtime>> {
        Ok(None)
    }

    fn employ(&self, name: &'static str, worker: Box<dyn Worker>) -> io::Result<()> {
        self.queues.lock().workers.push((name, worker));
        Ok(())
    }

    fn block(&self, work: Work) {
        self.queues.lock().works.push(work);
    }

    fn line(&self, to: &str, patience: Duration) -> Result<Line> {
        let peer = to.strip_prefix("master-").and_then(|rest| rest.split(':').next()?.parse().ok());
        let peer =
            peer.ok_or_else(|| Error::new(Code::InvalidArgument, format!("\"{to}\" is no address")))?;
        Ok(self.network.line(self.master, peer, patience))
    }
}
