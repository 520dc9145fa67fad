use super::*;
use crate::proto::internal::{HelloResponse, VersionRequest, VersionResponse};
use crate::rpc::frame::{Call, FrameService, Peer};
use crate::rpc::server;
use async_trait::async_trait;
use std::sync::atomic::{AtomicUsize, Ordering};

const LONG: Duration = Duration::from_secs(20);

/// A master as its clients see it; who leads is told by the test.
struct Master {
    mark: ClusterMark,
    own: Mutex<String>,
    leader: Arc<Mutex<String>>,
    calls: AtomicUsize,
}

#[async_trait]
impl FrameService for Master {
    fn hello(&self, _: &Peer, request: &HelloRequest) -> Result<HelloResponse> {
        check_cluster(Some(&self.mark), request.cluster.as_ref())?;
        Ok(HelloResponse {
            version: 1,
            cluster: Some(self.mark.clone()),
            worker: 0,
            node: 1,
            ..HelloResponse::default()
        })
    }

    async fn call(&self, call: Call) {
        let leader = self.leader.lock().clone();
        if leader != *self.own.lock() {
            return call.answer::<StatFsResponse>(Err(Error::not_leader(leader))).await;
        }
        match call.method {
            method::STAT_FS => call.answer(Ok(StatFsResponse::default())).await,
            method::REMOVE => call.answer::<StatFsResponse>(Err(Error::new(Code::NotEmpty, "full"))).await,
            method::VERSION if self.calls.fetch_add(1, Ordering::SeqCst) == 0 => {
                call.answer::<VersionResponse>(Err(Error::new(Code::Busy, "being written"))).await;
            }
            _ => {
                let request: VersionRequest = call.request().unwrap();
                call.answer(Ok(VersionResponse { content: request.content, ..Default::default() })).await;
            }
        }
    }
}

fn mark(id: u8) -> ClusterMark {
    ClusterMark { cluster_id: vec![id; 16].into(), epoch: 1 }
}

struct Cluster {
    leader: Arc<Mutex<String>>,
    addresses: Vec<String>,
    roles: Vec<Tasks>,
    client: Tasks,
}

impl Cluster {
    async fn start(count: usize) -> Cluster {
        Cluster::of(7, count).await
    }

    async fn of(id: u8, count: usize) -> Cluster {
        let leader = Arc::new(Mutex::new(String::new()));
        let (mut addresses, mut roles) = (Vec::new(), Vec::new());
        for _ in 0..count {
            let master = Arc::new(Master {
                mark: mark(id),
                own: Mutex::default(),
                leader: Arc::clone(&leader),
                calls: AtomicUsize::new(0),
            });
            let tasks = Tasks::new("master");
            let listener = server::bind("master", "127.0.0.1:0").await.unwrap();
            let frames = Arc::clone(&master) as Arc<dyn FrameService>;
            let routes = tonic::service::Routes::default();
            let address = server::serve("master", listener, routes, Some(frames), &tasks).unwrap();
            *master.own.lock() = address.to_string();
            addresses.push(address.to_string());
            roles.push(tasks);
        }
        Cluster { leader, addresses, roles, client: Tasks::new("client") }
    }

    fn elect(&self, index: usize) {
        self.leader.lock().clone_from(&self.addresses[index]);
    }

    fn masters(&self, deadline: Duration) -> Masters {
        self.masters_at(self.addresses.clone(), deadline, None)
    }

    fn masters_at(
        &self,
        addresses: Vec<String>,
        deadline: Duration,
        cluster: Option<ClusterMark>,
    ) -> Masters {
        let caller = Caller { user: "u".to_owned(), group: "g".to_owned() };
        let config =
            MastersConfig { addresses, role: "test".to_owned(), caller, cluster, deadline, control: None };
        Masters::new(config, &self.client)
    }
}

async fn version(masters: &Masters, content: u64) -> Result<u64> {
    let answer: VersionResponse =
        masters.call(method::VERSION, &VersionRequest { content, suspect: None }).await?;
    Ok(answer.content)
}

#[tokio::test]
async fn calls_reach_the_leader_and_move_with_it() {
    let cluster = Cluster::start(3).await;
    cluster.elect(1);
    let masters = cluster.masters(LONG);
    // The first call is answered Busy once.
    assert_eq!(version(&masters, 5).await.unwrap(), 5);
    assert_eq!(masters.leader().await.unwrap(), cluster.addresses[1]);
    assert_eq!(masters.cluster(), Some(mark(7)));
    cluster.elect(2);
    assert_eq!(version(&masters, 6).await.unwrap(), 6);
    assert_eq!(masters.leader().await.unwrap(), cluster.addresses[2]);
}

