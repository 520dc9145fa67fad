//! The parts of a runtime: masters, workers, FUSE, and what each can be told.

use k8s_openapi::api::core::v1::{LocalObjectReference, ResourceRequirements, Toleration, VolumeMount};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A part of a runtime that runs in pods of its own.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Component {
    /// How many there are. Of masters: a positive odd number, 1 by default.
    #[schemars(range(min = 1))]
    pub replicas: Option<i32>,
    /// Accepted for the sake of older objects; there is no JVM here.
    pub jvm_options: Vec<String>,
    /// Properties of this part alone; they win over those of the runtime.
    pub properties: BTreeMap<String, String>,
    /// Ports by name: rpc, web, embedded. Taken with networkMode HostNetwork; pods with a network of their own have fixed ones.
    pub ports: BTreeMap<String, i32>,
    /// Resources of the container.
    pub resources: Option<ResourceRequirements>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Whether the part exists; of the API gateway alone, which GooseFS here does not have.
    pub enabled: Option<bool>,
    /// Labels that a node must have.
    pub node_selector: BTreeMap<String, String>,
    /// Annotations of the pods.
    pub annotations: BTreeMap<String, String>,
    /// More tolerations than those of the Dataset.
    pub tolerations: Vec<Toleration>,
    /// Where volumes of the runtime are mounted.
    pub volume_mounts: Vec<VolumeMount>,
    /// Labels and annotations of the pods.
    pub pod_metadata: Option<PodMetadata>,
    /// Secrets to pull images with.
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Of masters: where they keep their journal.
    pub journal: Option<Journal>,
}

/// Labels and annotations of pods.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct PodMetadata {
    /// Labels; those that the controller sets win.
    pub labels: BTreeMap<String, String>,
    /// Annotations; those that the controller sets win.
    pub annotations: BTreeMap<String, String>,
}

/// Where masters keep their journal.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Journal {
    /// PVC: a volume claim for each master. EmptyDir: a folder that is gone with the pod. Auto: PVC where there is a default
    /// StorageClass, else EmptyDir with condition JournalDurable=False.
    #[serde(default, rename = "type")]
    pub type_: JournalType,
    /// StorageClass of the claims; the default one when it is not set.
    pub storage_class_name: Option<String>,
    /// Size of the claims, 10Gi by default.
    #[x_kube(validation = Rule::new("type(self) == int ? self > 0 : string(self).matches('^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([kKMGTPE]i?)?$')").message("size must be a positive size such as 10Gi"))]
    pub size: Option<Quantity>,
}

/// What a journal lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum JournalType {
    /// A claim where there is a default StorageClass, else a folder that is gone with the pod.
    #[default]
    Auto,
    /// A volume claim for each master.
    PVC,
    /// A folder that is gone with the pod.
    EmptyDir,
}

/// The init container that made users in Fluid's pods.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct InitUsers {
    /// Image.
    pub image: Option<String>,
    /// Tag of the image.
    pub image_tag: Option<String>,
    /// When to pull the image.
    pub image_pull_policy: Option<String>,
    /// Environment variables.
    pub env: BTreeMap<String, String>,
    /// Resources.
    pub resources: Option<ResourceRequirements>,
}

/// The FUSE pods, which show the namespace as a directory on their nodes.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Fuse {
    /// Image; that of the runtime by default.
    pub image: Option<String>,
    /// Tag of the image.
    pub image_tag: Option<String>,
    /// When to pull the image.
    pub image_pull_policy: Option<String>,
    /// Accepted for the sake of older objects; there is no JVM here.
    #[serde(default)]
    pub jvm_options: Vec<String>,
    /// Properties of this part alone; they win over those of the runtime.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Environment variables.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Resources of the container.
    pub resources: Option<ResourceRequirements>,
    /// Options of the mount, as `fuse --fuse-opts=ro,allow_other`.
    #[serde(default)]
    pub args: Vec<String>,
    /// Labels that a node must have for FUSE to run on it.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Annotations of the pods.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// When a FUSE pod that nobody uses is taken away.
    pub clean_policy: Option<CleanPolicy>,
    /// FUSE runs on every node that fits, not only where workers are and where pods use the volume.
    #[serde(default)]
    pub global: bool,
    /// Eager: on every worker node from the start. Lazy: where a pod uses the volume.
    #[serde(default)]
    pub launch_policy: LaunchPolicy,
    /// How long a mount without its FUSE process waits for the next one before it is given up; 2m by default.
    #[schemars(length(max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+(ms|s|m|min|h)$')").message("takeoverTimeout must be a duration such as 2m"))]
    pub takeover_timeout: Option<String>,
    /// More tolerations; FUSE pods tolerate all taints when this is empty.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// Where volumes of the runtime are mounted.
    #[serde(default)]
    pub volume_mounts: Vec<VolumeMount>,
    /// Labels and annotations of the pods.
    pub pod_metadata: Option<PodMetadata>,
    /// Secrets to pull images with.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// When a FUSE pod that nobody uses is taken away.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum CleanPolicy {
    /// Once no pod of the node uses the volume.
    OnDemand,
    /// With the runtime.
    #[default]
    OnRuntimeDeleted,
    /// Once its specification has changed and no pod of the node uses the volume.
    OnFuseChanged,
}

/// When FUSE pods start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum LaunchPolicy {
    /// With the workers, on their nodes.
    #[default]
    Eager,
    /// With the first pod of a node that uses the volume.
    Lazy,
}
