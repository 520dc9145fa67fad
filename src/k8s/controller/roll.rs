//! Makes masters anew, one after the other, when what they are made from has changed: [`super::plan::roll`] says which.

use super::context::{Context, delete_exactly, is_ready};
use super::plan::Given;
use super::plan::roll::{self, Masters, Step};
use super::tell::Seen;
use goosefs_core::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};

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
            ready: is_ready(pod),
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
                delete_exactly(pod, context).await?;
                let note = format!("{name} is made anew");
                let about = Some(pod.object_ref(&()));
                context.event_about(given.runtime, about, false, "MasterReplaced", note).await;
            }
            Ok(true)
        }
    }
}
