//! What every operation goes through, whatever it does.

use super::super::ask::{self, Leader};
use super::super::context::{Context, api_error};
use super::super::plan::ports::Ports;
use super::super::runtime::masters_at;
use super::tell::{self, Wait};
use crate::crd::check::Violation;
use crate::crd::{
    DataBackup, DataLoad, Dataset, GooseFSRuntime, OperationKind, OperationRef, OperationStatus,
    WaitingStatus,
};
use goosefs_core::Result;
use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

/// How soon something that is under way, or waited for, is looked at again.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// How soon something is looked at again that a change of the object alone can help.
const LATER: Duration = Duration::from_secs(300);

/// Masters that do not answer are given so long to stop what runs of an operation that is deleted.
const LAST_CHANCE: Duration = Duration::from_secs(60);

/// An operation on a Dataset.
pub(super) trait Operation:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + Clone
    + Debug
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Its kind.
    const KIND: OperationKind;
    /// Keeps it until nothing of it runs any more.
    const FINALIZER: &'static str;

    /// Name of the Dataset, which is in its own namespace.
    fn dataset(&self) -> &str;
    fn run_after(&self) -> Option<&OperationRef>;
    /// Seconds that it stays after its end.
    fn ttl(&self) -> Option<i32>;
    fn wrong(&self) -> Vec<Violation>;
    fn status(&self) -> OperationStatus;
    /// It is done again and again.
    fn repeats(&self) -> bool;
    /// Brings it forward, as far as that goes without waiting; when to look again.
    fn work(
        &self,
        ground: &Ground,
        status: &mut OperationStatus,
        context: &Context,
    ) -> impl Future<Output = Result<Duration>> + Send;
    /// Ends what runs of it.
    fn cancel(&self, ground: &Ground, context: &Context) -> impl Future<Output = Result<()>> + Send;

    /// Nothing will be done any more.
    fn is_over(&self) -> bool {
        !self.repeats() && tell::has_ended(&self.status())
    }
}

/// What an operation works on.
pub(super) struct Ground {
    pub(super) dataset: Dataset,
    pub(super) runtime: GooseFSRuntime,
    pub(super) masters: Vec<Pod>,
    pub(super) leader: Leader,
}

pub(super) async fn reconcile<O: Operation>(object: Arc<O>, context: Arc<Context>) -> Result<Action> {
    let namespace = object.namespace().unwrap_or_default();
    let what = format!("{} {namespace}/{}", O::KIND.as_str(), object.name_any());
    let outcome = if object.meta().deletion_timestamp.is_some() {
        Box::pin(end(&*object, &context)).await
    } else {
        Box::pin(keep(&*object, &context)).await
    };
    context.note(&what, &outcome);
    outcome
}

async fn keep<O: Operation>(object: &O, context: &Context) -> Result<Action> {
    let before = object.status();
    let mut status = before.clone();
    status.observed_generation = object.meta().generation;
    let pause = if object.is_over() {
        expire(object, &status, context).await?
    } else {
        Some(advance(object, &mut status, context).await?)
    };
    if status != before {
        context.write_status(object, &tell::patch(&before, &status)).await?;
        for (warning, reason, note) in tell::transitions(O::KIND, &object.name_any(), &before, &status) {
            context.event(object, warning, &reason, note).await;
        }
    }
    enlist(object, tell::executes(&status), context).await?;
    Ok(pause.map_or_else(Action::await_change, Action::requeue))
}

/// Brings an operation forward that is not over.
async fn advance<O: Operation>(
    object: &O,
    status: &mut OperationStatus,
    context: &Context,
) -> Result<Duration> {
    let generation = object.meta().generation;
    if let Some(first) = object.wrong().first() {
        tell::fail(status, "DataOperationNotValid", first.to_string(), Duration::ZERO, generation);
        return Ok(LATER);
    }
    if status.phase.is_none() {
        tell::wait_first(status);
    }
    let blocked = match before_it(object, status, context).await? {
        Some(wait) => Err(wait),
        None => find_ground(object, tell::is_under_way(status), context).await?,
    };
    match blocked {
        Ok(ground) => {
            hold(object, &ground.dataset, context).await?;
            object.work(&ground, status, context).await
        }
        Err(Wait::Never(message)) => {
            tell::fail(status, "PrecedingOperationFailed", message, Duration::ZERO, generation);
            Ok(SOON)
        }
        // What was begun goes on without us.
        Err(Wait::For(_, message)) if tell::executes(status) => {
            status.infos.insert("Waiting".to_owned(), message);
            Ok(SOON)
        }
        Err(Wait::For(reason, message)) => {
            tell::waits(status, reason, message, generation);
            Ok(SOON)
        }
    }
}

