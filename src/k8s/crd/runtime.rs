//! GooseFSRuntime: a cluster of masters, workers and FUSE processes that serves the Dataset of the same name.

use super::component::{Component, Fuse, InitUsers};
use super::status::GooseFSRuntimeStatus;
use super::tier::TieredStore;
use k8s_openapi::api::core::v1::{LocalObjectReference, Volume};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What a runtime shall be.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "data.fluid.io",
    version = "v1alpha1",
    kind = "GooseFSRuntime",
    plural = "goosefsruntimes",
    shortname = "goose",
    category = "fluid",
    namespaced,
    status = "GooseFSRuntimeStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "GooseFSRuntime is a GooseFS cluster that serves the Dataset of the same name",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.currentWorkerNumberScheduled",
        label_selector_path = ".status.selector"
    ),
    printcolumn(name = "Ready Masters", type_ = "integer", json_path = ".status.masterNumberReady", priority = 10, description = "Masters that are ready"),
    printcolumn(name = "Desired Masters", type_ = "integer", json_path = ".status.desiredMasterNumberScheduled", priority = 10, description = "Masters that should be there"),
    printcolumn(name = "Master Phase", type_ = "string", json_path = ".status.masterPhase", priority = 0, description = "How the masters are"),
    printcolumn(name = "Ready Workers", type_ = "integer", json_path = ".status.workerNumberReady", priority = 10, description = "Workers that are ready"),
    printcolumn(name = "Desired Workers", type_ = "integer", json_path = ".status.desiredWorkerNumberScheduled", priority = 10, description = "Workers that should be there"),
    printcolumn(name = "Worker Phase", type_ = "string", json_path = ".status.workerPhase", priority = 0, description = "How the workers are"),
    printcolumn(name = "Ready Fuses", type_ = "integer", json_path = ".status.fuseNumberReady", priority = 10, description = "FUSE pods that are ready"),
    printcolumn(name = "Desired Fuses", type_ = "integer", json_path = ".status.desiredFuseNumberScheduled", priority = 10, description = "FUSE pods that should be there"),
    printcolumn(name = "Fuse Phase", type_ = "string", json_path = ".status.fusePhase", priority = 0, description = "How the FUSE pods are"),
    printcolumn(name = "API Gateway", type_ = "string", json_path = ".status.apiGateway.endpoint", priority = 10, description = "Where the API gateway is"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 0),
    validation = Rule::new("size(self.metadata.name) <= 45").message("the name may have at most 45 characters: names of pods and of their revisions are made from it and end at 63"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name must begin with a letter and have only a-z, 0-9 and - in it: Services are named after it"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.master) || !has(self.master.replicas) || (self.master.replicas > 0 && self.master.replicas % 2 == 1)").message("spec.master.replicas must be a positive odd number (1, 3, 5): a majority of masters must agree, and an even number survives no more failures than the odd one below it"))]
