//! A fake worker: contents in memory, and ways to fail.

use super::{Server, mark};
use crate::tests::master::FakeMasters;
use async_trait::async_trait;
use bytes::Bytes;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{
    CommitBlockRequest, Empty, HelloRequest, HelloResponse, ReadContentRequest, WriteContentRequest,
    WriteContentResponse,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::{Call, FrameService, Incoming, Peer};
use goosefs_core::{Code, Error, Result};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Bytes of one payload of an answer.
const PAYLOAD: usize = 256 << 10;

/// What a worker does wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fault {
    /// Dies after so many further bytes were sent to readers.
    DieReading(usize),
    /// Dies after so many further bytes were taken from writers, before any commit.
    DieWriting(usize),
    /// Leaves reads unanswered, its connections alive.
    Hang,
    /// Answers reads with this.
    Refuse(Code),
    /// Takes write streams, and breaks them at the first bytes with this.
    Break(Code),
}

pub(super) struct FakeWorker {
    pub(super) id: u64,
    server: Mutex<Option<Server>>,
    masters: Arc<FakeMasters>,
    contents: Mutex<BTreeMap<ContentId, Vec<u8>>>,
    fault: Mutex<Option<Fault>>,
    pub(super) reads: Mutex<Vec<(u64, u64, bool)>>,
}

impl FakeWorker {
    pub(super) async fn start(id: u64, masters: Arc<FakeMasters>) -> Arc<FakeWorker> {
        let worker = Arc::new(FakeWorker {
            id,
            server: Mutex::default(),
            masters,
            contents: Mutex::default(),
            fault: Mutex::default(),
            reads: Mutex::default(),
        });
        worker.restart().await;
        worker
    }

    pub(super) async fn restart(self: &Arc<FakeWorker>) {
        *self.fault.lock() = None;
        let server = Server::start(&self.host(), Arc::new(Service(self.clone()))).await;
        *self.server.lock() = Some(server);
    }

    pub(super) async fn kill(&self) {
        self.server().kill().await;
    }

    pub(super) fn host(&self) -> String {
        format!("127.0.0.{}", self.id)
    }

    pub(super) fn server(&self) -> Server {
        self.server.lock().clone().unwrap()
    }

    pub(super) fn put(&self, content: ContentId, bytes: &[u8]) {
        self.contents.lock().insert(content, bytes.to_vec());
    }

    pub(super) fn bytes(&self, content: ContentId) -> Option<Vec<u8>> {
        self.contents.lock().get(&content).cloned()
    }

    pub(super) fn break_by(&self, fault: Fault) {
        *self.fault.lock() = Some(fault);
    }

    /// Counts bytes towards a fault; dies, and never returns, when they are used up.
    async fn count(&self, bytes: usize, reading: bool) {
        let die = match &mut *self.fault.lock() {
            Some(Fault::DieReading(left)) if reading => !take_from(left, bytes),
            Some(Fault::DieWriting(left)) if !reading => !take_from(left, bytes),
            _ => false,
        };
        if die {
            let server = self.server();
            tokio::spawn(async move { server.kill().await });
            std::future::pending::<()>().await;
        }
    }

    async fn read(&self, call: &mut Call) -> Result<()> {
        let request: ReadContentRequest = call.request()?;
        self.reads.lock().push((request.offset, request.length, request.sequential));
        let fault = *self.fault.lock();
        if fault == Some(Fault::Hang) {
            std::future::pending::<()>().await;
        }
        if let Some(Fault::Refuse(code)) = fault {
            return Err(Error::new(code, "refused on purpose"));
        }
        let bytes = self.bytes(ContentId(request.content));
        let bytes = Bytes::from(bytes.ok_or_else(|| Error::new(Code::NotFound, "no such content here"))?);
        let end = bytes.len().min((request.offset + request.length) as usize);
        let mut at = request.offset as usize;
        while at < end {
            let to = end.min(at + PAYLOAD);
            self.count(to - at, true).await;
            call.send(bytes.slice(at..to)).await?;
            at = to;
        }
        Ok(())
    }

    async fn write(&self, call: &mut Call) -> Result<()> {
        let request: WriteContentRequest = call.request()?;
        let content = ContentId(request.content);
        let mut file = self.bytes(content).unwrap_or_default();
        if (file.len() as u64) < request.offset {
            return Err(Error::new(Code::InvalidArgument, "a gap"));
        }
        file.truncate(request.offset as usize);
        let mut committed = request.offset;
        loop {
            let incoming = call.receive().await?;
            let ended = incoming.is_none();
            match incoming {
                Some(Incoming::Payload(bytes)) => {
                    if let Some(Fault::Break(code)) = *self.fault.lock() {
                        return Err(Error::new(code, "broken on purpose"));
                    }
                    self.count(bytes.len(), false).await;
                    file.extend_from_slice(&bytes);
                    if (file.len() as u64 - committed) < request.block_size {
                        let answer = WriteContentResponse { taken: file.len() as u64, committed };
                        call.send_message(&answer).await?;
                        continue;
                    }
                }
                Some(Incoming::Message(_)) | None => {}
            }
            committed = file.len() as u64;
            self.put(content, &file);
            self.commit(content, committed, &request);
            call.send_message(&WriteContentResponse { taken: committed, committed }).await?;
            if ended {
                return Ok(());
            }
        }
    }

    fn commit(&self, content: ContentId, length: u64, request: &WriteContentRequest) {
        let first = request.offset / request.block_size;
        for index in first..length.div_ceil(request.block_size) {
            let within = (length - index * request.block_size).min(request.block_size);
            self.masters.commit(&CommitBlockRequest {
                block: content.block(index).0,
                worker: self.id,
                length: within,
                generation: request.generation,
            });
        }
    }
}

/// Whether there was enough left.
fn take_from(left: &mut usize, bytes: usize) -> bool {
    let enough = *left >= bytes;
    *left = left.saturating_sub(bytes);
    enough
}

struct Service(Arc<FakeWorker>);

#[async_trait]
impl FrameService for Service {
    fn hello(&self, _peer: &Peer, _request: &HelloRequest) -> Result<HelloResponse> {
        Ok(HelloResponse {
            version: 1,
            cluster: Some(mark()),
            worker: self.0.id,
            node: 0,
            ..HelloResponse::default()
        })
    }

    async fn call(&self, mut call: Call) {
        match call.method {
            method::READ_CONTENT => {
                let outcome = self.0.read(&mut call).await;
                call.finish(outcome).await;
            }
            method::WRITE_CONTENT => {
                let outcome = self.0.write(&mut call).await;
                call.finish(outcome).await;
            }
            other => {
                let unserved = Error::new(Code::Unimplemented, other.name);
                call.answer::<Empty>(Err(unserved)).await;
            }
        }
    }
}
