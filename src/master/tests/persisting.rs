//! Files that workers hold, on their way to the under-storage.

use super::cluster::{Cluster, caller};
use super::worker::TestWorker;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{
    Attr, AttrResponse, CompleteRequest, CreateRequest, Empty, NodeKind, PersistRequest, PersistResponse,
    Persistence, RemoveRequest, VersionRequest, VersionResponse, WorkersRequest, WorkersResponse, WriteType,
};
use goosefs_core::proto::method;
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Result};
use std::sync::atomic::Ordering;

async fn create(cluster: &Cluster, client: &Masters, name: &str, write_type: WriteType) -> Attr {
    let request = CreateRequest {
        op: cluster.op(client).await,
        caller: Some(caller()),
        parent: 0,
        name: name.to_owned(),
        mode: 0o644,
        block_size: 4,
        write_type: write_type as i32,
    };
    let made: AttrResponse = client.call(method::CREATE, &request).await.unwrap();
    made.attr.unwrap()
}

async fn complete(cluster: &Cluster, client: &Masters, content: u64, length: u64) -> Result<Attr> {
    let op = cluster.op(client).await;
    let request = CompleteRequest { op, caller: Some(caller()), content, length };
    let done: AttrResponse = client.call(method::COMPLETE, &request).await?;
    Ok(done.attr.unwrap())
}