#[x_kube(validation = Rule::new("!has(oldSelf.master) || !has(oldSelf.master.journal) || (has(self.master) && has(self.master.journal) && self.master.journal == oldSelf.master.journal)").message("spec.master.journal cannot be changed: masters would lose their journal"))]
#[x_kube(validation = Rule::new("has(self.runAs) == has(oldSelf.runAs) && (!has(self.runAs) || self.runAs == oldSelf.runAs)").message("spec.runAs cannot be changed: files of journal and cache belong to that user"))]
#[x_kube(validation = Rule::new("!has(oldSelf.tieredstore) || !has(oldSelf.tieredstore.levels) || (has(self.tieredstore) && has(self.tieredstore.levels) && self.tieredstore.levels.map(l, has(l.path) ? l.path : '') == oldSelf.tieredstore.levels.map(l, has(l.path) ? l.path : ''))").message("paths of spec.tieredstore cannot be changed: what is cached there, and not persisted yet, would be left behind"))]
pub struct GooseFSRuntimeSpec {
    /// Image of all parts.
    pub goosefs_version: Option<Version>,
    /// Masters: replicas must be a positive odd number.
    pub master: Option<Component>,
    /// Accepted for the sake of older objects: masters do the work of job masters.
    pub job_master: Option<Component>,
    /// Workers.
    pub worker: Option<Component>,
    /// Accepted for the sake of older objects: workers do the work of job workers.
    pub job_worker: Option<Component>,
    /// Accepted for the sake of older objects: there is no API gateway.
    #[serde(rename = "apiGateway")]
    pub api_gateway: Option<Component>,
    /// Accepted for the sake of older objects: pods know the user of runAs without an image for it.
    pub init_users: Option<InitUsers>,
    /// FUSE pods.
    pub fuse: Option<Fuse>,
    /// Properties of all parts, as goosefs.user.file.writetype.default.
    #[serde(default)]
    pub properties: BTreeMap<String, String>,
    /// Accepted for the sake of older objects; there is no JVM here.
    #[serde(default)]
    pub jvm_options: Vec<String>,
    /// Where workers cache.
    pub tieredstore: Option<TieredStore>,
    /// How what is cached is kept.
    pub data: Option<DataPlacement>,
    /// Number of workers.
    #[schemars(range(min = 0))]
    pub replicas: Option<i32>,
    /// The user that masters and workers run as; root by default. Pods know it by its name, which is the masters' superuser
    /// then: who works with files as that user owns them. A container that runs first, as root and with no more rights than
    /// CHOWN and DAC_OVERRIDE, gives it the journal, the folders of tiers and the node's folder of sockets. FUSE pods are
    /// root's: only root may mount, and hand files to the kernel.
    pub run_as: Option<RunAs>,
    /// Services carry no label for Prometheus.
    pub disable_prometheus: Option<bool>,
    /// ConfigMap with hdfs-site.xml and core-site.xml.
    pub hadoop_config: Option<String>,
    /// How the cache is emptied when the runtime is deleted.
    pub clean_cache_policy: Option<CleanCachePolicy>,
    /// The network of the pods: ContainerNetwork, their own, with port 26000; HostNetwork, that of their nodes.
    #[x_kube(validation = Rule::new("self == oldSelf").message("spec.networkMode cannot be changed"))]
    #[serde(default)]
    pub network_mode: NetworkMode,
    /// Volumes that parts can mount.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// Labels and annotations of all pods.
    pub pod_metadata: Option<super::PodMetadata>,
    /// Secrets to pull images with.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
}

/// The image of a part.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Version {
    /// Image; that of the controller by default.
    pub image: Option<String>,
    /// Tag of the image.
    pub image_tag: Option<String>,
    /// When to pull the image: Always, Never, IfNotPresent.
    pub image_pull_policy: Option<String>,
}

/// How what is cached is kept.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DataPlacement {
    /// Copies of each cached block.
    pub replicas: Option<i32>,
    /// Cached blocks are not evicted.
    pub pin: Option<bool>,
}

/// A user that pods run as.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunAs {
    /// User id; 0 is root.
    #[schemars(range(min = 0, max = 2147483647))]
    pub uid: i64,
    /// Group id.
    #[schemars(range(min = 0, max = 2147483647))]
    pub gid: i64,
    /// User name.
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$"))]
    pub user: String,
    /// Group name.
    #[schemars(length(max = 64), regex(pattern = r"^[A-Za-z0-9_][A-Za-z0-9_.@-]*$"))]
    pub group: String,
}

/// How the cache is emptied when the runtime is deleted.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct CleanCachePolicy {
    /// How long emptying may take.
    #[schemars(range(min = 0))]
    pub grace_period_seconds: i32,
    /// How often it is tried again.
    #[schemars(range(min = 0))]
    pub max_retry_attempts: i32,
}

impl Default for CleanCachePolicy {
    fn default() -> CleanCachePolicy {
        CleanCachePolicy { grace_period_seconds: 60, max_retry_attempts: 3 }
    }
}

/// The network of a runtime's pods.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum NetworkMode {
    /// Their own.
    #[default]
    ContainerNetwork,
    /// That of their nodes.
    HostNetwork,
}
