//! A runtime that Fluid up to 1.0.8 has made: its objects have the names that ours have. They are replaced only when a
//! person says so, because the metadata of Fluid's masters goes with them.

use super::context::{Context, FIELD_MANAGER, api_error, gone, names_of};
use super::plan::masters_of;
use super::plan::names::Names;
use crate::crd::GooseFSRuntime;
use goosefs_core::Result;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{ConfigMap, Node, PersistentVolume, PersistentVolumeClaim, Pod, Service};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::{Value, json};

/// Annotation of a runtime by which a person has Fluid's objects replaced: `"true"`.
const ADOPT: &str = "goosefs.data.fluid.io/adopt";

/// Why nothing can be made yet: what Fluid has left, or is still going. Nothing once all of it is ours to make.
pub(super) async fn in_the_way(
    runtime: &GooseFSRuntime,
    names: &Names,
    context: &Context,
) -> Result<Option<(&'static str, String)>> {
    if runtime.status.as_ref().is_some_and(|status| status.cluster_id.is_some()) {
        return Ok(None);
    }
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &names.namespace);
    let daemons: Api<DaemonSet> = Api::namespaced(context.client.clone(), &names.namespace);
    let mut foreign = Vec::new();
    for name in [names.masters(), names.workers()] {
        let found = sets.get_opt(&name).await.map_err(|error| api_error("get a StatefulSet", error))?;
        foreign.extend(found.filter(is_foreign).map(|_| format!("StatefulSet {name}")));
    }
    let found = daemons.get_opt(&names.fuse()).await.map_err(|error| api_error("get a DaemonSet", error))?;
    foreign.extend(found.filter(is_foreign).map(|_| format!("DaemonSet {}", names.fuse())));
    let told = runtime.annotations().get(ADOPT).is_some_and(|value| value == "true");
    if !told {
        let note = format!(
            "{} {} not made by this controller but, as it seems, by Fluid: nothing is touched. Annotate the runtime with \
             {ADOPT}=true to have them replaced; what only Fluid's cache and masters have is lost then",
            foreign.join(", "),
            if foreign.len() == 1 { "was" } else { "were" }
        );
        return Ok((!foreign.is_empty()).then_some(("MadeByFluid", note)));
    }
    let users = context.users_of(&names.namespace, &names.name).await?;
    if !foreign.is_empty() && !users.is_empty() {
        let note =
            format!("the volume is in use by {}: Fluid's objects stay until it is not", names_of(&users));
        return Ok(Some(("MadeByFluid", note)));
    }
    if !foreign.is_empty() {
        replace(runtime, names, context).await?;
        return Ok(Some(("ReplacesFluid", format!("{} are being deleted", foreign.join(", ")))));
    }
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &names.namespace);
    let selector = format!("release={},app=goosefs", names.name);
    let left = pods.list(&ListParams::default().labels(&selector)).await;
    let left = left.map_err(|error| api_error("list pods", error))?.items;
    if !left.is_empty() {
        return Ok(Some(("ReplacesFluid", format!("{} are ending", names_of(&left)))));
    }
    Ok(None)
}

/// Whether this controller has never applied it.
fn is_foreign<K: Resource>(object: &K) -> bool {
    !object.managed_fields().iter().any(|fields| fields.manager.as_deref() == Some(FIELD_MANAGER))
}

/// Deletes what Fluid has made, but for Dataset and runtime.
async fn replace(runtime: &GooseFSRuntime, names: &Names, context: &Context) -> Result<()> {
    let (client, space) = (&context.client, names.namespace.as_str());
    let now = DeleteParams::default();
    let sets: Api<StatefulSet> = Api::namespaced(client.clone(), space);
    let daemons: Api<DaemonSet> = Api::namespaced(client.clone(), space);
    let services: Api<Service> = Api::namespaced(client.clone(), space);
    let files: Api<ConfigMap> = Api::namespaced(client.clone(), space);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(client.clone(), space);
    let volumes: Api<PersistentVolume> = Api::all(client.clone());
    gone(claims.delete(&names.name, &now).await)?;
    gone(volumes.delete(&names.volume(), &now).await)?;
    for slot in 0..masters_of(runtime) {
        gone(services.delete(&names.master(slot), &now).await)?;
    }
    for name in [names.config(), format!("{}-goosefs-values", names.name)] {
        gone(files.delete(&name, &now).await)?;
    }
    unlabel(names, context).await?;
    gone(daemons.delete(&names.fuse(), &now).await)?;
    gone(sets.delete(&names.workers(), &now).await)?;
    // Last: while it is there, this is done again.
    gone(sets.delete(&names.masters(), &now).await)
}

/// Takes Fluid's labels from nodes; those of ours that are alike are given anew.
async fn unlabel(names: &Names, context: &Context) -> Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let all = nodes.list(&ListParams::default()).await.map_err(|error| api_error("list nodes", error))?;
    let capacities = ["m", "d", "t"].map(|kind| format!("fluid.io/s-h-goosefs-{kind}-{}", names.volume()));
    for node in all.items {
        let theirs = capacities
            .iter()
            .chain([&names.worker_label(), &names.cached_label(), &names.fuse_label()])
            .cloned()
            .collect::<Vec<_>>();
        let labels: serde_json::Map<String, Value> = theirs
            .into_iter()
            .filter(|key| node.labels().contains_key(key))
            .map(|key| (key, Value::Null))
            .collect();
        if !labels.is_empty() {
            let patch = json!({"metadata": {"labels": labels}});
            let patched = nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            patched.map_err(|error| api_error("take Fluid's labels from a node", error))?;
        }
    }
    Ok(())
}
