//! Both sides of framed connections against each other, over real sockets.

use super::*;
use crate::error::{Code, Error, Result};
use crate::proto::internal::{
    ClusterMark, Empty, GetAttrRequest, HelloRequest, HelloResponse, ReadContentRequest, ResolveRequest,
    VersionRequest, VersionResponse, WireError, WriteContentRequest, WriteContentResponse, WriteFlush,
};
use crate::proto::method;
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
    /// The server's side of the connection that called last.
    last_link: parking_lot::Mutex<Option<Arc<link::Link>>>,
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
            last_link: parking_lot::Mutex::default(),
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
        Ok(HelloResponse {
            version: 1,
            cluster: self.mark.clone(),
            worker: 7,
            node: 0,
            ..HelloResponse::default()
        })
    }

    async fn call(&self, mut call: Call) {
        *self.last_link.lock() = Some(Arc::clone(&call.link));
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
            method::PERSIST | method::CHANGES => {
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
                let request: ReadContentRequest = match call.request() {
                    Ok(request) => request,
                    Err(error) => return call.finish(Err(error)).await,
                };
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

    fn call_at_once(&self, call: &mut BriefCall<'_>) {
        match call.method {
            method::VERSION if self.brief => {
                let answer = call
                    .request::<VersionRequest>()
                    .map(|request| VersionResponse { content: request.content, ..Default::default() });
                call.answer(answer);
            }
            method::GET_ATTR if self.brief => panic!("on purpose"),
            _ => {}
        }
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
    let answer: VersionResponse =
        channel.call(method::VERSION, &VersionRequest { content, suspect: None }).await?;
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

/// A long poll must not keep calls from leaving at once, nor calls that are answered at once from being counted.
#[tokio::test]
async fn calls_beside_a_long_poll_and_in_great_numbers_are_all_answered() {
    for brief in [false, true] {
        let served = Served::start(Echo { brief, ..Echo::new() }).await;
        let channel = served.connect().await;
        let mut poll = std::pin::pin!(channel.call::<_, Empty>(method::CHANGES, &Empty {}));
        assert!(futures::poll!(poll.as_mut()).is_pending());
        assert_eq!(version(&channel, 1).await.unwrap(), 1);
        let many = (0..2000).map(|content| version(&channel, content));
        let answers = futures::future::join_all(many).await;
        assert!(answers.into_iter().zip(0..).all(|(answer, content)| answer.unwrap() == content));
        assert!(futures::poll!(poll.as_mut()).is_pending());
        served.service.gate.add_permits(1);
        poll.await.unwrap();
        let link = served.service.last_link.lock().clone().unwrap();
        until("the server has forgotten all", || link.open_streams() == 0).await;
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

#[tokio::test]
async fn a_slow_reader_stops_neither_other_streams_nor_calls() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let request = ReadContentRequest { length: 64 << 20, ..Default::default() };
    // Nobody takes anything of these.
    let slow: Vec<_> =
        futures::future::join_all((0..8).map(|_| channel.read(method::READ_CONTENT, &request))).await;
    let mut fast = channel.read(method::READ_CONTENT, &request).await.unwrap();
    let mut received = 0;
    while let Some(bytes) = fast.next().await.unwrap() {
        received += bytes.len();
        assert_eq!(version(&channel, 1).await.unwrap(), 1);
    }
    assert_eq!(received, 64 << 20);
    // And they were only held up.
    for slow in slow {
        let mut slow = slow.unwrap();
        let mut received = 0;
        while let Some(bytes) = slow.next().await.unwrap() {
            received += bytes.len();
        }
        assert_eq!(received, 64 << 20);
    }
}

#[tokio::test]
async fn a_duplex_stream_answers_each_message_and_ends_well() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let mut duplex = channel.open(method::WRITE_CONTENT, &WriteContentRequest::default()).await.unwrap();
    duplex.send(Bytes::from(vec![1; 3 << 20])).await.unwrap();
    duplex.send_message(&WriteFlush {}).await.unwrap();
    let mut last = WriteContentResponse::default();
    while last.committed == 0 {
        last = duplex.receive().await.unwrap().unwrap();
    }
    assert_eq!((last.taken, last.committed), (3 << 20, 3 << 20));
    duplex.send(Bytes::from_static(b"more")).await.unwrap();
    duplex.finish_sending().await.unwrap();
    while let Some(response) = duplex.receive::<WriteContentResponse>().await.unwrap() {
        last = response;
    }
    assert_eq!(last.committed, (3 << 20) + 4);
}

#[tokio::test]
async fn a_writer_is_held_up_by_a_handler_that_takes_nothing_and_hears_of_its_end() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    // PERSIST waits for its gate and takes no payload.
    let mut duplex = channel.open(method::PERSIST, &Empty {}).await.unwrap();
    let sending = async {
        loop {
            if let Err(error) = duplex.send(Bytes::from(vec![0; 1 << 20])).await {
                return error;
            }
        }
    };
    let mut sending = std::pin::pin!(sending);
    assert!(tokio::time::timeout(Duration::from_millis(200), sending.as_mut()).await.is_err());
    served.service.gate.add_permits(1);
    let error = tokio::time::timeout(LONG, sending).await.expect("the sender wakes up");
    assert_eq!(error.code, Code::Cancelled);
}

#[tokio::test]
async fn a_dropped_call_and_a_dropped_stream_are_cancelled_on_the_server() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    {
        let mut call = std::pin::pin!(channel.call::<_, Empty>(method::PERSIST, &Empty {}));
        assert!(futures::poll!(call.as_mut()).is_pending());
        assert!(tokio::time::timeout(Duration::from_millis(50), call.as_mut()).await.is_err());
    }
    until("the call is cancelled", || served.service.cancelled.load(Ordering::SeqCst) == 1).await;
    let duplex = channel.open(method::PERSIST, &Empty {}).await.unwrap();
    version(&channel, 1).await.unwrap();
    drop(duplex);
    until("the stream is cancelled", || served.service.cancelled.load(Ordering::SeqCst) == 2).await;
    let request = ReadContentRequest { length: 1 << 40, ..Default::default() };
    let mut payloads = channel.read(method::READ_CONTENT, &request).await.unwrap();
    payloads.next().await.unwrap().expect("a payload");
    drop(payloads);
    assert_eq!(version(&channel, 2).await.unwrap(), 2);
    let link = served.service.last_link.lock().clone().unwrap();
    until("the server has forgotten all", || link.open_streams() == 0).await;
}

#[tokio::test]
async fn calls_fail_as_unavailable_when_the_server_dies_and_a_new_connection_works() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let pending = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call::<_, Empty>(method::PERSIST, &Empty {}).await }
    });
    let mut duplex = channel.open(method::WRITE_CONTENT, &WriteContentRequest::default()).await.unwrap();
    version(&channel, 1).await.unwrap();
    // Cut off without a word.
    served.tasks.shutdown(Duration::ZERO).await;
    let error = pending.await.unwrap().unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains(&served.address), "{error}");
    assert_eq!(duplex.receive::<WriteContentResponse>().await.unwrap_err().code, Code::Unavailable);
    channel.closed().await;
    assert_eq!(version(&channel, 1).await.unwrap_err().code, Code::Unavailable);
    assert!(channel.is_closed());
    let refused = connect(&served.address, None).await.unwrap_err();
    assert_eq!(refused.code, Code::Unavailable);
    let again = Served::start(Echo::new()).await;
    assert_eq!(version(&again.connect().await, 5).await.unwrap(), 5);
}

