//! DataLoad: what a Dataset has is brought into its cache.

use super::component::PodMetadata;
use super::operation::{OperationRef, OperationStatus};
use k8s_openapi::api::core::v1::{Affinity, ResourceRequirements, Toleration};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is loaded, and when.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "data.fluid.io",
    version = "v1alpha1",
    kind = "DataLoad",
    plural = "dataloads",
    shortname = "load",
    category = "fluid",
    namespaced,
    status = "OperationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "DataLoad brings what a Dataset has into its cache",
    printcolumn(name = "Dataset", type_ = "string", json_path = ".spec.dataset.name", priority = 0, description = "What is loaded"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", priority = 0, description = "Pending, Executing, Complete or Failed"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 0),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration", priority = 0, description = "How long it took"),
    printcolumn(name = "Loaded", type_ = "string", json_path = ".status.infos.Percentage", priority = 10, description = "Share of the bytes that is cached"),
    validation = Rule::new("!has(self.spec.runAfter) || self.spec.runAfter.kind != 'DataLoad' || self.spec.runAfter.name != self.metadata.name || has(self.spec.runAfter.__namespace__)").message("spec.runAfter names this DataLoad itself"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.policy) || self.policy != 'Cron' || (has(self.schedule) && size(self.schedule) > 0)").message("policy Cron needs spec.schedule, as '0 3 * * *' (minute, hour, day of the month, month, day of the week)"))]
#[x_kube(validation = Rule::new("has(self.dataset) == has(oldSelf.dataset) && (!has(self.dataset) || self.dataset == oldSelf.dataset)").message("spec.dataset cannot be changed: create another DataLoad"))]
#[x_kube(validation = Rule::new("!has(self.options) || !('expireTime' in self.options) || self.options['expireTime'].matches('^[0-9]+$')").message("option expireTime must be a number of milliseconds"))]
#[x_kube(validation = Rule::new("!has(self.options) || !('bandwidth' in self.options) || self.options['bandwidth'].matches('^[0-9.]+[kKmMgGtT]?[iI]?[bB]?$')").message("option bandwidth must be a size for each second, as 100MB"))]
pub struct DataLoadSpec {
    /// The Dataset, which must be in the namespace of the DataLoad.
    #[serde(default)]
    pub dataset: TargetDataset,
    /// Look at the storage for what was added and changed there before loading.
    #[serde(default)]
    pub load_metadata: bool,
    /// What is loaded; everything when empty.
    #[serde(default)]
    #[schemars(length(max = 100))]
    pub target: Vec<TargetPath>,
    /// expireTime: milliseconds after which a load fails; bandwidth: bytes a second, as 100MB; ignoreCap: "true" loads at the cost
    /// of what is cached; atomicCache: taken, a load is whole.
    #[serde(default)]
    #[schemars(extend("maxProperties" = 32))]
    pub options: BTreeMap<String, String>,
    /// Accepted for the sake of older objects: masters and workers load, there is no pod for it.
    pub pod_metadata: Option<PodMetadata>,
    /// As podMetadata.
    pub affinity: Option<Affinity>,
    /// As podMetadata.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// As podMetadata.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// As podMetadata.
    pub scheduler_name: Option<String>,
    /// Once; Cron: whenever the schedule says; OnEvent: at first, and again whenever the Dataset's mounts, TOTAL FILES or UFS
    /// TOTAL SIZE change.
    #[serde(default)]
    pub policy: Policy,
    /// With policy Cron: minute, hour, day, month, weekday, and a time zone if it is not UTC, as "0 3 * * * Asia/Shanghai"; a
    /// load that still runs is not begun again.
    #[schemars(length(max = 128))]
    pub schedule: Option<String>,
    /// Another operation, which must be complete first.
    pub run_after: Option<OperationRef>,
    /// The DataLoad is deleted so many seconds after its end.
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
    /// As podMetadata.
    pub resources: Option<ResourceRequirements>,
}

/// A Dataset by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct TargetDataset {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    pub name: String,
    /// Its namespace: that of the DataLoad, which it is when empty.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
}

/// Something to be loaded.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!self.path.split('/').exists(part, part == '..')").message("path must not have .. in it"))]
pub struct TargetPath {
    /// Absolute path in the Dataset: of a file, or of a directory with all below it.
    #[schemars(length(min = 1, max = 1024), regex(pattern = "^/"))]
    pub path: String,
    /// Workers that shall hold each file; 1 by default.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1000))]
    pub replicas: Option<i32>,
}

/// When a load is made.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum Policy {
    /// Once.
    #[default]
    Once,
    /// Whenever the schedule says.
    Cron,
    /// Whenever the Dataset has changed.
    OnEvent,
}
