//! Reconciles a GooseFSRuntime: spec, objects, nodes, status, end; in that order.
//!
//! Called for every change of the runtime, its Dataset, its objects and its pods, and every few seconds for the figures
//! that only masters know. It keeps nothing between calls but what [`Context`] has.

use super::ask::{self, Cluster};
use super::context::{Context, api_error, names_of};
use super::phase::{percentage, phase, set_condition, size};
use super::plan::names::{MASTER_RPC, Names};
use super::plan::nodes::{EXCLUSIVE, Wanted, choose};
use super::plan::{self, Given, files, masters_of};
use crate::crd::{
    Dataset, DatasetStatus, GooseFSRuntime, GooseFSRuntimeStatus, Hcfs, JournalStatus, JournalType,
    LaunchPolicy, Mount, Placement, RuntimeReference, check,
};
use goosefs_core::Result;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::{Node, PersistentVolume, PersistentVolumeClaim, Pod, Secret};
use k8s_openapi::api::storage::v1::StorageClass;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams};
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
const SOON: Duration = Duration::from_secs(2);

/// Annotation of pods that is changed so that kubelets read changed files at once.
const FILES_MARK: &str = "goosefs.data.fluid.io/files";

pub(super) async fn reconcile(runtime: Arc<GooseFSRuntime>, context: Arc<Context>) -> Result<Action> {
    let what = format!("GooseFSRuntime {}/{}", runtime.namespace().unwrap_or_default(), runtime.name_any());
    let outcome = if runtime.metadata.deletion_timestamp.is_some() {
        end(&runtime, &context).await
    } else {
        keep(&runtime, &context).await
    };
    context.note(&what, &outcome);
    outcome
}

async fn keep(runtime: &GooseFSRuntime, context: &Context) -> Result<Action> {
    let (namespace, name) = (runtime.namespace().unwrap_or_default(), runtime.name_any());
    let datasets: Api<Dataset> = Api::namespaced(context.client.clone(), &namespace);
    let found = datasets.get_opt(&name).await.map_err(|error| api_error("get the Dataset", error))?;
    let wrong = check::runtime(runtime);
    let refused = match (&found, wrong.first()) {
        (_, Some(first)) => Some(("InvalidSpec", first.to_string())),
        (None, _) => {
            Some(("DatasetNotFound", format!("there is no Dataset {name} in namespace {namespace} yet")))
        }
        (Some(_), None) => None,
    };
    let Some(dataset) = found.filter(|_| refused.is_none()) else {
        let (reason, message) = refused.unwrap_or_default();
        return refuse(runtime, context, reason, message).await;
    };
    if dataset.metadata.deletion_timestamp.is_some() {
        return Ok(Action::requeue(SOON));
    }
    let names = Names::new(&namespace, &name, &dataset.uid().unwrap_or_default());
    adopt(runtime, &dataset, &names, context).await?;
    let mut status = runtime.status.clone().unwrap_or_default();
    let mut given = Given {
        names: names.clone(),
        dataset: &dataset,
        runtime,
        image: &context.image,
        driver: &context.driver,
        masters: masters_of(runtime),
        durable: durable(runtime, &mut status, context).await?,
        cluster_id: status.cluster_id.clone().unwrap_or_else(|| runtime.uid().unwrap_or_default()),
        epoch: status.epoch.unwrap_or(1),
        bootstrap: !status.bootstrapped,
        secrets: secrets(&dataset, &namespace, context).await?,
        mounts_generation: 1,
        config_mark: String::new(),
    };
    given.mounts_generation = mounts_generation(&given, context).await?;
    given.config_mark = plan::config_mark(&given)?;
    for object in plan::objects(&given)? {
        context.apply(&object).await?;
    }
    place(&given, context).await?;
    refresh_files(&given, context).await?;
    let seen = see(&given, context).await?;
    let before = status.clone();
    tell(&given, &seen, &mut status)?;
    if before != status {
        write_runtime_status(runtime, context, &status).await?;
        for (warning, reason, note) in transitions(&before, &status) {
            context.event(runtime, warning, reason, note).await;
        }
    }
    tell_dataset(&given, &seen, &status, context).await?;
    let settled = status.master_phase.as_deref() == Some("Ready") && status.bootstrapped;
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
        write_runtime_status(runtime, context, &status).await?;
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
    status.journal = Some(JournalStatus { type_, reason });
    Ok(durable)
}

