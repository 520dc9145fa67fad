//! Backups and restores as the service gives them: whose answers are remembered, who may, what the root storage takes.

use super::cluster::{Cluster, caller};
use goosefs_core::Code;
use goosefs_core::proto::internal::{AttrResponse, CreateRequest, SessionOp, WriteType};
use goosefs_core::proto::method;
use goosefs_core::proto::public::meta::meta_master_client_service_client::MetaMasterClientServiceClient;
use goosefs_core::proto::public::meta::{
    BackupPOptions, BackupPRequest, BackupPStatus, BackupState, BackupStatusPRequest,
};
use goosefs_core::raft::Restore;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Error, Result};
use std::time::Duration;

fn meta(cluster: &Cluster, id: usize) -> MetaMasterClientServiceClient<tonic::transport::Channel> {
    let channel = goosefs_core::rpc::grpc::channel(cluster.rpc(id), Duration::from_secs(5)).unwrap();
    MetaMasterClientServiceClient::new(channel)
}

async fn back_up(cluster: &Cluster, id: usize, folder: &str, local: bool) -> Result<BackupPStatus> {
    let options = BackupPOptions { local_file_system: Some(local), ..Default::default() };
    let request = BackupPRequest { options: Some(options), target_directory: Some(folder.to_owned()) };
    Ok(meta(cluster, id).backup(request).await.map_err(Error::from)?.into_inner())
}

async fn create(client: &Masters, name: &str, op: Option<SessionOp>) -> Result<AttrResponse> {
    let request = CreateRequest {
        op,
        caller: Some(caller()),
        parent: 0,
        name: name.to_owned(),
        mode: 0o644,
        block_size: 1 << 20,
        write_type: WriteType::MustCache as i32,
    };
    client.call(method::CREATE, &request).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_cluster_still_knows_what_it_answered_to_sessions() {
    let old = Cluster::start(3, |_| {}).await;
    let client = old.client();
    let op = old.op(&client).await;
    let first = create(&client, "numbered", op).await.unwrap();
    let folder = old.ufs().join("backups").display().to_string();
    // A standby's is as complete as the leader's.
    let standby = old.standby().await;
    let written = back_up(&old, standby, &folder, true).await.unwrap();
    assert_eq!(written.backup_state(), BackupState::Completed);
    let mut service = meta(&old, standby);
    let request = BackupStatusPRequest { backup_id: written.backup_id.clone() };
    assert_eq!(service.get_backup_status(request.clone()).await.unwrap().into_inner(), written);
    let elsewhere = meta(&old, old.leader().await).get_backup_status(request).await.unwrap_err();
    assert_eq!(Error::from(elsewhere).code, Code::NotFound);

    let file = std::path::PathBuf::from(written.backup_uri());
    let restore = move |config: &mut crate::Config| {
        config.restore = Some(Restore { file: file.clone(), offered: false, if_new: false });
    };
    let new = Cluster::start_with(1, |_| {}, restore, || Box::new(goosefs_ufs::connect_fenced)).await;
    let client = new.client();
    // The same operation again gets the first answer; another one of that name does not.
    assert_eq!(create(&client, "numbered", op).await.unwrap().attr, first.attr);
    let next = op.map(|op| SessionOp { sequence: op.sequence + 1, ..op });
    assert_eq!(create(&client, "numbered", next).await.unwrap_err().code, Code::AlreadyExists);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_goes_to_the_root_storage_if_that_is_a_folder_and_else_must_be_local() {
    let server = goosefs_ufs::testing::Scripted::start(|_| {
        goosefs_ufs::testing::Answer::page("<title>Directory listing for /</title><body><ul></ul>")
    })
    .unwrap();
    let uri = server.uri();
    let web = move |config: &mut crate::Config| config.root_ufs.clone_from(&uri);
    let cluster = Cluster::start_with(1, |_| {}, web, || Box::new(goosefs_ufs::connect_fenced)).await;
    let folder = cluster.ufs().join("backups").display().to_string();
    let error = back_up(&cluster, 0, &folder, false).await.unwrap_err();
    assert!(error.code == Code::ReadOnly && error.to_string().contains("--local"), "{error}");
    assert!(back_up(&cluster, 0, &folder, true).await.is_ok());
    let local = Cluster::start(1, |_| {}).await;
    let folder = local.ufs().join("backups").display().to_string();
    let written = back_up(&local, 0, &folder, false).await.unwrap();
    assert!(written.backup_uri().starts_with(&folder));
    assert_eq!(back_up(&local, 0, "relative", true).await.unwrap_err().code, Code::InvalidArgument);
}
