//! Metadata of the under-storage: loaded once, together, never by halves.

use super::cluster::{Cluster, caller};
use crate::mounts::Connect;
use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use goosefs_core::proto::internal::{
    AttrResponse, CreateRequest, Empty, Fingerprint, LookupRequest, MakeDirRequest, NodeKind, ReadDirRequest,
    ReadDirResponse, RemoveRequest, RenameRequest, SetAttrRequest, SymlinkRequest, TruncateRequest,
    VersionRequest, VersionResponse,
};
use goosefs_core::proto::method;
use goosefs_core::proto::public::file::{
    GetMountTablePRequest, MountPOptions, MountPRequest, UpdateMountPRequest,
};
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::{Attributes, Capabilities, Entry, Space, Ufs, Writer};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// A storage whose listings are counted, can be held back, and can break off.
#[derive(Debug, Default)]
struct Watched {
    listings: AtomicUsize,
    looks: AtomicUsize,
    /// Listings end with an error after their last entry.
    breaks: AtomicBool,
    /// Looks and listings fail at once.
    down: AtomicBool,
    slow: AtomicBool,
    /// What it says of itself; its calls refuse writes all the same.
    claims_writable: AtomicBool,
    files: Mutex<BTreeMap<String, u64>>,
}

impl Watched {
    fn with(files: &[(&str, u64)]) -> Arc<Watched> {
        let watched = Watched::default();
        *watched.files.lock() = files.iter().map(|(name, length)| ((*name).to_owned(), *length)).collect();
        Arc::new(watched)
    }

    fn connect(self: &Arc<Self>) -> Box<Connect> {
        let this = Around(self.clone());
        Box::new(move |_, _, _| Ok(Arc::new(this.clone())))
    }

    fn check(&self) -> Result<()> {
        if self.down.load(Ordering::SeqCst) {
            return Err(Error::new(Code::Unavailable, "the storage is down"));
        }
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Around(Arc<Watched>);

fn entry(name: &str, length: u64) -> Entry {
    Entry {
        name: name.to_owned(),
        kind: NodeKind::File,
        fingerprint: Fingerprint { length, mtime_ms: Some(1000 + length), etag: String::new() },
        mode: None,
        owner: String::new(),
        group: String::new(),
    }
}

fn no_writes<T>() -> Result<T> {
    Err(Error::new(Code::ReadOnly, "this storage takes no writes"))
}

#[async_trait]
impl Ufs for Around {
    fn capabilities(&self) -> Capabilities {
        let writable = self.0.claims_writable.load(Ordering::SeqCst);
        Capabilities { writable, atomic_rename: false, directories: true, attributes: false }
    }

    async fn stat(&self, path: &str) -> Result<Entry> {
        self.0.looks.fetch_add(1, Ordering::SeqCst);
        self.0.check()?;
        if path.is_empty() {
            return Ok(Entry { kind: NodeKind::Directory, ..entry("", 0) });
        }
        match self.0.files.lock().get(path) {
            Some(length) => Ok(entry(path, *length)),
            None => Err(Error::new(Code::NotFound, path)),
        }
    }

    async fn list(&self, _: &str) -> Result<BoxStream<'static, Result<Entry>>> {
        self.0.listings.fetch_add(1, Ordering::SeqCst);
        self.0.check()?;
        if self.0.slow.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let mut entries: Vec<Result<Entry>> =
            self.0.files.lock().iter().map(|(name, length)| Ok(entry(name, *length))).collect();
        if self.0.breaks.load(Ordering::SeqCst) {
            entries.push(Err(Error::new(Code::Ufs, "the listing broke off")));
        }
        Ok(futures::stream::iter(entries).boxed())
    }

    async fn read(
        &self,
        _: &str,
        _: Range<u64>,
        _: &Fingerprint,
    ) -> Result<BoxStream<'static, Result<Bytes>>> {
        Err(Error::new(Code::Unimplemented, "masters read no bytes"))
    }

    async fn create(&self, _: &str, _: &Attributes) -> Result<Box<dyn Writer>> {
        no_writes()
    }

    async fn make_directory(&self, _: &str, _: &Attributes) -> Result<()> {
        no_writes()
    }

    async fn remove(&self, _: &str, _: NodeKind) -> Result<()> {
        no_writes()
    }

    async fn remove_all(&self, _: &str) -> Result<()> {
        no_writes()
    }

    async fn rename(&self, _: &str, _: &str, _: bool) -> Result<()> {
        no_writes()
    }

    async fn set_attributes(&self, _: &str, _: &Attributes) -> Result<()> {
        no_writes()
    }

    async fn space(&self) -> Result<Space> {
        Ok(Space::default())
    }
}

async fn over(watched: &Arc<Watched>, interval: Option<Duration>) -> Cluster {
    let watched = watched.clone();
    Cluster::start_with(
        1,
        |_| {},
        |config| {
            config.sync_interval = interval;
            config.load_batch = 3;
        },
        move || watched.connect(),
    )
    .await
}