type Secrets = BTreeMap<String, BTreeMap<String, String>>;

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

/// One more than that of the file that is there, unless its mounts are the same.
async fn mounts_generation(given: &Given<'_>, context: &Context) -> Result<i64> {
    let api: Api<Secret> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let found =
        api.get_opt(&given.names.mounts()).await.map_err(|error| api_error("get the mounts", error))?;
    let bytes = found.and_then(|secret| secret.data?.remove("mounts.json"));
    let Some(file) = bytes.and_then(|bytes| serde_json::from_slice::<Value>(&bytes.0).ok()) else {
        return Ok(1);
    };
    let generation = file["generation"].as_i64().unwrap_or_default();
    Ok(if file["mounts"] == files::mounts(given)? { generation } else { generation + 1 })
}

/// Labels nodes: workers where they shall be, FUSE there, and where pods use the volume.
async fn place(given: &Given<'_>, context: &Context) -> Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let all = nodes.list(&ListParams::default()).await.map_err(|error| api_error("list nodes", error))?.items;
    let spec = &given.runtime.spec;
    let none = BTreeMap::new();
    let exclusive = given.dataset.spec.placement != Some(Placement::Shared);
    let mut tolerations = given.dataset.spec.tolerations.clone();
    tolerations.extend(spec.worker.iter().flat_map(|worker| worker.tolerations.clone()));
    let wanted = Wanted {
        replicas: usize::try_from(spec.replicas.unwrap_or(0)).unwrap_or_default(),
        label: given.names.worker_label(),
        exclusive: exclusive.then(|| format!("{}_{}", given.names.namespace, given.names.name)),
        selector: spec.worker.as_ref().map_or(&none, |worker| &worker.node_selector),
        affinity: given.dataset.spec.node_affinity.as_ref().and_then(|affinity| affinity.required.as_ref()),
        tolerations,
    };
    let workers = choose(&all, &wanted);
    let users = context.users_of(&given.names.namespace, &given.names.name).await?;
    let used: BTreeSet<String> =
        users.iter().filter_map(|pod| pod.spec.as_ref()?.node_name.clone()).collect();
    let fuse = spec.fuse.as_ref();
    let eager = fuse.is_none_or(|fuse| fuse.launch_policy == LaunchPolicy::Eager);
    let global = fuse.is_some_and(|fuse| fuse.global);
    for node in &all {
        let name = node.name_any();
        let worker = workers.contains(&name);
        let had_fuse = node.labels().contains_key(&given.names.fuse_label());
        // Once there, FUSE stays until the runtime goes: pods may come back.
        let fuse = global || worker && eager || used.contains(&name) || had_fuse;
        label_node(node, given, worker, fuse, wanted.exclusive.as_deref(), context).await?;
    }
    Ok(())
}

/// Gives a node the labels that it shall have, and takes away those that it shall not.
async fn label_node(
    node: &Node,
    given: &Given<'_>,
    worker: bool,
    fuse: bool,
    exclusive: Option<&str>,
    context: &Context,
) -> Result<()> {
    let labels = node.labels();
    let mut change = serde_json::Map::new();
    let mut set = |key: String, value: Option<&str>| {
        if labels.get(&key).map(String::as_str) != value {
            change.insert(key, json!(value));
        }
    };
    let yes = |wanted: bool| wanted.then_some("true");
    set(given.names.worker_label(), yes(worker));
    set(given.names.cached_label(), yes(worker));
    set(given.names.fuse_label(), yes(fuse));
    let own = format!("{}_{}", given.names.namespace, given.names.name);
    match (worker, exclusive) {
        (true, Some(value)) => set(EXCLUSIVE.to_owned(), Some(value)),
        _ if labels.get(EXCLUSIVE) == Some(&own) => set(EXCLUSIVE.to_owned(), None),
        _ => {}
    }
    let had = labels.contains_key(&given.names.worker_label());
    if had != worker {
        let number: i64 =
            labels.get("fluid.io/dataset-num").and_then(|text| text.parse().ok()).unwrap_or_default();
        let number = if worker { number + 1 } else { number - 1 };
        let text = number.to_string();
        set("fluid.io/dataset-num".to_owned(), (number > 0).then_some(text.as_str()));
    }
    if change.is_empty() {
        return Ok(());
    }
    let nodes: Api<Node> = Api::all(context.client.clone());
    let patch = json!({"metadata": {"labels": change}});
    let patched = nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error(&format!("label node {}", node.name_any()), error))?;
    Ok(())
}

