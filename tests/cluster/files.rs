//! Masters that keep to the files which the Kubernetes controller writes: who they are, and what is mounted. Real
//! processes.

use super::path;
use goosefs_core::proto::internal::{
    Caller, ClusterRequest, ClusterResponse, HelloRequest, MountsRequest, MountsResponse,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::frame::{Channel, Target};
use goosefs_core::task::Tasks;
use goosefs_harness::{LONG, MasterProcesses, wait_for, wait_until};
use serde_json::{Value, json};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const GOOSEFS: &str = env!("CARGO_BIN_EXE_goosefs");

const ID: &str = "c3a94a2c-6a2f-4b0b-9f5a-3d4d6a9e1b77";

/// Replaces `folder/name` as kubelet does: by a new folder and a swapped link.
fn put(folder: &Path, name: &str, value: &Value) {
    std::fs::create_dir_all(folder).unwrap();
    let version = format!("..{}", std::fs::read_dir(folder).unwrap().count());
    std::fs::create_dir(folder.join(&version)).unwrap();
    std::fs::write(folder.join(&version).join(name), value.to_string()).unwrap();
    symlink(&version, folder.join("..data_tmp")).unwrap();
    std::fs::rename(folder.join("..data_tmp"), folder.join("..data")).unwrap();
    if !folder.join(name).is_symlink() {
        symlink(Path::new("..data").join(name), folder.join(name)).unwrap();
    }
}

/// `count` masters that are told of `cluster.json` and `mounts.json`; none runs, and no file is there.
fn masters(count: u16) -> MasterProcesses {
    let mut masters = MasterProcesses::new(GOOSEFS, count).unwrap();
    let at = |name: &str| masters.scratch().join(name).join(format!("{name}.json")).display().to_string();
    let (cluster, mounts) = (at("cluster"), at("mounts"));
    masters.set(&format!("goosefs.master.cluster.file={cluster}"));
    masters.set(&format!("goosefs.master.mounts.file={mounts}"));
    masters
}

/// Lists the first `count` masters.
fn list(masters: &MasterProcesses, count: usize, epoch: u64, bootstrap: bool) {
    let all: Vec<String> = (0..count).map(|id| masters.raft(id)).collect();
    let value = json!({"clusterId": ID, "epoch": epoch, "bootstrap": bootstrap, "masters": all});
    put(&masters.scratch().join("cluster"), "cluster.json", &value);
}

fn want(masters: &MasterProcesses, generation: u64, mounts: &[Value]) {
    let value = json!({"generation": generation, "mounts": mounts});
    put(&masters.scratch().join("mounts"), "mounts.json", &value);
}

fn identity(masters: &MasterProcesses, id: usize, field: &str) -> String {
    let text = std::fs::read_to_string(masters.dir(id).join("identity")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix('='));
    line.unwrap_or_default().to_owned()
}

#[test]
fn a_cluster_is_begun_only_when_the_file_allows_it_and_as_it_says() {
    let mut masters = masters(3);
    masters.start(0, &[]).unwrap();
    wait_for("the file to be missed", || masters.log(0).contains("waiting for a file"));
    list(&masters, 3, 4, false);
    for id in [1, 2] {
        masters.start(id, &[]).unwrap();
    }
    let file = masters.scratch().join("cluster/cluster.json").display().to_string();
    for id in 0..3 {
        wait_for("them to say what they wait for", || {
            let log = masters.log(id);
            log.contains(&format!("{file} does not allow to begin it (bootstrap is false)"))
                && log.contains(&format!("set bootstrap to true in {file}"))
        });
        assert_eq!(identity(&masters, id, "cluster"), "");
    }
    list(&masters, 3, 4, true);
    masters.all_ready().unwrap();
    for id in 0..3 {
        assert_eq!(
            (identity(&masters, id, "cluster").as_str(), identity(&masters, id, "epoch").as_str()),
            (ID, "4")
        );
    }
}

/// `goosefs controller offer-backup`, until it is dropped.
struct Offer(std::process::Child);

impl Offer {
    fn start(file: &Path, address: &str) -> Offer {
        let mut command = std::process::Command::new(GOOSEFS);
        command.args(["controller", "offer-backup", file.to_str().unwrap(), "--listen", address]);
        Offer(command.stdout(std::process::Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[test]
fn a_cluster_that_is_to_begin_with_a_backup_waits_for_it_and_needs_it_once() {
    let old = MasterProcesses::started(GOOSEFS, 1).unwrap();
    assert_eq!(old.goosefs(&["fs", "mkdir", "/old"]).code, Some(0));
    let file = old.scratch().join("backup");
    assert_eq!(old.goosefs(&["fsadmin", "backup", "--to", file.to_str().unwrap()]).code, Some(0));
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap().to_string();
    drop(free);
    let mut masters = masters(3);
    let all: Vec<String> = (0..3).map(|id| masters.raft(id)).collect();
    let value = json!({"clusterId": ID, "epoch": 1, "bootstrap": true, "restore": address, "masters": all});
    put(&masters.scratch().join("cluster"), "cluster.json", &value);
    want(&masters, 1, &[]);
    for id in 0..3 {
        masters.start(id, &[]).unwrap();
    }
    wait_for("the first to miss the backup", || masters.log(0).contains("is not there yet"));
    assert_eq!(identity(&masters, 0, "cluster"), "");
    let offer = Offer::start(&file, &address);
    masters.all_ready().unwrap();
    drop(offer);
    assert!(masters.goosefs(&["fs", "ls", "/"]).stdout.contains("/old"));
    for id in 0..3 {
        assert_eq!(identity(&masters, id, "cluster"), ID);
        assert_eq!(identity(&masters, id, "epoch"), identity(&masters, 0, "epoch"));
    }
    // From here on it means nothing, also for a directory that is empty again.
    wait_for("three that vote", || masters.voters(&[0, 1, 2]) == 3);
    list(&masters, 3, 1, false);
    masters.kill(0).unwrap();
    masters.wipe(0).unwrap();
    masters.start(0, &[]).unwrap();
    masters.ready(0).unwrap();
    assert!(masters.ask(&[0], &["fs", "ls", "/"]).stdout.contains("/old"));
}

#[test]
fn data_of_an_epoch_that_was_given_up_is_refused_and_kept_and_empty_folders_begin_the_new_one() {
    let mut masters = masters(3);
    list(&masters, 3, 1, true);
    for id in 0..3 {
        masters.start(id, &[]).unwrap();
    }
    masters.all_ready().unwrap();
    for id in 0..3 {
        masters.stop(id).unwrap();
    }
    for id in [1, 2] {
        masters.wipe(id).unwrap();
    }
    list(&masters, 3, 2, true);
    masters.start(2, &[]).unwrap();
    masters.start(0, &[]).unwrap();
    let said = masters.wait_end(0).unwrap();
    assert!(said.code == Some(1) && said.stderr.contains("data of epoch 1 was given up"), "{said:?}");
    assert!(said.stderr.contains("move the data directory away"), "{said:?}");
    assert_eq!(identity(&masters, 0, "epoch"), "1", "it is kept");
    masters.start(1, &[]).unwrap();
    for id in [1, 2] {
        wait_for("nothing to begin without it", || {
            masters.log(id).contains(&format!("no answer from {}", masters.raft(0)))
        });
        assert_eq!(identity(&masters, id, "cluster"), "");
    }
    masters.wipe(0).unwrap();
    masters.start(0, &[]).unwrap();
    masters.all_ready().unwrap();
    for id in 0..3 {
        assert_eq!(identity(&masters, id, "epoch"), "2");
    }
}

/// Makes directories until told to stop; the names that were acknowledged.
fn writer(masters: &MasterProcesses, stop: Arc<AtomicBool>) -> tokio::task::JoinHandle<Vec<String>> {
    let client = masters.client();
    tokio::spawn(async move {
        let mut made = Vec::new();
        client.paths().make_dir(&path("/w"), 0o755, false).await.unwrap();
        while !stop.load(Ordering::SeqCst) {
            let name = format!("{:06}", made.len());
            client.paths().make_dir(&path(&format!("/w/{name}")), 0o755, false).await.unwrap();
            made.push(name);
        }
        client.shutdown(LONG).await;
        made
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_alone_scales_masters_from_one_to_five_and_back_under_a_writer() {
    let mut masters = masters(5);
    list(&masters, 1, 1, true);
    masters.start(0, &[]).unwrap();
    masters.ready(0).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let writing = writer(&masters, stop.clone());
    // Listed, and taken back before it came: it is not looked for any more.
    list(&masters, 2, 1, false);
    wait_until("the second one to be known", || async { known(&masters).await == [0, 1] }).await.unwrap();
    list(&masters, 1, 1, false);
    wait_until("it to be forgotten", || async { known(&masters).await == [0] }).await.unwrap();
    // One that is started before it is listed waits for its place.
    masters.start(2, &[]).unwrap();
    wait_for("it to say so", || masters.log(2).contains("it lists 1 masters, and this one has --id 2"));
    for (count, new) in [(3, vec![1]), (5, vec![3, 4])] {
        list(&masters, count, 1, false);
        for id in new {
            masters.start(id, &[]).unwrap();
        }
        masters.all_ready().unwrap();
        wait_for("all that are listed to vote", || masters.voters(&[0]) == count);
    }
    let operator = masters.client();
    operator.admin().elect(&masters.raft(3)).await.unwrap();
    list(&masters, 1, 1, false);
    wait_for("one to be left", || masters.voters(&[0]) == 1);
    // The one that led took itself out last.
    wait_for("it to lead", || masters.leader(&[0]) == Some(0));
    for id in 1..5 {
        wait_for("the others to know", || masters.log(id).contains("does not list this master any more"));
        masters.stop(id).unwrap();
    }
    // Again, with the folder that it left.
    list(&masters, 2, 1, false);
    masters.start(1, &[]).unwrap();
    wait_for("a former one to vote again", || masters.voters(&[0]) == 2);
    stop.store(true, Ordering::SeqCst);
    let made = writing.await.unwrap();
    let found = operator.paths().list(&path("/w")).await.unwrap();
    let found: Vec<String> = found.into_iter().map(|entry| entry.name).collect();
    assert!(made.len() > 100, "{}", made.len());
    assert_eq!(found, made, "nothing acknowledged is lost, nothing is there that was not asked for");
    operator.shutdown(LONG).await;
}

/// A folder with one file, to be mounted.
fn storage(masters: &MasterProcesses, name: &str) -> PathBuf {
    let folder = masters.scratch().join("storages").join(name);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join(format!("from-{name}")), name).unwrap();
    folder
}

fn entry(at: &str, uri: &Path, read_only: bool) -> Value {
    json!({"path": at, "uri": uri.display().to_string(), "readOnly": read_only, "shared": false, "options": {}})
}

/// A connection of frames to master `id`, as the controller makes one.
async fn dial(masters: &MasterProcesses, id: usize, tasks: &Tasks) -> Option<Channel> {
    let caller = Some(Caller { user: "root".to_owned(), ..Caller::default() });
    let hello = HelloRequest { version: 1, cluster: None, role: "controller".to_owned(), caller };
    Channel::connect(&Target::Tcp(masters.rpc(id)), hello, tasks, LONG).await.ok()
}

/// The slots that master 0 knows of.
async fn known(masters: &MasterProcesses) -> Vec<u32> {
    let tasks = Tasks::new("test");
    let Some(channel) = dial(masters, 0, &tasks).await else { return Vec::new() };
    let told: ClusterResponse = channel.call(method::CLUSTER, &ClusterRequest {}).await.unwrap_or_default();
    told.masters.iter().map(|master| master.slot).collect()
}

/// What the leader says of its mounts.
async fn told(masters: &MasterProcesses) -> Option<MountsResponse> {
    let tasks = Tasks::new("test");
    for id in 0..masters.count() {
        let Some(channel) = dial(masters, id, &tasks).await else { continue };
        if let Ok(response) = channel.call(method::MOUNTS, &MountsRequest {}).await {
            return Some(response);
        }
    }
    None
}

/// Waits until the leader has dealt with this generation; paths that are mounted, and failures by path.
async fn settled(masters: &MasterProcesses, generation: u64) -> (Vec<String>, Vec<(String, String)>) {
    let last = std::cell::RefCell::new(MountsResponse::default());
    wait_until("the mounts to be settled", || async {
        let Some(response) = told(masters).await else { return false };
        let done = response.generation == generation;
        *last.borrow_mut() = response;
        done
    })
    .await
    .unwrap();
    let MountsResponse { mounts, failures, .. } = last.into_inner();
    let mut paths: Vec<String> = mounts.into_iter().map(|mount| mount.path).collect();
    paths.sort();
    (paths, failures.into_iter().map(|failure| (failure.path, failure.error)).collect())
}

fn shows(masters: &MasterProcesses, at: &str, name: &str) {
    let said = masters.goosefs(&["fs", "ls", at]);
    assert!(said.stdout.contains(&format!("from-{name}")), "{said:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mounts_are_made_changed_and_removed_as_the_file_says_also_by_the_next_leader() {
    let mut masters = masters(3);
    list(&masters, 3, 1, true);
    let (one, two, mine) = (storage(&masters, "one"), storage(&masters, "two"), storage(&masters, "mine"));
    let gone = masters.scratch().join("gone");
    want(&masters, 1, &[entry("/a", &one, false), entry("/bad", &gone, false), entry("/z", &two, true)]);
    for id in 0..3 {
        masters.start(id, &[]).unwrap();
    }
    masters.all_ready().unwrap();
    let (mounted, failures) = settled(&masters, 1).await;
    assert_eq!(mounted, ["/", "/a", "/z"], "the others go on");
    assert!(matches!(&failures[..], [(at, error)] if at == "/bad" && error.contains("gone")), "{failures:?}");
    shows(&masters, "/a", "one");
    let refused = masters.goosefs(&["fs", "mkdir", "/z/no"]);
    assert!(refused.code != Some(0), "/z is read-only: {refused:?}");
    let said = masters.goosefs(&["fs", "mount", "/mine", &mine.display().to_string()]);
    assert_eq!(said.code, Some(0), "{said:?}");
    let said = masters.goosefs(&["fs", "unmount", "/a"]);
    assert!(
        said.code != Some(0) && format!("{said:?}").contains("mounts.json says what is mounted"),
        "{said:?}"
    );

    // Another storage, other flags, one less; the storage that was missing is there, so its mount comes by itself.
    want(&masters, 2, &[entry("/a", &two, false), entry("/bad", &gone, false), entry("/z", &two, false)]);
    storage(&masters, "x");
    std::fs::rename(masters.scratch().join("storages/x"), &gone).unwrap();
    wait_until("the failed one to be mounted", || async {
        told(&masters).await.is_some_and(|told| told.generation == 2 && told.failures.is_empty())
    })
    .await
    .unwrap();
    shows(&masters, "/a", "two");
    shows(&masters, "/bad", "x");
    assert_eq!(masters.goosefs(&["fs", "mkdir", "/z/yes"]).code, Some(0));

    let leader = masters.leader(&[0, 1, 2]).unwrap();
    masters.kill(leader).unwrap();
    want(&masters, 3, &[entry("/a", &one, false)]);
    let (mounted, failures) = settled(&masters, 3).await;
    assert_eq!((mounted, failures), (vec!["/".to_owned(), "/a".to_owned(), "/mine".to_owned()], vec![]));
    shows(&masters, "/a", "one");
    let log: String = (0..3).map(|id| masters.log(id)).collect();
    let warned = log.lines().filter(|line| line.contains("WARN") && line.contains("/bad")).count();
    assert_eq!(warned, 1, "a failure is told once");
}

/// Files below `folder` that contain `needle`.
fn holders(folder: &Path, needle: &str, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap().flatten() {
        let at = entry.path();
        if at.is_dir() {
            holders(&at, needle, found);
        } else if std::fs::read(&at)
            .is_ok_and(|bytes| bytes.windows(needle.len()).any(|part| part == needle.as_bytes()))
        {
            found.push(at);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn options_reach_those_who_connect_and_neither_the_log_nor_a_listing() {
    let mut masters = masters(1);
    list(&masters, 1, 1, true);
    let one = storage(&masters, "one");
    let with = |value: &str| json!({"path": "/a", "uri": one.display().to_string(), "readOnly": true, "options": {"test.key": value}});
    want(&masters, 1, &[with("hidden-first-value")]);
    masters.start(0, &[]).unwrap();
    masters.ready(0).unwrap();
    let key = async |generation: u64, expected: &str| {
        settled(&masters, generation).await;
        let mounts = told(&masters).await.unwrap().mounts;
        let mount = mounts.into_iter().find(|mount| mount.path == "/a").unwrap();
        assert_eq!(mount.options["test.key"], expected);
    };
    key(1, "hidden-first-value").await;
    // A Secret that was rotated.
    want(&masters, 2, &[with("hidden-second-value")]);
    key(2, "hidden-second-value").await;
    let shown = masters.goosefs(&["fs", "mount"]);
    assert!(shown.stdout.contains("/a") && !shown.stdout.contains("hidden-"), "{shown:?}");
    let client = masters.client();
    let folder = masters.scratch().join("backups").display().to_string();
    client.admin().backup(Some(&folder), true).await.unwrap();
    client.shutdown(LONG).await;
    masters.stop(0).unwrap();
    for folder in [masters.dir(0), PathBuf::from(folder)] {
        let (mut uri, mut hidden) = (Vec::new(), Vec::new());
        holders(&folder, &one.display().to_string(), &mut uri);
        holders(&folder, "hidden-", &mut hidden);
        assert!(!uri.is_empty(), "mounts can be found in {}", folder.display());
        assert_eq!(hidden, Vec::<PathBuf>::new());
    }
    assert!(!masters.log(0).contains("hidden-"), "{}", masters.log(0));
}