async fn version(client: &Masters, content: u64) -> VersionResponse {
    client.call(method::VERSION, &VersionRequest { content, suspect: None }).await.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_through_file_is_complete_when_the_under_storage_has_it() {
    let cluster = Cluster::start(1, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let file = create(&cluster, &client, "file", WriteType::CacheThrough).await;
    let content = ContentId(file.content);
    worker.commit(&client, content.block(0).0, 4).await;
    worker.commit(&client, content.block(1).0, 2).await;
    let held = version(&client, file.content).await;
    assert_eq!(held.blocks.iter().map(|block| block.workers.clone()).collect::<Vec<_>>(), [[7], [7]]);

    worker.failures.store(2, Ordering::SeqCst);
    let done = complete(&cluster, &client, file.content, 6).await.unwrap();
    assert!(done.completed && done.persistence() == Persistence::Persisted && done.length == 6);
    assert_eq!(worker.uploads.load(Ordering::SeqCst), 3, "two failed and were made up for");
    assert_eq!(std::fs::read(cluster.ufs().join("file")).unwrap(), b"xxxxxx");
    let persisted = version(&client, file.content).await;
    assert!(persisted.fingerprint.is_some() && persisted.blocks.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_empty_through_file_needs_no_worker() {
    let cluster = Cluster::start(1, |_| {}).await;
    let client = cluster.client();
    let file = create(&cluster, &client, "empty", WriteType::CacheThrough).await;
    let done = complete(&cluster, &client, file.content, 0).await.unwrap();
    assert_eq!(done.persistence(), Persistence::Persisted);
    assert_eq!(std::fs::read(cluster.ufs().join("empty")).unwrap(), b"");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cache_only_file_needs_every_block_and_stays_with_its_worker() {
    let cluster = Cluster::start(1, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let file = create(&cluster, &client, "file", WriteType::MustCache).await;
    worker.commit(&client, ContentId(file.content).block(0).0, 4).await;
    let refused = complete(&cluster, &client, file.content, 6).await.unwrap_err();
    assert_eq!(refused.code, Code::Incomplete, "{refused}");
    worker.commit(&client, ContentId(file.content).block(1).0, 2).await;
    let done = complete(&cluster, &client, file.content, 6).await.unwrap();
    assert_eq!(done.persistence(), Persistence::NotPersisted);
    assert!(!cluster.ufs().join("file").exists());
    assert_eq!(version(&client, file.content).await.blocks.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_uploads_what_was_written_so_far() {
    let cluster = Cluster::start(1, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let file = create(&cluster, &client, "file", WriteType::CacheThrough).await;
    worker.commit(&client, ContentId(file.content).block(0).0, 3).await;
    let persist = async |length| -> PersistResponse {
        let op = cluster.op(&client).await;
        let request = PersistRequest { op, caller: Some(caller()), content: file.content, length };
        client.call(method::PERSIST, &request).await.unwrap()
    };
    assert_eq!(persist(3).await.fingerprint.unwrap().length, 3);
    assert_eq!(persist(3).await.fingerprint.unwrap().length, 3);
    worker.commit(&client, ContentId(file.content).block(0).0, 4).await;
    assert_eq!(persist(4).await.fingerprint.unwrap().length, 4);
    let done = complete(&cluster, &client, file.content, 4).await.unwrap();
    assert_eq!(done.persistence(), Persistence::Persisted);
    assert_eq!(std::fs::read(cluster.ufs().join("file")).unwrap(), b"xxxx");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_async_file_is_complete_at_once_and_uploaded_by_itself() {
    let cluster = Cluster::start(1, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let file = create(&cluster, &client, "file", WriteType::AsyncThrough).await;
    worker.commit(&client, ContentId(file.content).block(0).0, 4).await;
    complete(&cluster, &client, file.content, 4).await.unwrap();
    cluster
        .until("it is persisted", async || {
            worker.beat(&client).await;
            let attr = cluster.stat("/file").await?;
            if attr.persistence() == Persistence::Persisted {
                return Ok(());
            }
            Err(goosefs_core::Error::new(Code::Busy, format!("{:?}", attr.persistence())))
        })
        .await;
    assert_eq!(std::fs::read(cluster.ufs().join("file")).unwrap(), b"xxxx");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heartbeats_register_workers_on_every_master_and_bring_back_what_was_dropped() {
    let cluster = Cluster::start(3, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    let answers = worker.beat(&client).await;
    assert_eq!(answers.len(), 3);
    let leader = cluster.rpc(cluster.leader().await).to_owned();
    assert!(answers.iter().all(|answer| answer.leader == leader));
    let listed: WorkersResponse = client.call(method::WORKERS, &WorkersRequest {}).await.unwrap();
    assert_eq!(listed.workers.len(), 1);
    assert!(listed.workers[0].live && listed.workers[0].capacity == 1000 && listed.workers[0].used == 100);

    let file = create(&cluster, &client, "file", WriteType::MustCache).await;
    let request = RemoveRequest {
        op: cluster.op(&client).await,
        caller: Some(caller()),
        parent: 0,
        name: "file".to_owned(),
        expect: NodeKind::File as i32,
    };
    let _: Empty = client.call(method::REMOVE, &request).await.unwrap();
    cluster
        .until("every master says what to drop", async || {
            for answer in worker.beat(&client).await {
                if !answer.dropped_contents.contains(&file.content) {
                    return Err(goosefs_core::Error::new(Code::Busy, "not yet"));
                }
            }
            Ok(())
        })
        .await;
    let gone: Result<VersionResponse> =
        client.call(method::VERSION, &VersionRequest { content: file.content, suspect: None }).await;
    assert_eq!(gone.unwrap_err().code, Code::NotFound, "workers drop on this answer");
    let channel = client.channel(&leader).await.unwrap();
    let up_to = worker.beat(&client).await.iter().map(|answer| answer.dropped_up_to).max().unwrap();
    let answer: goosefs_core::proto::internal::HeartbeatResponse =
        channel.call(method::HEARTBEAT, &worker.heartbeat(up_to)).await.unwrap();
    assert!(answer.dropped_contents.is_empty() && !answer.dropped_overrun);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_waits_for_the_side_effect_that_holds_what_it_touches() {
    let cluster = Cluster::start(1, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let file = create(&cluster, &client, "file", WriteType::CacheThrough).await;
    worker.commit(&client, ContentId(file.content).block(0).0, 4).await;
    worker.failures.store(3, Ordering::SeqCst);
    let remove = async {
        cluster
            .until("an upload was tried", async || match worker.uploads.load(Ordering::SeqCst) {
                0 => Err(goosefs_core::Error::new(Code::Busy, "none yet")),
                _ => Ok(()),
            })
            .await;
        let request = RemoveRequest {
            op: cluster.op(&client).await,
            caller: Some(caller()),
            parent: 0,
            name: "file".to_owned(),
            expect: NodeKind::File as i32,
        };
        client.call::<_, Empty>(method::REMOVE, &request).await
    };
    let persist = async {
        let request = PersistRequest { op: None, caller: Some(caller()), content: file.content, length: 4 };
        client.call::<_, PersistResponse>(method::PERSIST, &request).await
    };
    let (removed, _) = tokio::join!(remove, persist);
    removed.unwrap();
    assert_eq!(worker.uploads.load(Ordering::SeqCst), 4, "the upload came to its end first");
    assert!(!cluster.ufs().join("file").exists());
    assert_eq!(cluster.stat("/file").await.unwrap_err().code, Code::NotFound);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_copies_of_a_worker_that_is_gone_for_good_are_declared_lost() {
    let impatient = |config: &mut crate::Config| {
        config.worker_timeout = std::time::Duration::from_millis(500);
        config.worker_gone = std::time::Duration::from_secs(3);
    };
    let cluster = Cluster::start_with(1, |_| {}, impatient, || Box::new(goosefs_ufs::connect_fenced)).await;
    let client = cluster.client();
    let (gone, stays) = (TestWorker::start(&cluster, 7).await, TestWorker::start(&cluster, 8).await);
    gone.beat(&client).await;
    stays.beat(&client).await;
    let alone = create(&cluster, &client, "alone", WriteType::MustCache).await;
    let twice = create(&cluster, &client, "twice", WriteType::MustCache).await;
    gone.commit(&client, ContentId(alone.content).block(0).0, 4).await;
    gone.commit(&client, ContentId(twice.content).block(0).0, 4).await;
    stays.commit(&client, ContentId(twice.content).block(0).0, 4).await;
    complete(&cluster, &client, alone.content, 4).await.unwrap();
    complete(&cluster, &client, twice.content, 4).await.unwrap();
    cluster
        .until("the only copy is declared lost", async || {
            stays.beat(&client).await;
            match cluster.stat("/alone").await?.persistence() {
                Persistence::Lost => Ok(()),
                other => Err(goosefs_core::Error::new(Code::Busy, format!("{other:?}"))),
            }
        })
        .await;
    assert_eq!(cluster.stat("/twice").await.unwrap().persistence(), Persistence::NotPersisted);
    cluster
        .until("the worker that is gone is forgotten", async || {
            let listed: WorkersResponse = client.call(method::WORKERS, &WorkersRequest {}).await?;
            match listed.workers.iter().map(|worker| worker.worker).collect::<Vec<_>>() {
                left if left == [8] => Ok(()),
                left => Err(goosefs_core::Error::new(Code::Busy, format!("{left:?}"))),
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_side_effect_begun_by_one_leader_is_ended_by_the_next_and_its_caller_hears_of_it() {
    let mut cluster = Cluster::start(3, |_| {}).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let file = create(&cluster, &client, "file", WriteType::CacheThrough).await;
    worker.commit(&client, ContentId(file.content).block(0).0, 4).await;
    // The upload fails again and again until the next leader leads.
    worker.failures.store(usize::MAX, Ordering::SeqCst);
    let op = cluster.op(&client).await;
    let request = CompleteRequest { op, caller: Some(caller()), content: file.content, length: 4 };
    let waiting = {
        let client = client.clone();
        tokio::spawn(async move { client.call::<_, AttrResponse>(method::COMPLETE, &request).await })
    };
    cluster
        .until("an upload was tried", async || match worker.uploads.load(Ordering::SeqCst) {
            0 => Err(goosefs_core::Error::new(Code::Busy, "none yet")),
            _ => Ok(()),
        })
        .await;
    let old = cluster.leader().await;
    cluster.stop(old).await;
    worker.failures.store(0, Ordering::SeqCst);
    worker.beat(&client).await;
    let done = waiting.await.unwrap().unwrap().attr.unwrap();
    assert!(done.completed && done.persistence() == Persistence::Persisted);
    assert_eq!(std::fs::read(cluster.ufs().join("file")).unwrap(), b"xxxx");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_whose_upload_failed_is_kept_and_uploaded_by_whoever_leads_when_the_storage_is_back() {
    let impatient =
        |config: &mut crate::Config| config.effect_deadline = std::time::Duration::from_millis(200);
    let mut cluster =
        Cluster::start_with(3, |_| {}, impatient, || Box::new(goosefs_ufs::connect_fenced)).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    worker.failures.store(usize::MAX, Ordering::SeqCst);
    let file = create(&cluster, &client, "file", WriteType::CacheThrough).await;
    worker.commit(&client, ContentId(file.content).block(0).0, 4).await;
    assert_eq!(
        complete(&cluster, &client, file.content, 4).await.unwrap_err().code,
        Code::Ufs,
        "the writer hears of it"
    );
    let kept = cluster.stat("/file").await.unwrap();
    assert_eq!((kept.completed, kept.length, kept.persistence()), (true, 4, Persistence::ToBePersisted));

    let tried = worker.uploads.load(Ordering::SeqCst);
    cluster
        .until("it is tried again", async || match worker.uploads.load(Ordering::SeqCst) {
            now if now > tried => Ok(()),
            _ => Err(goosefs_core::Error::new(Code::Busy, "not yet")),
        })
        .await;
    let old = cluster.leader().await;
    cluster.stop(old).await;
    worker.failures.store(0, Ordering::SeqCst);
    cluster
        .until("it is persisted", async || {
            worker.beat(&client).await;
            match cluster.stat("/file").await?.persistence() {
                Persistence::Persisted => Ok(()),
                other => Err(goosefs_core::Error::new(Code::Busy, format!("{other:?}"))),
            }
        })
        .await;
    assert_eq!(std::fs::read(cluster.ufs().join("file")).unwrap(), b"xxxx");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_whose_writers_are_gone_become_complete_as_they_were_committed() {
    let impatient = |config: &mut crate::Config| {
        config.session_timeout = std::time::Duration::from_secs(1);
        config.abandoned_after = std::time::Duration::from_secs(1);
        config.unnamed_abandoned_after = std::time::Duration::from_secs(1);
    };
    let cluster = Cluster::start_with(1, |_| {}, impatient, || Box::new(goosefs_ufs::connect_fenced)).await;
    let client = cluster.client();
    let worker = TestWorker::start(&cluster, 7).await;
    worker.beat(&client).await;
    let through = create(&cluster, &client, "through", WriteType::CacheThrough).await;
    worker.commit(&client, ContentId(through.content).block(0).0, 3).await;
    let unnamed = |name: &str, write_type: WriteType| CreateRequest {
        caller: Some(caller()),
        name: name.to_owned(),
        write_type: write_type as i32,
        ..CreateRequest::default()
    };
    for request in [unnamed("empty", WriteType::MustCache), unnamed("by-itself", WriteType::Through)] {
        let _: AttrResponse = client.call(method::CREATE, &request).await.unwrap();
    }
    std::fs::write(cluster.ufs().join("by-itself"), b"12345").unwrap();
    let expected = [
        ("/through", 3, Persistence::Persisted),
        ("/empty", 0, Persistence::NotPersisted),
        ("/by-itself", 5, Persistence::Persisted),
    ];
    cluster
        .until("all are complete", async || {
            worker.beat(&client).await;
            for (path, length, persistence) in expected {
                let attr = cluster.stat(path).await?;
                if (attr.completed, attr.length, attr.persistence()) != (true, length, persistence) {
                    return Err(goosefs_core::Error::new(Code::Busy, format!("{path}: {attr:?}")));
                }
            }
            Ok(())
        })
        .await;
    assert_eq!(std::fs::read(cluster.ufs().join("through")).unwrap(), b"xxx");
    assert_eq!(std::fs::read(cluster.ufs().join("by-itself")).unwrap(), b"12345");
}