/// Has kubelets read changed files at once, by a changed annotation of the pods that have them.
async fn refresh_files(given: &Given<'_>, context: &Context) -> Result<()> {
    let text = format!("{} {}", files::cluster(given), given.mounts_generation);
    let mark = format!("{:08x}", goosefs_core::checksum::crc32c(text.as_bytes()));
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    for pod in pods_of(given, "goosefs-master", context).await? {
        if pod.annotations().get(FILES_MARK) == Some(&mark) || pod.metadata.deletion_timestamp.is_some() {
            continue;
        }
        let patch = json!({"metadata": {"annotations": {FILES_MARK: mark}}});
        let patched = pods.patch(&pod.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
        patched.map_err(|error| api_error(&format!("annotate pod {}", pod.name_any()), error))?;
    }
    Ok(())
}

async fn pods_of(given: &Given<'_>, role: &str, context: &Context) -> Result<Vec<Pod>> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &given.names.namespace);
    let selector = format!("app=goosefs,release={},role={role}", given.names.name);
    let all = pods.list(&ListParams::default().labels(&selector)).await;
    Ok(all.map_err(|error| api_error("list pods", error))?.items)
}

/// What is.
struct Seen {
    masters: StatefulSet,
    workers: DaemonSet,
    fuse: DaemonSet,
    cluster: Option<Cluster>,
}

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
    let address = |pod: &Pod| {
        let ip = pod.status.as_ref()?.pod_ip.clone()?;
        Some(if ip.contains(':') { format!("[{ip}]:{MASTER_RPC}") } else { format!("{ip}:{MASTER_RPC}") })
    };
    let addresses: Vec<String> = pods.iter().filter_map(address).collect();
    let cluster = ask::cluster(&addresses, &context.tasks).await;
    Ok(Seen { masters, workers, fuse, cluster })
}

