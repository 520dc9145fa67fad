//! The controller: makes of Datasets and GooseFSRuntimes what they ask for.
//!
//! [`plan`] says which objects there shall be, without I/O; [`runtime`] and [`dataset`] look, apply, and say what is
//! ([`place`] labels nodes, [`roll`] makes masters anew, [`hand_over`] FUSE pods, [`shrink`] keeps those that still vote,
//! [`restore`] has masters begin with a backup, [`tell`] finds the words, [`storages`] those about
//! storages that refuse, [`end`] takes everything away). [`operation`]
//! carries out DataLoads and DataBackups. Watches wake them all; [`ask`] asks masters for what only they know; [`lease`] lets
//! one controller of several work; [`leave`] says what would be left behind.
//! [`admission`] changes pods before they are made. Started by `goosefs controller`, which serves the metrics.

pub mod admission;
mod ask;
mod context;
mod dataset;
mod drain;
mod end;
mod fluid;
mod hand_over;
mod journals;
mod label;
mod lease;
mod leave;
mod operation;
pub(crate) mod phase;
mod place;
pub(crate) mod plan;
mod restore;
mod roll;
mod runtime;
mod shrink;
mod storages;
mod tell;
mod totals;

pub use leave::live_objects;

use crate::crd::{Dataset, GooseFSRuntime};
use context::{Context, api_error, claims};
use futures::StreamExt;
use goosefs_core::metrics::Metrics;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use kube::runtime::controller::{Action, Controller};
use kube::runtime::reflector::ObjectRef;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};
use parking_lot::Mutex;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How soon a failed reconcile is tried again.
const AGAIN: Duration = Duration::from_secs(5);

/// A kind of objects that can be reconciled.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Datasets.
    Dataset,
    /// GooseFSRuntimes.
    GooseFSRuntime,
}

impl FromStr for Kind {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Kind, String> {
        match text {
            "dataset" => Ok(Kind::Dataset),
            "goosefsruntime" => Ok(Kind::GooseFSRuntime),
            _ => Err("must be dataset or goosefsruntime".to_owned()),
        }
    }
}

/// What a controller is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The kind that it reconciles; both by default.
    pub only: Option<Kind>,
    /// Image of runtimes that name none (`GOOSEFS_RUNTIME_IMAGE_ENV`).
    pub image: String,
    /// Name of the CSI driver (`GOOSEFS_CSI_DRIVER`).
    pub driver: String,
    /// Namespace of the leases (`POD_NAMESPACE`).
    pub namespace: String,
    /// Names this process in leases (`HOSTNAME`).
    pub holder: String,
    /// Pod admission, where it is to be served.
    pub admission: Option<admission::Config>,
}

impl Config {
    /// From the environment, as the chart sets it.
    ///
    /// # Errors
    /// `InvalidArgument` when no image is named.
    pub fn from_env() -> Result<Config> {
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let image = variable("GOOSEFS_RUNTIME_IMAGE_ENV").ok_or_else(|| {
            Error::new(Code::InvalidArgument, "GOOSEFS_RUNTIME_IMAGE_ENV is not set")
                .hint("it names the image of runtimes that name none")
        })?;
        Ok(Config {
            only: None,
            image,
            driver: variable("GOOSEFS_CSI_DRIVER").unwrap_or_else(|| "fuse.csi.fluid.io".to_owned()),
            namespace: variable("POD_NAMESPACE").unwrap_or_else(|| "fluid-system".to_owned()),
            holder: variable("HOSTNAME").unwrap_or_else(|| uuid::Uuid::new_v4().to_string()),
            admission: variable("GOOSEFS_WEBHOOK").map(|name| admission::Config {
                name,
                address: variable("GOOSEFS_WEBHOOK_ADDR").unwrap_or_else(|| "0.0.0.0:9443".to_owned()),
            }),
        })
    }
}

/// A controller that was started.
pub struct Running {
    only: Option<Kind>,
    tasks: Tasks,
    metrics: Metrics,
    leads: watch::Receiver<bool>,
    admission: Option<admission::Ready>,
    failure: Arc<Mutex<Option<Error>>>,
}

