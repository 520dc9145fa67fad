//! Workers that are to go are drained first: the leading master has what they alone have copied to others.

use super::ask;
use super::context::Context;
use super::plan::Given;
use super::runtime::masters_to_ask;
use goosefs_core::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::{Resource, ResourceExt};
use std::collections::BTreeSet;

/// By then clients have heard that a worker takes nothing new, in milliseconds.
const HEARD: u64 = 5_000;

/// Of these pods of workers, the nodes of those that alone have nothing any more.
pub(super) async fn drained(
    given: &Given<'_>,
    leaving: &[&Pod],
    context: &Context,
) -> Result<BTreeSet<String>> {
    let ip = |pod: &Pod| pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let hosts: Vec<String> = leaving.iter().filter_map(|pod| ip(pod)).collect();
    let mut done = BTreeSet::new();
    if hosts.is_empty() {
        return Ok(done);
    }
    let masters = masters_to_ask(given, context).await?;
    let Some(cluster) = ask::settled_cluster(&masters, &context.tasks).await else { return Ok(done) };
    let answers = ask::drain(&cluster.master, given.control.as_ref(), &hosts, &context.tasks).await?;
    for pod in leaving {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
        let own: Vec<_> = answers.iter().filter(|answer| Some(&answer.host) == ip(pod).as_ref()).collect();
        if !own.is_empty() && own.iter().all(|answer| answer.left == 0 && answer.since_ms >= HEARD) {
            done.insert(node);
        } else if let Some(held) = own.iter().find(|answer| answer.left > 0 && !answer.problem.is_empty()) {
            let note = format!(
                "{} stays on {node}: {} files are nowhere else yet; {}",
                pod.name_any(),
                held.left,
                held.problem
            );
            let about = Some(pod.object_ref(&()));
            context.event_about(given.runtime, about, true, "WorkerNotDrained", note).await;
        }
    }
    Ok(done)
}