/// Handlers and their connection are cut off in any order; `Internal` would end what another server can answer.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn handlers_that_are_cut_off_as_the_server_dies_leave_their_callers_to_another() {
    for round in 0..20 {
        let served = Served::start(Echo { brief: true, ..Echo::new() }).await;
        let channel = served.connect().await;
        let calls = (0..500).map(|_| {
            let channel = channel.clone();
            async move { channel.call::<_, Empty>(method::PERSIST, &Empty {}).await }
        });
        let pending = tokio::spawn(futures::future::join_all(calls));
        let open = || served.service.last_link.lock().as_ref().is_some_and(|link| link.open_streams() == 500);
        version(&channel, 1).await.unwrap();
        until("all calls are on the server", open).await;
        // Keeps the connection's own task at work: one that rests is cut off before its calls are.
        let busy = tokio::spawn({
            let channel = channel.clone();
            async move {
                while futures::future::join_all((0..64).map(|n| version(&channel, n))).await[0].is_ok() {}
            }
        });
        tokio::time::sleep(Duration::from_millis(round)).await;
        served.tasks.shutdown(Duration::ZERO).await;
        for answer in pending.await.unwrap() {
            assert_eq!(answer.unwrap_err().code, Code::Unavailable, "round {round}");
        }
        busy.await.unwrap();
    }
}

