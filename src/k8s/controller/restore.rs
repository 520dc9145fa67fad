//! A runtime that begins with a backup: the pod that offers it, until masters have begun with it.
//!
//! Only the first epoch of a runtime begins so, and masters are made only once the backup was found whole: what is wrong with
//! it is told in the runtime's status and by an event, and nothing begins empty instead.

use super::context::{Context, api_error, delete_exactly, unplaced};
use super::phase::set_condition;
use super::plan::names::BACKUP_OFFER;
use super::plan::{self, Given, restore};
use super::runtime::host_port;
use crate::crd::{DataRestoreLocation, GooseFSRuntime, GooseFSRuntimeStatus};
use goosefs_core::Result;
use k8s_openapi::api::core::v1::{ContainerStatus, Pod};
use kube::Api;
use kube::api::ListParams;

/// The backup cannot be begun with, as it is.
const FAILED: &str = "RestoreFailed";

/// What there is of the backup.
pub(super) enum Backup {
    /// Nothing is begun with one.
    None,
    /// It is whole and offered at this address.
    Offered(String),
    /// Not yet, and why: a reason in one word, and a sentence.
    Missing(&'static str, String),
}

/// Sees to the pod that offers the backup; takes it away once the cluster has begun.
pub(super) async fn backup(given: &Given<'_>, context: &Context) -> Result<Backup> {
    let location = given.dataset.spec.data_restore_location.as_ref();
    let Some(location) = location.filter(|location| location.path.is_some()) else { return Ok(Backup::None) };
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let selector = format!("app={},release={}", restore::ROLE, given.names.name);
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    let found = listed.map_err(|error| api_error("list pods", error))?.items.into_iter().next();
    let begins = given.bootstrap && given.epoch == 1;
    if let Some(pod) = found.as_ref().filter(|pod| !begins || restore::is_stale(pod, location)) {
        delete_exactly(pod, context).await?;
    }
    if !begins {
        return Ok(Backup::None);
    }
    match found {
        Some(pod) => Ok(seen(&pod, location)),
        None => {
            // It has the control key, which masters will have.
            context.apply(&plan::secret(given)).await?;
            context.apply(&restore::pod(given, location)?).await?;
            Ok(Backup::Missing("RestoreWaiting", "the backup is being looked at".to_owned()))
        }
    }
}

/// Says in the runtime's status that its masters wait for a backup, and why.
pub(super) async fn tell(
    runtime: &GooseFSRuntime,
    context: &Context,
    mut status: GooseFSRuntimeStatus,
    reason: &str,
    message: String,
) -> Result<()> {
    let generation = runtime.metadata.generation;
    let said = status.conditions.iter().find(|one| one.type_ == "MasterInitialized");
    let said =
        said.map(|one| (one.reason.clone().unwrap_or_default(), one.message.clone().unwrap_or_default()));
    if said.as_ref().is_some_and(|(old, text)| old == reason && *text == message) {
        return Ok(());
    }
    set_condition(&mut status.conditions, "MasterInitialized", false, reason, message.clone(), generation);
    status.master_phase = Some("NotReady".to_owned());
    status.master_reason = Some(message.clone());
    context.write_status(runtime, &status).await?;
    if said.is_none_or(|(old, _)| old != reason) {
        context.event(runtime, reason == FAILED, reason, message).await;
    }
    Ok(())
}

/// The masters have begun with it.
pub(super) async fn done(given: &Given<'_>, context: &Context) {
    let location = given.dataset.spec.data_restore_location.clone().unwrap_or_default();
    let note = format!("the masters have begun with the backup in {}", location.path.unwrap_or_default());
    context.event(given.runtime, false, "RestoredFromBackup", note).await;
}

fn seen(pod: &Pod, location: &DataRestoreLocation) -> Backup {
    let status = pod.status.clone().unwrap_or_default();
    let container = status.container_statuses.iter().flatten().next();
    if let Some(address) = status.pod_ip.as_ref().filter(|_| container.is_some_and(|one| one.ready)) {
        return Backup::Offered(host_port(address, BACKUP_OFFER));
    }
    if let Some(said) = container.and_then(last_words) {
        return Backup::Missing(FAILED, said);
    }
    let place = location.path.clone().unwrap_or_default();
    let message = unplaced(pod)
        .map_or_else(|| format!("the backup in {place} is being looked at"), |why| format!("{place}: {why}"));
    Backup::Missing("RestoreWaiting", message)
}

/// What a container said when it ended last.
fn last_words(container: &ContainerStatus) -> Option<String> {
    let states = [container.state.as_ref(), container.last_state.as_ref()];
    let mut ends = states.into_iter().flatten().filter_map(|state| state.terminated.as_ref());
    let said = ends.find_map(|end| end.message.clone())?;
    let said = said.trim();
    (!said.is_empty()).then(|| said.to_owned())
}
