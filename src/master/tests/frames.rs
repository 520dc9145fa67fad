//! The framed service of one master.

use super::cluster::{Cluster, caller};
use goosefs_core::proto::internal::{
    Attr, AttrResponse, Caller, ChangesRequest, ChangesResponse, ClusterRequest, ClusterResponse,
    CompleteRequest, CreateRequest, Empty, GetAttrRequest, LookupRequest, MakeDirRequest, MountsRequest,
    MountsResponse, NodeKind, ReadDirRequest, ReadDirResponse, RemoveRequest, RenameRequest, ResolveRequest,
    SessionOp, SetAttrRequest, SymlinkRequest, TruncateRequest, WriteType,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Result};
use std::fs;

fn tree(root: &std::path::Path) {
    fs::create_dir_all(root.join("a/b")).unwrap();
    fs::write(root.join("a/one"), b"1").unwrap();
    fs::write(root.join("a/two"), b"22").unwrap();
    fs::write(root.join("top"), b"top").unwrap();
}

async fn lookup(client: &Masters, parent: u64, name: &str) -> Result<AttrResponse> {
    let request =
        LookupRequest { parent, name: name.to_owned(), caller: Some(caller()), sync_interval_ms: None };
    client.call(method::LOOKUP, &request).await
}

async fn names(client: &Masters, directory: u64) -> Vec<String> {
    let request = ReadDirRequest { directory, after: String::new(), limit: 0, sync_interval_ms: None };
    let listed: ReadDirResponse = client.call(method::READ_DIR, &request).await.unwrap();
    listed.entries.into_iter().map(|entry| entry.name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_tree_in_the_under_storage_is_found_by_name() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let a = lookup(&client, 0, "a").await.unwrap().attr.unwrap();
    assert_eq!(a.kind(), NodeKind::Directory);
    let two = lookup(&client, a.inode, "two").await.unwrap().attr.unwrap();
    assert_eq!((two.kind(), two.length), (NodeKind::File, 2));
    assert_eq!(names(&client, 0).await, ["a", "top"]);
    assert_eq!(names(&client, a.inode).await, ["b", "one", "two"]);
    assert_eq!(lookup(&client, a.inode, "three").await.unwrap_err().code, Code::NotFound);
    assert_eq!(cluster.stat("/a/b").await.unwrap().kind(), NodeKind::Directory);
    let by_content: AttrResponse =
        client.call(method::GET_ATTR, &GetAttrRequest { node: two.content }).await.unwrap();
    assert_eq!(by_content.attr.unwrap().inode, two.inode);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn directories_are_made_moved_and_removed_in_the_under_storage_too() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let request = MakeDirRequest {
        op: cluster.op(&client).await,
        caller: Some(caller()),
        parent: 0,
        name: "new".to_owned(),
        mode: 0o750,
    };
    let made: AttrResponse = client.call(method::MAKE_DIR, &request).await.unwrap();
    let made = made.attr.unwrap();
    assert_eq!((made.mode & 0o777, made.owner.as_str()), (0o750, "ann"));
    assert!(cluster.ufs().join("new").is_dir());

    let request = RenameRequest {
        op: cluster.op(&client).await,
        caller: Some(caller()),
        parent: 0,
        name: "new".to_owned(),
        new_parent: lookup(&client, 0, "a").await.unwrap().attr.unwrap().inode,
        new_name: "moved".to_owned(),
        no_replace: false,
    };
    let moved: AttrResponse = client.call(method::RENAME, &request).await.unwrap();
    assert_eq!(moved.attr.unwrap().inode, made.inode);
    assert!(cluster.ufs().join("a/moved").is_dir() && !cluster.ufs().join("new").exists());

    let a = cluster.stat("/a").await.unwrap().inode;
    let remove = async |parent, name: &str, expect: NodeKind| -> Result<Empty> {
        let request = RemoveRequest {
            op: cluster.op(&client).await,
            caller: Some(caller()),
            parent,
            name: name.to_owned(),
            expect: expect as i32,
        };
        client.call(method::REMOVE, &request).await
    };
    assert_eq!(remove(0, "a", NodeKind::Directory).await.unwrap_err().code, Code::NotEmpty);
    assert_eq!(remove(a, "one", NodeKind::Directory).await.unwrap_err().code, Code::NotDirectory);
    remove(a, "moved", NodeKind::Directory).await.unwrap();
    remove(a, "one", NodeKind::File).await.unwrap();
    assert!(!cluster.ufs().join("a/moved").exists() && !cluster.ufs().join("a/one").exists());
    assert_eq!(names(&client, a).await, ["b", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_directory_that_left_the_under_storage_before_it_was_listed_is_not_found() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let b = cluster.stat("/a/b").await.unwrap();
    fs::remove_dir(cluster.ufs().join("a/b")).unwrap();
    let request =
        ReadDirRequest { directory: b.inode, after: String::new(), limit: 0, sync_interval_ms: None };
    let listed: Result<ReadDirResponse> = client.call(method::READ_DIR, &request).await;
    assert_eq!(listed.unwrap_err().code, Code::NotFound);
    assert_eq!(names(&client, cluster.stat("/a").await.unwrap().inode).await, ["one", "two"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operation_made_again_gets_its_first_answer() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let request = CreateRequest {
        op: cluster.op(&client).await,
        caller: Some(caller()),
        parent: 0,
        name: "file".to_owned(),
        mode: 0o600,
        block_size: 1 << 20,
        write_type: WriteType::MustCache as i32,
    };
    let first: AttrResponse = client.call(method::CREATE, &request).await.unwrap();
    let again: AttrResponse = client.call(method::CREATE, &request).await.unwrap();
    assert_eq!(first, again);
    let other = CreateRequest { op: cluster.op(&client).await, ..request.clone() };
    let refused: Result<AttrResponse> = client.call(method::CREATE, &other).await;
    assert_eq!(refused.unwrap_err().code, Code::AlreadyExists);
    let taken = CreateRequest { op: cluster.op(&client).await, name: "top".to_owned(), ..request.clone() };
    let refused: Result<AttrResponse> = client.call(method::CREATE, &taken).await;
    assert_eq!(refused.unwrap_err().code, Code::AlreadyExists, "the under-storage has that name");
    let stranger = CreateRequest {
        op: Some(SessionOp { session: 12345, sequence: 1, acknowledged: 0 }),
        name: "other".to_owned(),
        ..request
    };
    let refused: Result<AttrResponse> = client.call(method::CREATE, &stranger).await;
    assert_eq!(refused.unwrap_err().code, Code::Unauthenticated, "clients open a session on this answer");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poll_for_changes_ends_with_the_change() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let request = ChangesRequest { after: 0, wait_ms: 0 };
    let now: ChangesResponse = client.call(method::CHANGES, &request).await.unwrap();
    let request = ChangesRequest { after: now.last, wait_ms: 30_000 };
    let poll = client.call::<_, ChangesResponse>(method::CHANGES, &request);
    let change = async {
        let request = SymlinkRequest {
            op: cluster.op(&client).await,
            caller: Some(caller()),
            parent: 0,
            name: "link".to_owned(),
            target: "a/two".to_owned(),
        };
        client.call::<_, AttrResponse>(method::SYMLINK, &request).await
    };
    let (polled, changed) = tokio::join!(poll, change);
    changed.unwrap();
    let polled = polled.unwrap();
    assert!(!polled.overrun && polled.last > now.last);
    assert_eq!(polled.changes[0].name, "link");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_cluster_describes_itself() {
    let cluster = Cluster::start(1, tree).await;
    let client = cluster.client();
    let said: ClusterResponse = client.call(method::CLUSTER, &ClusterRequest {}).await.unwrap();
    assert_eq!(said.masters.len(), 1);
    assert!(said.masters[0].leader && said.masters[0].self_ && said.serving);
    assert_eq!(said.masters[0].rpc, cluster.rpc(0));
    let mounts: MountsResponse = client.call(method::MOUNTS, &MountsRequest {}).await.unwrap();
    assert_eq!(mounts.mounts.len(), 1);
    assert_eq!(mounts.mounts[0].ufs, cluster.ufs().display().to_string());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_kept_from_what_is_not_theirs_and_mounts_are_believed() {
    use goosefs_core::rpc::masters::MastersConfig;
    use std::os::unix::fs::PermissionsExt;
    let fill = |root: &std::path::Path| {
        for (name, mode) in [("private", 0o700), ("sticky", 0o1777)] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("theirs"), b"x").unwrap();
            fs::set_permissions(root.join(name), fs::Permissions::from_mode(mode)).unwrap();
        }
        fs::write(root.join("secret"), b"x").unwrap();
        fs::set_permissions(root.join("secret"), fs::Permissions::from_mode(0o600)).unwrap();
    };
    let simple = |config: &mut crate::Config| {
        config.auth = goosefs_core::rpc::sasl::AuthType::Simple;
        config.superuser = "boss".to_owned();
    };
    let cluster = Cluster::start_with(1, fill, simple, || Box::new(goosefs_ufs::connect_fenced)).await;
    let connected = |role: &str, user: &str| {
        let config = MastersConfig {
            addresses: cluster.rpc_addresses(),
            role: role.to_owned(),
            caller: Caller { user: user.to_owned(), group: "staff".to_owned() },
            cluster: None,
            deadline: super::cluster::PATIENCE,
            control: None,
        };
        Masters::new(config, &cluster.tasks)
    };
    let (ann, boss, mount) =
        (connected("client", "ann"), connected("client", "boss"), connected("fuse", "x"));
    let open = async |client: &Masters, path: &str, access: u32| {
        let request = ResolveRequest { path: path.to_owned(), access, ..Default::default() };
        client.call::<_, AttrResponse>(method::RESOLVE, &request).await.map(|answer| answer.attr.unwrap())
    };
    let denied = |outcome: Result<Attr>| {
        let error = outcome.unwrap_err();
        assert_eq!(error.code, Code::PermissionDenied, "{error}");
        error.message
    };
    let secret = open(&ann, "/secret", 0).await.unwrap();
    assert!(denied(open(&ann, "/secret", 4).await).contains("user ann may not read /secret"));
    open(&boss, "/secret", 4).await.unwrap();
    open(&mount, "/secret", 4).await.unwrap();
    assert!(denied(open(&ann, "/private/theirs", 0).await).contains("search /private"));
    let (private, sticky) = (cluster_inode(&ann, "/private").await, cluster_inode(&ann, "/sticky").await);
    let request = ReadDirRequest { directory: private, ..Default::default() };
    let listed: Result<ReadDirResponse> = ann.call(method::READ_DIR, &request).await;
    assert_eq!(listed.unwrap_err().code, Code::PermissionDenied);

    let create = async |client: &Masters, parent: u64, name: &str, user: &str| {
        let request = CreateRequest {
            caller: Some(Caller { user: user.to_owned(), group: "staff".to_owned() }),
            parent,
            name: name.to_owned(),
            mode: 0o444,
            ..CreateRequest::default()
        };
        client.call::<_, AttrResponse>(method::CREATE, &request).await.map(|answer| answer.attr.unwrap())
    };
    denied(create(&ann, 0, "new", "ann").await);
    denied(create(&ann, sticky, "as-bob", "bob").await);
    let mine = create(&ann, sticky, "mine", "ann").await.unwrap();
    let his = create(&mount, sticky, "his", "bob").await.unwrap();
    assert_eq!((mine.owner.as_str(), his.owner.as_str()), ("ann", "bob"));

    let remove = async |name: &str| {
        let caller = Some(caller());
        let request = RemoveRequest { caller, parent: sticky, name: name.to_owned(), ..Default::default() };
        ann.call::<_, Empty>(method::REMOVE, &request).await.map(|_| Attr::default())
    };
    assert!(denied(remove("theirs").await).contains("/sticky/theirs"));
    denied(remove("his").await);
    let set = async |node: u64, mode: Option<u32>, owner: Option<&str>| {
        let owner = owner.map(str::to_owned);
        let request = SetAttrRequest { caller: Some(caller()), node, mode, owner, ..Default::default() };
        ann.call::<_, AttrResponse>(method::SET_ATTR, &request).await.map(|answer| answer.attr.unwrap())
    };
    denied(set(secret.content, Some(0o644), None).await);
    denied(set(mine.content, None, Some("bob")).await);
    assert_eq!(set(mine.content, Some(0o640), None).await.unwrap().mode, 0o640);
    let truncate = TruncateRequest { caller: Some(caller()), content: secret.content, op: None };
    denied(ann.call::<_, AttrResponse>(method::TRUNCATE, &truncate).await.map(|_| Attr::default()));
    let complete = CompleteRequest { caller: Some(caller()), content: mine.content, length: 0, op: None };
    ann.call::<_, AttrResponse>(method::COMPLETE, &complete).await.unwrap();
    remove("mine").await.unwrap();
}

async fn cluster_inode(client: &Masters, path: &str) -> u64 {
    let request = ResolveRequest { path: path.to_owned(), ..Default::default() };
    let answer: AttrResponse = client.call(method::RESOLVE, &request).await.unwrap();
    answer.attr.unwrap().inode
}
