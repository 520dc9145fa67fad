//! What both reconcilers work with: the apiserver, settings, events, counts.

use super::Config;
use super::plan::Object;
use super::plan::pods::phase_of;
use super::plan::ports::free_row;
use super::totals::Totals;
use crate::crd::GooseFSRuntime;
use goosefs_core::metrics::{Counter, Metrics};
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ObjectReference, Pod};
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, Preconditions, ValidationDirective};
use kube::core::{ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Api, Client, Resource, ResourceExt};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// Who owns the fields that we apply.
pub(super) const FIELD_MANAGER: &str = "goosefs-controller";

/// An object that is as it was applied last is applied again after so long, in case somebody else has changed it.
const APPLY_AGAIN: Duration = Duration::from_secs(60);

/// Most bytes of an event's note (events.k8s.io/v1).
const LONGEST_NOTE: usize = 1024;

/// What both reconcilers work with.
pub(super) struct Context {
    pub(super) client: Client,
    pub(super) image: String,
    pub(super) driver: String,
    /// Where the controller and the CSI plugin run.
    pub(super) namespace: String,
    pub(super) tasks: Tasks,
    /// Sizes of storages.
    pub(super) totals: Totals,
    recorder: Recorder,
    /// First ports of runtimes that are on the network of nodes, by UID.
    reserved: tokio::sync::Mutex<BTreeMap<String, i32>>,
    reconciles: Counter,
    failures: Counter,
    applied: Mutex<BTreeMap<String, (u32, Instant)>>,
}

/// A failure of the apiserver: what was being done, and its answer.
pub(super) fn api_error(what: &str, error: kube::Error) -> Error {
    let code = match &error {
        kube::Error::Api(status) if status.code == 404 => Code::NotFound,
        kube::Error::Api(status) if status.code == 403 => Code::PermissionDenied,
        kube::Error::Api(status) if status.code == 409 => Code::Busy,
        kube::Error::Api(status) if (400..500).contains(&status.code) => Code::InvalidArgument,
        _ => Code::Unavailable,
    };
    Error::new(code, format!("{what}: {error}"))
}

impl Context {
    pub(super) fn new(client: Client, config: &Config, tasks: Tasks, metrics: &Metrics) -> Context {
        let reporter =
            Reporter { controller: FIELD_MANAGER.to_owned(), instance: std::env::var("HOSTNAME").ok() };
        let context = Context {
            recorder: Recorder::new(client.clone(), reporter),
            client,
            image: config.image.clone(),
            driver: config.driver.clone(),
            namespace: config.namespace.clone(),
            tasks,
            totals: Totals::default(),
            reserved: tokio::sync::Mutex::default(),
            reconciles: Counter::default(),
            failures: Counter::default(),
            applied: Mutex::default(),
        };
        metrics.register(
            "goosefs_controller_reconciles",
            "Times that an object was looked at",
            context.reconciles.clone(),
        );
        metrics.register("goosefs_controller_failures", "Times that this failed", context.failures.clone());
        context
    }

    /// Counts a reconcile and logs its failure, which is retried.
    pub(super) fn note<T>(&self, what: &str, outcome: &Result<T>) {
        self.reconciles.inc();
        if let Err(error) = outcome {
            self.failures.inc();
            tracing::warn!(object = what, %error, "will be tried again");
        }
    }

