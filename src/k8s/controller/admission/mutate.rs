//! What a labelled pod gets. Pure: the same pod and the same Datasets give the same change, and what was changed once is
//! not changed again.
//!
//! Called by [`super::review`] with what [`super::facts`] has found. A pod is changed as plain JSON, of which only what is
//! meant is touched: fields that we do not know stay as they are.

use super::affinity::{absent, mentions, one_of, prefer, require};
use goosefs_core::{Code, Error, Result};
use json_patch::Patch;
use k8s_openapi::api::core::v1::{NodeAffinity, Pod};
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// Label of pods that are looked at, with value `true`.
const INJECT: &str = "fuse.serverful.fluid.io/inject";

/// Label that takes a pod out again, with value `false`.
const ENABLED: &str = "fluid.io/enable-injection";

/// Annotation that names the Datasets of a pod.
const IN_USE: &str = "fluid.io/datasets-in-use";

/// Label of nodes that have workers: how many Datasets they have them of.
pub(super) const WORKERS_LABEL: &str = "fluid.io/dataset-num";

/// Label of nodes that says where they are, nearest first, and what a node there counts for.
pub(super) const ZONE: (&str, i32) = ("topology.kubernetes.io/zone", 50);
pub(super) const REGION: (&str, i32) = ("topology.kubernetes.io/region", 20);

/// What a node that has a worker of the Dataset counts for.
const NODE_WEIGHT: i32 = 100;

/// What a node without any worker counts for, to a pod that uses no Dataset.
const WITHOUT_WORKERS_WEIGHT: i32 = 50;

/// A Dataset that a pod uses, as far as it matters to the pod.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Used {
    /// Its name, which is also the claim's.
    pub(super) name: String,
    /// The label of nodes that have a worker.
    pub(super) label: String,
    /// Labels without which a node gets no FUSE pod, so that the volume cannot be had there.
    pub(super) fuse_nodes: BTreeMap<String, String>,
    /// Zones of its workers.
    pub(super) zones: BTreeSet<String>,
    /// Regions of its workers.
    pub(super) regions: BTreeSet<String>,
}

/// A pod as it was sent, and as we read it.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    raw: Value,
    pub(super) pod: Pod,
}

impl Sent {
    /// # Errors
    /// `InvalidArgument` when it is no pod.
    pub(super) fn new(raw: Value) -> Result<Sent> {
        let pod = serde_json::from_value(raw.clone())
            .map_err(|error| Error::new(Code::InvalidArgument, format!("this is no pod: {error}")))?;
        Ok(Sent { raw, pod })
    }

    /// Whether the pod wants to be looked at.
    pub(super) fn is_wanted(&self) -> bool {
        let label = |key: &str| self.pod.labels().get(key).map(String::as_str);
        label(INJECT) == Some("true") && label(ENABLED) != Some("false")
    }
}

/// What becomes of a pod.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Change {
    /// Nothing in it when the pod stays as it is.
    pub(super) patch: Patch,
    /// For the person who made the pod.
    pub(super) warnings: Vec<String>,
}

/// The change of a pod that is wanted and uses the Datasets `used`.
pub(super) fn mutate(sent: &Sent, used: &[Used]) -> Change {
    let required = required(&sent.pod);
    let mut changed = sent.raw.clone();
    let own = node_affinity(&sent.pod);
    let affinity = place(&sent.pod, used, &required);
    if affinity != own {
        changed["spec"]["affinity"]["nodeAffinity"] = json!(affinity);
    }
    propagate(&mut changed["spec"], &volumes(&sent.pod, used));
    if !used.is_empty() {
        changed["metadata"]["annotations"][IN_USE] = json!(names(&sent.pod, used));
    }
    let unknown = required.iter().filter(|name| !used.iter().any(|one| one.name == **name));
    let warnings = unknown.map(|name| {
        format!(
            "label fluid.io/dataset.{name}.sched asks for nothing: the pod has no volume of a Dataset {name}"
        )
    });
    Change { patch: json_patch::diff(&sent.raw, &changed), warnings: warnings.collect() }
}

