//! Fewer masters: the pod of one goes only when it has no vote any more. Pods that went with the list would take the
//! quorum with them, and nobody would be left to make it smaller.

use super::ask;
use super::context::{Context, api_error};
use super::plan::Given;
use super::runtime::masters_to_ask;
use goosefs_core::Result;
use k8s_openapi::api::apps::v1::StatefulSet;
use kube::Api;

/// How many pods of masters there shall be now.
pub(super) async fn pods(given: &Given<'_>, context: &Context) -> Result<usize> {
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let found = sets.get_opt(&given.names.masters()).await;
    let found = found.map_err(|error| api_error("get the masters", error))?;
    let there = found.and_then(|set| usize::try_from(set.spec?.replicas?).ok()).unwrap_or_default();
    if there <= given.masters || given.bootstrap {
        return Ok(given.masters);
    }
    let masters = masters_to_ask(given, context).await?;
    let cluster = ask::settled_cluster(&masters, &context.tasks).await;
    Ok(kept(given.masters, there, cluster.map(|cluster| cluster.slots)))
}

/// `slots`: that many are needed for the highest that takes part; nothing while no master leads.
fn kept(wanted: usize, there: usize, slots: Option<usize>) -> usize {
    slots.unwrap_or(there).min(there).max(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_stays_until_its_master_has_no_vote() {
        assert_eq!(kept(1, 3, Some(3)), 3);
        assert_eq!(kept(1, 3, Some(2)), 2);
        assert_eq!(kept(1, 3, Some(1)), 1);
        assert_eq!(kept(1, 3, None), 3, "without a leader none can be taken out");
        assert_eq!(kept(3, 5, Some(1)), 3);
    }
}