    /// Applies an object, unless that was done a moment ago.
    pub(super) async fn apply(&self, object: &Object) -> Result<()> {
        let key = format!("{} {}/{}", object.kind(), object.namespace().unwrap_or_default(), object.name());
        let mark = goosefs_core::checksum::crc32c(object.0.to_string().as_bytes());
        let fresh = |(last, at): &(u32, Instant)| *last == mark && at.elapsed() < APPLY_AGAIN;
        if self.applied.lock().get(&key).is_some_and(fresh) {
            return Ok(());
        }
        let (group, version) = match object.0["apiVersion"].as_str().unwrap_or_default().split_once('/') {
            Some((group, version)) => (group, version),
            None => ("", object.0["apiVersion"].as_str().unwrap_or_default()),
        };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, object.kind()));
        let api: Api<DynamicObject> = match object.namespace() {
            Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
            None => Api::all_with(self.client.clone(), &resource),
        };
        let mut parameters = PatchParams::apply(FIELD_MANAGER).force();
        parameters.field_validation = Some(ValidationDirective::Strict);
        let outcome = api.patch(object.name(), &parameters, &Patch::Apply(&object.0)).await;
        outcome.map_err(|error| api_error(&format!("apply {key}"), error))?;
        self.applied.lock().insert(key, (mark, Instant::now()));
        Ok(())
    }

    /// Writes a status, or fields of it, over the one that there is.
    pub(super) async fn write_status<K>(&self, object: &K, status: &impl Serialize) -> Result<()>
    where
        K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + DeserializeOwned,
    {
        let api: Api<K> = Api::namespaced(self.client.clone(), &object.namespace().unwrap_or_default());
        let patch = Patch::Merge(json!({"status": status}));
        let patched = api.patch_status(&object.name_any(), &PatchParams::default(), &patch).await;
        patched
            .map(drop)
            .map_err(|error| api_error(&format!("write the status of the {}", K::kind(&())), error))
    }

    /// What was applied is not taken for granted any more: the objects are being deleted.
    pub(super) fn forget(&self, namespace: &str) {
        let place = format!(" {namespace}/");
        self.applied.lock().retain(|key, _| !key.contains(&place) && !key.contains(" /"));
    }

    /// The first of a row of ports on nodes that no other runtime has, for this one.
    pub(super) async fn reserve_ports(&self, runtime: &GooseFSRuntime) -> Result<i32> {
        let mut reserved = self.reserved.lock().await;
        let all: Api<GooseFSRuntime> = Api::all(self.client.clone());
        let all =
            all.list(&ListParams::default()).await.map_err(|error| api_error("list runtimes", error))?;
        let own = runtime.uid().unwrap_or_default();
        let there: BTreeMap<String, Option<i32>> = all
            .iter()
            .map(|one| {
                (one.uid().unwrap_or_default(), one.status.as_ref().and_then(|status| status.first_port))
            })
            .collect();
        reserved.retain(|uid, _| there.contains_key(uid));
        let others = there.iter().filter(|(uid, _)| **uid != own).filter_map(|(_, first)| *first);
        let taken = others.chain(reserved.iter().filter(|(uid, _)| **uid != own).map(|(_, first)| *first));
        let first = free_row(&taken.collect()).ok_or_else(|| {
            Error::new(Code::NoSpace, "all ports from 26000 to 32000 are reserved for other runtimes")
        })?;
        reserved.insert(own, first);
        Ok(first)
    }

    /// Says that something happened to an object.
    pub(super) async fn event<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        warning: bool,
        reason: &str,
        note: String,
    ) {
        self.event_about(object, None, warning, reason, note).await;
    }

    /// As [`Context::event`], about something of the object's. The same again within six minutes is one event, counted.
    pub(super) async fn event_about<K: Resource<DynamicType = ()>>(
        &self,
        object: &K,
        about: Option<ObjectReference>,
        warning: bool,
        reason: &str,
        note: String,
    ) {
        let note = note[..note.floor_char_boundary(LONGEST_NOTE)].to_owned();
        let event = Event {
            type_: if warning { EventType::Warning } else { EventType::Normal },
            reason: reason.to_owned(),
            // The recorder compares all but the note, and would show the first one again.
            action: format!("Reconcile-{:08x}", goosefs_core::checksum::crc32c(note.as_bytes())),
            note: Some(note),
            secondary: about,
        };
        if let Err(error) = self.recorder.publish(&event, &object.object_ref(&())).await {
            tracing::warn!(%error, reason, "an event was not written");
        }
    }

    /// Pods of a namespace that use the claim `claim` and have not ended, by name; pods of the runtime itself do not use it.
    pub(super) async fn users_of(&self, namespace: &str, claim: &str) -> Result<Vec<Pod>> {
        let pods: Api<Pod> = Api::namespaced(self.client.clone(), namespace);
        let all = pods.list(&ListParams::default()).await.map_err(|error| api_error("list pods", error))?;
        Ok(all.items.into_iter().filter(|pod| uses(pod, claim) && !has_ended(pod)).collect())
    }
}

/// Whether a pod has the claim among its volumes.
pub(super) fn uses(pod: &Pod, claim: &str) -> bool {
    claims(pod).any(|one| one == claim)
}

/// The claims of a pod.
pub(super) fn claims(pod: &Pod) -> impl Iterator<Item = &str> {
    let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.as_ref()).into_iter().flatten();
    volumes
        .filter_map(|volume| volume.persistent_volume_claim.as_ref())
        .map(|claim| claim.claim_name.as_str())
}

fn has_ended(pod: &Pod) -> bool {
    matches!(phase_of(pod), Some("Succeeded" | "Failed"))
}

/// Names of pods, for a person.
pub(super) fn names_of(pods: &[Pod]) -> String {
    pods.iter().map(ResourceExt::name_any).collect::<Vec<_>>().join(", ")
}

/// Whether a pod serves and is not about to end.
pub(super) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_ref());
    let serves = conditions
        .into_iter()
        .flatten()
        .any(|condition| condition.type_ == "Ready" && condition.status == "True");
    serves && pod.metadata.deletion_timestamp.is_none()
}

/// Why a pod has no node yet, when the scheduler says.
pub(super) fn unplaced(pod: &Pod) -> Option<String> {
    let mut conditions = pod.status.as_ref()?.conditions.iter().flatten();
    conditions.find(|one| one.status == "False" && one.type_ == "PodScheduled")?.message.clone()
}

/// Deletes exactly this pod, and none that has its name by now.
pub(super) async fn delete_exactly(pod: &Pod, context: &Context) -> Result<()> {
    delete(pod, None, context).await
}

/// As [`delete_exactly`], for a pod that no kubelet has seen: none is waited for to end it.
pub(super) async fn delete_at_once(pod: &Pod, context: &Context) -> Result<()> {
    delete(pod, Some(0), context).await
}

async fn delete(pod: &Pod, grace: Option<u32>, context: &Context) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &pod.namespace().unwrap_or_default());
    let only = Preconditions { uid: pod.uid(), resource_version: None };
    let parameters =
        DeleteParams { preconditions: Some(only), grace_period_seconds: grace, ..DeleteParams::default() };
    match pods.delete(&pod.name_any(), &parameters).await {
        Ok(_) => Ok(()),
        // Somebody else was faster.
        Err(kube::Error::Api(status)) if status.code == 404 || status.code == 409 => Ok(()),
        Err(error) => Err(api_error(&format!("delete pod {}", pod.name_any()), error)),
    }
}

/// What is gone already need not be deleted.
pub(super) fn gone<T>(outcome: std::result::Result<T, kube::Error>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(api_error("delete", error)),
    }
}
