//! Side effects whose leader is killed between any two of their steps: the intent, the operation on the under-storage, the
//! note that it is done, the answer. Whatever was under way comes to one whole end, and its caller hears of it once.

use super::cluster::{Cluster, caller};
use super::worker::TestWorker;
use goosefs_core::id::ContentId;
use goosefs_core::proto::internal::{
    Attr, AttrResponse, CompleteRequest, CreateRequest, Empty, MakeDirRequest, NodeKind, Persistence,
    RemoveRequest, RenameRequest, WriteType,
};
use goosefs_core::proto::method::{self, Method};
use goosefs_core::rpc::masters::Masters;
use goosefs_core::{Code, Error};
use goosefs_ufs::wrap::{Fault, Faults, Faulty, Operation};
use prost::Message;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What the leader is killed after.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum After {
    /// The intent is in the log, the under-storage was not touched.
    Intent,
    /// The under-storage did it, the log does not say so.
    Operation,
    /// The log says so; the caller has not heard.
    Done,
}

const POINTS: [After; 3] = [After::Intent, After::Operation, After::Done];

struct Bed {
    cluster: Cluster,
    client: Masters,
    faults: Faults,
}

impl Bed {
    async fn start(fill: impl FnOnce(&Path)) -> Bed {
        let faults = Faults::none();
        let script = faults.clone();
        let connect = move || -> Box<crate::mounts::Connect> {
            let script = script.clone();
            Box::new(move |uri, options, fence| {
                let storage = goosefs_ufs::connect_fenced(uri, options, fence)?;
                Ok(Arc::new(Faulty::new(storage, script.clone())))
            })
        };
        let cluster = Cluster::start_with(3, fill, |_| {}, connect).await;
        let client = cluster.client();
        Bed { cluster, client, faults }
    }

    fn stored(&self, name: &str) -> bool {
        self.cluster.ufs().join(name).exists()
    }

    async fn known(&self, name: &str) -> Option<Attr> {
        match self.cluster.stat(&format!("/{name}")).await {
            Ok(attr) => Some(attr),
            Err(error) if error.code == Code::NotFound => None,
            Err(error) => panic!("{name}: {error}"),
        }
    }

    /// Makes a call, kills the leader at `point`, and gives the answer that the caller gets from the next. Asking once more
    /// with the same number must get the same. `reached` says whether the operation on the under-storage was begun, or,
    /// for [`After::Operation`], done.
    async fn interrupted<Q, A>(
        &mut self,
        point: After,
        method: Method,
        request: Q,
        reached: impl Fn(&Bed) -> bool,
    ) -> A
    where
        Q: Message + Clone + 'static,
        A: Message + Default + PartialEq + std::fmt::Debug + 'static,
    {
        let calling = {
            let (client, request) = (self.client.clone(), request.clone());
            tokio::spawn(async move { client.call::<Q, A>(method, &request).await })
        };
        self.cluster
            .until("the leader is at the point", async || match point {
                After::Done if calling.is_finished() => Ok(()),
                After::Intent | After::Operation if reached(self) => Ok(()),
                _ => Err(Error::new(Code::Busy, "not yet")),
            })
            .await;
        assert_eq!(calling.is_finished(), point == After::Done);
        let leader = self.cluster.leader().await;
        self.cluster.kill(leader).await;
        let answer = calling.await.unwrap().unwrap();
        let again: A = self.client.call(method, &request).await.unwrap();
        assert_eq!(again, answer, "{point:?}: the same number gets the same answer");
        self.cluster.restart(leader).await;
        answer
    }

