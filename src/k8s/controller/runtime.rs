//! Reconciles a GooseFSRuntime: spec, objects, nodes, status, end; in that order.
//!
//! Called for every change of the runtime, its Dataset, its objects and its pods, and every few seconds for the figures
//! that only masters know. It keeps nothing between calls but what [`Context`] has.

use super::ask::{self, Master};
use super::context::{Context, api_error};
use super::phase::set_condition;
use super::plan::mounts::{Mounts, Secrets};
use super::plan::names::Names;
use super::plan::ports::{self, Ports};
use super::plan::run_as::masters_user;
use super::plan::{self, Given, files, masters_of};
use super::restore::{self, Backup};
use super::tell::{Seen, all_mounted, mount_events, tell, tell_dataset, transitions};
use super::{end, fluid, hand_over, journals, place, roll, shrink, storages};
use crate::crd::{
    Dataset, DatasetStatus, GooseFSRuntime, GooseFSRuntimeStatus, JournalStatus, JournalType, check,
};
use goosefs_core::Result;
use goosefs_core::rpc::control::ControlKey;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{ListParams, Patch, PatchParams};
use kube::runtime::controller::Action;
use kube::{Api, ResourceExt};
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// Keeps the runtime until all that it has on nodes is gone.
pub(super) const FINALIZER: &str = "goosefs-runtime-controller-finalizer";

/// How often masters are asked for figures.
const FIGURES: Duration = Duration::from_secs(5);

/// How soon something that is under way is looked at again.
pub(super) const SOON: Duration = Duration::from_secs(2);

/// Annotation of pods that is changed so that kubelets read changed files at once.
const FILES_MARK: &str = "goosefs.data.fluid.io/files";

pub(super) async fn reconcile(runtime: Arc<GooseFSRuntime>, context: Arc<Context>) -> Result<Action> {
    let what = format!("GooseFSRuntime {}/{}", runtime.namespace().unwrap_or_default(), runtime.name_any());
    let outcome = if runtime.metadata.deletion_timestamp.is_some() {
        end::end(&runtime, &context).await
    } else {
        Box::pin(keep(&runtime, &context)).await
    };
    context.note(&what, &outcome);
    outcome
}

