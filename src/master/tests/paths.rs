//! The GooseFS protocol, asked of standbys as well as of the leader.

use super::cluster::Cluster;
use super::worker::TestWorker;
use goosefs_core::proto::public::block::worker_manager_master_client_service_client::WorkerManagerMasterClientServiceClient;
use goosefs_core::proto::public::block::{
    GetWorkerInfoListPOptions, GetWorkerManagerMasterInfoPOptions, StartMigrationPRequest,
};
use goosefs_core::proto::public::file::file_system_master_client_service_client::FileSystemMasterClientServiceClient;
use goosefs_core::proto::public::file::*;
use goosefs_core::proto::public::version::GetServiceVersionPRequest;
use goosefs_core::proto::public::version::service_version_client_service_client::ServiceVersionClientServiceClient;
use goosefs_core::rpc::sasl::AuthType;
use std::fs;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;

type Files = FileSystemMasterClientServiceClient<Channel>;

fn tree(root: &std::path::Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/one"), b"1").unwrap();
    fs::write(root.join("a/b/two"), b"22").unwrap();
}

fn channel(cluster: &Cluster, id: usize) -> Channel {
    goosefs_core::rpc::grpc::channel(cluster.rpc(id), Duration::from_secs(5)).unwrap()
}

async fn status(files: &mut Files, path: &str) -> Result<FileInfo, tonic::Status> {
    let request = GetStatusPRequest { path: Some(path.to_owned()), ..Default::default() };
    Ok(files.get_status(request).await?.into_inner().file_info.unwrap())
}

async fn list(files: &mut Files, path: &str) -> Result<Vec<FileInfo>, tonic::Status> {
    let request = ListStatusPRequest { path: Some(path.to_owned()), ..Default::default() };
    let mut stream = files.list_status(request).await?.into_inner();
    let mut infos = Vec::new();
    while let Some(page) = stream.message().await? {
        infos.extend(page.file_infos);
    }
    Ok(infos)
}

async fn create(
    files: &mut Files,
    path: &str,
    operation: Option<FsOpPId>,
) -> Result<FileInfo, tonic::Status> {
    let common = FileSystemMasterCommonPOptions { operation_id: operation, ..Default::default() };
    let options = CreateFilePOptions {
        block_size_bytes: Some(4),
        recursive: Some(true),
        write_type: Some(WritePType::MustCache as i32),
        common_options: Some(common),
        ..Default::default()
    };
    let request = CreateFilePRequest { path: Some(path.to_owned()), options: Some(options) };
    Ok(files.create_file(request).await?.into_inner().file_info.unwrap())
}

async fn remove(files: &mut Files, path: &str, recursive: bool) -> Result<(), tonic::Status> {
    let options = DeletePOptions { recursive: Some(recursive), ..Default::default() };
    let request = DeletePRequest { path: Some(path.to_owned()), options: Some(options) };
    files.remove(request).await.map(drop)
}

async fn rename(files: &mut Files, from: &str, to: &str) -> Result<(), tonic::Status> {
    let request =
        RenamePRequest { path: Some(from.to_owned()), dst_path: Some(to.to_owned()), options: None };
    files.rename(request).await.map(drop)
}