async fn lookup(cluster: &Cluster, name: &str) -> Result<goosefs_core::proto::internal::Attr> {
    let request = LookupRequest { parent: 0, name: name.to_owned(), caller: None, sync_interval_ms: None };
    let answer: AttrResponse = cluster.client().call(method::LOOKUP, &request).await?;
    Ok(answer.attr.unwrap())
}

async fn names(cluster: &Cluster) -> Result<Vec<String>> {
    let request = ReadDirRequest { directory: 0, after: String::new(), limit: 0, sync_interval_ms: None };
    let listed: ReadDirResponse = cluster.client().call(method::READ_DIR, &request).await?;
    Ok(listed.entries.into_iter().map(|entry| entry.name).collect())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn callers_at_the_same_time_share_one_listing_and_later_ones_need_none() {
    let watched = Watched::with(&[("a", 1), ("b", 2), ("c", 3), ("d", 4), ("e", 5)]);
    let cluster = over(&watched, None).await;
    watched.slow.store(true, Ordering::SeqCst);
    let looks = (0..20).map(|at| lookup(&cluster, ["a", "b", "c", "d", "e"][at % 5]));
    for found in futures::future::join_all(looks).await {
        found.unwrap();
    }
    assert_eq!(watched.listings.load(Ordering::SeqCst), 1);
    assert_eq!(names(&cluster).await.unwrap(), ["a", "b", "c", "d", "e"]);
    assert_eq!(lookup(&cluster, "nope").await.unwrap_err().code, Code::NotFound);
    assert_eq!(watched.listings.load(Ordering::SeqCst), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_listing_that_breaks_off_is_an_error_and_hides_nothing_later() {
    let watched = Watched::with(&[("a", 1), ("b", 2), ("c", 3), ("d", 4)]);
    let cluster = over(&watched, None).await;
    watched.breaks.store(true, Ordering::SeqCst);
    assert_eq!(names(&cluster).await.unwrap_err().code, Code::Ufs);
    assert_eq!(lookup(&cluster, "zz").await.unwrap_err().code, Code::Ufs, "not known to be missing");
    watched.breaks.store(false, Ordering::SeqCst);
    assert_eq!(names(&cluster).await.unwrap(), ["a", "b", "c", "d"]);
    assert_eq!(lookup(&cluster, "zz").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_interval_zero_every_look_sees_what_the_storage_has() {
    let watched = Watched::with(&[("a", 1), ("b", 2)]);
    let cluster = over(&watched, Some(Duration::ZERO)).await;
    let first = lookup(&cluster, "a").await.unwrap();
    watched.files.lock().insert("a".to_owned(), 10);
    let second = lookup(&cluster, "a").await.unwrap();
    assert_eq!((second.length, second.inode), (10, first.inode));
    assert_ne!(second.content, first.content, "another version is another content");
    watched.files.lock().remove("a");
    assert_eq!(lookup(&cluster, "a").await.unwrap_err().code, Code::NotFound);
    watched.files.lock().insert("new".to_owned(), 3);
    assert_eq!(names(&cluster).await.unwrap(), ["b", "new"]);
    watched.down.store(true, Ordering::SeqCst);
    assert_eq!(names(&cluster).await.unwrap_err().code, Code::Ufs, "asked for the storage's word");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_an_age_what_is_known_is_served_while_the_storage_is_down() {
    let watched = Watched::with(&[("a", 1), ("b", 2)]);
    let cluster = over(&watched, Some(Duration::from_millis(1))).await;
    assert_eq!(names(&cluster).await.unwrap(), ["a", "b"]);
    watched.down.store(true, Ordering::SeqCst);
    tokio::time::sleep(Duration::from_millis(5)).await;
    let before = watched.listings.load(Ordering::SeqCst);
    assert_eq!(names(&cluster).await.unwrap(), ["a", "b"]);
    assert_eq!(lookup(&cluster, "b").await.unwrap().length, 2);
    assert!(watched.listings.load(Ordering::SeqCst) > before, "the storage was asked");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_interval_what_is_known_is_never_looked_at_again() {
    let watched = Watched::with(&[("a", 1)]);
    let cluster = over(&watched, None).await;
    assert_eq!(lookup(&cluster, "a").await.unwrap().length, 1);
    watched.files.lock().insert("a".to_owned(), 10);
    assert_eq!(lookup(&cluster, "a").await.unwrap().length, 1);
    assert_eq!(watched.looks.load(Ordering::SeqCst), 0);
}

async fn refused(cluster: &Cluster) {
    let client = cluster.client();
    let (caller, parent, name) = (Some(caller()), 0, "a".to_owned());
    let known = lookup(cluster, "a").await.unwrap();
    let new = "new".to_owned();
    let create = CreateRequest {
        caller: caller.clone(),
        parent,
        name: new.clone(),
        mode: 0o644,
        ..Default::default()
    };
    let make = MakeDirRequest { caller: caller.clone(), parent, name: new.clone(), mode: 0o755, op: None };
    let link = SymlinkRequest {
        caller: caller.clone(),
        name: new.clone(),
        target: "a".to_owned(),
        ..Default::default()
    };
    let truncate = TruncateRequest { caller: caller.clone(), content: known.content, op: None };
    let remove = RemoveRequest { caller: caller.clone(), parent, name: name.clone(), ..Default::default() };
    let rename = RenameRequest { caller: caller.clone(), parent, name, new_name: new, ..Default::default() };
    let chmod = SetAttrRequest { caller, node: known.content, mode: Some(0o600), ..Default::default() };
    let outcomes = [
        client.call::<_, AttrResponse>(method::CREATE, &create).await.map(drop),
        client.call::<_, AttrResponse>(method::MAKE_DIR, &make).await.map(drop),
        client.call::<_, AttrResponse>(method::SYMLINK, &link).await.map(drop),
        client.call::<_, AttrResponse>(method::TRUNCATE, &truncate).await.map(drop),
        client.call::<_, Empty>(method::REMOVE, &remove).await.map(drop),
        client.call::<_, AttrResponse>(method::RENAME, &rename).await.map(drop),
        client.call::<_, AttrResponse>(method::SET_ATTR, &chmod).await.map(drop),
    ];
    for outcome in outcomes {
        assert_eq!(outcome.unwrap_err().code, Code::ReadOnly);
    }
    assert_eq!(names(cluster).await.unwrap(), ["a"], "nothing was left behind");
    assert_eq!(lookup(cluster, "a").await.unwrap(), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_that_cannot_be_written_is_mounted_read_only() {
    let watched = Watched::with(&[("a", 1)]);
    let cluster = over(&watched, None).await;
    refused(&cluster).await;

    let mut files = cluster.grpc(0);
    let unasked = MountPOptions { read_only: Some(false), ..Default::default() };
    let root = UpdateMountPRequest { goosefs_path: Some("/".to_owned()), options: Some(unasked.clone()) };
    files.update_mount(root).await.unwrap();
    let table = files.get_mount_table(GetMountTablePRequest {}).await.unwrap().into_inner().mount_points;
    assert_eq!(table["/"].read_only, Some(true));
    refused(&cluster).await;

    let mount = MountPRequest {
        goosefs_path: Some("/m".to_owned()),
        ufs_path: Some("web".to_owned()),
        options: Some(unasked),
    };
    files.mount(mount).await.unwrap();
    let table = files.get_mount_table(GetMountTablePRequest {}).await.unwrap().into_inner().mount_points;
    assert_eq!(table["/m"].read_only, Some(true));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mount_in_the_log_whose_storage_cannot_be_written_becomes_read_only() {
    let watched = Watched::with(&[("a", 1)]);
    watched.claims_writable.store(true, Ordering::SeqCst);
    let cluster = over(&watched, None).await;
    assert!(!lookup(&cluster, "a").await.unwrap().read_only);
    // As after an upgrade from a version that did not ask the connector.
    watched.claims_writable.store(false, Ordering::SeqCst);
    cluster
        .until("the mount is read-only", async || match lookup(&cluster, "a").await?.read_only {
            true => Ok(()),
            false => Err(Error::new(Code::Busy, "not yet")),
        })
        .await;
    refused(&cluster).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_that_a_worker_doubts_is_looked_at_again_once_for_all_who_doubt_it() {
    let watched = Watched::with(&[("a", 1), ("b", 2)]);
    let cluster = over(&watched, None).await;
    let client = cluster.client();
    let doubt = async |content: u64, length: u64| -> Result<VersionResponse> {
        let suspect = Some(entry("", length).fingerprint);
        client.call(method::VERSION, &VersionRequest { content, suspect }).await
    };
    let old = lookup(&cluster, "a").await.unwrap();
    assert_eq!(doubt(old.content, 7).await.unwrap().length, 1, "another version than the masters'");
    assert_eq!(watched.looks.load(Ordering::SeqCst), 0);

    watched.files.lock().insert("a".to_owned(), 10);
    for outcome in futures::future::join_all((0..20).map(|_| doubt(old.content, 1))).await {
        assert_eq!(outcome.unwrap_err().code, Code::NotFound, "what was doubted is gone");
    }
    assert_eq!(watched.looks.load(Ordering::SeqCst), 1);
    let new = lookup(&cluster, "a").await.unwrap();
    assert_eq!((new.length, new.inode), (10, old.inode));
    assert_ne!(new.content, old.content);

    // In vain, again and again: the storage is spared.
    let same = lookup(&cluster, "b").await.unwrap();
    let begun = std::time::Instant::now();
    for _ in 0..50 {
        assert_eq!(doubt(same.content, 2).await.unwrap().length, 2);
    }
    let looks = watched.looks.load(Ordering::SeqCst) - 1;
    assert!(looks as u64 <= 1 + begun.elapsed().as_secs(), "{looks} looks in {:?}", begun.elapsed());
}