async fn keep(runtime: &GooseFSRuntime, context: &Context) -> Result<Action> {
    let (namespace, name) = (runtime.namespace().unwrap_or_default(), runtime.name_any());
    let datasets: Api<Dataset> = Api::namespaced(context.client.clone(), &namespace);
    let found = datasets.get_opt(&name).await.map_err(|error| api_error("get the Dataset", error))?;
    let wrong = check::runtime(runtime);
    let refused = match &found {
        _ if !wrong.is_empty() => wrong.first().map(|first| ("InvalidSpec", first.to_string())),
        None => Some(("DatasetNotFound", format!("there is no Dataset {name} in namespace {namespace} yet"))),
        Some(dataset) => {
            check::dataset(dataset).first().map(|first| ("InvalidSpec", format!("its Dataset: {first}")))
        }
    };
    let Some(dataset) = found.filter(|_| refused.is_none()) else {
        let (reason, message) = refused.unwrap_or_default();
        return refuse(runtime, context, reason, message).await;
    };
    if dataset.metadata.deletion_timestamp.is_some() {
        return Ok(Action::requeue(SOON));
    }
    let names = Names::new(&namespace, &name, &dataset.uid().unwrap_or_default());
    if let Some((reason, message)) = fluid::in_the_way(runtime, &names, context).await? {
        refuse(runtime, context, reason, message).await?;
        return Ok(Action::requeue(SOON));
    }
    adopt(runtime, &dataset, &names, context).await?;
    let mut status = runtime.status.clone().unwrap_or_default();
    let (mounts, control) = mounts(&dataset, &names, context).await?;
    let mut given = Given {
        names: names.clone(),
        dataset: &dataset,
        runtime,
        image: &context.image,
        ports: ports_of(runtime, &mut status, context).await?,
        driver: &context.driver,
        masters: masters_of(runtime),
        master_pods: masters_of(runtime),
        durable: durable(runtime, &mut status, context).await?,
        cluster_id: status.cluster_id.clone().unwrap_or_else(|| runtime.uid().unwrap_or_default()),
        epoch: status.epoch.unwrap_or(1),
        bootstrap: !status.bootstrapped,
        restore: None,
        force: status.journal.as_ref().and_then(|journal| journal.force),
        mounts,
        control: Some(control),
        config_mark: String::new(),
    };
    match restore::backup(&given, context).await? {
        Backup::None => {}
        Backup::Offered(address) => given.restore = Some(address),
        Backup::Missing(reason, message) => {
            restore::tell(runtime, context, status, reason, message).await?;
            return Ok(Action::requeue(SOON));
        }
    }
    given.config_mark = plan::config_mark(&given)?;
    given.master_pods = shrink::pods(&given, context).await?;
    for object in plan::objects(&given)? {
        context.apply(&object).await?;
    }
    place::place(&given, context).await?;
    refresh_files(&given, context).await?;
    let seen = see(&given, context).await?;
    let before = status.clone();
    journals::look(&given, &seen, &mut status, context).await?;
    tell(&given, &seen, &mut status)?;
    if before != status {
        context.write_status(runtime, &status).await?;
        for (warning, reason, note) in transitions(&before, &status) {
            context.event(runtime, warning, &reason, note).await;
        }
        if status.bootstrapped && !before.bootstrapped && given.restore.is_some() {
            restore::done(&given, context).await;
        }
    }
    // Other mounts have another total; before they are there, there is none.
    let what = format!("{} {} {}", given.cluster_id, given.epoch, given.mounts.generation);
    let mounted = seen.cluster.as_ref().filter(|cluster| all_mounted(&given, cluster));
    let total = mounted.and_then(|cluster| context.totals.of(&what, &cluster.master, &context.tasks));
    say_of_dataset(&given, tell_dataset(&given, &seen, &status, total)?, context).await?;
    let rolling = roll::roll(&given, &seen, context).await? | hand_over::hand_over(&given, context).await?;
    let shrinking = given.master_pods > given.masters;
    let settled =
        !rolling && !shrinking && status.master_phase.as_deref() == Some("Ready") && status.bootstrapped;
    Ok(Action::requeue(if settled { FIGURES } else { SOON }))
}

/// Says why nothing is made.
async fn refuse(
    runtime: &GooseFSRuntime,
    context: &Context,
    reason: &str,
    message: String,
) -> Result<Action> {
    let before = runtime.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = runtime.metadata.generation;
    set_condition(&mut status.conditions, "MasterInitialized", false, reason, message.clone(), generation);
    if status.conditions != before.conditions {
        context.write_status(runtime, &status).await?;
        context.event(runtime, true, reason, message).await;
    }
    Ok(Action::requeue(Duration::from_secs(30)))
}

/// The finalizer, the owner and the id label.
async fn adopt(runtime: &GooseFSRuntime, dataset: &Dataset, names: &Names, context: &Context) -> Result<()> {
    let owned =
        runtime.owner_references().iter().any(|owner| Some(&owner.uid) == dataset.metadata.uid.as_ref());
    let finalizes = runtime.finalizers().iter().any(|one| one == FINALIZER);
    let labelled = runtime.labels().get("fluid.io/dataset-id") == Some(&names.dataset_id());
    if owned && finalizes && labelled {
        return Ok(());
    }
    let mut finalizers = runtime.finalizers().to_vec();
    if !finalizes {
        finalizers.push(FINALIZER.to_owned());
    }
    let patch = json!({"metadata": {
        "resourceVersion": runtime.resource_version(),
        "finalizers": finalizers,
        "labels": {"fluid.io/dataset-id": names.dataset_id()},
        "ownerReferences": [{
            "apiVersion": "data.fluid.io/v1alpha1", "kind": "Dataset",
            "name": dataset.name_any(), "uid": dataset.uid(),
            "controller": true, "blockOwnerDeletion": false,
        }],
    }});
    let api: Api<GooseFSRuntime> = Api::namespaced(context.client.clone(), &names.namespace);
    let patched = api.patch(&names.name, &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error("adopt the runtime", error))?;
    Ok(())
}