/// The runtime's status. Pure.
fn tell(given: &Given<'_>, seen: &Seen, status: &mut GooseFSRuntimeStatus) -> Result<()> {
    let generation = given.runtime.metadata.generation;
    status.observed_generation = generation;
    status.value_file = Some(given.names.config());
    status.cluster_id = Some(given.cluster_id.clone());
    status.epoch = Some(given.epoch);
    let masters = seen.masters.status.clone().unwrap_or_default();
    status.desired_master_number_scheduled = i32::try_from(given.masters).unwrap_or_default();
    status.current_master_number_scheduled = masters.replicas;
    status.master_number_ready = masters.ready_replicas.unwrap_or_default();
    let workers = seen.workers.status.clone().unwrap_or_default();
    status.desired_worker_number_scheduled = given.runtime.spec.replicas.unwrap_or_default();
    status.current_worker_number_scheduled = workers.current_number_scheduled;
    status.worker_number_ready = workers.number_ready;
    status.worker_number_available = workers.number_available.unwrap_or_default();
    status.worker_number_unavailable = workers.number_unavailable.unwrap_or_default();
    let fuse = seen.fuse.status.clone().unwrap_or_default();
    status.desired_fuse_number_scheduled = fuse.desired_number_scheduled;
    status.current_fuse_number_scheduled = fuse.current_number_scheduled;
    status.fuse_number_ready = fuse.number_ready;
    status.fuse_number_available = fuse.number_available.unwrap_or_default();
    status.fuse_number_unavailable = fuse.number_unavailable.unwrap_or_default();
    let (master_phase, master_reason) =
        phase(status.master_number_ready, status.desired_master_number_scheduled, "masters");
    // Without a leader there is no quorum, whatever probes said last.
    let quorum = seen.cluster.is_some();
    let no_quorum = !quorum && status.bootstrapped;
    status.master_phase = Some(if no_quorum { "NotReady".to_owned() } else { master_phase });
    status.master_reason = Some(if no_quorum { "no master leads".to_owned() } else { master_reason });
    let (phase_of_workers, reason) =
        phase(status.worker_number_ready, status.desired_worker_number_scheduled, "workers");
    status.worker_phase = Some(phase_of_workers);
    status.worker_reason = Some(reason);
    let observed = fuse.observed_generation.is_some();
    let (phase_of_fuse, reason) =
        phase(status.fuse_number_ready, status.desired_fuse_number_scheduled, "FUSE pods");
    status.fuse_phase = Some(if observed { phase_of_fuse } else { "NotReady".to_owned() });
    status.fuse_reason = Some(reason);
    status.leader = seen.cluster.as_ref().and_then(|cluster| cluster.leader.clone());
    status.bootstrapped |= quorum;
    status.selector = Some(format!("app=goosefs,release={},role=goosefs-worker", given.names.name));
    status.mounts = told_mounts(given.dataset);
    for (type_, phase) in [
        ("MasterReady", &status.master_phase),
        ("WorkersReady", &status.worker_phase),
        ("FusesReady", &status.fuse_phase),
    ] {
        let phase = phase.clone().unwrap_or_default();
        let message = format!("phase {phase}");
        set_condition(&mut status.conditions, type_, phase == "Ready", &phase, message, generation);
    }
    if let Some(journal) = &status.journal {
        let message = journal.reason.clone().unwrap_or_else(|| "as spec.master.journal says".to_owned());
        let holds = journal.type_ == "PVC";
        set_condition(&mut status.conditions, "JournalDurable", holds, &journal.type_, message, generation);
    }
    status.cache_states = cache_states(given, seen, None)?;
    if status.setup_duration.is_none() && status.worker_phase.as_deref() == Some("Ready") && quorum {
        let created = given.runtime.metadata.creation_timestamp.as_ref();
        let seconds = created.map(|created| jiff::Timestamp::now().as_second() - created.0.as_second());
        status.setup_duration = seconds.map(|seconds| format!("{seconds}s"));
    }
    Ok(())
}

/// The mounts without settings, in which keys may be.
fn told_mounts(dataset: &Dataset) -> Vec<Mount> {
    let bare = |mount: &Mount| Mount {
        options: BTreeMap::new(),
        encrypt_options: Vec::new(),
        path: Some(mount.shown_at()),
        ..mount.clone()
    };
    dataset.spec.mounts.iter().map(bare).collect()
}

fn cache_states(given: &Given<'_>, seen: &Seen, total: Option<u64>) -> Result<BTreeMap<String, String>> {
    let cluster = seen.cluster.clone().unwrap_or_default();
    let workers = u64::try_from(given.runtime.spec.replicas.unwrap_or_default()).unwrap_or_default();
    let capacity = match cluster.capacity {
        0 => files::quota_of_a_worker(given)? * workers,
        known => known,
    };
    Ok(BTreeMap::from([
        ("cached".to_owned(), size(cluster.used)),
        ("cacheCapacity".to_owned(), size(capacity)),
        ("cachedPercentage".to_owned(), percentage(cluster.used, total.unwrap_or_default())),
    ]))
}

/// One event for each thing that changed.
fn transitions(
    before: &GooseFSRuntimeStatus,
    after: &GooseFSRuntimeStatus,
) -> Vec<(bool, &'static str, String)> {
    let mut all = Vec::new();
    let phases = [
        ("MasterPhaseChanged", &before.master_phase, &after.master_phase, &after.master_reason),
        ("WorkerPhaseChanged", &before.worker_phase, &after.worker_phase, &after.worker_reason),
        ("FusePhaseChanged", &before.fuse_phase, &after.fuse_phase, &after.fuse_reason),
    ];
    for (reason, old, new, why) in phases {
        if old != new {
            let worse = old.as_deref() == Some("Ready");
            let (new, why) = (new.clone().unwrap_or_default(), why.clone().unwrap_or_default());
            all.push((worse, reason, format!("{new}: {why}")));
        }
    }
    if before.leader != after.leader {
        match &after.leader {
            Some(leader) => all.push((false, "LeaderElected", format!("{leader} leads"))),
            None => all.push((true, "QuorumLost", "no master leads".to_owned())),
        }
    }
    all
}

