//! How a master starts, and the handle to one that runs.

use crate::authority::Authority;
use crate::config::Config;
use crate::desired::{self, Desired, follow_cluster};
use crate::effects::{Effects, Uploads};
use crate::find::Finder;
use crate::journal::{Journal, State};
use crate::master::Master;
use crate::metrics::MasterMetrics;
use crate::mounts::{Connect, Connectors, LoadLimits, Loader};
use crate::preload;
use crate::service::{Frames, client_routes, forwarded_routes};
use crate::upkeep;
use crate::workers::{Channels, Workers, drain};
use goosefs_core::clock::Clock;
use goosefs_core::metrics::Metrics;
use goosefs_core::raft::{Node, RaftConfig, Role, Roster, Status};
use goosefs_core::rpc::sasl::Sasl;
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use goosefs_ufs::Fence;
use goosefs_ufs::wrap::{Backoff, Limit, Metered, Retry, UfsMetrics};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// What a master gets from outside.
pub struct Deps {
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Ports that were bound already, so that tests can use port 0; `None` binds those of the configuration.
    pub listeners: Option<Listeners>,
}

/// The two ports of a master.
pub struct Listeners {
    /// gRPC and frames.
    pub rpc: TcpListener,
    /// Raft.
    pub raft: TcpListener,
}

/// Where a master listens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// gRPC and frames.
    pub rpc: SocketAddr,
    /// Raft.
    pub raft: SocketAddr,
}

/// A master that runs.
pub struct Running {
    addresses: Addresses,
    metrics: Metrics,
    node: Node,
    tasks: Tasks,
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn addresses(&self) -> Addresses {
        self.addresses
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// What its Raft node is, and every change of it.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<Status> {
        self.node.status()
    }

    /// Waits until it can serve: as leader, or as a caught-up standby that sees a leader.
    ///
    /// # Errors
    /// When it has failed for good or was stopped.
    pub async fn ready(&self) -> Result<()> {
        let mut status = self.node.status();
        let over = |status: &Status| status.serving || has_ended(status.role);
        match status.wait_for(over).await {
            Ok(status) if status.serving => Ok(()),
            Ok(status) => Err(ended(&status)),
            Err(_) => Err(Error::new(Code::Unavailable, "the master was stopped")),
        }
    }

    /// Whether it serves and votes now: others may be stopped.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let status = self.node.status();
        let status = status.borrow();
        status.serving && status.votes
    }

    /// Hands leadership over, answers what is in flight and stops, within `grace`.
    pub async fn shutdown(&self, grace: Duration) {
        let leads = self.node.status().borrow().role == Role::Leader;
        if leads
            && let Ok(Err(error)) = tokio::time::timeout(grace / 2, self.node.transfer_leadership()).await
        {
            tracing::info!(%error, "leadership could not be handed over");
        }
        self.tasks.shutdown(grace).await;
        if tokio::time::timeout(grace, self.node.shutdown()).await.is_err() {
            tracing::warn!("Raft did not stop in time");
        }
    }

    /// Stops at once, as a kill would: nothing is handed over or drained, connections break. Returns when its ports are
    /// free and its directory may be opened again.
    pub async fn abort(&self) {
        self.tasks.shutdown(Duration::ZERO).await;
        self.node.abort().await;
    }

    /// Waits until it has ended: `Ok` after [`Running::shutdown`].
    ///
    /// # Errors
    /// What brought it down.
    pub async fn join(&self) -> Result<()> {
        let mut status = self.node.status();
        let (stop, failed) = (self.tasks.stop(), self.tasks.failed());
        let outcome = tokio::select! {
            biased;
            () = failed.cancelled() => {
                Err(Error::new(Code::Internal, "a task of the master panicked; its log says which"))
            }
            () = stop.cancelled() => Ok(()),
            Ok(status) = status.wait_for(|status| status.role == Role::Failed) => Err(ended(&status)),
        };
        if outcome.is_ok() {
            self.tasks.join().await;
        }
        outcome
    }
}

fn has_ended(role: Role) -> bool {
    match role {
        Role::Failed | Role::Stopped => true,
        Role::Starting | Role::Learner | Role::Follower | Role::Leader => false,
    }
}

fn ended(status: &Status) -> Error {
    let problem = status.problem.clone().unwrap_or_else(|| "the master was stopped".to_owned());
    Error::new(Code::Unavailable, problem)
}

/// Starts one master: ports, Raft, rooms, services. Joining its cluster goes on in the background; see
/// [`Running::ready`].
///
/// # Errors
/// When a port is in use, the configuration is wrong or the data directory cannot be used.
pub async fn start(config: Config, deps: Deps) -> Result<Running> {
    let storages = config.storages.clone();
    start_with(config, deps, Box::new(move |uri, options, fence| storages.connect(uri, options, fence))).await
}

/// Calls that a storage gets at once from one master.
const UFS_PLACES: usize = 64;

/// What `connect` makes, limited, retried and counted.
fn wrapped(connect: Box<Connect>, metrics: &Metrics) -> Box<Connect> {
    let counted = UfsMetrics::register(metrics, "master");
    Box::new(move |uri, options, fence| {
        let limited = Arc::new(Limit::new(connect(uri, options, fence)?, UFS_PLACES));
        let backoff = Backoff::new(3, Duration::from_millis(100), Duration::from_secs(2));
        let retried = Arc::new(Retry::new(limited, backoff));
        Ok(Arc::new(Metered::new(retried, counted.clone())))
    })
}