#[tokio::test]
async fn a_stopping_server_lets_calls_end_and_takes_no_more() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let pending = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call::<_, Empty>(method::PERSIST, &Empty {}).await }
    });
    // The call is on the server when this later one is answered.
    version(&channel, 1).await.unwrap();
    let stopping = tokio::spawn({
        let tasks = served.tasks.clone();
        async move { tasks.shutdown(LONG).await }
    });
    until("the client hears of it", || channel.is_closed()).await;
    assert_eq!(version(&channel, 1).await.unwrap_err().code, Code::Unavailable);
    assert!(!pending.is_finished());
    served.service.gate.add_permits(1);
    pending.await.unwrap().unwrap();
    assert_eq!(stopping.await.unwrap(), Vec::<String>::new());
}

#[tokio::test]
async fn a_call_that_does_not_end_is_cut_off_when_the_drain_is_over() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let pending = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call::<_, Empty>(method::PERSIST, &Empty {}).await }
    });
    version(&channel, 1).await.unwrap();
    assert_eq!(served.tasks.shutdown(LONG).await, Vec::<String>::new());
    assert_eq!(pending.await.unwrap().unwrap_err().code, Code::Unavailable);
    assert_eq!(served.service.cancelled.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_client_that_stops_keeps_its_connection_while_calls_are_under_way() {
    let served = Served::start(Echo::new()).await;
    let tasks = Tasks::new("client");
    let hello = HelloRequest { version: 1, ..Default::default() };
    let target = Target::Tcp(served.address.clone());
    let channel = Channel::connect(&target, hello, &tasks, LONG).await.unwrap();
    let pending = tokio::spawn({
        let channel = channel.clone();
        async move { channel.call::<_, Empty>(method::PERSIST, &Empty {}).await }
    });
    version(&channel, 1).await.unwrap();
    tasks.stop().cancel();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!pending.is_finished());
    // What a stopping role still has to flush may take a new connection.
    let hello = HelloRequest { version: 1, ..Default::default() };
    let late = Channel::connect(&target, hello, &tasks, LONG).await.unwrap();
    assert_eq!(version(&late, 2).await.unwrap(), 2);
    served.service.gate.add_permits(1);
    pending.await.unwrap().unwrap();
    channel.closed().await;
    late.closed().await;
    assert_eq!(tasks.shutdown(LONG).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_last_clone_closes_the_connection() {
    let served = Served::start(Echo::new()).await;
    let tasks = Tasks::new("client");
    let hello = HelloRequest { version: 1, ..Default::default() };
    let channel = Channel::connect(&Target::Tcp(served.address.clone()), hello, &tasks, LONG).await.unwrap();
    let request = ReadContentRequest { length: 8 << 20, ..Default::default() };
    let mut payloads = channel.read(method::READ_CONTENT, &request).await.unwrap();
    drop(channel);
    // A stream keeps it open.
    let mut received = 0;
    while let Some(bytes) = payloads.next().await.unwrap() {
        received += bytes.len();
    }
    assert_eq!(received, 8 << 20);
    drop(payloads);
    // Reader and writer end by themselves.
    tokio::time::timeout(LONG, tasks.join()).await.expect("the tasks of a closed channel end");
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|n| (n % 251) as u8 ^ (n >> 13) as u8).collect()
}

async fn read_file(channel: &Channel, offset: u64, length: u64) -> Result<Vec<u8>> {
    let request = ReadContentRequest { offset, length, sequential: true, ..Default::default() };
    let mut payloads = channel.read(method::READ_CONTENT, &request).await?;
    let mut all = Vec::new();
    while let Some(bytes) = payloads.next().await? {
        all.extend_from_slice(&bytes);
    }
    Ok(all)
}

#[tokio::test]
async fn a_file_is_sent_byte_by_byte_warm_and_cold_over_tcp_and_unix_sockets() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("container");
    let bytes = pattern((9 << 20) + 77);
    std::fs::write(&path, &bytes).unwrap();
    let file = Arc::new(File::open(&path).unwrap());
    file.sync_all().unwrap();
    let served = Served::start(Echo { file: Arc::clone(&file), ..Echo::new() }).await;
    let socket = folder.path().join("worker.sock");
    let frames = Arc::clone(&served.service) as Arc<dyn FrameService>;
    server::serve_unix("test", &socket, frames, &served.tasks).unwrap();
    let hello = HelloRequest { version: 1, ..Default::default() };
    let tasks = Tasks::new("client");
    let local = Channel::connect(&Target::Unix(socket), hello, &tasks, LONG).await.unwrap();
    for channel in [served.connect().await, local] {
        for cold in [false, true] {
            if cold {
                // Drops the clean pages of the file.
                nix::fcntl::posix_fadvise(&*file, 0, 0, nix::fcntl::PosixFadviseAdvice::POSIX_FADV_DONTNEED)
                    .unwrap();
            }
            for (offset, length) in
                [(0, bytes.len()), (1, 1), (4095, 1 << 20), ((1 << 20) - 3, 7 << 20), (5, 0)]
            {
                let got = read_file(&channel, offset as u64, length as u64).await.unwrap();
                assert!(got == bytes[offset..offset + length], "{length} bytes at {offset}, cold: {cold}");
            }
        }
        // A range past the end is an error, not zeros; the connection goes on.
        let past = read_file(&channel, bytes.len() as u64 - 10, 20).await.unwrap_err();
        assert_eq!(past.code, Code::Io);
        assert_eq!(read_file(&channel, 0, 5).await.unwrap(), bytes[..5]);
    }
}