#[tokio::test]
async fn a_call_waits_for_an_election_and_errors_that_no_retry_helps_come_at_once() {
    let cluster = Cluster::start(3).await;
    let masters = cluster.masters(LONG);
    let calling = tokio::spawn({
        let masters = masters.clone();
        async move { version(&masters, 9).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!calling.is_finished());
    cluster.elect(0);
    assert_eq!(calling.await.unwrap().unwrap(), 9);
    let refused = masters.call::<_, StatFsResponse>(method::REMOVE, &VersionRequest::default()).await;
    assert_eq!(refused.unwrap_err().code, Code::NotEmpty);
}

#[tokio::test]
async fn a_leader_that_stops_is_left_for_the_next() {
    let cluster = Cluster::start(3).await;
    cluster.elect(0);
    let masters = cluster.masters(LONG);
    version(&masters, 1).await.unwrap();
    cluster.roles[0].shutdown(Duration::ZERO).await;
    cluster.elect(1);
    assert_eq!(version(&masters, 2).await.unwrap(), 2);
}

#[tokio::test]
async fn without_a_leader_the_deadline_ends_a_call_and_names_the_masters() {
    let cluster = Cluster::start(2).await;
    let masters = cluster.masters(Duration::from_millis(300));
    let error = version(&masters, 1).await.unwrap_err();
    assert_eq!(error.code, Code::Unavailable);
    for address in &cluster.addresses {
        assert!(error.message.contains(address), "{error}");
    }
}

#[tokio::test]
async fn another_cluster_is_refused_for_good() {
    let cluster = Cluster::start(1).await;
    cluster.elect(0);
    let masters = cluster.masters_at(cluster.addresses.clone(), LONG, Some(mark(8)));
    assert_eq!(version(&masters, 1).await.unwrap_err().code, Code::WrongCluster);
    assert_eq!(masters.channel(&cluster.addresses[0]).await.unwrap_err().code, Code::WrongCluster);
}

#[tokio::test]
async fn a_stray_master_at_one_address_is_passed_over_and_most_of_them_are_another_cluster() {
    let (ours, strays) = (Cluster::start(2).await, Cluster::of(8, 2).await);
    strays.elect(0);
    ours.elect(1);
    let one = [&strays.addresses[..1], &ours.addresses].concat();
    assert_eq!(version(&ours.masters_at(one, LONG, Some(mark(7))), 5).await.unwrap(), 5);
    ours.leader.lock().clear();
    let most = [&strays.addresses, &ours.addresses[..1]].concat();
    let error = version(&ours.masters_at(most, LONG, Some(mark(7))), 5).await.unwrap_err();
    assert_eq!(error.code, Code::WrongCluster);
}

#[tokio::test]
async fn a_leader_outside_the_list_is_found_by_hint() {
    let cluster = Cluster::start(2).await;
    cluster.elect(1);
    let masters = cluster.masters_at(vec![cluster.addresses[0].clone()], LONG, None);
    version(&masters, 1).await.unwrap();
    assert_eq!(masters.leader().await.unwrap(), cluster.addresses[1]);
}

#[tokio::test]
async fn a_leader_that_hangs_is_doubted_and_the_call_moves() {
    let cluster = Cluster::start(2).await;
    // The leader is reached through a proxy that can stop forwarding, as a stopped process does.
    let proxy = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let proxied = proxy.local_addr().unwrap().to_string();
    let (hang, target) = (Arc::new(Mutex::new(false)), cluster.addresses[0].clone());
    let hung = Arc::clone(&hang);
    let forwarding = tokio::spawn(async move {
        while let Ok((inbound, _)) = proxy.accept().await {
            let outbound = tokio::net::TcpStream::connect(&target).await.unwrap();
            let (mut from, mut into) = inbound.into_split();
            let (mut back_from, mut back_into) = outbound.into_split();
            let hung = Arc::clone(&hung);
            tokio::spawn(async move { tokio::io::copy(&mut back_from, &mut into).await });
            tokio::spawn(async move {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let mut bytes = [0; 4096];
                while let Ok(count) = from.read(&mut bytes).await {
                    let stop = *hung.lock();
                    if count == 0 || (!stop && back_into.write_all(&bytes[..count]).await.is_err()) {
                        return;
                    }
                }
            });
        }
    });
    cluster.elect(0);
    let masters = cluster.masters_at(vec![proxied.clone(), cluster.addresses[1].clone()], LONG, None);
    version(&masters, 1).await.unwrap();
    assert_eq!(masters.leader().await.unwrap(), proxied);
    *hang.lock() = true;
    let calling = tokio::spawn({
        let masters = masters.clone();
        async move { version(&masters, 2).await }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.elect(1);
    assert_eq!(calling.await.unwrap().unwrap(), 2);
    assert_eq!(masters.leader().await.unwrap(), cluster.addresses[1]);
    forwarding.abort();
}
