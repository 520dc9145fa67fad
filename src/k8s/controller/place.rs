//! Labels of nodes: the controller alone says where workers and FUSE run.

use super::context::{Context, api_error, delete_exactly};
use super::plan::fuse_node::{self, Act, Last};
use super::plan::nodes::{EXCLUSIVE, Wanted, choose};
use super::plan::{Given, fuse, wipe};
use super::runtime::pods_of;
use crate::crd::{CleanPolicy, LaunchPolicy, Placement};
use goosefs_core::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{ListParams, Patch, PatchParams};
use kube::{Api, ResourceExt};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};

/// Labels nodes: workers where they shall be, FUSE there, and where pods use the volume.
pub(super) async fn place(given: &Given<'_>, context: &Context) -> Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let all = nodes.list(&ListParams::default()).await.map_err(|error| api_error("list nodes", error))?.items;
    let spec = &given.runtime.spec;
    let none = BTreeMap::new();
    let exclusive = given.dataset.spec.placement != Some(Placement::Shared);
    let mut tolerations = given.dataset.spec.tolerations.clone();
    tolerations.extend(spec.worker.iter().flat_map(|worker| worker.tolerations.clone()));
    let wanted = Wanted {
        replicas: usize::try_from(spec.replicas.unwrap_or(0)).unwrap_or_default(),
        label: given.names.worker_label(),
        exclusive: exclusive.then(|| format!("{}_{}", given.names.namespace, given.names.name)),
        selector: spec.worker.as_ref().map_or(&none, |worker| &worker.node_selector),
        affinity: given.dataset.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref()),
        tolerations,
    };
    let workers = choose(&all, &wanted);
    let users = context.users_of(&given.names.namespace, &given.names.name).await?;
    let used: BTreeSet<String> =
        users.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    let fuse = spec.fuse.as_ref();
    let eager = fuse.is_none_or(|fuse| fuse.launch_policy == LaunchPolicy::Eager);
    let global = fuse.is_some_and(|fuse| fuse.global);
    let stays = fuse_stays(fuse.and_then(|fuse| fuse.clean_policy));
    let (fuse_pods, last_pods) =
        (pods_of(given, fuse::ROLE, context).await?, last_pods(given, context).await?);
    for node in &all {
        let name = node.name_any();
        let worker = workers.contains(&name);
        let label = node.labels().get(&given.names.fuse_label()).map(String::as_str);
        let has_fuse = label == Some(fuse_node::HAS);
        let wants_fuse = global || worker && eager || used.contains(&name) || has_fuse && stays;
        let on_node = |pod: &&Pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()) == Some(&name);
        let last = last_pods.iter().find(on_node);
        let state = match last {
            None => Last::Absent,
            Some(pod) if is_done(pod) => Last::Done,
            Some(_) => Last::Working,
        };
        let (label, act) =
            fuse_node::next(label, wants_fuse, fuse_pods.iter().any(|pod| on_node(&pod)), state);
        match (act, last) {
            (Act::Make, _) => context.apply(&wipe::unmount_pod(given, &name)).await?,
            (Act::Delete, Some(pod)) => delete_exactly(pod, context).await?,
            _ => {}
        }
        label_node(node, given, worker, label, wanted.exclusive.as_deref(), context).await?;
    }
    Ok(())
}

/// Pods that end mounts of the runtime.
async fn last_pods(given: &Given<'_>, context: &Context) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let selector = format!("app={},release={}", wipe::UNMOUNT_ROLE, given.names.name);
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    Ok(listed.map_err(|error| api_error("list pods that end mounts", error))?.items)
}

fn is_done(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Succeeded")
}

/// Whether FUSE, once on a node, stays until the runtime goes although no pod there uses it: pods may come back.
fn fuse_stays(policy: Option<CleanPolicy>) -> bool {
    match policy.unwrap_or_default() {
        CleanPolicy::OnDemand => false,
        CleanPolicy::OnRuntimeDeleted | CleanPolicy::OnFuseChanged => true,
    }
}

/// Gives a node the labels that it shall have, and takes away those that it shall not.
async fn label_node(
    node: &Node,
    given: &Given<'_>,
    worker: bool,
    fuse: Option<&str>,
    exclusive: Option<&str>,
    context: &Context,
) -> Result<()> {
    let labels = node.labels();
    let mut change = serde_json::Map::new();
    let mut set = |key: String, value: Option<&str>| {
        if labels.get(&key).map(String::as_str) != value {
            change.insert(key, json!(value));
        }
    };
    let yes = |wanted: bool| wanted.then_some("true");
    set(given.names.worker_label(), yes(worker));
    set(given.names.cached_label(), yes(worker));
    set(given.names.fuse_label(), fuse);
    let own = format!("{}_{}", given.names.namespace, given.names.name);
    match (worker, exclusive) {
        (true, Some(value)) => set(EXCLUSIVE.to_owned(), Some(value)),
        _ if labels.get(EXCLUSIVE) == Some(&own) => set(EXCLUSIVE.to_owned(), None),
        _ => {}
    }
    let had = labels.contains_key(&given.names.worker_label());
    if had != worker {
        let number: i64 =
            labels.get("fluid.io/dataset-num").and_then(|text| text.parse().ok()).unwrap_or_default();
        let number = if worker { number + 1 } else { number - 1 };
        let text = number.to_string();
        set("fluid.io/dataset-num".to_owned(), (number > 0).then_some(text.as_str()));
    }
    if change.is_empty() {
        return Ok(());
    }
    let nodes: Api<Node> = Api::all(context.client.clone());
    let patch = json!({"metadata": {"labels": change}});
    let patched = nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error(&format!("label node {}", node.name_any()), error))?;
    Ok(())
}