/// Whether journals lie on claims; decided once.
async fn durable(
    runtime: &GooseFSRuntime,
    status: &mut GooseFSRuntimeStatus,
    context: &Context,
) -> Result<bool> {
    if let Some(decided) = &status.journal {
        return Ok(decided.type_ == "PVC");
    }
    let wanted =
        runtime.spec.master.as_ref().and_then(|master| master.journal.as_ref()).map(|journal| journal.type_);
    let (durable, reason) = match wanted.unwrap_or_default() {
        JournalType::PVC => (true, None),
        JournalType::EmptyDir => (false, None),
        JournalType::Auto => {
            let classes: Api<StorageClass> = Api::all(context.client.clone());
            let all = classes.list(&ListParams::default()).await;
            let all = all.map_err(|error| api_error("list StorageClasses", error))?;
            let is_default = |class: &StorageClass| {
                class
                    .annotations()
                    .get("storageclass.kubernetes.io/is-default-class")
                    .is_some_and(|value| value == "true")
            };
            match all.items.iter().find(|class| is_default(class)) {
                Some(class) => (true, Some(format!("{} is the default StorageClass", class.name_any()))),
                None => (false, Some("there is no default StorageClass".to_owned())),
            }
        }
    };
    let type_ = if durable { "PVC" } else { "EmptyDir" }.to_owned();
    status.journal = Some(JournalStatus { type_, reason, force: None });
    Ok(durable)
}

/// Ports of the runtime's parts; on the network of nodes a row of its own, reserved once.
async fn ports_of(
    runtime: &GooseFSRuntime,
    status: &mut GooseFSRuntimeStatus,
    context: &Context,
) -> Result<Ports> {
    if !ports::on_nodes(runtime) {
        return Ok(Ports::default());
    }
    let first = match status.first_port {
        Some(first) => first,
        None => {
            let first = context.reserve_ports(runtime).await?;
            status.first_port = Some(first);
            // Before anything listens there: it must not be another one the next time.
            context.write_status(runtime, status).await?;
            first
        }
    };
    Ok(Ports::on_nodes(first, runtime))
}

/// The Secrets that the Dataset refers to, each got by its name.
async fn secrets(dataset: &Dataset, namespace: &str, context: &Context) -> Result<Secrets> {
    let own = dataset.spec.mounts.iter().flat_map(|mount| &mount.encrypt_options);
    let wanted: BTreeSet<&String> = own
        .chain(&dataset.spec.shared_encrypt_options)
        .map(|option| &option.value_from.secret_key_ref.name)
        .collect();
    let api: Api<Secret> = Api::namespaced(context.client.clone(), namespace);
    let mut all = Secrets::new();
    for name in wanted {
        let found =
            api.get_opt(name).await.map_err(|error| api_error(&format!("get Secret {name}"), error))?;
        let Some(secret) = found else { continue };
        let text =
            |(key, value): (String, k8s_openapi::ByteString)| Some((key, String::from_utf8(value.0).ok()?));
        all.insert(name.clone(), secret.data.unwrap_or_default().into_iter().filter_map(text).collect());
    }
    Ok(all)
}

/// The mounts that there shall be, after those of the file that is there; and the control key, a new one if there is none.
async fn mounts(dataset: &Dataset, names: &Names, context: &Context) -> Result<(Mounts, ControlKey)> {
    let secrets = secrets(dataset, &names.namespace, context).await?;
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &names.namespace);
    let found = api.get_opt(&names.mounts()).await.map_err(|error| api_error("get the mounts", error))?;
    let mut data = found.and_then(|secret| secret.data).unwrap_or_default();
    let key = data.remove("control.key").and_then(|text| ControlKey::parse(&text.0).ok());
    let key = key.map_or_else(ControlKey::generate, Ok)?;
    let bytes = data.remove("mounts.json");
    let file = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok());
    Ok((Mounts::new(dataset, &secrets, file.as_ref()), key))
}