/// Starts to reconcile, once the lease is ours.
///
/// # Errors
/// `Unavailable` when there is no apiserver to be found.
pub async fn start(config: Config) -> Result<Running> {
    let client = Client::try_default().await.map_err(|error| api_error("find the apiserver", error))?;
    let tasks = Tasks::new("controller");
    let metrics = Metrics::new();
    let admission = match &config.admission {
        Some(own) => Some(admission::start(own, &config, &client, &tasks, &metrics).await?),
        None => None,
    };
    let context = Context::new(client, &config, tasks.clone(), &metrics);
    let context = Arc::new(context);
    let (won, leads) = watch::channel(false);
    let failure = Arc::new(Mutex::new(None));
    let (failed, stop) = (failure.clone(), tasks.stop());
    let only = config.only;
    tasks.spawn("reconcile", async move {
        let name = match only {
            Some(Kind::Dataset) => "dataset.data.fluid.io",
            Some(Kind::GooseFSRuntime) => "goosefs.data.fluid.io",
            None => "controller.data.fluid.io",
        };
        let election =
            lease::Election::new(context.client.clone(), &config.namespace, name, config.holder.clone());
        tokio::select! {
            () = stop.cancelled() => return,
            () = election.win() => {}
        }
        won.send_replace(true);
        tokio::select! {
            () = work(only, &context) => {}
            lost = election.keep() => {
                *failed.lock() = Some(lost);
                context.tasks.stop().cancel();
            }
        }
        election.release().await;
    });
    Ok(Running { only, tasks, metrics, leads, admission, failure })
}

async fn work(only: Option<Kind>, context: &Arc<Context>) {
    let datasets = async {
        if only != Some(Kind::GooseFSRuntime) {
            tokio::join!(reconcile_datasets(context.clone()), operation::reconcile_all(context.clone()));
        }
    };
    let runtimes = async {
        if only != Some(Kind::Dataset) {
            reconcile_runtimes(context.clone()).await;
        }
    };
    tokio::join!(datasets, runtimes);
}

async fn reconcile_datasets(context: Arc<Context>) {
    let (client, stop) = (context.client.clone(), context.tasks.stop());
    let everything = watcher::Config::default;
    Controller::new(Api::<Dataset>::all(client.clone()), everything())
        .watches(Api::<GooseFSRuntime>::all(client.clone()), everything(), |runtime| {
            Some(ObjectRef::new(&runtime.name_any()).within(&runtime.namespace()?))
        })
        .watches(Api::<Pod>::all(client), everything(), |pod| used_by::<Dataset>(&pod))
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(dataset::reconcile, |_, _, _| Action::requeue(AGAIN), context)
        .for_each(|_outcome| std::future::ready(()))
        .await;
}

async fn reconcile_runtimes(context: Arc<Context>) {
    let (client, stop) = (context.client.clone(), context.tasks.stop());
    let everything = watcher::Config::default;
    Controller::new(Api::<GooseFSRuntime>::all(client.clone()), everything())
        .owns(Api::<StatefulSet>::all(client.clone()), everything())
        .owns(Api::<DaemonSet>::all(client.clone()), everything())
        .watches(Api::<Dataset>::all(client.clone()), everything(), |dataset| {
            Some(ObjectRef::new(&dataset.name_any()).within(&dataset.namespace()?))
        })
        .watches(Api::<Pod>::all(client), everything(), |pod| {
            let own = pod.labels().get("app").is_some_and(|app| app.starts_with("goosefs"));
            let release = pod.labels().get("release").filter(|_| own);
            let runtime =
                release.zip(pod.namespace()).map(|(name, space)| ObjectRef::new(name).within(&space));
            runtime.into_iter().chain(used_by(&pod)).collect::<Vec<_>>()
        })
        .graceful_shutdown_on(stop.cancelled_owned())
        .run(runtime::reconcile, |_, _, _| Action::requeue(AGAIN), context)
        .for_each(|_outcome| std::future::ready(()))
        .await;
}

/// The objects whose claims a pod has: claim, Dataset and runtime have the same name.
fn used_by<K: kube::Resource<DynamicType = ()>>(pod: &Pod) -> Vec<ObjectRef<K>> {
    let Some(namespace) = pod.namespace() else { return Vec::new() };
    claims(pod).map(|claim| ObjectRef::new(claim).within(&namespace)).collect()
}

impl Running {
    /// What is reconciled, for the line that says it is ready.
    #[must_use]
    pub fn kinds(&self) -> &'static str {
        match self.only {
            Some(Kind::Dataset) => "Datasets",
            Some(Kind::GooseFSRuntime) => "GooseFSRuntimes",
            None => "Datasets and GooseFSRuntimes",
        }
    }

    /// Where it works, for the same line.
    #[must_use]
    pub fn place(&self) -> String {
        if *self.leads.borrow() { "holds the lease" } else { "waits for the lease" }.to_owned()
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Returns once it runs, and can admit pods if it is to: one that waits for the lease is ready to take over.
    ///
    /// # Errors
    /// `Cancelled` when it ends before.
    pub async fn ready(&self) -> Result<()> {
        match &self.admission {
            Some(admission) => admission.wait().await,
            None => Ok(()),
        }
    }

    /// Stops, and gives the lease back.
    pub async fn shutdown(&self, grace: Duration) {
        self.tasks.shutdown(grace).await;
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// When the lease was lost.
    pub async fn join(&self) -> Result<()> {
        self.tasks.join().await;
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}
