//! Labels of nodes: the controller alone says where workers and FUSE run. A node loses either in steps, see
//! [`super::plan::worker_node`] and [`super::plan::fuse_node`].

use super::context::{Context, api_error, delete_exactly};
use super::drain;
use super::label::{DATASETS, datasets, relabel};
use super::plan::fuse_node::{self, Act, Last};
use super::plan::nodes::{EXCLUSIVE, Wanted, choose};
use super::plan::pods::phase_of;
use super::plan::{Given, Object, fuse, wipe, worker_node, workers};
use super::runtime::pods_of;
use crate::crd::{CleanPolicy, LaunchPolicy, Placement};
use goosefs_core::Result;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
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
    let chosen = choose(&all, &wanted);
    let users = context.users_of(&given.names.namespace, &given.names.name).await?;
    let used: BTreeSet<String> =
        users.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    let fuse = spec.fuse.as_ref();
    let eager = fuse.is_none_or(|fuse| fuse.launch_policy == LaunchPolicy::Eager);
    let global = fuse.is_some_and(|fuse| fuse.global);
    let stays = fuse_stays(fuse.and_then(|fuse| fuse.clean_policy));
    let fuse_pods = pods_of(given, fuse::ROLE, context).await?;
    let last_fuse_pods = last_pods(given, wipe::UNMOUNT_ROLE, context).await?;
    let worker_pods = pods_of(given, workers::ROLE, context).await?;
    let going = |node: &&Node| {
        worker_label(node, given) == Some(worker_node::HAS) && !chosen.contains(&node.name_any())
    };
    let leaving: Vec<&Pod> =
        all.iter().filter(going).filter_map(|node| on(&worker_pods, &node.name_any())).collect();
    let drained = drain::drained(given, &leaving, context).await?;
    let folder_pods = last_pods(given, wipe::FOLDERS_ROLE, context).await?;
    for node in &all {
        let name = node.name_any();
        let worker = chosen.contains(&name);
        let last = on(&folder_pods, &name);
        let has_pod = on(&worker_pods, &name).is_some();
        let label = worker_label(node, given);
        let (new, act) = worker_node::next(label, worker, drained.contains(&name), has_pod, state_of(last));
        let folders = wipe::folders_pod(given, &name)?;
        // Without folders there is nothing to take away.
        let (new, act) =
            if act == Act::Make && folders.is_none() { (None, Act::Nothing) } else { (new, act) };
        carry_out(act, folders, last, context).await?;
        say_of_scaling(given, node, label, new, context).await;
        let fuse_label_now = node.labels().get(&given.names.fuse_label()).map(String::as_str);
        let has_fuse = fuse_label_now == Some(fuse_node::HAS);
        let wants_fuse = global || worker && eager || used.contains(&name) || has_fuse && stays;
        let last = on(&last_fuse_pods, &name);
        let (fuse_label, act) =
            fuse_node::next(fuse_label_now, wants_fuse, on(&fuse_pods, &name).is_some(), state_of(last));
        carry_out(act, Some(wipe::unmount_pod(given, &name)), last, context).await?;
        label_node(node, given, new, fuse_label, wanted.exclusive.as_deref(), context).await?;
    }
    Ok(())
}

fn worker_label<'a>(node: &'a Node, given: &Given<'_>) -> Option<&'a str> {
    node.labels().get(&given.names.worker_label()).map(String::as_str)
}

/// The pod that is on a node.
fn on<'a>(pods: &'a [Pod], node: &str) -> Option<&'a Pod> {
    pods.iter().find(|pod| pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref()) == Some(node))
}

fn state_of(last: Option<&Pod>) -> Last {
    match last {
        None => Last::Absent,
        Some(pod) if phase_of(pod) == Some("Succeeded") => Last::Done,
        Some(_) => Last::Working,
    }
}

async fn carry_out(act: Act, made: Option<Object>, there: Option<&Pod>, context: &Context) -> Result<()> {
    match (act, made, there) {
        (Act::Make, Some(made), _) => context.apply(&made).await,
        (Act::Delete, _, Some(pod)) => delete_exactly(pod, context).await,
        _ => Ok(()),
    }
}

/// An event for a worker that came or went after the cluster had begun.
async fn say_of_scaling(
    given: &Given<'_>,
    node: &Node,
    before: Option<&str>,
    after: Option<&str>,
    context: &Context,
) {
    let name = node.name_any();
    let (reason, note) = match (before, after) {
        // Also to a node that the one before has not left yet.
        (None | Some(worker_node::LEAVES), Some(worker_node::HAS)) if !given.bootstrap => {
            ("WorkersScaledOut", format!("a worker comes to {name}"))
        }
        (Some(worker_node::HAS), Some(worker_node::LEAVES)) => {
            ("WorkersScaledIn", format!("the worker of {name} goes: nothing is left that it alone has"))
        }
        _ => return,
    };
    context.event_about(given.runtime, Some(node.object_ref(&())), false, reason, note).await;
}

/// Pods of the runtime that clean nodes, in one of these roles.
async fn last_pods(given: &Given<'_>, role: &str, context: &Context) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let selector = format!("app={role},release={}", given.names.name);
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    Ok(listed.map_err(|error| api_error("list pods that clean nodes", error))?.items)
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
    worker: Option<&str>,
    fuse: Option<&str>,
    exclusive: Option<&str>,
    context: &Context,
) -> Result<()> {
    let own = format!("{}_{}", given.names.namespace, given.names.name);
    relabel(node, context, |labels| {
        let mut change = serde_json::Map::new();
        let mut set = |key: String, value: Option<&str>| {
            if labels.get(&key).map(String::as_str) != value {
                change.insert(key, json!(value));
            }
        };
        set(given.names.worker_label(), worker);
        set(given.names.cached_label(), worker.filter(|value| *value == worker_node::HAS));
        set(given.names.fuse_label(), fuse);
        match (worker, exclusive) {
            (Some(_), Some(value)) => set(EXCLUSIVE.to_owned(), Some(value)),
            _ if labels.get(EXCLUSIVE) == Some(&own) => set(EXCLUSIVE.to_owned(), None),
            _ => {}
        }
        let had = labels.contains_key(&given.names.worker_label());
        if had != worker.is_some() {
            change.insert(DATASETS.to_owned(), datasets(labels, if had { -1 } else { 1 }));
        }
        change
    })
    .await
}