/// What `runAfter` still waits for.
async fn before_it<O: Operation>(
    object: &O,
    status: &mut OperationStatus,
    context: &Context,
) -> Result<Option<Wait>> {
    let Some(before) = object.run_after().filter(|_| status.run.is_none()) else { return Ok(None) };
    let own = object.namespace().unwrap_or_default();
    let namespace = before.namespace.as_deref().filter(|one| !one.is_empty()).unwrap_or(&own);
    let found = match before.kind {
        OperationKind::DataBackup => seen::<DataBackup>(namespace, &before.name, context).await?,
        _ => seen::<DataLoad>(namespace, &before.name, context).await?,
    };
    let what = format!("{} {namespace}/{}", before.kind.as_str(), before.name);
    let wait = match found {
        None => Some(Wait::For("WaitingForOperation", format!("{what} is not there yet"))),
        Some((status, over)) => match status.phase.as_deref() {
            Some("Complete") => None,
            Some("Failed") if over => Some(Wait::Never(format!("{what}, which was to be first, failed"))),
            _ => Some(Wait::For("WaitingForOperation", format!("{what} is not complete yet"))),
        },
    };
    status.waiting_for = Some(WaitingStatus { operation_complete: Some(wait.is_some()) });
    Ok(wait)
}

async fn seen<O: Operation>(
    namespace: &str,
    name: &str,
    context: &Context,
) -> Result<Option<(OperationStatus, bool)>> {
    let api: Api<O> = Api::namespaced(context.client.clone(), namespace);
    let found = api.get_opt(name).await;
    let found = found.map_err(|error| api_error(&format!("get {} {name}", O::KIND.as_str()), error))?;
    Ok(found.map(|one| (one.status(), one.is_over())))
}

/// The Dataset, its runtime and the leader, or what is missing of them. To begin something, the Dataset must be bound.
async fn find_ground<O: Operation>(
    object: &O,
    under_way: bool,
    context: &Context,
) -> Result<std::result::Result<Ground, Wait>> {
    let (namespace, name) = (object.namespace().unwrap_or_default(), object.dataset());
    let datasets: Api<Dataset> = Api::namespaced(context.client.clone(), &namespace);
    let found = datasets.get_opt(name).await.map_err(|error| api_error("get the Dataset", error))?;
    let Some(dataset) = found else {
        let message = format!("there is no Dataset {name} in namespace {namespace}");
        return Ok(Err(Wait::For("TargetDatasetNotFound", message)));
    };
    let runtimes: Api<GooseFSRuntime> = Api::namespaced(context.client.clone(), &namespace);
    let found = runtimes.get_opt(name).await.map_err(|error| api_error("get the runtime", error))?;
    let Some(runtime) = found else {
        let message = format!("there is no GooseFSRuntime {name} in namespace {namespace}");
        return Ok(Err(Wait::For("RuntimeNotReady", message)));
    };
    let phase = dataset.status.as_ref().and_then(|status| status.phase.clone()).unwrap_or_default();
    if phase != "Bound" && !under_way {
        let message = format!("Dataset {name} is {phase}, not Bound");
        return Ok(Err(Wait::For("RuntimeNotReady", message)));
    }
    let masters = masters_of(&namespace, name, context).await?;
    let asked = masters_at(&runtime, Ports::of(&runtime), &masters);
    let Some(leader) = ask::leader(&asked, &context.tasks).await else {
        return Ok(Err(Wait::For("RuntimeNotReady", format!("no master of {name} leads"))));
    };
    Ok(Ok(Ground { dataset, runtime, masters, leader }))
}

async fn masters_of(namespace: &str, name: &str, context: &Context) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let selector = format!("app=goosefs,release={name},role=goosefs-master");
    let listed = pods.list(&ListParams::default().labels(&selector)).await;
    Ok(listed.map_err(|error| api_error("list the masters", error))?.items)
}