/// Has kubelets read changed files at once, by a changed annotation of the pods that have them.
async fn refresh_files(given: &Given<'_>, context: &Context) -> Result<()> {
    let text = format!("{} {}", files::cluster(given), given.mounts.generation);
    let mark = format!("{:08x}", goosefs_core::checksum::crc32c(text.as_bytes()));
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let mut all = pods_of(given, "goosefs-master", context).await?;
    // Workers read the keys of mounts in theirs.
    all.extend(pods_of(given, "goosefs-worker", context).await?);
    for pod in all {
        if pod.annotations().get(FILES_MARK) == Some(&mark) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let patch = json!({"metadata": {"annotations": {FILES_MARK: mark}}});
        let patched = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(|error| api_error(&format!("annotate pod {}", pod.name_any()), error))?;
    }
    Ok(())
}

/// The runtime's pods of a role.
pub(super) async fn pods_of(given: &Given<'_>, role: &str, context: &Context) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let selector = format!("app=goosefs,release={},role={role}", given.names.name);
    let all = pods.list(&ListParams::default().labels(&selector)).await;
    Ok(all.map_err(|error| api_error("list pods", error))?.items)
}

/// Where masters are asked: at their pods.
pub(super) async fn masters_to_ask(given: &Given<'_>, context: &Context) -> Result<Vec<Master>> {
    let pods = pods_of(given, "goosefs-master", context).await?;
    Ok(masters_at(given.runtime, given.ports, &pods))
}

/// Where masters are asked.
pub(super) fn masters_at(runtime: &GooseFSRuntime, ports: Ports, pods: &[Pod]) -> Vec<Master> {
    let address = |pod: &Pod| Some(host_port(pod.status.as_ref()?.pod_ip.as_ref()?, ports.master_rpc));
    let user = masters_user(runtime);
    pods.iter().filter_map(address).map(|address| Master { address, user: user.clone() }).collect()
}

/// `ip:port`, `[ip]:port` for version 6.
pub(super) fn host_port(ip: &str, port: u16) -> String {
    if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") }
}

/// Looks at what there is, and asks the masters.
async fn see(given: &Given<'_>, context: &Context) -> Result<Seen> {
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let daemons: Api<DaemonSet> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let masters =
        sets.get(&given.names.masters()).await.map_err(|error| api_error("get the masters", error))?;
    let workers =
        daemons.get(&given.names.workers()).await.map_err(|error| api_error("get the workers", error))?;
    let fuse =
        daemons.get(&given.names.fuse()).await.map_err(|error| api_error("get the FUSE pods", error))?;
    let pods = pods_of(given, "goosefs-master", context).await?;
    let masters_seen = masters_at(given.runtime, given.ports, &pods);
    let cluster = if given.bootstrap {
        ask::cluster(&masters_seen, &context.tasks).await
    } else {
        ask::settled_cluster(&masters_seen, &context.tasks).await
    };
    Ok(Seen { masters, master_pods: pods, workers, fuse, cluster })
}

/// Writes the Dataset's status when it differs, with an event when the phase does.
async fn say_of_dataset(given: &Given<'_>, status: DatasetStatus, context: &Context) -> Result<()> {
    let before = given.dataset.status.clone().unwrap_or_default();
    if status == before {
        return Ok(());
    }
    write_dataset_status(given.dataset, context, &status).await?;
    if let Some((warning, reason, note)) = mount_events(&before, &status, &given.mounts.missing) {
        context.event(given.dataset, warning, reason, note).await;
    }
    if let Some((warning, reason, note)) = storages::event(&before, &status) {
        context.event(given.dataset, warning, reason, note).await;
    }
    if before.phase != status.phase {
        let reason = format!("Dataset{}", status.phase.unwrap_or_default());
        let note = format!("from {}", before.phase.as_deref().unwrap_or("the beginning"));
        context.event(given.dataset, false, &reason, note).await;
    }
    Ok(())
}

/// All of the Dataset's status but which operations run: that is theirs to say.
pub(super) async fn write_dataset_status(
    dataset: &Dataset,
    context: &Context,
    status: &DatasetStatus,
) -> Result<()> {
    let status = DatasetStatus { operation_ref: BTreeMap::new(), ..status.clone() };
    context.write_status(dataset, &status).await
}
