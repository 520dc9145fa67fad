//! Reconciles a Dataset: its finalizer, its first phase, its end. What it is bound to is the runtime's reconciler's.

use super::context::{Context, api_error, names_of};
use super::phase::set_condition;
use super::runtime::write_dataset_status;
use crate::crd::{Dataset, GooseFSRuntime, check};
use goosefs_core::Result;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Keeps the Dataset as long as a pod uses it.
pub(super) const FINALIZER: &str = "fluid-dataset-controller-finalizer";

pub(super) async fn reconcile(dataset: Arc<Dataset>, context: Arc<Context>) -> Result<Action> {
    let what = format!("Dataset {}/{}", dataset.namespace().unwrap_or_default(), dataset.name_any());
    let outcome = match dataset.metadata.deletion_timestamp {
        Some(_) => end(&dataset, &context).await,
        None => keep(&dataset, &context).await,
    };
    context.note(&what, &outcome);
    outcome
}

async fn keep(dataset: &Dataset, context: &Context) -> Result<Action> {
    if !dataset.finalizers().iter().any(|one| one == FINALIZER) {
        let mut finalizers = dataset.finalizers().to_vec();
        finalizers.push(FINALIZER.to_owned());
        finalize(dataset, context, &finalizers).await?;
    }
    let before = dataset.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let wrong = check::dataset(dataset);
    if let Some(first) = wrong.first() {
        status.phase = Some("Failed".to_owned());
        let generation = dataset.metadata.generation;
        set_condition(&mut status.conditions, "NotReady", true, "InvalidSpec", first.to_string(), generation);
        if before.phase != status.phase {
            context.event(dataset, true, "InvalidSpec", first.to_string()).await;
        }
    } else if before.phase.is_none() || before.phase.as_deref() == Some("Failed") {
        status.phase = Some("NotBound".to_owned());
        status.conditions.retain(|condition| condition.type_ != "NotReady");
    }
    if status != before {
        write_dataset_status(dataset, context, &status).await?;
    }
    Ok(Action::await_change())
}

async fn end(dataset: &Dataset, context: &Context) -> Result<Action> {
    if !dataset.finalizers().iter().any(|one| one == FINALIZER) {
        return Ok(Action::await_change());
    }
    let (namespace, name) = (dataset.namespace().unwrap_or_default(), dataset.name_any());
    let users = context.users_of(&namespace, &name).await?;
    if !users.is_empty() {
        let note = format!("the volume is in use by {}", names_of(&users));
        context.event(dataset, true, "ErrorDeleteDataset", note).await;
        return Ok(Action::requeue(Duration::from_secs(10)));
    }
    let runtimes: Api<GooseFSRuntime> = Api::namespaced(context.client.clone(), &namespace);
    let runtime = runtimes.get_opt(&name).await.map_err(|error| api_error("get the runtime", error))?;
    if let Some(runtime) = runtime {
        let owned =
            runtime.owner_references().iter().any(|owner| Some(&owner.uid) == dataset.metadata.uid.as_ref());
        if owned {
            if runtime.metadata.deletion_timestamp.is_none() {
                let deleted = runtimes.delete(&name, &DeleteParams::default()).await;
                deleted.map_err(|error| api_error("delete the runtime", error))?;
            }
            return Ok(Action::requeue(Duration::from_secs(2)));
        }
    }
    let kept: Vec<String> = dataset.finalizers().iter().filter(|one| *one != FINALIZER).cloned().collect();
    finalize(dataset, context, &kept).await?;
    Ok(Action::await_change())
}

async fn finalize(dataset: &Dataset, context: &Context, finalizers: &[String]) -> Result<()> {
    let api: Api<Dataset> = Api::namespaced(context.client.clone(), &dataset.namespace().unwrap_or_default());
    let patch =
        json!({"metadata": {"resourceVersion": dataset.resource_version(), "finalizers": finalizers}});
    let patched = api.patch(&dataset.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error("write the finalizers", error))?;
    Ok(())
}
