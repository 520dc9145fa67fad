//! What a pod's Datasets are, and where their workers run.
//!
//! Datasets and runtimes are asked for as they are at that moment: a pod may be made right after them, and a list of ours
//! would lag behind. Where workers run is watched, since it is a preference only. Called by [`super::review`].

use super::mutate::{REGION, Used, WORKERS_LABEL, ZONE};
use crate::controller::context::{api_error, claims};
use crate::controller::plan::names::Names;
use crate::crd::{Dataset, GooseFSRuntime};
use futures::StreamExt;
use goosefs_core::Result;
use goosefs_core::task::Tasks;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::core::PartialObjectMeta;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use kube::{Api, Client, ResourceExt};
use std::collections::BTreeSet;

/// Where facts come from.
pub(super) struct Facts {
    client: Client,
    nodes: reflector::Store<PartialObjectMeta<Node>>,
    /// Datasets without a GooseFSRuntime are ours as well.
    all_datasets: bool,
}

impl Facts {
    /// Begins to watch nodes that have workers.
    pub(super) fn new(client: Client, all_datasets: bool, tasks: &Tasks) -> Facts {
        let (nodes, writer) = reflector::store();
        let labelled = watcher::Config::default().labels(WORKERS_LABEL);
        let api: Api<PartialObjectMeta<Node>> = Api::all(client.clone());
        let watched = reflector(writer, watcher(api, labelled).default_backoff());
        let stop = tasks.stop();
        tasks.spawn("nodes with workers", async move {
            let said = watched.for_each(|event| {
                if let Err(error) = event {
                    tracing::warn!(%error, "cannot watch nodes: pods prefer the zones as seen last");
                }
                std::future::ready(())
            });
            tokio::select! {
                () = said => {}
                () = stop.cancelled() => {}
            }
        });
        Facts { client, nodes, all_datasets }
    }

    /// The Datasets whose claims a pod of this namespace has, by name.
    ///
    /// # Errors
    /// That of the apiserver.
    pub(super) async fn used(&self, namespace: &str, pod: &Pod) -> Result<Vec<Used>> {
        let names: BTreeSet<&str> = claims(pod).collect();
        let asked = names.into_iter().map(|name| self.dataset(namespace, name));
        let answers: Vec<Result<Option<Used>>> = futures::future::join_all(asked).await;
        answers.into_iter().filter_map(Result::transpose).collect()
    }

    async fn dataset(&self, namespace: &str, name: &str) -> Result<Option<Used>> {
        let datasets: Api<Dataset> = Api::namespaced(self.client.clone(), namespace);
        let runtimes: Api<GooseFSRuntime> = Api::namespaced(self.client.clone(), namespace);
        let (dataset, runtime) = tokio::join!(datasets.get_metadata_opt(name), runtimes.get_opt(name));
        let dataset = dataset.map_err(|error| api_error("get the Dataset", error))?;
        let runtime = runtime.map_err(|error| api_error("get the GooseFSRuntime", error))?;
        let Some(dataset) = dataset.filter(|_| runtime.is_some() || self.all_datasets) else {
            return Ok(None);
        };
        let names = Names::new(namespace, name, &dataset.uid().unwrap_or_default());
        let label = names.cached_label();
        let nodes = self.nodes.state_filter(|node| node.labels().contains_key(&label));
        let values = |key: &str| nodes.iter().filter_map(|node| node.labels().get(key).cloned()).collect();
        Ok(Some(Used {
            name: name.to_owned(),
            zones: values(ZONE.0),
            regions: values(REGION.0),
            fuse_nodes: runtime.and_then(|runtime| runtime.spec.fuse).unwrap_or_default().node_selector,
            label,
        }))
    }
}
