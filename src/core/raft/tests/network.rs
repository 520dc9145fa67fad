//! Who may talk to a master, and on whose threads it answers.

use super::cluster::{Cluster, wait_until};
use crate::error::{Code, Error};
use crate::id::{ClusterId, Epoch};
use crate::proto::internal;
use crate::proto::public::version::service_version_client_service_client::ServiceVersionClientServiceClient;
use crate::proto::public::version::service_version_client_service_server::{
    ServiceVersionClientService, ServiceVersionClientServiceServer,
};
use crate::proto::public::version::{GetServiceVersionPRequest, GetServiceVersionPResponse};
use crate::proto::raft as wire;
use crate::proto::raft::raft_client::RaftClient;
use crate::raft::ClusterMark;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tonic::{Request, Response, Status};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stalled_client_runtime_causes_no_election() {
    let cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("before").await;
    let (leader, term) = (cluster.leader().await, cluster.status(0).term);
    let asleep = Arc::new(AtomicUsize::new(0));
    let stalls: Vec<_> = (0..4)
        .map(|_| {
            let asleep = asleep.clone();
            tokio::spawn(async move {
                asleep.fetch_add(1, Ordering::SeqCst);
                // On purpose: this is what a handler that forgets itself does to its runtime.
                std::thread::sleep(Duration::from_secs(1));
            })
        })
        .collect();
    for stall in stalls {
        stall.await.unwrap();
    }
    assert_eq!(asleep.load(Ordering::SeqCst), 4);
    cluster.propose("after").await;
    assert_eq!((cluster.leader().await, cluster.status(0).term), (leader, term));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_of_another_cluster_or_for_another_life_are_refused() {
    let cluster = Cluster::started(3, |_| ()).await;
    cluster.propose("ours").await;
    let belongs = |slot| cluster.node(slot).mark().is_some() && cluster.status(slot).term > 0;
    wait_until("everybody to belong", || (0..3).all(belongs)).await;
    let (node, mark, term) =
        (cluster.node(1).node_id().0, cluster.node(1).mark().unwrap(), cluster.status(1).term);
    let mut client = RaftClient::connect(format!("http://{}", cluster.config(1).peers[1])).await.unwrap();
    let other = ClusterMark { id: ClusterId(uuid::Uuid::from_u128(1)), epoch: Epoch(1) };
    let later = ClusterMark { epoch: Epoch(2), ..mark };
    let attempts = [
        (Some(internal::ClusterMark::from(other)), node, Code::WrongCluster),
        (Some(later.into()), node, Code::WrongCluster),
        (Some(mark.into()), node + 1, Code::NotFound),
        (None, node, Code::InvalidArgument),
    ];
    for (cluster_mark, target, code) in attempts {
        let vote = Some(wire::Vote { term: term + 100, node: 5, committed: true });
        let append =
            wire::AppendRequest { vote, cluster: cluster_mark.clone(), target, ..Default::default() };
        let refused = Error::from(client.append(append).await.unwrap_err());
        assert_eq!(refused.code, code);
        let request = wire::VoteRequest { vote, cluster: cluster_mark, target, ..Default::default() };
        let refused = Error::from(client.vote(request).await.unwrap_err());
        assert_eq!(refused.code, code);
    }
    let empty = wire::AppendRequest { cluster: Some(mark.into()), target: node, ..Default::default() };
    assert_eq!(client.append(empty).await.unwrap_err().code(), tonic::Code::InvalidArgument);
    cluster.propose("still ours").await;
    assert_eq!(cluster.status(1).term, term);
}

/// Answers with the name of the thread it runs on.
struct WhichThread;

#[tonic::async_trait]
impl ServiceVersionClientService for WhichThread {
    async fn get_service_version(
        &self,
        _request: Request<GetServiceVersionPRequest>,
    ) -> Result<Response<GetServiceVersionPResponse>, Status> {
        Err(Status::aborted(std::thread::current().name().unwrap_or_default().to_owned()))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn other_services_on_the_raft_port_run_on_their_owners_threads() {
    let mut cluster = Cluster::new(1, |_| ()).await;
    let routes = tonic::service::Routes::new(ServiceVersionClientServiceServer::new(WhichThread));
    cluster.start_with(0, Some(routes)).await.unwrap();
    let address = format!("http://{}", cluster.config(0).peers[0]);
    let mut client = ServiceVersionClientServiceClient::connect(address.clone()).await.unwrap();
    let answer = client.get_service_version(GetServiceVersionPRequest::default()).await.unwrap_err();
    assert_eq!(answer.code(), tonic::Code::Aborted);
    assert_ne!(answer.message(), "raft", "ran on Raft's threads");
    let mut raft = RaftClient::connect(address).await.unwrap();
    let identity = raft.identify(wire::IdentifyRequest::default()).await.unwrap().into_inner();
    assert_eq!(identity.node, cluster.node(0).node_id().0);
}
