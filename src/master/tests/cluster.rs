//! A cluster of masters in one process.

use crate::mounts::Connect;
use crate::start::start_with;
use crate::{Config, Deps, Listeners, Running};
use goosefs_core::clock::SystemClock;
use goosefs_core::proto::internal::{Attr, AttrResponse, Caller, OpenSessionRequest, OpenSessionResponse};
use goosefs_core::proto::internal::{ResolveRequest, SessionOp};
use goosefs_core::proto::method;
use goosefs_core::proto::public::file::file_system_master_client_service_client::FileSystemMasterClientServiceClient;
use goosefs_core::raft::Role;
use goosefs_core::rpc::masters::{Masters, MastersConfig};
use goosefs_core::rpc::sasl::AuthType;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Masters, their folder and their under-storage; everything is gone when it is dropped.
pub(super) struct Cluster {
    dir: TempDir,
    configs: Vec<Config>,
    masters: Vec<Option<Running>>,
    connect: Box<dyn Fn() -> Box<Connect>>,
    pub(super) tasks: Tasks,
    session: u64,
    next: AtomicU64,
}

impl Cluster {
    /// `count` masters over a local folder with what `fill` puts there, once they serve.
    pub(super) async fn start(count: u32, fill: impl FnOnce(&std::path::Path)) -> Cluster {
        Cluster::start_with(count, fill, |_| {}, || Box::new(goosefs_ufs::connect_fenced)).await
    }

    /// As [`Cluster::start`], with another configuration and other connectors.
    pub(super) async fn start_with(
        count: u32,
        fill: impl FnOnce(&std::path::Path),
        adjust: impl Fn(&mut Config),
        connect: impl Fn() -> Box<Connect> + 'static,
    ) -> Cluster {
        let dir = TempDir::new().unwrap();
        let ufs = dir.path().join("ufs");
        std::fs::create_dir(&ufs).unwrap();
        fill(&ufs);
        let mut bound = Vec::new();
        for _ in 0..count {
            let rpc = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let raft = TcpListener::bind("127.0.0.1:0").await.unwrap();
            bound.push(Listeners { rpc, raft });
        }
        let addresses = |which: fn(&Listeners) -> &TcpListener| -> Vec<String> {
            bound.iter().map(|listeners| which(listeners).local_addr().unwrap().to_string()).collect()
        };
        let (rpc, raft) = (addresses(|listeners| &listeners.rpc), addresses(|listeners| &listeners.raft));
        let mut cluster = Cluster {
            configs: Vec::new(),
            masters: Vec::new(),
            connect: Box::new(connect),
            tasks: Tasks::new("test"),
            session: rand::random::<u64>() | 1,
            next: AtomicU64::new(0),
            dir,
        };
        for (id, listeners) in (0..).zip(bound) {
            let folder = cluster.dir.path().join(format!("master-{id}"));
            let mut config = Config::new(id, folder, rpc.clone(), raft.clone());
            config.auth = AuthType::NoSasl;
            config.root_ufs = ufs.display().to_string();
            adjust(&mut config);
            let deps = Deps { clock: SystemClock::shared(), listeners: Some(listeners) };
            let running = start_with(config.clone(), deps, (cluster.connect)()).await.unwrap();
            cluster.configs.push(config);
            cluster.masters.push(Some(running));
        }
        for master in cluster.masters.iter().flatten() {
            tokio::time::timeout(PATIENCE, master.ready()).await.unwrap().unwrap();
        }
        cluster.until("the root is mounted", async || cluster.stat("/").await?.mount_is(1)).await;
        cluster
    }

    /// The local folder below the root mount.
    pub(super) fn ufs(&self) -> PathBuf {
        self.dir.path().join("ufs")
    }

    pub(super) fn rpc(&self, id: usize) -> &str {
        &self.configs[0].rpc_addresses[id]
    }

    pub(super) fn rpc_addresses(&self) -> Vec<String> {
        self.configs[0].rpc_addresses.clone()
    }

    pub(super) fn running(&self, id: usize) -> &Running {
        self.masters[id].as_ref().unwrap()
    }

    pub(super) fn ids(&self) -> Vec<usize> {
        (0..self.masters.len()).filter(|id| self.masters[*id].is_some()).collect()
    }