#[test]
fn the_page_cache_is_asked_about_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("warm");
    std::fs::write(&path, vec![1; 300 << 10]).unwrap();
    let file = File::open(&path).unwrap();
    assert!(warm::in_page_cache(&file, 0, 300 << 10), "just written");
    assert!(!warm::in_page_cache(&file, 0, (300 << 10) + 1), "past the end");
}

#[tokio::test]
async fn a_peer_that_does_not_answer_pings_is_given_up() {
    // Shakes hands, then says nothing more.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let silent = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut answer = bytes::BytesMut::from(&MAGIC[..]);
        let header = wire::Header::new(wire::Kind::End, 0);
        wire::encode(header, &HelloResponse { version: 1, ..Default::default() }, &mut answer).unwrap();
        stream.write_all(&answer).await.unwrap();
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.unwrap_or_default()
    });
    let keep_alive = KeepAlive { idle: Duration::from_millis(50), timeout: Duration::from_millis(100) };
    let hello = HelloRequest { version: 1, ..Default::default() };
    let tasks = Tasks::new("client");
    let channel =
        Channel::connect_with(&Target::Tcp(address), hello, None, &tasks, LONG, keep_alive).await.unwrap();
    let error = version(&channel, 1).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    assert!(error.message.contains("ping"), "{error}");
    silent.await.unwrap();
    // A living peer is kept for much longer than that.
    let served = Served::start(Echo::new()).await;
    let hello = HelloRequest { version: 1, ..Default::default() };
    let target = Target::Tcp(served.address.clone());
    let keep_alive = KeepAlive { idle: Duration::from_millis(10), timeout: LONG };
    let channel = Channel::connect_with(&target, hello, None, &tasks, LONG, keep_alive).await.unwrap();
    channel.ping(LONG).await.unwrap();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(version(&channel, 1).await.unwrap(), 1);
}