    /// As [`Bed::interrupted`], for an `operation` that the master itself does; `done` looks whether it was.
    async fn interrupted_storage<Q, A>(
        &mut self,
        point: After,
        operation: Operation,
        method: Method,
        request: Q,
        done: impl Fn(&Bed) -> bool,
    ) -> A
    where
        Q: Message + Clone + 'static,
        A: Message + Default + PartialEq + std::fmt::Debug + 'static,
    {
        match point {
            After::Intent => self.faults.next(operation, Fault::Hang),
            After::Operation => self.faults.next(operation, Fault::DoneButHang),
            After::Done => {}
        }
        let reached = |bed: &Bed| bed.faults.done() && (point != After::Operation || done(bed));
        let answer = self.interrupted(point, method, request, reached).await;
        assert!(done(self), "{point:?}: {} was not done", method.name);
        answer
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_removal_is_whole_wherever_its_leader_is_killed() {
    let fill = |ufs: &Path| {
        for point in POINTS {
            std::fs::write(ufs.join(format!("file-{point:?}")), b"12345").unwrap();
            std::fs::create_dir(ufs.join(format!("folder-{point:?}"))).unwrap();
        }
    };
    let mut bed = Bed::start(fill).await;
    for (point, (kind, expect)) in POINTS
        .into_iter()
        .flat_map(|point| [("file", NodeKind::File), ("folder", NodeKind::Directory)].map(|k| (point, k)))
    {
        let name = format!("{kind}-{point:?}");
        assert!(bed.known(&name).await.is_some());
        let op = bed.cluster.op(&bed.client).await;
        let request = RemoveRequest {
            op,
            caller: Some(caller()),
            parent: 0,
            name: name.clone(),
            expect: expect as i32,
        };
        let gone = |bed: &Bed| !bed.stored(&name);
        let _: Empty = bed.interrupted_storage(point, Operation::Remove, method::REMOVE, request, gone).await;
        assert_eq!(bed.known(&name).await, None, "{name}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rename_is_whole_wherever_its_leader_is_killed() {
    let fill = |ufs: &Path| {
        for point in POINTS {
            std::fs::write(ufs.join(format!("file-{point:?}")), b"12345").unwrap();
            std::fs::create_dir(ufs.join(format!("folder-{point:?}"))).unwrap();
            std::fs::write(ufs.join(format!("folder-{point:?}/inside")), b"12345").unwrap();
        }
    };
    let mut bed = Bed::start(fill).await;
    for (point, kind) in POINTS.into_iter().flat_map(|point| ["file", "folder"].map(|kind| (point, kind))) {
        let (from, to) = (format!("{kind}-{point:?}"), format!("new-{kind}-{point:?}"));
        let before = bed.known(&from).await.unwrap();
        let request = RenameRequest {
            op: bed.cluster.op(&bed.client).await,
            caller: Some(caller()),
            parent: 0,
            name: from.clone(),
            new_parent: 0,
            new_name: to.clone(),
            no_replace: true,
        };
        let moved = |bed: &Bed| bed.stored(&to) && !bed.stored(&from);
        let answer: AttrResponse =
            bed.interrupted_storage(point, Operation::Rename, method::RENAME, request, moved).await;
        assert_eq!(answer.attr.unwrap().inode, before.inode);
        assert_eq!(bed.known(&from).await, None);
        assert_eq!(bed.known(&to).await.unwrap().inode, before.inode);
        if kind == "folder" {
            assert!(
                bed.known(&format!("{to}/inside")).await.is_some() && bed.stored(&format!("{to}/inside"))
            );
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_directory_is_whole_wherever_its_leader_is_killed() {
    let mut bed = Bed::start(|_| {}).await;
    for point in POINTS {
        let name = format!("{point:?}");
        let request = MakeDirRequest {
            op: bed.cluster.op(&bed.client).await,
            caller: Some(caller()),
            parent: 0,
            name: name.clone(),
            mode: 0o755,
        };
        let made = |bed: &Bed| bed.stored(&name);
        let answer: AttrResponse =
            bed.interrupted_storage(point, Operation::MakeDirectory, method::MAKE_DIR, request, made).await;
        let attr = answer.attr.unwrap();
        assert_eq!(attr.persistence(), Persistence::Persisted);
        assert_eq!(bed.known(&name).await.unwrap().inode, attr.inode);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_persisted_file_is_whole_wherever_its_leader_is_killed() {
    let mut bed = Bed::start(|_| {}).await;
    let worker = TestWorker::start(&bed.cluster, 7).await;
    for point in POINTS {
        worker.beat(&bed.client).await;
        let name = format!("{point:?}");
        let request = CreateRequest {
            op: bed.cluster.op(&bed.client).await,
            caller: Some(caller()),
            parent: 0,
            name: name.clone(),
            mode: 0o644,
            block_size: 4,
            write_type: WriteType::CacheThrough as i32,
        };
        let made: AttrResponse = bed.client.call(method::CREATE, &request).await.unwrap();
        let content = made.attr.unwrap().content;
        worker.commit(&bed.client, ContentId(content).block(0).0, 4).await;
        let before = worker.uploads.load(Ordering::SeqCst);
        match point {
            // An upload that is announced but never begun by its leader: the worker refuses that leader's attempts.
            After::Intent => worker.failures.store(usize::MAX, Ordering::SeqCst),
            After::Operation => worker.silent.store(true, Ordering::SeqCst),
            After::Done => {}
        }
        let reached = {
            let (worker, name) = (worker.clone(), name.clone());
            move |bed: &Bed| {
                let tried = worker.uploads.load(Ordering::SeqCst) > before;
                let stored = bed.stored(&name);
                if tried && point == After::Intent {
                    assert!(!stored);
                }
                tried && (point == After::Intent || stored)
            }
        };
        let op = bed.cluster.op(&bed.client).await;
        let request = CompleteRequest { op, caller: Some(caller()), content, length: 4 };
        let relief = {
            let (worker, client, addresses) =
                (worker.clone(), bed.client.clone(), bed.cluster.rpc_addresses());
            let leader = addresses[bed.cluster.leader().await].clone();
            tokio::spawn(async move {
                // When another leads: the new leader knows the worker, and its storage is well again.
                while client.leader().await.is_ok_and(|leads| leads == leader) {
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
                worker.failures.store(0, Ordering::SeqCst);
            })
        };
        let answer: AttrResponse = bed.interrupted(point, method::COMPLETE, request, reached).await;
        relief.await.unwrap();
        let attr = answer.attr.unwrap();
        assert!(attr.completed && attr.persistence() == Persistence::Persisted, "{point:?}: {attr:?}");
        assert_eq!(std::fs::read(bed.cluster.ufs().join(&name)).unwrap(), b"xxxx");
        assert_eq!(bed.known(&name).await.unwrap().content, content);
    }
}