async fn mkdir(files: &mut Files, path: &str, options: CreateDirectoryPOptions) -> Result<(), tonic::Status> {
    let request = CreateDirectoryPRequest { path: Some(path.to_owned()), options: Some(options) };
    files.create_directory(request).await.map(drop)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_master_answers_and_standbys_ask_the_leader() {
    let cluster = Cluster::start(3, tree).await;
    for id in cluster.ids() {
        let mut files = cluster.grpc(id);
        let names: Vec<String> =
            list(&mut files, "/a").await.unwrap().into_iter().filter_map(|i| i.name).collect();
        assert_eq!(names, ["b", "one"]);
        let info = status(&mut files, "/a/b/two").await.unwrap();
        assert_eq!((info.length, info.folder, info.completed), (Some(2), Some(false), Some(true)));
        assert_eq!(info.persistence_state.as_deref(), Some("PERSISTED"));
        assert_eq!(info.ufs_path, Some(format!("{}/a/b/two", cluster.ufs().display())));
        create(&mut files, &format!("/made-by-{id}/deep/file"), None).await.unwrap();
    }
    let mut files = cluster.grpc(cluster.standby().await);
    let names: Vec<String> =
        list(&mut files, "/").await.unwrap().into_iter().filter_map(|i| i.name).collect();
    assert_eq!(names, ["a", "made-by-0", "made-by-1", "made-by-2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_are_held_while_there_is_no_leader_and_go_on_with_the_next() {
    let mut cluster = Cluster::start(3, tree).await;
    let leader = cluster.leader().await;
    let others: Vec<usize> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    let mut files = cluster.grpc(others[0]);
    create(&mut files, "/before", None).await.unwrap();
    cluster.stop(leader).await;
    create(&mut files, "/after", None).await.unwrap();
    assert!(status(&mut files, "/before").await.is_ok());
    cluster.stop(others[1]).await;
    let refused = create(&mut files, "/never", None).await.unwrap_err();
    assert!(matches!(refused.code(), Code::Unavailable | Code::DeadlineExceeded), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_the_leader_says_its_version() {
    let cluster = Cluster::start(3, |_| {}).await;
    let leader = cluster.leader().await;
    for id in cluster.ids() {
        let mut versions = ServiceVersionClientServiceClient::new(channel(&cluster, id));
        let asked = versions.get_service_version(GetServiceVersionPRequest::default()).await;
        if id == leader {
            assert!(asked.unwrap().into_inner().version.is_some());
        } else {
            assert_eq!(asked.unwrap_err().code(), Code::NotFound);
        }
        let anywhere =
            GetServiceVersionPRequest { allowed_on_standby_masters: Some(true), ..Default::default() };
        versions.get_service_version(anywhere).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn errors_have_the_codes_and_words_that_clients_tell_apart() {
    let cluster = Cluster::start(1, tree).await;
    let mut files = cluster.grpc(0);
    let missing = status(&mut files, "/none").await.unwrap_err();
    assert_eq!((missing.code(), missing.message()), (Code::NotFound, "Path \"/none\" does not exist."));
    let full = remove(&mut files, "/a", false).await.unwrap_err();
    assert_eq!(full.code(), Code::FailedPrecondition);
    assert!(full.message().contains("is not empty"), "{}", full.message());
    assert!(cluster.ufs().join("a/b/two").exists(), "nothing was removed");
    create(&mut files, "/file", None).await.unwrap();
    let taken = create(&mut files, "/file", None).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
    let onto = rename(&mut files, "/file", "/a").await.unwrap_err();
    assert_eq!(onto.code(), Code::AlreadyExists);
    let through = status(&mut files, "/a/one/x").await.unwrap_err();
    assert_eq!(through.code(), Code::FailedPrecondition);
    let odd = status(&mut files, "a/../b").await.unwrap_err();
    assert_eq!(odd.code(), Code::InvalidArgument);
    let request = CompleteFilePRequest { path: Some("/a".to_owned()), ..Default::default() };
    let directory = files.complete_file(request).await.unwrap_err();
    assert!(directory.message().contains("Is a directory"), "{}", directory.message());
    let options = CompleteFilePOptions { ufs_length: Some(9), ..Default::default() };
    let request =
        CompleteFilePRequest { path: Some("/file".to_owned()), options: Some(options), inode_id: None };
    let unwritten = files.complete_file(request).await.unwrap_err();
    assert_eq!(unwritten.code(), Code::FailedPrecondition);
    assert!(unwritten.message().contains("is incomplete"), "{}", unwritten.message());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_numbered_call_made_again_on_another_master_gets_its_first_answer() {
    let cluster = Cluster::start(3, tree).await;
    let id = FsOpPId { most_significant_bits: Some(-5), least_significant_bits: Some(7) };
    let first = create(&mut cluster.grpc(0), "/x/file", Some(id)).await.unwrap();
    let again = create(&mut cluster.grpc(1), "/x/file", Some(id)).await.unwrap();
    assert_eq!(first.file_id, again.file_id);
    let gone = FsOpPId { most_significant_bits: Some(1), least_significant_bits: Some(1) };
    let common = FileSystemMasterCommonPOptions { operation_id: Some(gone), ..Default::default() };
    let options = DeletePOptions { common_options: Some(common), ..Default::default() };
    let request = DeletePRequest { path: Some("/a/one".to_owned()), options: Some(options) };
    cluster.grpc(2).remove(request.clone()).await.unwrap();
    cluster.grpc(1).remove(request.clone()).await.unwrap();
    assert!(!cluster.ufs().join("a/one").exists());
    let unnumbered = remove(&mut cluster.grpc(1), "/a/one", false).await.unwrap_err();
    assert_eq!(unnumbered.code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_attributes_links_and_trees() {
    let cluster = Cluster::start(1, tree).await;
    let mut files = cluster.grpc(0);
    let deep = CreateDirectoryPOptions {
        recursive: Some(true),
        write_type: Some(WritePType::CacheThrough as i32),
        ..Default::default()
    };
    mkdir(&mut files, "/d/e/f", deep).await.unwrap();
    assert!(cluster.ufs().join("d/e/f").is_dir());
    assert_eq!(mkdir(&mut files, "/d", deep).await.unwrap_err().code(), Code::AlreadyExists);
    mkdir(&mut files, "/d", CreateDirectoryPOptions { allow_exists: Some(true), ..deep }).await.unwrap();
    let flat = CreateDirectoryPOptions::default();
    assert_eq!(mkdir(&mut files, "/no/such", flat).await.unwrap_err().code(), Code::NotFound);

    let options = SetAttributePOptions {
        mode: Some(goosefs_core::proto::public::PMode { owner_bits: 8, group_bits: 5, other_bits: 1 }),
        owner: Some("bob".to_owned()),
        write_p_type: Some(WritePType::CacheThrough as i32),
        ..Default::default()
    };
    let request = SetAttributePRequest { path: Some("/d".to_owned()), options: Some(options) };
    files.set_attribute(request).await.unwrap();
    let info = status(&mut files, "/d").await.unwrap();
    assert_eq!((info.mode, info.owner.as_deref()), (Some(0o740), Some("bob")));
    assert_eq!(&info.xattr["innerWriteType"][..], b"CACHE_THROUGH");

    let link = CreateSymlinkPRequest {
        link: Some("/link".to_owned()),
        options: Some(CreateSymlinkPOptions { target: Some("a/b".to_owned()), ..Default::default() }),
    };
    files.create_symlink(link).await.unwrap();
    assert_eq!(status(&mut files, "/link/two").await.unwrap().path.as_deref(), Some("/a/b/two"));
    let target =
        files.get_link_target(GetLinkTargetPRequest { link: Some("/link".to_owned()) }).await.unwrap();
    assert_eq!(target.into_inner().target.as_deref(), Some("a/b"));
    let by_id = GetFilePathPRequest { file_id: status(&mut files, "/a/b/two").await.unwrap().file_id };
    assert_eq!(files.get_file_path(by_id).await.unwrap().into_inner().path.as_deref(), Some("/a/b/two"));

    rename(&mut files, "/a", "/d/moved").await.unwrap();
    assert!(cluster.ufs().join("d/moved/b/two").exists());
    remove(&mut files, "/d", true).await.unwrap();
    assert!(!cluster.ufs().join("d").exists());
    assert_eq!(status(&mut files, "/d/moved").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_directory_comes_in_batches_and_a_batch_of_paths_answers_each() {
    let names = |root: &std::path::Path| {
        for number in 0..95 {
            fs::write(root.join(format!("f{number:03}")), b"x").unwrap();
        }
    };
    let small = |config: &mut crate::Config| {
        config.list_batch = 10;
        config.load_batch = 7;
    };
    let cluster = Cluster::start_with(1, names, small, || Box::new(goosefs_ufs::connect_fenced)).await;
    let mut files = cluster.grpc(0);
    let request = ListStatusPRequest { path: Some("/".to_owned()), ..Default::default() };
    let mut stream = files.list_status(request).await.unwrap().into_inner();
    let mut sizes = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        sizes.push(page.file_infos.len());
    }
    assert_eq!(sizes, [10, 10, 10, 10, 10, 10, 10, 10, 10, 5]);
    let paths = ["/f000", "/none", "/f001"].map(str::to_owned).to_vec();
    let request = GetStatusBatchPRequest { paths, ..Default::default() };
    let answer = files.get_status_batch(request).await.unwrap().into_inner();
    assert_eq!(answer.file_infos.len(), 2);
    assert_eq!(answer.failed_paths, ["/none"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn storages_are_mounted_listed_changed_and_unmounted() {
    let cluster = Cluster::start(1, tree).await;
    let mut files = cluster.grpc(0);
    let other = tempfile::TempDir::new().unwrap();
    fs::write(other.path().join("here"), b"abc").unwrap();
    let uri = other.path().display().to_string();
    let options = MountPOptions {
        read_only: Some(true),
        properties: [("secret.word".to_owned(), "x".to_owned())].into(),
        ..Default::default()
    };
    let none = MountPRequest {
        goosefs_path: Some("/m".to_owned()),
        ufs_path: Some(format!("{uri}/none")),
        options: None,
    };
    assert!(files.mount(none).await.is_err());
    assert_eq!(status(&mut files, "/m").await.unwrap_err().code(), Code::NotFound, "nothing half-done");
    let mut request = MountPRequest {
        goosefs_path: Some("/m".to_owned()),
        ufs_path: Some(uri.clone()),
        options: Some(MountPOptions { properties: Default::default(), ..options.clone() }),
    };
    files.mount(request.clone()).await.unwrap();
    assert_eq!(files.mount(request.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    assert_eq!(status(&mut files, "/m/here").await.unwrap().length, Some(3));
    let refused = create(&mut files, "/m/new", None).await.unwrap_err();
    assert_eq!(refused.code(), Code::PermissionDenied, "read-only");

    let table = files.get_mount_table(GetMountTablePRequest {}).await.unwrap().into_inner().mount_points;
    assert_eq!(table.len(), 2);
    assert_eq!(table["/m"].ufs_uri.as_ref(), Some(&uri));
    assert_eq!((table["/m"].ufs_type.as_deref(), table["/m"].read_only), (Some("local"), Some(true)));
    assert!(table["/"].ufs_capacity_bytes.unwrap() > 0);
    let point = files.get_mount_point(GetMountPointPRequest { path: "/m/here".to_owned() }).await.unwrap();
    assert_eq!(point.into_inner().mount_point_info.ufs_uri, Some(uri.clone()));
    let reverse = ReverseResolvePRequest { ufs_uri: Some(format!("{uri}/here")) };
    let resolved = files.reverse_resolve(reverse).await.unwrap().into_inner().goosefs_path;
    assert_eq!(resolved.as_deref(), Some("/m/here"));

    request.options = Some(MountPOptions { read_only: Some(false), ..Default::default() });
    let update = UpdateMountPRequest { goosefs_path: Some("/m".to_owned()), options: request.options };
    files.update_mount(update).await.unwrap();
    create(&mut files, "/m/new", None).await.unwrap();
    remove(&mut files, "/m/new", false).await.unwrap();
    let unmount = UnmountPRequest { goosefs_path: Some("/m".to_owned()), options: None };
    files.unmount(unmount.clone()).await.unwrap();
    assert_eq!(status(&mut files, "/m/here").await.unwrap_err().code(), Code::NotFound);
    assert_eq!(files.unmount(unmount).await.unwrap_err().code(), Code::NotFound);
    assert!(other.path().join("here").exists());
}

#[tokio::test]
async fn a_credential_in_a_mount_is_refused_before_it_is_in_the_log() {
    let cluster = Cluster::start(1, tree).await;
    let mut files = cluster.grpc(0);
    let request = MountPRequest {
        goosefs_path: Some("/b".to_owned()),
        ufs_path: Some("s3://bucket/prefix".to_owned()),
        options: Some(MountPOptions {
            properties: [("aws.secretKey".to_owned(), "geheim".to_owned())].into(),
            ..Default::default()
        }),
    };
    let refused = files.mount(request.clone()).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let text = refused.message();
    assert!(text.contains("aws.secretKey") && !text.contains("geheim"), "{text}");
    let update = UpdateMountPRequest { goosefs_path: Some("/".to_owned()), options: request.options };
    assert_eq!(files.update_mount(update).await.unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(status(&mut files, "/b").await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn unpersisted_blocks_are_shown_with_their_workers_and_free_reaches_them_all() {
    let cluster = Cluster::start(3, tree).await;
    let client = cluster.client();
    let (one, two) = (TestWorker::start(&cluster, 11).await, TestWorker::start(&cluster, 22).await);
    one.beat(&client).await;
    two.beat(&client).await;
    let mut files = cluster.grpc(cluster.standby().await);
    let file = create(&mut files, "/file", None).await.unwrap();
    let block = (file.file_id.unwrap().cast_unsigned() >> 24) << 24;
    one.commit(&client, block, 4).await;
    let location = goosefs_core::proto::public::shared::shared::FileLocation {
        block_id: Some((block | 1).cast_signed()),
        length: Some(1),
        worker_id: vec![22],
        ..Default::default()
    };
    let options = CompleteFilePOptions {
        ufs_length: Some(5),
        crc_type: Some(2),
        crc_value: Some(77),
        locations: vec![location],
        ..Default::default()
    };
    let request = CompleteFilePRequest {
        path: Some("/file".to_owned()),
        options: Some(options),
        inode_id: file.file_id,
    };
    files.complete_file(request).await.unwrap();
    let info = status(&mut files, "/file").await.unwrap();
    let workers: Vec<i64> = info
        .file_block_infos
        .iter()
        .map(|block| block.block_info.as_ref().unwrap().locations[0].worker_id.unwrap())
        .collect();
    assert_eq!(workers, [11, 22]);
    assert_eq!(info.block_ids, [block.cast_signed(), (block | 1).cast_signed()]);
    assert_eq!(info.persistence_state.as_deref(), Some("NOT_PERSISTED"));
    assert_eq!(&info.xattr["CrcValue"][..], b"77");

    let free = |path: &str| FreePRequest {
        path: Some(path.to_owned()),
        options: Some(FreePOptions { recursive: Some(true), ..Default::default() }),
    };
    assert_eq!(files.free(free("/file")).await.unwrap_err().code(), Code::InvalidArgument, "the only copy");
    let listed = list(&mut files, "/a").await.unwrap();
    let one_info = listed.iter().find(|info| info.name.as_deref() == Some("one")).unwrap();
    assert_eq!(one_info.in_goose_fs_percentage, Some(100), "both workers say that they have it");
    files.free(free("/")).await.unwrap();
    let freed = one_info.file_id.unwrap().cast_unsigned();
    assert_eq!(*one.dropped.lock(), [freed]);
    assert_eq!(*two.dropped.lock(), [freed]);

    let mut workers = WorkerManagerMasterClientServiceClient::new(channel(&cluster, 0));
    let infos = workers.get_worker_info_list(GetWorkerInfoListPOptions {}).await.unwrap().into_inner();
    let ids: Vec<i64> = infos.worker_infos.iter().filter_map(|info| info.id).collect();
    assert_eq!(ids, [11, 22]);
    assert_eq!(infos.worker_infos[0].virtual_node_num, Some(5000));
    assert_eq!(infos.worker_infos[0].persist_used_bytes, Some(10));
    let sums = workers
        .get_worker_manager_master_info(GetWorkerManagerMasterInfoPOptions::default())
        .await
        .unwrap()
        .into_inner()
        .worker_manager_master_info
        .unwrap();
    assert_eq!(
        (sums.live_worker_num, sums.capacity_bytes, sums.used_bytes),
        (Some(2), Some(2000), Some(200))
    );
    let refused = workers.start_migration(StartMigrationPRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("StartMigration"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_the_client_wrote_to_the_storage_itself_is_found_there() {
    let cluster = Cluster::start(1, tree).await;
    let mut files = cluster.grpc(0);
    let options =
        CreateFilePOptions { write_type: Some(WritePType::CacheThrough as i32), ..Default::default() };
    let request = CreateFilePRequest { path: Some("/by-itself".to_owned()), options: Some(options) };
    let info = files.create_file(request).await.unwrap().into_inner().file_info.unwrap();
    fs::write(info.ufs_path.unwrap(), b"12345").unwrap();
    let options = CompleteFilePOptions { ufs_length: Some(5), ..Default::default() };
    let request =
        CompleteFilePRequest { path: Some("/by-itself".to_owned()), options: Some(options), inode_id: None };
    files.complete_file(request).await.unwrap();
    let info = status(&mut files, "/by-itself").await.unwrap();
    assert_eq!((info.persisted, info.completed, info.length), (Some(true), Some(true), Some(5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_served_names_itself() {
    let cluster = Cluster::start(1, |_| {}).await;
    let mut files = cluster.grpc(0);
    let refused = files.start_sync(StartSyncPRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unimplemented);
    assert!(refused.message().contains("StartSync"));
    let refused = files.set_acl(SetAclPRequest::default()).await.unwrap_err();
    assert!(refused.message().contains("SetAcl"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_login_a_secured_cluster_answers_nobody() {
    let simple = |config: &mut crate::Config| config.auth = AuthType::Simple;
    let cluster = Cluster::start_with(1, tree, simple, || Box::new(goosefs_ufs::connect_fenced)).await;
    let refused = status(&mut cluster.grpc(0), "/a").await.unwrap_err();
    assert_eq!(refused.code(), Code::Unauthenticated);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_only_the_cache_has_is_neither_freed_nor_unmounted_without_a_word() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 11).await;
    worker.beat(&client).await;
    let mut files = cluster.grpc(0);
    let other = tempfile::TempDir::new().unwrap();
    fs::write(other.path().join("safe"), b"abc").unwrap();
    let path = || Some("/m".to_owned());
    let mount = MountPRequest {
        goosefs_path: path(),
        ufs_path: Some(other.path().display().to_string()),
        options: None,
    };
    files.mount(mount).await.unwrap();
    assert_eq!(list(&mut files, "/m").await.unwrap().len(), 1);
    let file = create(&mut files, "/m/d/new", None).await.unwrap();
    worker.commit(&client, (file.file_id.unwrap().cast_unsigned() >> 24) << 24, 4).await;
    let complete = CompleteFilePRequest { path: Some("/m/d/new".to_owned()), ..Default::default() };
    files.complete_file(complete).await.unwrap();

    let options = FreePOptions { recursive: Some(true), ..Default::default() };
    let left = files.free(FreePRequest { path: path(), options: Some(options) }).await.unwrap().into_inner();
    assert_eq!((left.unpersisted, left.first_unpersisted.as_deref()), (Some(1), Some("/m/d/new")));
    assert_eq!(left.pinned, None);
    assert_eq!(worker.dropped.lock().len(), 1, "the other one was freed");

    let unmount = |force| UnmountPRequest {
        goosefs_path: path(),
        options: Some(UnmountPOptions { force, ..Default::default() }),
    };
    let refused = files.unmount(unmount(None)).await.unwrap_err();
    assert_eq!(refused.code(), Code::FailedPrecondition);
    assert!(refused.message().contains("/m/d/new"), "{refused:?}");
    assert!(status(&mut files, "/m/d/new").await.is_ok());
    files.unmount(unmount(Some(true))).await.unwrap();
    assert_eq!(status(&mut files, "/m").await.unwrap_err().code(), Code::NotFound);
}