#[tokio::test]
async fn other_clusters_versions_and_protocols_are_refused() {
    let mark = |id: u8, epoch| ClusterMark { cluster_id: vec![id; 16].into(), epoch };
    let served = Served::start(Echo { mark: Some(mark(1, 1)), ..Echo::new() }).await;
    connect(&served.address, Some(mark(1, 1))).await.unwrap();
    connect(&served.address, Some(mark(0, 0))).await.unwrap();
    for other in [mark(2, 1), mark(1, 2)] {
        assert_eq!(connect(&served.address, Some(other)).await.unwrap_err().code, Code::WrongCluster);
    }
    let hello = HelloRequest { version: 9, ..Default::default() };
    let tasks = Tasks::new("client");
    let refused =
        Channel::connect(&Target::Tcp(served.address.clone()), hello, &tasks, LONG).await.unwrap_err();
    assert_eq!(refused.code, Code::Unimplemented);
    // A browser is told what this is.
    let mut browser = TcpStream::connect(&served.address).await.unwrap();
    browser.write_all(b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    let mut page = Vec::new();
    // Unread bytes of the request may reset the connection after the answer.
    let _ = browser.read_to_end(&mut page).await;
    assert!(String::from_utf8_lossy(&page).contains("RPC port"));
    // Something else than GooseFS is named as such.
    let other = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = other.local_addr().unwrap().to_string();
    let talking = tokio::spawn(async move {
        let (mut stream, _) = other.accept().await.unwrap();
        stream.write_all(b"SSH-2.0-OpenSSH_9.9\r\n").await.unwrap();
        stream
    });
    let refused = connect(&address, None).await.unwrap_err();
    assert!(refused.message.contains("something else than GooseFS"), "{refused}");
    drop(talking.await.unwrap());
}

#[tokio::test]
async fn a_port_in_use_is_reported_with_its_remedy() {
    let listener = server::bind("master RPC", "127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let busy = server::bind("worker RPC", &address).await.unwrap_err();
    assert_eq!(busy.code, Code::Busy);
    assert!(busy.message.contains("worker RPC") && busy.message.contains(&address), "{busy}");
    assert!(busy.hint.contains("ss -ltnp"), "{busy}");
    for wrong in ["nonsense", "127.0.0.1:99999", "203.0.113.7:1"] {
        let error = server::bind("master RPC", wrong).await.unwrap_err();
        assert_eq!(error.code, Code::InvalidArgument, "{error}");
        assert!(error.message.contains(wrong), "{error}");
    }
}

#[tokio::test]
async fn messages_that_are_too_long_fail_alone() {
    let served = Served::start(Echo::new()).await;
    let channel = served.connect().await;
    let request =
        ResolveRequest { path: "x".repeat(wire::MAX_MESSAGE + 1), sync_interval_ms: None, access: 0 };
    let error = channel.call::<_, Empty>(method::RESOLVE, &request).await.unwrap_err();
    assert_eq!(error.code, Code::InvalidArgument);
    let request =
        ResolveRequest { path: "x".repeat(wire::MAX_MESSAGE / 2), sync_interval_ms: None, access: 0 };
    let error = channel.call::<_, Empty>(method::RESOLVE, &request).await.unwrap_err();
    assert_eq!(error.code, Code::NotLeader);
    assert_eq!(version(&channel, 1).await.unwrap(), 1);
}

/// Sends `bytes` after a good handshake and waits until the server closes the connection or has nothing to say.
async fn throw(address: &str, bytes: &[u8]) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let mut hello = bytes::BytesMut::from(&MAGIC[..]);
    let header = wire::Header { method: 1, ..wire::Header::new(wire::Kind::Request, 0) };
    wire::encode(header, &HelloRequest { version: 1, ..Default::default() }, &mut hello).unwrap();
    hello.extend_from_slice(bytes);
    // The server may hang up in the middle.
    let _ = stream.write_all(&hello).await;
    let _ = stream.shutdown().await;
    let mut sink = Vec::new();
    let ended = tokio::time::timeout(LONG, stream.read_to_end(&mut sink)).await;
    assert!(ended.is_ok(), "the server kept a connection that its peer had ended");
}

#[test]
fn hostile_bytes_end_their_own_connection_only() {
    use proptest::prelude::*;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let served = runtime.block_on(Served::start(Echo::new()));
    let good = runtime.block_on(served.connect());
    let frame =
        (any::<u8>(), 0..12_u8, any::<u16>(), 0..4_u32, 0..40_u32, prop::collection::vec(any::<u8>(), 0..40));
    let frames = prop::collection::vec(frame, 0..12);
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(200));
    runner
        .run(&(frames, prop::collection::vec(any::<u8>(), 0..64)), |(frames, junk)| {
            let mut bytes = Vec::new();
            for (flags, kind, method, stream, payload, message) in frames {
                bytes.extend_from_slice(&(message.len() as u32).to_le_bytes());
                bytes.extend_from_slice(&(if kind == 2 { payload } else { 0 }).to_le_bytes());
                bytes.extend_from_slice(&stream.to_le_bytes());
                // Mostly methods that exist.
                let method = if method % 4 == 0 {
                    method
                } else {
                    [103, 104, 113, 130, 200, 201][method as usize % 6]
                };
                bytes.extend_from_slice(&method.to_le_bytes());
                bytes.extend_from_slice(&[kind, flags]);
                bytes.extend_from_slice(&message);
                bytes.extend(std::iter::repeat_n(7, if kind == 2 { payload as usize } else { 0 }));
            }
            bytes.extend_from_slice(&junk);
            runtime.block_on(throw(&served.address, &bytes));
            prop_assert_eq!(runtime.block_on(version(&good, 9)).unwrap(), 9);
            Ok(())
        })
        .unwrap();
    assert!(!served.tasks.failed().is_cancelled());
}

