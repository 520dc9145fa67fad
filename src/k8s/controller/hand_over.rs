//! Makes FUSE pods anew, one after the other, when what they are made from has changed: [`super::plan::hand_over`] says
//! which.

use super::context::{Context, api_error, delete_exactly, is_ready};
use super::plan::hand_over::{self, Step};
use super::plan::{Given, fuse};
use super::runtime::pods_of;
use crate::crd::CleanPolicy;
use goosefs_core::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::ListParams;
use kube::{Api, Resource, ResourceExt};
use std::collections::BTreeSet;

/// Label of the CSI plugin's pods, whatever their release.
const PLUGIN: &str = "app=csi-nodeplugin-fluid";

/// Takes the next step, if there is one; whether more steps will follow.
pub(super) async fn hand_over(given: &Given<'_>, context: &Context) -> Result<bool> {
    let wanted = fuse::daemon_set(given);
    let mark = fuse::template_mark(&wanted);
    let found = pods_of(given, fuse::ROLE, context).await?;
    let outdated = |pod: &Pod| pod.annotations().get(fuse::TEMPLATE_MARK).map(String::as_str) != Some(mark);
    if !found.iter().any(outdated) {
        return Ok(false);
    }
    let users = context.users_of(&given.names.namespace, &given.names.name).await?;
    let used: BTreeSet<&str> = users.iter().filter_map(node_of).collect();
    let kept = nodes_with_plugin(context).await?;
    let of = |pod: &Pod| hand_over::Pod {
        name: pod.name_any(),
        outdated: outdated(pod),
        ready: is_ready(pod),
        used: node_of(pod).is_some_and(|node| used.contains(node)),
        kept: node_of(pod).is_some_and(|node| kept.contains(node)),
    };
    let pods: Vec<hand_over::Pod> = found.iter().map(of).collect();
    let policy = given.runtime.spec.fuse.as_ref().and_then(|fuse| fuse.clean_policy);
    match hand_over::next(&pods, policy != Some(CleanPolicy::OnFuseChanged)) {
        Step::Settled => Ok(false),
        Step::Wait => Ok(true),
        Step::Hold(names) => {
            let why = match policy {
                Some(CleanPolicy::OnFuseChanged) => "fuse.cleanPolicy is OnFuseChanged",
                _ => "the CSI plugin of the node does not keep the mount",
            };
            let note = format!(
                "{} stay as they are while pods of their nodes use the volume: {why}",
                names.join(", ")
            );
            context.event(given.runtime, true, "FuseNotReplaced", note).await;
            Ok(false)
        }
        Step::Replace(name) => {
            if let Some(pod) = found.iter().find(|pod| pod.name_any() == name)
                && pod.metadata.deletion_timestamp.is_none()
            {
                delete_exactly(pod, context).await?;
                let note = format!("{name} is made anew");
                let about = Some(pod.object_ref(&()));
                context.event_about(given.runtime, about, false, "FuseReplaced", note).await;
            }
            Ok(true)
        }
    }
}

fn node_of(pod: &Pod) -> Option<&str> {
    pod.spec.as_ref()?.node_name.as_deref()
}

/// Nodes whose CSI plugin is ready, which it is while it keeps all mounts of its node.
async fn nodes_with_plugin(context: &Context) -> Result<BTreeSet<String>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &context.namespace);
    let listed = pods.list(&ListParams::default().labels(PLUGIN)).await;
    let listed = listed.map_err(|error| api_error("list pods of the CSI plugin", error))?.items;
    Ok(listed.iter().filter(|pod| is_ready(pod)).filter_map(|pod| node_of(pod).map(str::to_owned)).collect())
}
