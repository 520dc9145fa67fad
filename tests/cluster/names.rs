//! The namespace, by path and inode.

use super::{path, read, write};
use goosefs_core::Code;
use goosefs_core::id::InodeId;
use goosefs_core::proto::internal::{NodeKind, WriteType};
use goosefs_harness::{InProcess, Options};

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_tree_of_the_storage_is_seen_listed_and_read() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let ufs = cluster.ufs();
    std::fs::create_dir_all(ufs.join("a/b c")).unwrap();
    std::fs::create_dir(ufs.join("empty")).unwrap();
    std::fs::write(ufs.join("a/one"), b"one").unwrap();
    std::fs::write(ufs.join("a/b c/文件 & 100%#+'.txt"), b"odd").unwrap();
    std::fs::write(ufs.join("nothing"), b"").unwrap();
    let client = cluster.client(|_| {});
    let names = |entries: Vec<goosefs_core::proto::internal::DirEntry>| {
        entries.into_iter().map(|entry| entry.name).collect::<Vec<_>>()
    };
    assert_eq!(names(client.paths().list(&path("/")).await.unwrap()), ["a", "empty", "nothing"]);
    assert_eq!(names(client.paths().list(&path("/empty")).await.unwrap()), Vec::<String>::new());
    assert_eq!(names(client.paths().list(&path("/a")).await.unwrap()), ["b c", "one"]);
    assert_eq!(read(&client, "/a/b c/文件 & 100%#+'.txt").await.unwrap(), b"odd");
    assert_eq!(read(&client, "/nothing").await.unwrap(), b"");
    assert_eq!(client.paths().stat(&path("/a/none")).await.unwrap_err().code, Code::NotFound);
    assert_eq!(client.paths().stat(&path("/a/one/x")).await.unwrap_err().code, Code::NotDirectory);
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_is_made_moved_and_removed_is_so_in_the_storage_too() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let ufs = cluster.ufs();
    let client = cluster.client(|_| {});
    let paths = client.paths();
    paths.make_dir(&path("/x/y/z"), 0o755, true).await.unwrap();
    assert!(paths.make_dir(&path("/x/y/z"), 0o755, true).await.is_ok(), "with parents it may exist");
    assert_eq!(paths.make_dir(&path("/x/y"), 0o755, false).await.unwrap_err().code, Code::AlreadyExists);
    write(&client, "/x/y/f", b"data", WriteType::CacheThrough).await.unwrap();
    assert_eq!(std::fs::read(ufs.join("x/y/f")).unwrap(), b"data");
    assert_eq!(paths.remove(&path("/x/y")).await.unwrap_err().code, Code::NotEmpty);
    paths.rename(&path("/x/y/f"), &path("/x/g")).await.unwrap();
    assert_eq!(std::fs::read(ufs.join("x/g")).unwrap(), b"data");
    assert!(!ufs.join("x/y/f").exists());
    write(&client, "/x/h", b"other", WriteType::CacheThrough).await.unwrap();
    assert_eq!(paths.rename(&path("/x/g"), &path("/x/h")).await.unwrap_err().code, Code::AlreadyExists);
    paths.remove(&path("/x/g")).await.unwrap();
    assert!(!ufs.join("x/g").exists());
    assert_eq!(read(&client, "/x/h").await.unwrap(), b"other");
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_rename_by_inode_replaces_and_symlinks_keep_their_target() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    let client = cluster.client(|_| {});
    let caller = goosefs_harness::root();
    write(&client, "/old", b"old", WriteType::MustCache).await.unwrap();
    write(&client, "/new", b"new", WriteType::MustCache).await.unwrap();
    let root = InodeId(client.paths().stat(&path("/")).await.unwrap().inode);
    client.inodes().rename((root, "new"), (root, "old"), false, &caller).await.unwrap();
    assert_eq!(read(&client, "/old").await.unwrap(), b"new");
    assert_eq!(client.paths().stat(&path("/new")).await.unwrap_err().code, Code::NotFound);
    client.paths().symlink(&path("/link"), "old").await.unwrap();
    let link = client.inodes().lookup(root, "link", &caller).await.unwrap();
    assert_eq!((link.kind(), link.target.as_str()), (NodeKind::Symlink, "old"));
    client.shutdown(goosefs_harness::LONG).await;
    cluster.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_public_protocol_answers_at_every_master() {
    let cluster = InProcess::start(Options::default()).await.unwrap();
    std::fs::write(cluster.ufs().join("f"), b"four").unwrap();
    let other = cluster.dir().join("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("g"), b"g").unwrap();
    for (number, address) in cluster.rpc_addresses().into_iter().enumerate() {
        let client = cluster.client(|config| config.masters = vec![address]);
        let status = client.admin().status(&path("/f"), None).await.unwrap();
        assert_eq!((status.length, status.folder), (Some(4), Some(false)));
        let at = path(&format!("/mounted-{number}"));
        let uri = other.to_string_lossy().into_owned();
        client.admin().mount(&at, &uri, goosefs_client::admin::MountSettings::default()).await.unwrap();
        let listed = client.admin().list(&at, None).await.unwrap();
        assert_eq!(listed.iter().map(|info| info.name.clone().unwrap()).collect::<Vec<_>>(), ["g"]);
        let mounts = client.admin().mounts().await.unwrap();
        assert_eq!(mounts[at.as_str()].ufs_uri.as_deref().map(|uri| uri.contains("other")), Some(true));
        client.admin().unmount(&at, false).await.unwrap();
        assert_eq!(client.admin().workers().await.unwrap().len(), 2);
        assert_eq!(client.admin().summary().await.unwrap().live_worker_num, Some(2));
        client.shutdown(goosefs_harness::LONG).await;
    }
    cluster.shutdown().await;
}