#[tokio::test]
async fn a_sender_beyond_its_credit_is_cut_off() {
    let served = Served::start(Echo::new()).await;
    let mut bytes = bytes::BytesMut::new();
    // PERSIST takes nothing of what is sent to it.
    let open = wire::Header { method: method::PERSIST.number, ..wire::Header::new(wire::Kind::Request, 1) };
    wire::encode(open, &Empty {}, &mut bytes).unwrap();
    for _ in 0..(wire::WINDOW + wire::MAX_MESSAGE) / wire::MAX_PAYLOAD + 2 {
        let data = wire::Header { payload: wire::MAX_PAYLOAD, ..wire::Header::new(wire::Kind::Data, 1) };
        data.encode(&mut bytes);
        bytes.resize(bytes.len() + wire::MAX_PAYLOAD, 0);
    }
    throw(&served.address, &bytes).await;
    until("the call is cancelled", || served.service.cancelled.load(Ordering::SeqCst) == 1).await;
}

#[test]
fn errors_cross_the_wire_without_loss() {
    let error = Error::not_leader("m1:9200").hint("h");
    let wire: WireError = WireError::decode(&error.to_wire().encode_to_vec()[..]).unwrap();
    let back = Error::from_wire(wire);
    assert_eq!(
        (back.code, back.message, back.hint, back.leader),
        (error.code, error.message, error.hint, error.leader)
    );
    let long = Error::new(Code::Io, "é".repeat(5000));
    assert!(long.to_wire().message.len() <= 4096);
}