/// As [`start`], with connectors of the caller's making.
pub(crate) async fn start_with(config: Config, deps: Deps, connect: Box<Connect>) -> Result<Running> {
    config.check()?;
    let tasks = Tasks::new(format!("master-{}", config.id));
    let metrics = Metrics::new();
    let listeners = match deps.listeners {
        Some(bound) => bound,
        None => bind(&config).await?,
    };
    let addresses = Addresses { rpc: address_of(&listeners.rpc)?, raft: address_of(&listeners.raft)? };

    let state = Arc::new(State::new());
    crate::service::forget_backups(&config.dir);
    let mut raft = raft_config(&config);
    let roster = config.cluster_file.clone().map(|file| follow_cluster(file, &tasks));
    raft.roster.clone_from(&roster);
    let desired = Desired::follow(config.mounts_file.clone(), &tasks).await;
    let node = Node::start(raft, state.clone(), &tasks, &metrics).await?;
    if let Some(roster) = roster {
        obey_force(node.clone(), config.id, roster, &tasks);
    }
    let leader = node.clone();
    let fence = Fence::new(move || leader.check_lease());
    let connectors = Connectors::new(wrapped(connect, &metrics), fence, desired.clone());
    let given = Given { config, desired, connectors: Arc::new(connectors) };
    let master = open_rooms(given, deps.clock, state, node.clone(), &tasks, &metrics);

    let forwarded = Sasl::new(master.config.auth).trust_forwarded().protect(forwarded_routes(&master));
    node.serve(listeners.raft, Some(forwarded))?;
    let sasl = Sasl::with_control(master.config.auth, master.config.control.clone());
    let routes = sasl.protect(client_routes(&master));
    server::serve("master", listeners.rpc, routes, Some(Frames::new(master.clone())), &tasks)?;
    tasks.spawn("effects", master.effects.clone().run());
    upkeep::start(&master);
    drain::start(&master);
    desired::start(&master);
    preload::start(&master);
    tracing::info!(id = master.config.id, rpc = %addresses.rpc, raft = %addresses.raft, "master listens");
    Ok(Running { addresses, metrics, node, tasks })
}

/// Ends this master when it is told to go on alone from its data: that is done by the next start.
fn obey_force(node: Node, id: u32, mut roster: watch::Receiver<Roster>, tasks: &Tasks) {
    let stop = tasks.stop();
    tasks.spawn("force", async move {
        let ordered = async {
            if roster.wait_for(|roster| roster.forces(id, node.mark())).await.is_err() {
                // Nobody gives orders any more.
                std::future::pending().await
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = ordered => {
                tracing::warn!("told to begin a new epoch from the data of this master alone: starting again");
                stop.cancel();
            }
        }
    });
}

/// How long a master of several may wait for its own name: in a cluster that is being started, names come late.
const OWN_NAME: Duration = Duration::from_secs(60);

async fn bind(config: &Config) -> Result<Listeners> {
    let (rpc, raft) =
        (config.listen_address(&config.rpc_addresses)?, config.listen_address(&config.raft_addresses)?);
    if config.raft_addresses.len() > 1 {
        for address in [&rpc, &raft] {
            server::until_resolved(address, OWN_NAME).await;
        }
    }
    Ok(Listeners {
        rpc: server::bind("master RPC", &rpc).await?,
        raft: server::bind("master Raft", &raft).await?,
    })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr> {
    listener.local_addr().map_err(|cause| Error::io("look at a bound port", cause))
}

fn raft_config(config: &Config) -> RaftConfig {
    let mut raft = RaftConfig::new(
        config.dir.clone(),
        config.id,
        config.raft_addresses.clone(),
        config.rpc_addresses.clone(),
    );
    raft.cluster = config.cluster;
    raft.heartbeat = config.raft_heartbeat;
    raft.election_min = config.raft_election_min;
    raft.election_max = config.raft_election_max;
    raft.snapshot_entries = config.raft_snapshot_entries;
    raft.force_new_cluster = config.force_new_cluster;
    raft.restore.clone_from(&config.restore);
    raft.control.clone_from(&config.control);
    raft
}

/// What this master was given, by its configuration and by files.
struct Given {
    config: Config,
    desired: Arc<Desired>,
    connectors: Arc<Connectors>,
}

fn open_rooms(
    given: Given,
    clock: Arc<dyn Clock>,
    state: Arc<State>,
    node: Node,
    tasks: &Tasks,
    metrics: &Metrics,
) -> Arc<Master> {
    let Given { config, desired, connectors } = given;
    let metrics = Arc::new(MasterMetrics::new(metrics));
    let journal =
        Arc::new(Journal::new(node.clone(), state, clock.clone(), config.propose_timeout, metrics.clone()));
    let limits = LoadLimits {
        batch: config.load_batch.max(1),
        concurrency: config.load_concurrency,
        stall: config.load_stall,
    };
    let loader = Loader::new(journal.clone(), connectors.clone(), tasks.clone(), limits, metrics.clone());
    let workers = Arc::new(Workers::new(clock.clone(), config.worker_timeout, config.virtual_nodes));
    let channels = Arc::new(Channels::new(node, tasks.clone()));
    let uploads = Uploads::new(journal.clone(), workers.clone(), channels.clone());
    let limits = (config.effect_deadline, config.effect_concurrency);
    let effects =
        Effects::new(journal.clone(), connectors.clone(), uploads, tasks.clone(), limits, metrics.clone());
    Arc::new(Master {
        digests: Arc::new(Semaphore::new(1)),
        started_ms: clock.now_ms(),
        finder: Finder::new(journal.clone(), loader.clone()),
        authority: Authority::new(&config),
        config,
        clock,
        journal,
        desired,
        connectors,
        workers,
        channels,
        effects,
        metrics,
        tasks: tasks.clone(),
    })
}
