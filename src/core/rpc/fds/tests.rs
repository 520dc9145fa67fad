use super::*;
use crate::error::{Code, Error};
use crate::id::ContentId;
use crate::proto::internal::ClusterMark;
use crate::rpc::frame::check_cluster;
use crate::task::Tasks;
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

const LONG: Duration = Duration::from_secs(20);

/// Hands out a file that holds its content's number; 404 is never there.
#[derive(Default)]
struct Files {
    leases: Arc<Mutex<BTreeSet<u64>>>,
}

struct Session {
    leases: Arc<Mutex<BTreeSet<u64>>>,
    mine: BTreeSet<u64>,
}

impl FdService for Files {
    fn connect(&self, hello: &HelloRequest) -> Result<(HelloResponse, Box<dyn FdSession>)> {
        let mark = ClusterMark { cluster_id: vec![1; 16].into(), epoch: 1 };
        check_cluster(Some(&mark), hello.cluster.as_ref())?;
        let response = HelloResponse {
            version: 1,
            cluster: Some(mark),
            worker: 42,
            node: 0,
            ..HelloResponse::default()
        };
        Ok((response, Box::new(Session { leases: Arc::clone(&self.leases), mine: BTreeSet::new() })))
    }
}

#[async_trait]
impl FdSession for Session {
    async fn open(&mut self, request: OpenContainerRequest) -> Result<(OpenContainerResponse, OwnedFd)> {
        if request.content == 404 {
            return Err(Error::new(Code::NotFound, "not here"));
        }
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(request.content.to_string().as_bytes()).unwrap();
        self.leases.lock().insert(request.content);
        self.mine.insert(request.content);
        let length = file.metadata().unwrap().len();
        Ok((OpenContainerResponse { lease: request.content, length, stacked: false }, file.into()))
    }

    async fn close(&mut self, request: CloseLeaseRequest) {
        for lease in request.leases {
            self.leases.lock().remove(&lease);
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let mut leases = self.leases.lock();
        for lease in &self.mine {
            leases.remove(lease);
        }
    }
}

struct Served {
    _folder: tempfile::TempDir,
    path: PathBuf,
    leases: Arc<Mutex<BTreeSet<u64>>>,
    tasks: Tasks,
}

impl Served {
    fn start() -> Served {
        let folder = tempfile::tempdir().unwrap();
        let (path, tasks) = (folder.path().join("deep/worker.sock"), Tasks::new("worker"));
        let service = Files::default();
        let leases = Arc::clone(&service.leases);
        serve(&path, Arc::new(service), &tasks).unwrap();
        Served { _folder: folder, path, leases, tasks }
    }

    async fn connect(&self) -> Result<FdClient> {
        let hello = HelloRequest { version: 1, ..HelloRequest::default() };
        FdClient::connect(&self.path, hello, &Tasks::new("client"), LONG).await
    }