async fn write_runtime_status(
    runtime: &GooseFSRuntime,
    context: &Context,
    status: &GooseFSRuntimeStatus,
) -> Result<()> {
    let api: Api<GooseFSRuntime> =
        Api::namespaced(context.client.clone(), &runtime.namespace().unwrap_or_default());
    let patch = json!({"status": status});
    let patched = api.patch_status(&runtime.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error("write the runtime's status", error))?;
    Ok(())
}

/// The Dataset's status: it is bound once masters lead, a worker is there and its mounts are.
async fn tell_dataset(
    given: &Given<'_>,
    seen: &Seen,
    runtime: &GooseFSRuntimeStatus,
    context: &Context,
) -> Result<()> {
    let before = given.dataset.status.clone().unwrap_or_default();
    let mut status = before.clone();
    let generation = given.dataset.metadata.generation;
    let mounted = |cluster: &Cluster| {
        given
            .dataset
            .spec
            .mounts
            .iter()
            .all(|mount| cluster.mounts.iter().any(|path| *path == mount.shown_at()))
    };
    let all_mounted = seen.cluster.as_ref().is_some_and(mounted);
    let bound =
        all_mounted && (runtime.worker_number_ready > 0 || runtime.desired_worker_number_scheduled == 0);
    let was_bound = before.phase.as_deref() == Some("Bound");
    let phase = match (bound, was_bound, all_mounted) {
        (true, _, _) => "Bound",
        // Masters that are away for a moment unbind nothing: what is cached is still read.
        (false, true, false) if seen.cluster.is_some() => "Updating",
        (false, true, _) => "Bound",
        _ => "NotBound",
    };
    status.phase = Some(phase.to_owned());
    status.observed_generation = generation;
    status.mounts = told_mounts(given.dataset);
    status.runtimes = vec![RuntimeReference {
        name: Some(given.names.name.clone()),
        namespace: Some(given.names.namespace.clone()),
        category: Some("Accelerate".to_owned()),
        type_: Some("goosefs".to_owned()),
        master_replicas: i32::try_from(given.masters).ok(),
    }];
    let name = |slot| format!("{}.{}:{MASTER_RPC}", given.names.master(slot), given.names.namespace);
    let masters: Vec<String> = (0..given.masters).map(name).collect();
    status.hcfs = Some(Hcfs {
        endpoint: Some(format!("goosefs://{}/", masters.join(","))),
        underlayer_file_system_version: None,
    });
    set_condition(
        &mut status.conditions,
        "Ready",
        bound,
        if bound { "DatasetReady" } else { "DatasetNotReady" },
        if bound { "the volume can be used" } else { "masters, a worker or mounts are missing" }.to_owned(),
        generation,
    );
    let mut total = None;
    if let (true, Some(cluster)) = (bound, &seen.cluster) {
        let walk =
            tokio::time::timeout(Duration::from_secs(20), ask::total(&cluster.address, &context.tasks)).await;
        match walk {
            Ok(Ok(found)) => {
                status.ufs_total = Some(size(found.bytes));
                status.file_num = Some(found.files.to_string());
                total = Some(found.bytes);
            }
            _ if status.ufs_total.is_none() => status.ufs_total = Some("[Calculating]".to_owned()),
            _ => {}
        }
    }
    status.cache_states = cache_states(given, seen, total)?;
    if status != before {
        write_dataset_status(given.dataset, context, &status).await?;
        if before.phase != status.phase {
            context.event(given.dataset, false, "DatasetPhaseChanged", phase.to_owned()).await;
        }
    }
    Ok(())
}