    /// Who leads among those that run.
    pub(super) async fn leader(&self) -> usize {
        let mut leader = None;
        self.until("a master leads", async || {
            leader = self.ids().into_iter().find(|id| {
                let status = self.running(*id).status();
                let status = status.borrow();
                status.role == Role::Leader && status.serving
            });
            leader.map(drop).ok_or_else(|| Error::not_leader(""))
        })
        .await;
        leader.unwrap()
    }

    pub(super) async fn standby(&self) -> usize {
        let leader = self.leader().await;
        self.ids().into_iter().find(|id| *id != leader).unwrap()
    }

    /// Stops a master without ado.
    pub(super) async fn stop(&mut self, id: usize) {
        let master = self.masters[id].take().unwrap();
        master.shutdown(Duration::from_secs(5)).await;
    }

    /// Stops a master as a kill would: nothing is handed over, connections break.
    pub(super) async fn kill(&mut self, id: usize) {
        self.masters[id].take().unwrap().abort().await;
    }

    /// Starts a stopped master again, on the same ports and folder.
    pub(super) async fn restart(&mut self, id: usize) {
        let config = self.configs[id].clone();
        let deps = Deps { clock: SystemClock::shared(), listeners: None };
        let running = start_with(config, deps, (self.connect)()).await.unwrap();
        tokio::time::timeout(PATIENCE, running.ready()).await.unwrap().unwrap();
        self.masters[id] = Some(running);
    }

    /// Starts all stopped masters, then waits for them.
    pub(super) async fn restart_all(&mut self) {
        for id in 0..self.masters.len() {
            if self.masters[id].is_none() {
                let deps = Deps { clock: SystemClock::shared(), listeners: None };
                let connect = (self.connect)();
                self.masters[id] = Some(start_with(self.configs[id].clone(), deps, connect).await.unwrap());
            }
        }
        for master in self.masters.iter().flatten() {
            tokio::time::timeout(PATIENCE, master.ready()).await.unwrap().unwrap();
        }
    }

    /// A framed client that follows the leader.
    pub(super) fn client(&self) -> Masters {
        let config = MastersConfig {
            addresses: self.rpc_addresses(),
            role: "client".to_owned(),
            caller: caller(),
            cluster: None,
            deadline: PATIENCE,
            control: None,
        };
        Masters::new(config, &self.tasks)
    }

    /// A gRPC client of one master.
    pub(super) fn grpc(&self, id: usize) -> FileSystemMasterClientServiceClient<tonic::transport::Channel> {
        let channel = goosefs_core::rpc::grpc::channel(self.rpc(id), Duration::from_secs(5)).unwrap();
        FileSystemMasterClientServiceClient::new(channel)
    }

    pub(super) async fn stat(&self, path: &str) -> Result<Attr> {
        let request = ResolveRequest { path: path.to_owned(), sync_interval_ms: None, access: 0 };
        let answer: AttrResponse = self.client().call(method::RESOLVE, &request).await?;
        Ok(answer.attr.unwrap())
    }

    /// The next operation of this cluster's session, which is opened first.
    pub(super) async fn op(&self, client: &Masters) -> Option<SessionOp> {
        let sequence = self.next.fetch_add(1, Ordering::SeqCst) + 1;
        if sequence == 1 {
            let request = OpenSessionRequest { session: self.session, description: "test".to_owned() };
            let _: OpenSessionResponse = client.call(method::OPEN_SESSION, &request).await.unwrap();
        }
        Some(SessionOp { session: self.session, sequence, acknowledged: sequence - 1 })
    }

    /// Waits until `check` succeeds.
    pub(super) async fn until(&self, what: &str, mut check: impl AsyncFnMut() -> Result<()>) {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let error = match check().await {
                Ok(()) => return,
                Err(error) => error,
            };
            assert!(tokio::time::Instant::now() < deadline, "waited in vain until {what}: {error}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

pub(super) fn caller() -> Caller {
    Caller { user: "ann".to_owned(), group: "staff".to_owned() }
}

pub(super) trait AttrChecks {
    /// Whether it lies in this mount.
    fn mount_is(&self, mount: u64) -> Result<()>;
}

impl AttrChecks for Attr {
    fn mount_is(&self, mount: u64) -> Result<()> {
        if self.mount == mount {
            return Ok(());
        }
        Err(Error::new(Code::Busy, format!("it lies in mount {}", self.mount)))
    }
}
