//! Makes masters anew, one after the other, when what they are made from has changed: [`super::plan::roll`] says which.

use super::context::{Context, api_error};
use super::plan::Given;
use super::plan::roll::{self, Masters, Step};
use super::tell::Seen;
use goosefs_core::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, Preconditions};
use kube::{Api, Resource, ResourceExt};

/// The label that says which revision of a StatefulSet a pod is of.
const REVISION: &str = "controller-revision-hash";

/// Takes the next step, if there is one; whether more steps will follow.
pub(super) async fn roll(given: &Given<'_>, seen: &Seen, context: &Context) -> Result<bool> {
    let status = seen.masters.status.as_ref();
    let known = status.and_then(|status| status.observed_generation) == seen.masters.metadata.generation;
    let revision = status.and_then(|status| status.update_revision.as_ref());
    let Some(revision) = revision.filter(|_| known) else { return Ok(true) };
    let slot = |pod: &Pod| (0..given.masters).find(|slot| given.names.master(*slot) == pod.name_any());
    let of = |pod: &Pod| {
        Some(roll::Pod {
            slot: slot(pod)?,
            outdated: pod.labels().get(REVISION) != Some(revision),
            ready: is_ready(pod) && pod.metadata.deletion_timestamp.is_none(),
        })
    };
    let pods: Vec<roll::Pod> = seen.master_pods.iter().filter_map(of).collect();
    let leads = |leader: &String| {
        (0..given.masters).find(|slot| leader.split(':').next() == Some(given.names.master(*slot).as_str()))
    };
    let masters = Masters {
        pods: &pods,
        wanted: given.masters,
        leader: seen.cluster.as_ref().and_then(|cluster| cluster.leader.as_ref()).and_then(leads),
        begun: !given.bootstrap,
        durable: given.durable,
    };
    match roll::next(&masters) {
        Step::Settled => Ok(false),
        Step::Wait => Ok(true),
        Step::Hold => {
            let note = format!(
                "{} has the only copy of the journal, so it is not made anew: delete it to lose the metadata, \
                 or run three masters or with a journal on a claim",
                given.names.master(0)
            );
            context.event(given.runtime, true, "MasterNotReplaced", note).await;
            Ok(false)
        }
        Step::Replace(slot) => {
            let name = given.names.master(slot);
            let pod = seen.master_pods.iter().find(|pod| pod.name_any() == name);
            if let Some(pod) = pod.filter(|pod| pod.metadata.deletion_timestamp.is_none()) {
                replace(given, pod, context).await?;
                let note = format!("{name} is made anew");
                let about = Some(pod.object_ref(&()));
                context.event_about(given.runtime, about, false, "MasterReplaced", note).await;
            }
            Ok(true)
        }
    }
}

/// Deletes exactly this pod; its StatefulSet makes the next.
async fn replace(given: &Given<'_>, pod: &Pod, context: &Context) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let only = Preconditions { uid: pod.uid(), resource_version: None };
    let parameters = DeleteParams { preconditions: Some(only), ..DeleteParams::default() };
    match pods.delete(&pod.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(api_error(&format!("replace {}", pod.name_any()), error)),
    }
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    conditions.into_iter().flatten().any(|condition| condition.type_ == "Ready" && condition.status == "True")
}
