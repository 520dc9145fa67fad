//! The end of a runtime: everything is taken away, once nobody uses it.

use super::context::{Context, api_error, delete_at_once, delete_exactly, gone, names_of};
use super::label::{DATASETS, datasets, relabel};
use super::plan::names::Names;
use super::plan::nodes::EXCLUSIVE;
use super::plan::pods::phase_of;
use super::plan::{Given, wipe};
use super::runtime::{FINALIZER, SOON, write_dataset_status};
use crate::crd::{Dataset, DatasetStatus, GooseFSRuntime};
use goosefs_core::{Code, Result};
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::time::Duration;

/// Seconds that pods are given to end before nodes are wiped.
const WIPE_AT_LEAST: i64 = 40;

/// Takes everything away, once nobody uses it.
pub(super) async fn end(runtime: &GooseFSRuntime, context: &Context) -> Result<Action> {
    if !runtime.finalizers().iter().any(|one| one == FINALIZER) {
        return Ok(Action::await_change());
    }
    let (namespace, name) = (runtime.namespace().unwrap_or_default(), runtime.name_any());
    let users = context.users_of(&namespace, &name).await?;
    if !users.is_empty() {
        let note = format!("the volume is in use by {}", names_of(&users));
        context.event(runtime, true, "ErrorDeleteDataset", note).await;
        return Ok(Action::requeue(Duration::from_secs(10)));
    }
    context.forget(&namespace);
    let owner = runtime.owner_references().iter().find(|owner| owner.kind == "Dataset");
    let names = Names::new(&namespace, &name, owner.map_or("", |owner| &owner.uid));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    gone(claims.delete(&name, &DeleteParams::default()).await)?;
    gone(volumes.delete(&names.volume(), &DeleteParams::default()).await)?;
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
    let daemons: Api<DaemonSet> = Api::namespaced(context.client.clone(), &namespace);
    gone(daemons.delete(&names.fuse(), &DeleteParams::default()).await)?;
    gone(daemons.delete(&names.workers(), &DeleteParams::default()).await)?;
    gone(sets.delete(&names.masters(), &DeleteParams::default()).await)?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let left = pods.list(&ListParams::default().labels(&format!("app=goosefs,release={name}"))).await;
    if !left.map_err(|error| api_error("list pods", error))?.items.is_empty() {
        return Ok(Action::requeue(SOON));
    }
    if !wiped(runtime, &names, context).await? {
        return Ok(Action::requeue(SOON));
    }
    unlabel(&names, context).await?;
    let datasets: Api<Dataset> = Api::namespaced(context.client.clone(), &namespace);
    if let Some(dataset) =
        datasets.get_opt(&name).await.map_err(|error| api_error("get the Dataset", error))?
    {
        let status = DatasetStatus { phase: Some("NotBound".to_owned()), ..DatasetStatus::default() };
        write_dataset_status(&dataset, context, &status).await?;
    }
    let kept: Vec<&String> = runtime.finalizers().iter().filter(|one| *one != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": runtime.resource_version(), "finalizers": kept}});
    let api: Api<GooseFSRuntime> = Api::namespaced(context.client.clone(), &namespace);
    gone(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
    Ok(Action::await_change())
}

/// Whether nodes have nothing of the runtime any more: each that had a worker or FUSE runs a last pod, which is waited for as
/// long as `cleanCachePolicy` says, for a node may be gone for good.
async fn wiped(runtime: &GooseFSRuntime, names: &Names, context: &Context) -> Result<bool> {
    let patience = runtime.spec.clean_cache_policy.clone().unwrap_or_default().grace_period_seconds;
    let asked = runtime.metadata.deletion_timestamp.as_ref().map(|at| at.0.as_second());
    let waited = asked.map(|asked| jiff::Timestamp::now().as_second() - asked).unwrap_or_default();
    let selector =
        format!("app={},release={},fluid.io/dataset-id={}", wipe::ROLE, names.name, names.dataset_id());
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &names.namespace);
    let elsewhere: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let nodes: Api<Node> = Api::all(context.client.clone());
    let listed = nodes.list(&ListParams::default()).await;
    let mut nodes = listed.map_err(|error| api_error("list nodes", error))?.items;
    let labels = [names.worker_label(), names.fuse_label()];
    nodes.retain(|node| labels.iter().any(|label| node.labels().contains_key(label)));
    let dataset = Dataset::default();
    let given = Given::bare(names.clone(), &dataset, runtime, &context.image, &context.driver);
    let mut found = Vec::new();
    for pods in [&pods, &elsewhere] {
        let listed = pods.list(&ListParams::default().labels(&selector)).await;
        found.extend(listed.map_err(|error| api_error("list pods", error))?.items);
    }
    let mut left = Vec::new();
    for node in &nodes {
        let object = wipe::pod(&given, &node.name_any(), node.labels().contains_key(&names.worker_label()))?;
        let moved = wipe::elsewhere(&object, &names.namespace, &context.namespace);
        let is_it = |pod: &&Pod| pod.name_any() == object.name() || pod.name_any() == moved.name();
        match found.iter().find(is_it) {
            None => {
                match context.apply(&object).await {
                    // Nothing can be made in a namespace that goes.
                    Err(error) if error.code == Code::PermissionDenied => context.apply(&moved).await?,
                    outcome => outcome?,
                }
                left.push(node.name_any());
            }
            Some(pod) if phase_of(pod) == Some("Succeeded") => {}
            // A node that had no room put it out: it is made again.
            Some(pod) if phase_of(pod) == Some("Failed") => {
                delete_exactly(pod, context).await?;
                left.push(node.name_any());
            }
            Some(_) => left.push(node.name_any()),
        }
    }
    let over = left.is_empty() || waited >= i64::from(patience) + WIPE_AT_LEAST;
    if over {
        // Those of the runtime's namespace go with the runtime.
        let others = found.iter().filter(|pod| pod.namespace().as_ref() != Some(&names.namespace));
        for pod in others {
            delete_exactly(pod, context).await?;
        }
    }
    if left.is_empty() {
        return Ok(true);
    }
    if !over {
        return Ok(false);
    }
    forget_unseen(&pods, names, context).await?;
    let note = format!("folders of the cache may be left on {}", left.join(", "));
    context.event(runtime, true, "CacheNotCleaned", note).await;
    Ok(true)
}

/// Pods that were to clean nodes whose kubelet has never seen them go at once: nobody would say that they have ended.
async fn forget_unseen(pods: &Api<Pod>, names: &Names, context: &Context) -> Result<()> {
    let roles = [wipe::ROLE, wipe::UNMOUNT_ROLE, wipe::FOLDERS_ROLE].join(",");
    let selector = format!("app in ({roles}),release={}", names.name);
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    let listed = listed.map_err(|error| api_error("list pods that clean nodes", error))?;
    let unseen = |pod: &&Pod| pod.status.as_ref().is_none_or(|status| status.start_time.is_none());
    for pod in listed.items.iter().filter(unseen) {
        delete_at_once(pod, context).await?;
    }
    Ok(())
}

/// Takes the labels of a runtime from all nodes.
async fn unlabel(names: &Names, context: &Context) -> Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let all = nodes.list(&ListParams::default()).await.map_err(|error| api_error("list nodes", error))?;
    let own = format!("{}_{}", names.namespace, names.name);
    for node in &all.items {
        relabel(node, context, |labels| {
            let mut change = serde_json::Map::new();
            for key in [names.worker_label(), names.cached_label(), names.fuse_label()] {
                if labels.contains_key(&key) {
                    change.insert(key, Value::Null);
                }
            }
            if labels.get(EXCLUSIVE) == Some(&own) {
                change.insert(EXCLUSIVE.to_owned(), Value::Null);
            }
            if labels.contains_key(&names.worker_label()) {
                change.insert(DATASETS.to_owned(), datasets(labels, -1));
            }
            change
        })
        .await?;
    }
    Ok(())
}
