//! Three masters, one of which goes away.

use super::cluster::{Cluster, caller};
use goosefs_core::Code;
use goosefs_core::proto::internal::{
    AttrResponse, CreateRequest, Empty, MakeDirRequest, NodeKind, ReadDirRequest, ReadDirResponse,
    RemoveRequest, SessionOp, SetAttrRequest, WriteType,
};
use goosefs_core::proto::internal::{ClusterRequest, ClusterResponse, StatFsRequest, StatFsResponse};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;

async fn create(cluster: &Cluster, client: &Masters, name: &str) -> goosefs_core::Result<AttrResponse> {
    let request = CreateRequest {
        op: cluster.op(client).await,
        caller: Some(caller()),
        parent: 0,
        name: name.to_owned(),
        mode: 0o644,
        block_size: 1 << 20,
        write_type: WriteType::MustCache as i32,
    };
    client.call(method::CREATE, &request).await
}

async fn names(client: &Masters) -> Vec<String> {
    let request = ReadDirRequest { directory: 0, after: String::new(), limit: 0, sync_interval_ms: None };
    let listed: ReadDirResponse = client.call(method::READ_DIR, &request).await.unwrap();
    listed.entries.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn creates_go_on_when_the_leader_is_gone_and_none_is_lost_or_doubled() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let client = cluster.client();
    let mut made = Vec::new();
    for round in 0..3 {
        for number in 0..20 {
            let name = format!("file-{round}-{number:02}");
            create(&cluster, &client, &name).await.unwrap();
            made.push(name);
        }
        let leader = cluster.leader().await;
        cluster.stop(leader).await;
        let name = format!("file-{round}-after");
        create(&cluster, &client, &name).await.unwrap();
        made.push(name);
        cluster.restart(leader).await;
    }
    made.sort();
    assert_eq!(names(&client).await, made);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_retry_gets_its_first_answer_whatever_was_done_since() {
    let cluster = Cluster::start(1, |_| {}).await;
    let (client, other) = (cluster.client(), cluster.client());
    let folder = MakeDirRequest {
        op: cluster.op(&client).await,
        caller: Some(caller()),
        parent: 0,
        name: "folder".to_owned(),
        mode: 0o755,
    };
    let made: AttrResponse = client.call(method::MAKE_DIR, &folder).await.unwrap();
    let parent = made.attr.as_ref().unwrap().inode;
    // Their answers get lost: nothing is acknowledged after this.
    let lost = |op: Option<SessionOp>| op.map(|op| SessionOp { acknowledged: 1, ..op });
    let create = CreateRequest {
        op: lost(cluster.op(&client).await),
        caller: Some(caller()),
        parent,
        name: "file".to_owned(),
        mode: 0o644,
        block_size: 1 << 20,
        write_type: WriteType::MustCache as i32,
    };
    let created: AttrResponse = client.call(method::CREATE, &create).await.unwrap();
    let set = SetAttrRequest {
        op: lost(cluster.op(&client).await),
        caller: Some(caller()),
        node: created.attr.as_ref().unwrap().inode,
        mode: Some(0o600),
        ..SetAttrRequest::default()
    };
    let changed: AttrResponse = client.call(method::SET_ATTR, &set).await.unwrap();
    for (parent, name, expect) in [(parent, "file", NodeKind::File), (0, "folder", NodeKind::Directory)] {
        let request = RemoveRequest {
            op: None,
            caller: Some(caller()),
            parent,
            name: name.to_owned(),
            expect: expect as i32,
        };
        let _: Empty = other.call(method::REMOVE, &request).await.unwrap();
    }
    assert_eq!(client.call::<_, AttrResponse>(method::CREATE, &create).await.unwrap(), created);
    assert_eq!(client.call::<_, AttrResponse>(method::SET_ATTR, &set).await.unwrap(), changed);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_all_masters_were_stopped_and_started() {
    let mut cluster = Cluster::start(3, |ufs| std::fs::write(ufs.join("loaded"), b"12345").unwrap()).await;
    let client = cluster.client();
    assert_eq!(cluster.stat("/loaded").await.unwrap().length, 5);
    create(&cluster, &client, "created").await.unwrap();
    let before = cluster.stat("/loaded").await.unwrap();
    for id in cluster.ids() {
        cluster.stop(id).await;
    }
    // A quorum is ready only together.
    cluster.restart_all().await;
    cluster.leader().await;
    let client = cluster.client();
    assert_eq!(names(&client).await, ["created", "loaded"]);
    assert_eq!(cluster.stat("/loaded").await.unwrap(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_names_the_leader_to_framed_callers_and_describes_the_cluster_itself() {
    let cluster = Cluster::start(3, |_| {}).await;
    let client = cluster.client();
    let (leader, standby) = (cluster.leader().await, cluster.standby().await);
    let channel = client.channel(cluster.rpc(standby)).await.unwrap();
    let refused = channel.call::<_, StatFsResponse>(method::STAT_FS, &StatFsRequest {}).await.unwrap_err();
    assert_eq!(refused.code, Code::NotLeader);
    assert_eq!(refused.leader, cluster.rpc(leader));
    let said: ClusterResponse = channel.call(method::CLUSTER, &ClusterRequest {}).await.unwrap();
    let leading: Vec<u32> = said.masters.iter().filter(|m| m.leader).map(|m| m.slot).collect();
    assert_eq!(leading, [u32::try_from(leader).unwrap()]);
    assert!(said.serving && said.masters[standby].self_);
}
