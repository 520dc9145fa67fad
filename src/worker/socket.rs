//! Handing descriptors of cached files to clients on this machine, over a Unix socket.
//!
//! A descriptor leaves only for a content that is wholly here, complete and trusted: what the kernel reads through it is
//! checked by nobody any more. What was not verified since an unclean stop is verified first, at once when it is small,
//! else in the background while the client reads by streams. A lease ends with its number or with the connection.

use crate::disk::blocking;
use crate::node::Node;
use crate::service::hello;
use async_trait::async_trait;
use goosefs_core::block::{HandOut, Lease, Store};
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{
    CloseLeaseRequest, HelloRequest, HelloResponse, OpenContainerRequest, OpenContainerResponse,
};
use goosefs_core::rpc::fds::{FdService, FdSession, FileId};
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::{BTreeSet, HashMap};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// More bytes than this are not verified while a client waits.
const VERIFIED_AT_ONCE: u64 = 16 << 20;

/// The service of one worker.
pub(crate) struct Sockets {
    node: Arc<Node>,
    verifying: Arc<Mutex<BTreeSet<ContentId>>>,
}

impl Sockets {
    pub(crate) fn new(node: Arc<Node>) -> Sockets {
        Sockets { node, verifying: Arc::default() }
    }
}

impl FdService for Sockets {
    fn connect(&self, request: &HelloRequest) -> Result<(HelloResponse, Box<dyn FdSession>)> {
        let response = hello(&self.node, request)?;
        let session = Session {
            node: self.node.clone(),
            verifying: self.verifying.clone(),
            leases: HashMap::new(),
            next: 1,
        };
        Ok((response, Box::new(session)))
    }
}

struct Session {
    node: Arc<Node>,
    /// Contents that are being verified in the background, for every session.
    verifying: Arc<Mutex<BTreeSet<ContentId>>>,
    leases: HashMap<u64, Lease>,
    next: u64,
}

#[async_trait]
impl FdSession for Session {
    async fn open(&mut self, request: OpenContainerRequest) -> Result<(OpenContainerResponse, OwnedFd)> {
        let content = ContentId::from_raw(request.content).ok_or_else(|| {
            Error::new(Code::InvalidArgument, format!("{} is not a content id", request.content))
        })?;
        if request.inode != 0 {
            return self.open_partial(content, &request).await;
        }
        let absent = || Error::new(Code::NotFound, format!("content {content} is not wholly cached here"));
        if self.node.store.content(content).is_none() {
            return Err(absent());
        }
        let version = self.node.versions.get(content, request.generation).await?;
        if !version.completed {
            return Err(absent());
        }
        let (store, generation, length) = (self.node.store.clone(), version.generation, version.length);
        let handed = blocking(move || hand_out(&store, content, generation, length)).await?;
        match handed {
            HandOut::Absent => Err(absent()),
            HandOut::Untrusted => {
                self.verify_later(content);
                Err(absent().hint("it is being verified after an unclean stop"))
            }
            HandOut::Ready { file, stacked, lease } => {
                let number = self.next;
                self.next += 1;
                self.leases.insert(number, lease);
                self.node.metrics.handed_out.inc();
                self.node.metrics.handed_out_bytes.inc_by(length);
                Ok((OpenContainerResponse { lease: number, length, stacked }, file))
            }
        }
    }

    async fn close(&mut self, request: CloseLeaseRequest) {
        for number in request.leases {
            self.leases.remove(&number);
        }
    }
}

impl Session {
    /// A container that is being filled. What may be read of it is said elsewhere, so nothing is kept in place for it.
    async fn open_partial(
        &self,
        content: ContentId,
        request: &OpenContainerRequest,
    ) -> Result<(OpenContainerResponse, OwnedFd)> {
        let wanted = FileId { device: request.device, inode: request.inode };
        let store = self.node.store.clone();
        let is_it = move |file: &File| FileId::of(file).is_ok_and(|found| found == wanted);
        let found = blocking(move || Ok(store.open_container(content, is_it))).await?;
        let file = found.ok_or_else(|| {
            Error::new(Code::NotFound, format!("content {content} has no container {} here", wanted.inode))
        })?;
        Ok((OpenContainerResponse::default(), file.into()))
    }

    fn verify_later(&self, content: ContentId) {
        if !self.verifying.lock().insert(content) {
            return;
        }
        let (store, verifying) = (self.node.store.clone(), self.verifying.clone());
        self.node.tasks.spawn(format!("verify-{content}"), async move {
            match blocking(move || store.verify(content)).await {
                Ok(verified) => tracing::debug!(%content, ?verified, "verified a cached file"),
                Err(error) => tracing::error!(%content, %error, "a cached file cannot be verified"),
            }
            verifying.lock().remove(&content);
        });
    }
}

fn hand_out(store: &Store, content: ContentId, generation: u64, length: u64) -> Result<HandOut> {
    let handed = store.hand_out(content, generation, length)?;
    if matches!(handed, HandOut::Untrusted) && store.unverified_bytes(content) <= VERIFIED_AT_ONCE {
        store.verify(content)?;
        return store.hand_out(content, generation, length);
    }
    Ok(handed)
}