/// The finalizer, and the Dataset as its owner: an operation goes with what it is about.
async fn hold<O: Operation>(object: &O, dataset: &Dataset, context: &Context) -> Result<()> {
    let held = object.finalizers().iter().any(|one| one == O::FINALIZER);
    let uid = dataset.uid().unwrap_or_default();
    let owned = object.owner_references().iter().any(|owner| owner.uid == uid);
    if held && owned {
        return Ok(());
    }
    let mut finalizers = object.finalizers().to_vec();
    if !held {
        finalizers.push(O::FINALIZER.to_owned());
    }
    let mut owners = json!(object.owner_references());
    if let Some(owners) = owners.as_array_mut().filter(|_| !owned) {
        owners.push(json!({
            "apiVersion": "data.fluid.io/v1alpha1", "kind": "Dataset", "name": dataset.name_any(), "uid": uid,
        }));
    }
    write_metadata(object, json!({"finalizers": finalizers, "ownerReferences": owners}), context).await
}

/// Ends what runs, if anybody can be asked to, and lets go.
async fn end<O: Operation>(object: &O, context: &Context) -> Result<Action> {
    if !object.finalizers().iter().any(|one| one == O::FINALIZER) {
        return Ok(Action::await_change());
    }
    if tell::is_under_way(&object.status()) {
        match find_ground(object, true, context).await? {
            Ok(ground) => object.cancel(&ground, context).await?,
            Err(_) if is_served(object, context).await? && !waited_long(object) => {
                return Ok(Action::requeue(SOON));
            }
            // With the runtime all that runs has an end.
            Err(_) => {}
        }
    }
    enlist(object, false, context).await?;
    let kept: Vec<&String> = object.finalizers().iter().filter(|one| *one != O::FINALIZER).collect();
    write_metadata(object, json!({"finalizers": kept}), context).await?;
    Ok(Action::await_change())
}

/// Whether there is a runtime that is to stay.
async fn is_served<O: Operation>(object: &O, context: &Context) -> Result<bool> {
    let runtimes: Api<GooseFSRuntime> =
        Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let found =
        runtimes.get_opt(object.dataset()).await.map_err(|error| api_error("get the runtime", error))?;
    Ok(found.is_some_and(|runtime| runtime.metadata.deletion_timestamp.is_none()))
}

fn waited_long<O: Operation>(object: &O) -> bool {
    let since = object.meta().deletion_timestamp.as_ref();
    let waited = since.map(|since| Timestamp::now().duration_since(since.0));
    waited.and_then(|waited| Duration::try_from(waited).ok()).is_some_and(|waited| waited > LAST_CHANCE)
}

/// Deletes an operation whose time after its end is over; else when that is.
async fn expire<O: Operation>(
    object: &O,
    status: &OperationStatus,
    context: &Context,
) -> Result<Option<Duration>> {
    let (Some(ttl), Some(ended)) = (object.ttl(), tell::ended_at(status)) else { return Ok(None) };
    let left = i64::from(ttl) - Timestamp::now().duration_since(ended).as_secs();
    if let Ok(left) = u64::try_from(left)
        && left > 0
    {
        return Ok(Some(Duration::from_secs(left)));
    }
    let api: Api<O> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    match api.delete(&object.name_any(), &DeleteParams::default()).await {
        Err(error) if !matches!(&error, kube::Error::Api(status) if status.code == 404) => {
            Err(api_error("delete what has expired", error))
        }
        _ => Ok(None),
    }
}

/// Has the Dataset name the operations that run, each kind with commas between them.
async fn enlist<O: Operation>(object: &O, runs: bool, context: &Context) -> Result<()> {
    let api: Api<Dataset> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    let found = api.get_opt(object.dataset()).await.map_err(|error| api_error("get the Dataset", error))?;
    let Some(dataset) = found else { return Ok(()) };
    let listed = dataset.status.as_ref().and_then(|status| status.operation_ref.get(O::KIND.as_str()));
    let wanted = tell::listed(listed.map_or("", String::as_str), &object.name_any(), runs);
    if wanted.as_deref() == listed.map(String::as_str) {
        return Ok(());
    }
    let patch = json!({
        "metadata": {"resourceVersion": dataset.resource_version()},
        "status": {"operationRef": {O::KIND.as_str(): wanted}},
    });
    let patched = api.patch_status(&dataset.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error("write the Dataset's operationRef", error))?;
    Ok(())
}

async fn write_metadata<O: Operation>(object: &O, mut metadata: Value, context: &Context) -> Result<()> {
    let api: Api<O> = Api::namespaced(context.client.clone(), &object.namespace().unwrap_or_default());
    metadata["resourceVersion"] = json!(object.resource_version());
    let patch = json!({"metadata": metadata});
    match api.patch(&object.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await {
        Err(error) if !matches!(&error, kube::Error::Api(status) if status.code == 404) => {
            Err(api_error("write the finalizers", error))
        }
        _ => Ok(()),
    }
}
