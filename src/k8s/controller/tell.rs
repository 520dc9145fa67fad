//! What is said of a runtime and its Dataset, from what was seen. No I/O.

use super::ask::{Cluster, Total};
use super::phase::{percentage, phase, set_condition, size};
use super::plan::{Given, files};
use super::storages;
use crate::crd::{Dataset, DatasetStatus, GooseFSRuntimeStatus, Hcfs, Mount, RuntimeReference};
use goosefs_core::Result;
use k8s_openapi::api::apps::v1::{DaemonSet, StatefulSet};
use k8s_openapi::api::core::v1::Pod;
use std::collections::BTreeMap;

/// What is.
pub(super) struct Seen {
    pub(super) masters: StatefulSet,
    pub(super) master_pods: Vec<Pod>,
    pub(super) workers: DaemonSet,
    pub(super) fuse: DaemonSet,
    pub(super) cluster: Option<Cluster>,
}

/// Brings the runtime's status up to date.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(super) fn tell(given: &Given<'_>, seen: &Seen, status: &mut GooseFSRuntimeStatus) -> Result<()> {
    let generation = given.runtime.metadata.generation;
    status.observed_generation = generation;
    status.value_file = Some(given.names.config());
    status.cluster_id = Some(given.cluster_id.clone());
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
    if status.bootstrapped {
        let message = "the masters have formed their cluster".to_owned();
        set_condition(&mut status.conditions, "MasterInitialized", true, "Bootstrapped", message, generation);
    }
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
        ("cacheHitRatio".to_owned(), percentage(cluster.hit, cluster.hit + cluster.missed)),
    ]))
}

/// How well a part is in a phase.
fn rank(phase: &str) -> u8 {
    match phase {
        "Ready" => 2,
        "PartialReady" => 1,
        _ => 0,
    }
}

/// One event for each thing that changed. Each has a reason of its own: events of one reason are taken for repetitions.
pub(super) fn transitions(
    before: &GooseFSRuntimeStatus,
    after: &GooseFSRuntimeStatus,
) -> Vec<(bool, String, String)> {
    let mut all = Vec::new();
    let phases = [
        ("Masters", &before.master_phase, &after.master_phase, &after.master_reason),
        ("Workers", &before.worker_phase, &after.worker_phase, &after.worker_reason),
        ("Fuses", &before.fuse_phase, &after.fuse_phase, &after.fuse_reason),
    ];
    for (part, old, new, why) in phases {
        if let Some(new) = new.as_ref().filter(|_| old != new) {
            let worse = old.as_deref().is_some_and(|old| rank(new) < rank(old));
            all.push((worse, format!("{part}{new}"), why.clone().unwrap_or_default()));
        }
    }
    match (&before.leader, &after.leader) {
        (old, Some(new)) if old.as_ref() != Some(new) => {
            all.push((false, "LeaderElected".to_owned(), format!("{new} leads")));
        }
        (Some(_), None) => all.push((true, "QuorumLost".to_owned(), "no master leads".to_owned())),
        _ => {}
    }
    all
}

/// Whether masters have all that the Dataset has.
pub(super) fn all_mounted(given: &Given<'_>, cluster: &Cluster) -> bool {
    let mounted = |mount: &Mount| cluster.mounts.iter().any(|path| *path == mount.shown_at());
    given.dataset.spec.mounts.iter().all(mounted)
}

/// An event for mounts that are not as the Dataset says, and one when they are again: about what was said before and is now.
/// `missing` is what Secrets do not have.
pub(super) fn mount_events(
    before: &DatasetStatus,
    after: &DatasetStatus,
    missing: &[String],
) -> Option<(bool, &'static str, String)> {
    let failures = |status: &DatasetStatus| {
        let ready = status.conditions.iter().find(|condition| condition.type_ == "Ready");
        let text = ready.and_then(|ready| ready.message.clone()).unwrap_or_default();
        text.split_once("; ").map(|(_, failures)| failures.to_owned())
    };
    match (failures(before), failures(after)) {
        (old, Some(new)) if old.as_ref() != Some(&new) => {
            let reason = if new == missing.join("; ") { "SecretMissing" } else { "MountFailed" };
            Some((true, reason, new))
        }
        (Some(old), None) if after.phase.as_deref() == Some("Bound") => {
            Some((false, "MountsAsWanted", format!("no more: {old}")))
        }
        _ => None,
    }
}

/// For people: whether a Dataset can be used, and which of its mounts are not as it says.
fn told_readiness(given: &Given<'_>, bound: bool, seen: &Seen) -> String {
    let text = if bound { "the volume can be used" } else { "masters, a worker or mounts are missing" };
    let failures = seen.cluster.iter().flat_map(|cluster| &cluster.failures);
    given
        .mounts
        .missing
        .iter()
        .chain(failures)
        .fold(text.to_owned(), |text, failure| format!("{text}; {failure}"))
}

/// The Dataset's status: it is bound once masters lead, a worker is there and its mounts are.
/// `total` is how much is in the storages, when that is known.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(super) fn tell_dataset(
    given: &Given<'_>,
    seen: &Seen,
    runtime: &GooseFSRuntimeStatus,
    total: Option<Total>,
) -> Result<DatasetStatus> {
    let mut status = given.dataset.status.clone().unwrap_or_default();
    let generation = given.dataset.metadata.generation;
    let all_mounted = seen.cluster.as_ref().is_some_and(|cluster| all_mounted(given, cluster));
    let bound =
        all_mounted && (runtime.worker_number_ready > 0 || runtime.desired_worker_number_scheduled == 0);
    let was_bound = status.phase.as_deref() == Some("Bound");
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
    let rpc = given.ports.master_rpc;
    let name = |slot| format!("{}.{}:{rpc}", given.names.master(slot), given.names.namespace);
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
        told_readiness(given, bound, seen),
        generation,
    );
    storages::tell(&mut status, seen.cluster.as_ref(), generation);
    if let Some(total) = total {
        status.ufs_total = Some(size(total.bytes));
        status.file_num = Some(total.files.to_string());
    } else if bound && status.ufs_total.is_none() {
        status.ufs_total = Some("[Calculating]".to_owned());
    }
    status.cache_states = cache_states(given, seen, total.map(|total| total.bytes))?;
    Ok(status)
}
