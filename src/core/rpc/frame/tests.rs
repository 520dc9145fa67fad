//! Both sides of framed connections against each other, over real sockets.

use super::*;
use crate::error::{Code, Error, Result};
use crate::proto::internal::{
    ClusterMark, Empty, GetAttrRequest, HelloRequest, HelloResponse, ReadContentRequest, ResolveRequest,
    VersionRequest, VersionResponse, WireError, WriteContentRequest, WriteContentResponse, WriteFlush,
};
use crate::proto::method::{self, Method};
use crate::rpc::server;
use crate::task::Tasks;
use async_trait::async_trait;
use bytes::Bytes;
use prost::Message;
use std::fs::File;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

const LONG: Duration = Duration::from_secs(20);

/// Answers a few methods in ways that tests can tell apart.
struct Echo {
    mark: Option<ClusterMark>,
    file: Arc<File>,
    /// What `PERSIST` waits for.
    gate: Semaphore,
    cancelled: AtomicUsize,
    brief: bool,
}

impl Echo {
    fn new() -> Echo {
        let file = tempfile::tempfile().unwrap();
        Echo {
            mark: None,
            file: Arc::new(file),
            gate: Semaphore::new(0),
            cancelled: AtomicUsize::new(0),
            brief: false,
        }
    }

    async fn write(&self, mut call: Call) {
        let mut taken = 0;
        while let Some(incoming) = match call.receive().await {
            Ok(incoming) => incoming,
            Err(error) => return call.finish(Err(error)).await,
        } {
            let committed = match incoming {
                Incoming::Payload(bytes) => {
                    taken += bytes.len() as u64;
                    0
                }
                Incoming::Message(_) => taken,
            };
            if call.send_message(&WriteContentResponse { taken, committed }).await.is_err() {
                return;
            }
        }
        call.answer(Ok(WriteContentResponse { taken, committed: taken })).await;
    }
}

#[async_trait]
impl FrameService for Echo {
    fn hello(&self, _: &Peer, request: &HelloRequest) -> Result<HelloResponse> {
        check_cluster(self.mark.as_ref(), request.cluster.as_ref())?;
        Ok(HelloResponse { version: 1, cluster: self.mark.clone(), worker: 7, node: 0 })
    }

    async fn call(&self, mut call: Call) {
        match call.method {
            method::VERSION => {
                let answer = call
                    .request::<VersionRequest>()
                    .map(|request| VersionResponse { content: request.content, ..Default::default() });
                call.answer(answer).await;
            }
            method::RESOLVE => {
                let error = Error { leader: "m2:9200".to_owned(), ..Error::new(Code::NotLeader, "not here") };
                call.answer::<Empty>(Err(error.hint("ask m2"))).await;
            }
            method::GET_ATTR => panic!("on purpose"),
            method::LOOKUP => drop(call),
            method::PERSIST => {
                let cancelled = call.cancelled();
                tokio::select! {
                    permit = self.gate.acquire() => permit.unwrap().forget(),
                    () = cancelled.cancelled() => {
                        self.cancelled.fetch_add(1, Ordering::SeqCst);
                        return;
                    }
                }
                call.answer(Ok(Empty {})).await;
            }
            method::READ_CONTENT => {
                let request: ReadContentRequest = call.request().unwrap();
                let outcome = if request.sequential {
                    call.send_file(Arc::clone(&self.file), request.offset, request.length).await
                } else {
                    let mut outcome = Ok(());
                    let mut left = request.length;
                    while left > 0 && outcome.is_ok() {
                        let part = left.min(1 << 20);
                        outcome = call.send(Bytes::from(vec![left as u8; part as usize])).await;
                        left -= part;
                    }
                    outcome
                };
                call.finish(outcome).await;
            }
            method::WRITE_CONTENT => self.write(call).await,
            other => call.answer::<Empty>(Err(Error::new(Code::Unimplemented, other.name))).await,
        }
    }

    fn brief(&self, method: Method) -> bool {
        self.brief && method != method::READ_CONTENT
    }
}

struct Served {
    service: Arc<Echo>,
    address: String,
    tasks: Tasks,
}

impl Served {
    async fn start(service: Echo) -> Served {
        let tasks = Tasks::new("server");
        let service = Arc::new(service);
        let listener = server::bind("test", "127.0.0.1:0").await.unwrap();
        let frames = Arc::clone(&service) as Arc<dyn FrameService>;
        let address =
            server::serve("test", listener, tonic::service::Routes::default(), Some(frames), &tasks).unwrap();
        Served { service, address: address.to_string(), tasks }
    }

    async fn connect(&self) -> Channel {
        connect(&self.address, None).await.unwrap()
    }
}

async fn connect(address: &str, cluster: Option<ClusterMark>) -> Result<Channel> {
    let hello = HelloRequest { version: 1, cluster, role: "test".to_owned(), caller: None };
    Channel::connect(&Target::Tcp(address.to_owned()), hello, &Tasks::new("client"), LONG).await
}

async fn version(channel: &Channel, content: u64) -> Result<u64> {
    let answer: VersionResponse = channel.call(method::VERSION, &VersionRequest { content }).await?;
    Ok(answer.content)
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + LONG;
    while !holds() {
        assert!(tokio::time::Instant::now() < deadline, "did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_each_get_their_own_answer() {
    for brief in [false, true] {
        let served = Served::start(Echo { brief, ..Echo::new() }).await;
        let channel = served.connect().await;
        assert_eq!(channel.hello().worker, 7);
        let callers: Vec<_> = (0..64_u64)
            .map(|caller| {
                let channel = channel.clone();
                tokio::spawn(async move {
                    for n in 0..200 {
                        let content = caller << 32 | n;
                        assert_eq!(version(&channel, content).await.unwrap(), content);
                    }
                })
            })
            .collect();
        for caller in callers {
            caller.await.unwrap();
        }
    }
}

#[tokio::test]
async fn errors_cross_whole_and_a_panic_answers_internal() {
    for brief in [false, true] {
        let served = Served::start(Echo { brief, ..Echo::new() }).await;
        let channel = served.connect().await;
        let error = channel.call::<_, Empty>(method::RESOLVE, &ResolveRequest::default()).await.unwrap_err();
        let told = (error.code, error.hint.as_str(), error.leader.as_str());
        assert_eq!(told, (Code::NotLeader, "ask m2", "m2:9200"));
        let error = channel.call::<_, Empty>(method::GET_ATTR, &GetAttrRequest::default()).await.unwrap_err();
        assert_eq!(error.code, Code::Internal);
        let error = channel.call::<_, Empty>(method::LOOKUP, &Empty {}).await.unwrap_err();
        assert_eq!(error, Error::new(Code::Internal, "Lookup ended without an answer"));
        assert_eq!(version(&channel, 3).await.unwrap(), 3);
        assert!(!served.tasks.failed().is_cancelled());
    }
}

#[tokio::test]
async fn a_stream_of_payloads_arrives_whole() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let length = (37 << 20) + 11;
    let request = ReadContentRequest { length, ..Default::default() };
    let mut payloads = channel.read(method::READ_CONTENT, &request).await.unwrap();
    let mut left = length;
    while let Some(bytes) = payloads.next().await.unwrap() {
        let mut from = 0;
        while from < bytes.len() {
            // The sender fills each of its parts with the low byte of what was left then.
            let part_end = (left - 1) % (1 << 20) + 1;
            let count = part_end.min((bytes.len() - from) as u64);
            left -= count;
            from += count as usize;
        }
    }
    assert_eq!(left, 0);
}