/// Names of Datasets that the pod will only run beside, by labels `fluid.io/dataset.<name>.sched: required`.
fn required(pod: &Pod) -> BTreeSet<String> {
    let labels = pod.labels().iter().filter(|(_, value)| *value == "required");
    labels
        .filter_map(|(key, _)| key.strip_prefix("fluid.io/dataset.")?.strip_suffix(".sched"))
        .map(str::to_owned)
        .collect()
}

fn node_affinity(pod: &Pod) -> NodeAffinity {
    let affinity = pod.spec.as_ref().and_then(|spec| spec.affinity.as_ref());
    affinity.and_then(|affinity| affinity.node_affinity.clone()).unwrap_or_default()
}

/// Nodes that cache what the pod reads before others; for a pod that reads nothing of the kind, the others before those.
fn place(pod: &Pod, used: &[Used], required: &BTreeSet<String>) -> NodeAffinity {
    let own = node_affinity(pod);
    let mut affinity = own.clone();
    if used.is_empty() {
        prefer(&mut affinity, WITHOUT_WORKERS_WEIGHT, absent(WORKERS_LABEL));
    }
    for dataset in used {
        for (label, value) in &dataset.fuse_nodes {
            require(&mut affinity, &one_of(label, vec![value.clone()]));
        }
        let cached = one_of(&dataset.label, vec!["true".to_owned()]);
        if required.contains(&dataset.name) {
            require(&mut affinity, &cached);
            continue;
        }
        prefer(&mut affinity, NODE_WEIGHT, cached);
        for ((label, weight), values) in [(ZONE, &dataset.zones), (REGION, &dataset.regions)] {
            if !values.is_empty() && !selects(pod, label) && !mentions(&own, label) {
                prefer(&mut affinity, weight, one_of(label, values.iter().cloned().collect()));
            }
        }
    }
    affinity
}

/// Whether the pod selects its nodes by a label.
fn selects(pod: &Pod, label: &str) -> bool {
    let selector = pod.spec.as_ref().and_then(|spec| spec.node_selector.as_ref());
    selector.is_some_and(|selector| selector.contains_key(label))
}

/// Names of the pod's volumes that are of the Datasets.
fn volumes(pod: &Pod, used: &[Used]) -> BTreeSet<String> {
    let all = pod.spec.iter().flat_map(|spec| spec.volumes.iter().flatten());
    all.filter(|volume| {
        let claim = volume.persistent_volume_claim.as_ref().map(|claim| &claim.claim_name);
        claim.is_some_and(|claim| used.iter().any(|one| one.name == *claim))
    })
    .map(|volume| volume.name.clone())
    .collect()
}

/// A mount that is made anew on the node shall reach containers that run: `HostToContainer`, where a container does not say
/// something else itself. Kubernetes refuses it beside a recursive read-only.
fn propagate(spec: &mut Value, volumes: &BTreeSet<String>) {
    for kind in ["initContainers", "containers"] {
        let containers = spec.get_mut(kind).and_then(Value::as_array_mut).into_iter().flatten();
        for mount in containers
            .filter_map(|container| container.get_mut("volumeMounts")?.as_array_mut())
            .flatten()
            .filter(|mount| mount["name"].as_str().is_some_and(|name| volumes.contains(name)))
        {
            let recursive = mount["recursiveReadOnly"].as_str().unwrap_or("Disabled") != "Disabled";
            if mount["mountPropagation"].is_null() && !recursive {
                mount["mountPropagation"] = json!("HostToContainer");
            }
        }
    }
}

/// The annotation's value: what it names already, and the Datasets that are used.
fn names(pod: &Pod, used: &[Used]) -> String {
    let before = pod.annotations().get(IN_USE).map(String::as_str).unwrap_or_default();
    let mut all: BTreeSet<&str> = before.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    all.extend(used.iter().map(|one| one.name.as_str()));
    all.into_iter().collect::<Vec<_>>().join(",")
}

#[cfg(test)]
mod tests;
