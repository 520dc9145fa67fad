//! Journals that are lost: said, and the cluster begun anew, or gone on with from one master, where [`plan::journals`]
//! says so.

use super::ask;
use super::context::{Context, api_error, delete_exactly, is_ready};
use super::phase::set_condition;
use super::plan::journals::{self, ORDER, Step};
use super::plan::{self, Given};
use super::runtime::masters_to_ask;
use super::tell;
use crate::crd::{GooseFSRuntime, GooseFSRuntimeStatus};
use goosefs_core::Result;
use kube::api::{Patch, PatchParams};
use kube::{Api, Resource, ResourceExt};
use serde_json::json;
use std::time::Duration;

/// The condition that says so.
const LOST: &str = "JournalLost";

/// The condition that says whether a master leads, and since when.
const LEADS: &str = "MasterLeads";

/// Brings the epoch, and what is said of journals, up to date in `status`; what it says counts from the next time on.
pub(super) async fn look(
    given: &Given<'_>,
    seen: &tell::Seen,
    status: &mut GooseFSRuntimeStatus,
    context: &Context,
) -> Result<()> {
    let leads = seen.cluster.as_ref().map(|cluster| cluster.epoch);
    let leaderless = since_when(status, given.runtime, leads.is_some());
    let each = match leads {
        None if !given.bootstrap => ask::each(&masters_to_ask(given, context).await?, &context.tasks).await,
        _ => Vec::new(),
    };
    let order = given.runtime.annotations().get(ORDER).map(String::as_str);
    let name = given.names.masters();
    let step = journals::next(&journals::Seen {
        leads,
        leaderless,
        epoch: given.epoch,
        begun: !given.bootstrap,
        durable: given.durable,
        masters: given.masters,
        pods: seen.master_pods.len(),
        each: &each,
        order,
        name: &name,
    });
    let runtime = given.runtime;
    status.epoch = Some(given.epoch);
    let mut force = status.journal.as_ref().and_then(|journal| journal.force);
    match step {
        Step::Nothing => {}
        Step::Led(epoch) => {
            force = None;
            status.epoch = Some(epoch);
            // It stays for people to read that it was, and from when on it is not.
            if status.conditions.iter().any(|condition| condition.type_ == LOST) {
                say(status, runtime, false, "ClusterGoesOn", format!("a master leads in epoch {epoch}"));
            }
        }
        Step::Obeyed(epoch) => {
            force = None;
            status.epoch = Some(epoch);
            let note =
                format!("the cluster goes on in epoch {epoch} as {ORDER}={} says", order.unwrap_or_default());
            say(status, runtime, false, "ClusterGoesOn", note.clone());
            context.event(runtime, false, "NewClusterForced", note).await;
            take_order_away(given, context).await?;
        }
        Step::NotNeeded => {
            let note = "a master leads, so most journals are there".to_owned();
            context.event(runtime, true, "ForceNewClusterNotNeeded", note).await;
            take_order_away(given, context).await?;
        }
        Step::Refused(why) => {
            context.event(runtime, true, "ForceNewClusterRefused", why).await;
            take_order_away(given, context).await?;
        }
        Step::Begin(epoch, lost) => {
            status.epoch = Some(epoch);
            status.bootstrapped = false;
            let note = format!(
                "{lost}: the cluster begins anew in epoch {epoch}; files that only the cache had are lost"
            );
            say(status, runtime, true, "BegunAnew", note.clone());
            context.event(runtime, true, LOST, note).await;
            if order.is_some() {
                take_order_away(given, context).await?;
            }
        }
        Step::Force(slot) => force = i32::try_from(slot).ok(),
        Step::Ask(what) => {
            if say(status, runtime, true, "MajorityLost", what.clone()) {
                context.event(runtime, true, LOST, what).await;
            }
        }
    }
    if let Some(journal) = &mut status.journal {
        journal.force = force;
    }
    match leads {
        Some(epoch) if !given.durable => replace_given_up(given, seen, epoch, context).await,
        _ => Ok(()),
    }
}

/// Keeps the condition that says whether a master leads; for how long none has.
fn since_when(status: &mut GooseFSRuntimeStatus, runtime: &GooseFSRuntime, leads: bool) -> Duration {
    let (reason, message) = match leads {
        true => ("LeaderElected", "a master leads"),
        false => ("NoLeader", "no master leads"),
    };
    let generation = runtime.metadata.generation;
    set_condition(&mut status.conditions, LEADS, leads, reason, message.to_owned(), generation);
    let now = status.conditions.iter().find(|condition| condition.type_ == LEADS && !leads);
    let since = now.and_then(|condition| condition.last_transition_time.as_ref());
    since.and_then(|since| jiff::Timestamp::now().duration_since(since.0).try_into().ok()).unwrap_or_default()
}

/// Masters whose journal goes with their pod, and is of an epoch that was given up, are made anew: they would never join.
async fn replace_given_up(given: &Given<'_>, seen: &tell::Seen, epoch: i64, context: &Context) -> Result<()> {
    if seen.master_pods.iter().all(is_ready) {
        return Ok(());
    }
    for master in ask::each(&masters_to_ask(given, context).await?, &context.tasks).await {
        let Some(old) = master.epoch.filter(|old| *old < epoch) else { continue };
        let name = given.names.master(master.slot);
        let Some(pod) = seen.master_pods.iter().find(|pod| pod.name_any() == name) else { continue };
        if pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        delete_exactly(pod, context).await?;
        let note =
            format!("{name} is made anew: its journal is of epoch {old}, which was given up for {epoch}");
        context.event_about(given.runtime, Some(pod.object_ref(&())), false, "MasterReplaced", note).await;
    }
    Ok(())
}

/// Sets the condition; whether it says something new.
fn say(
    status: &mut GooseFSRuntimeStatus,
    runtime: &GooseFSRuntime,
    lost: bool,
    reason: &str,
    message: String,
) -> bool {
    let before = status.conditions.clone();
    set_condition(&mut status.conditions, LOST, lost, reason, message, runtime.metadata.generation);
    before != status.conditions
}

async fn take_order_away(given: &plan::Given<'_>, context: &Context) -> Result<()> {
    let api: Api<GooseFSRuntime> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let patch = json!({"metadata": {"annotations": {ORDER: null}}});
    let patched = api.patch(&given.names.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map(drop).map_err(|error| api_error("take the order from the runtime", error))
}