    async fn leased(&self, wanted: &[u64]) {
        let deadline = tokio::time::Instant::now() + LONG;
        while *self.leases.lock() != wanted.iter().copied().collect() {
            assert!(tokio::time::Instant::now() < deadline, "leases are {:?}", self.leases.lock());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn content(number: u64) -> ContentId {
    ContentId::from_raw(number).unwrap()
}

/// Content ids end in 24 one bits.
fn id(n: u64) -> u64 {
    (n + 1) << 24 | 0xFF_FFFF
}

fn text(descriptor: OwnedFd) -> String {
    let file = File::from(descriptor);
    let mut bytes = vec![0; file.metadata().unwrap().len() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    String::from_utf8(bytes).unwrap()
}

#[tokio::test]
async fn each_answer_comes_with_its_own_descriptor() {
    let served = Served::start();
    let client = served.connect().await.unwrap();
    assert_eq!(client.hello().worker, 42);
    let opens = (0..200).map(|n| {
        let client = client.clone();
        async move {
            let (response, descriptor) = client.open(content(id(n)), 0).await.unwrap();
            assert_eq!((response.lease, text(descriptor)), (id(n), id(n).to_string()));
        }
    });
    futures::future::join_all(opens).await;
}

#[tokio::test]
async fn leases_end_one_by_one_or_with_the_connection() {
    let served = Served::start();
    let client = served.connect().await.unwrap();
    for n in 0..3 {
        client.open(content(id(n)), 0).await.unwrap();
    }
    served.leased(&[id(0), id(1), id(2)]).await;
    client.close(vec![id(0), id(2)]);
    served.leased(&[id(1)]).await;
    drop(client);
    served.leased(&[]).await;
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_gives_its_lease_back() {
    let served = Served::start();
    let client = served.connect().await.unwrap();
    {
        let mut opening = std::pin::pin!(client.open(content(id(5)), 0));
        // Polled once, so the request is sent; then dropped.
        assert!(futures::poll!(opening.as_mut()).is_pending());
    }
    // Answered in order: when this one is here, the other was.
    client.open(content(id(6)), 0).await.unwrap();
    served.leased(&[id(6)]).await;
}

#[tokio::test]
async fn errors_come_as_such_and_the_connection_goes_on() {
    let served = Served::start();
    let hello = HelloRequest {
        version: 1,
        cluster: Some(ClusterMark { cluster_id: vec![2; 16].into(), epoch: 1 }),
        ..HelloRequest::default()
    };
    let refused = FdClient::connect(&served.path, hello, &Tasks::new("client"), LONG).await.unwrap_err();
    assert_eq!(refused.code, Code::WrongCluster);
    let nowhere = served.path.with_file_name("other.sock");
    let refused = FdClient::connect(&nowhere, HelloRequest::default(), &Tasks::new("client"), LONG).await;
    assert_eq!(refused.unwrap_err().code, Code::Unavailable);
}

#[tokio::test]
async fn a_worker_that_stops_ends_connections_and_removes_its_socket() {
    let served = Served::start();
    let client = served.connect().await.unwrap();
    client.open(content(id(1)), 0).await.unwrap();
    assert_eq!(served.tasks.shutdown(LONG).await, Vec::<String>::new());
    assert!(!served.path.exists());
    served.leased(&[]).await;
    let gone = client.open(content(id(2)), 0).await.unwrap_err();
    assert_eq!(gone.code, Code::Unavailable);
    assert!(client.is_closed());
}

#[tokio::test]
async fn a_stale_socket_is_replaced_a_living_one_and_other_files_are_not() {
    let served = Served::start();
    let busy = serve(&served.path, Arc::new(Files::default()), &Tasks::new("second")).unwrap_err();
    assert_eq!(busy.code, Code::Busy);
    let stale = served.path.with_file_name("stale.sock");
    drop(std::os::unix::net::UnixListener::bind(&stale).unwrap());
    serve(&stale, Arc::new(Files::default()), &served.tasks).unwrap();
    let file = served.path.with_file_name("file");
    std::fs::write(&file, "kept").unwrap();
    let refused = serve(&file, Arc::new(Files::default()), &served.tasks).unwrap_err();
    assert_eq!(refused.code, Code::InvalidArgument);
    assert_eq!(std::fs::read(&file).unwrap(), b"kept");
    let long = served.path.with_file_name("x".repeat(120));
    let refused = serve(&long, Arc::new(Files::default()), &served.tasks).unwrap_err();
    assert!(refused.message.contains("too long"), "{refused}");
}

/// Connects as another user, on a thread whose user is changed for good.
#[allow(unsafe_code)]
fn connect_as(uid: libc::uid_t, path: PathBuf) -> Result<()> {
    std::thread::spawn(move || {
        // SAFETY: the raw system call changes this thread's user only, and the thread ends here.
        let changed = unsafe { libc::syscall(libc::SYS_setresuid, uid, uid, uid) };
        assert_eq!(changed, 0, "{}", std::io::Error::last_os_error());
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let hello = HelloRequest { version: 1, ..HelloRequest::default() };
        let tasks = Tasks::new("foreigner");
        runtime.block_on(FdClient::connect(&path, hello, &tasks, LONG)).map(|_| ())
    })
    .join()
    .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn foreign_users_get_nothing() {
    if !nix::unistd::Uid::effective().is_root() {
        eprintln!("skipped: needs root to be another user");
        return;
    }
    let served = Served::start();
    assert_eq!(std::fs::metadata(&served.path).unwrap().permissions().mode() & 0o777, 0o600);
    // Even where the file would let them in.
    for (path, mode) in [(served.path.parent().unwrap().parent().unwrap(), 0o755), (&served.path, 0o666)] {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    }
    let refused = connect_as(65534, served.path.clone()).unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied);
    assert!(refused.message.contains("65534"), "{refused}");
    connect_as(0, served.path.clone()).unwrap();
}
