//! Dataset: storages that are shown as one directory.

use super::condition::Condition;
use super::mount::{EncryptOption, Mount};
use k8s_openapi::api::core::v1::{NodeSelector, Toleration};
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is shown, and to whom.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "data.fluid.io",
    version = "v1alpha1",
    kind = "Dataset",
    plural = "datasets",
    shortname = "dataset",
    category = "fluid",
    namespaced,
    status = "DatasetStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "Dataset is a set of storages that are shown as one directory",
    printcolumn(name = "Ufs Total Size", type_ = "string", json_path = ".status.ufsTotal", priority = 0, description = "Bytes in the storages"),
    printcolumn(name = "Cached", type_ = "string", json_path = ".status.cacheStates.cached", priority = 0, description = "Bytes in the cache"),
    printcolumn(name = "Cache Capacity", type_ = "string", json_path = ".status.cacheStates.cacheCapacity", priority = 0, description = "Most bytes in the cache"),
    printcolumn(name = "Cached Percentage", type_ = "string", json_path = ".status.cacheStates.cachedPercentage", priority = 0, description = "Share of the storages that is cached"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", priority = 0, description = "Bound once it can be used"),
    printcolumn(name = "HCFS URL", type_ = "string", json_path = ".status.hcfs.endpoint", priority = 10, description = "Address for clients of GooseFS"),
    printcolumn(name = "Total Files", type_ = "string", json_path = ".status.fileNum", priority = 11, description = "Files in the storages"),
    printcolumn(name = "Cache Hit Ratio", type_ = "string", json_path = ".status.cacheStates.cacheHitRatio", priority = 10, description = "Share of reads that the cache answered"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 0),
    validation = Rule::new("size(self.metadata.name) <= 45").message("the name may have at most 45 characters: names of pods and of their revisions are made from it and end at 63"),
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')").message("the name must begin with a letter and have only a-z, 0-9 and - in it: Services are named after it"),
)]
#[serde(rename_all = "camelCase")]
pub struct DatasetSpec {
    /// The storages.
    #[schemars(length(min = 1, max = 64))]
    #[serde(default)]
    pub mounts: Vec<Mount>,
    /// The user that all files belong to.
    pub owner: Option<Owner>,
    /// Nodes that may cache.
    pub node_affinity: Option<NodeAffinity>,
    /// Taints that pods of the runtime tolerate.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// How pods may use the volume: ReadOnlyMany by default.
    #[serde(default)]
    pub access_modes: Vec<String>,
    /// Runtimes that serve it; filled in by the controller.
    #[serde(default)]
    pub runtimes: Vec<RuntimeReference>,
    /// Whether its workers share nodes with those of other Datasets; Exclusive, also as "", by default.
    pub placement: Option<Placement>,
    /// A backup that masters of a new runtime begin with; once they have begun it means nothing.
    pub data_restore_location: Option<DataRestoreLocation>,
    /// Settings of all mounts.
    #[serde(default)]
    pub shared_options: BTreeMap<String, String>,
    /// Settings of all mounts whose values lie in Secrets.
    #[serde(default)]
    pub shared_encrypt_options: Vec<EncryptOption>,
}

/// The user that all files belong to.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Owner {
    /// User id.
    pub uid: i64,
    /// Group id.
    pub gid: i64,
    /// User name.
    pub user: String,
    /// Group name.
    pub group: String,
}

/// Nodes that may cache.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct NodeAffinity {
    /// What a node must have.
    pub required: Option<NodeSelector>,
}

/// Whether workers share nodes with those of other Datasets.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum Placement {
    /// As Exclusive.
    #[serde(rename = "")]
    Unset,
    /// No workers of another Dataset on the node.
    #[default]
    Exclusive,
    /// Workers of other Datasets that are Shared as well may be on the node.
    Shared,
}

/// A backup to begin with.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.path) || self.path.matches('^(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/.*)?|local:///.*)$') && !self.path.split('/').exists(part, part == '..')").message("dataRestoreLocation.path must be pvc://CLAIM/PATH or local:///PATH, without .. in it"))]
#[x_kube(validation = Rule::new("!has(self.path) || !self.path.startsWith('local://') || (has(self.nodeName) && size(self.nodeName) > 0)").message("dataRestoreLocation.nodeName must name the node of a local backup"))]
pub struct DataRestoreLocation {
    /// pvc://CLAIM/PATH or local:///PATH: a file, or the folder of a DataBackup, also of another Dataset when there is one alone.
    #[schemars(length(max = 1024))]
    pub path: Option<String>,
    /// The node of a `local` backup.
    pub node_name: Option<String>,
}

/// A runtime that serves a Dataset.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct RuntimeReference {
    /// Name.
    pub name: Option<String>,
    /// Namespace.
    pub namespace: Option<String>,
    /// Accelerate.
    pub category: Option<String>,
    /// goosefs.
    #[serde(rename = "type")]
    pub type_: Option<String>,
    /// Number of masters.
    pub master_replicas: Option<i32>,
}

/// What is, as seen last.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct DatasetStatus {
    /// The generation of the specification that all this is about.
    pub observed_generation: Option<i64>,
    /// What is mounted, without settings.
    pub mounts: Vec<Mount>,
    /// Bytes in the storages, as 443.89MiB.
    pub ufs_total: Option<String>,
    /// NotBound, Bound, Failed, Updating, DataMigrating or Pending.
    pub phase: Option<String>,
    /// Runtimes that serve it.
    pub runtimes: Vec<RuntimeReference>,
    /// Observations.
    pub conditions: Vec<Condition>,
    /// Figures of the cache: cached, cacheCapacity, cachedPercentage, cacheHitRatio and so on.
    pub cache_states: BTreeMap<String, String>,
    /// Address for clients of GooseFS.
    pub hcfs: Option<Hcfs>,
    /// Files in the storages.
    pub file_num: Option<String>,
    /// The DataLoad that runs, in older objects.
    pub data_load_ref: Option<String>,
    /// The DataBackup that runs, in older objects.
    pub data_backup_ref: Option<String>,
    /// Operations that run, by kind.
    pub operation_ref: BTreeMap<String, String>,
    /// Datasets that refer to this one.
    pub dataset_ref: Vec<String>,
}

/// Address for clients of GooseFS.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Hcfs {
    /// `goosefs://host:port,host:port/`
    pub endpoint: Option<String>,
    /// Version of Hadoop's file system that is spoken.
    pub underlayer_file_system_version: Option<String>,
}