pub(super) async fn write_dataset_status(
    dataset: &Dataset,
    context: &Context,
    status: &DatasetStatus,
) -> Result<()> {
    let api: Api<Dataset> = Api::namespaced(context.client.clone(), &dataset.namespace().unwrap_or_default());
    let patch = json!({"status": status});
    let patched = api.patch_status(&dataset.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
    patched.map_err(|error| api_error("write the Dataset's status", error))?;
    Ok(())
}

/// Takes everything away, once nobody uses it.
async fn end(runtime: &GooseFSRuntime, context: &Context) -> Result<Action> {
    if !runtime.finalizers().iter().any(|one| one == FINALIZER) {
        return Ok(Action::await_change());
    }
    let (namespace, name) = (runtime.namespace().unwrap_or_default(), runtime.name_any());
    let users = context.users_of(&namespace, &name).await?;
    if !users.is_empty() {
        let note = format!("the volume is in use by {}", names_of(&users));
        context.event(runtime, true, "ErrorDeleteDataset", note).await;
        return Ok(Action::requeue(Duration::from_secs(10)));
    }
    context.forget(&namespace);
    let owner = runtime.owner_references().iter().find(|owner| owner.kind == "Dataset");
    let names = Names::new(&namespace, &name, owner.map_or("", |owner| &owner.uid));
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(context.client.clone(), &namespace);
    let volumes: Api<PersistentVolume> = Api::all(context.client.clone());
    gone(claims.delete(&name, &DeleteParams::default()).await)?;
    gone(volumes.delete(&names.volume(), &DeleteParams::default()).await)?;
    unlabel(&names, context).await?;
    let sets: Api<StatefulSet> = Api::namespaced(context.client.clone(), &namespace);
    let daemons: Api<DaemonSet> = Api::namespaced(context.client.clone(), &namespace);
    gone(daemons.delete(&names.fuse(), &DeleteParams::default()).await)?;
    gone(daemons.delete(&names.workers(), &DeleteParams::default()).await)?;
    gone(sets.delete(&names.masters(), &DeleteParams::default()).await)?;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
    let left = pods.list(&ListParams::default().labels(&format!("app=goosefs,release={name}"))).await;
    if !left.map_err(|error| api_error("list pods", error))?.items.is_empty() {
        return Ok(Action::requeue(SOON));
    }
    let datasets: Api<Dataset> = Api::namespaced(context.client.clone(), &namespace);
    if let Some(dataset) =
        datasets.get_opt(&name).await.map_err(|error| api_error("get the Dataset", error))?
    {
        let status = DatasetStatus { phase: Some("NotBound".to_owned()), ..DatasetStatus::default() };
        write_dataset_status(&dataset, context, &status).await?;
    }
    let kept: Vec<&String> = runtime.finalizers().iter().filter(|one| *one != FINALIZER).collect();
    let patch = json!({"metadata": {"resourceVersion": runtime.resource_version(), "finalizers": kept}});
    let api: Api<GooseFSRuntime> = Api::namespaced(context.client.clone(), &namespace);
    gone(api.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await)?;
    Ok(Action::await_change())
}

/// Takes the labels of a runtime from all nodes.
async fn unlabel(names: &Names, context: &Context) -> Result<()> {
    let nodes: Api<Node> = Api::all(context.client.clone());
    let all = nodes.list(&ListParams::default()).await.map_err(|error| api_error("list nodes", error))?;
    let own = format!("{}_{}", names.namespace, names.name);
    for node in all.items {
        let labels = node.labels();
        let mut change = serde_json::Map::new();
        for key in [names.worker_label(), names.cached_label(), names.fuse_label()] {
            if labels.contains_key(&key) {
                change.insert(key, Value::Null);
            }
        }
        if labels.get(EXCLUSIVE) == Some(&own) {
            change.insert(EXCLUSIVE.to_owned(), Value::Null);
        }
        if labels.contains_key(&names.worker_label()) {
            let number: i64 =
                labels.get("fluid.io/dataset-num").and_then(|text| text.parse().ok()).unwrap_or(1);
            let rest = if number > 1 { json!((number - 1).to_string()) } else { Value::Null };
            change.insert("fluid.io/dataset-num".to_owned(), rest);
        }
        if !change.is_empty() {
            let patch = json!({"metadata": {"labels": change}});
            let patched = nodes.patch(&node.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await;
            patched.map_err(|error| api_error("take labels from a node", error))?;
        }
    }
    Ok(())
}

/// What is gone already need not be deleted.
fn gone<T>(outcome: std::result::Result<T, kube::Error>) -> Result<()> {
    match outcome {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
        Err(error) => Err(api_error("delete", error)),
    }
}
