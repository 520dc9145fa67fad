//! What the controller says of a runtime.

use super::condition::Condition;
use super::mount::Mount;
use k8s_openapi::api::core::v1::NodeAffinity;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What is, as seen last.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct GooseFSRuntimeStatus {
    /// The generation of the specification that all this is about.
    pub observed_generation: Option<i64>,
    /// ConfigMap with the properties of the pods.
    pub value_file: Option<String>,
    /// NotReady, PartialReady or Ready.
    pub master_phase: Option<String>,
    /// Why.
    pub master_reason: Option<String>,
    /// NotReady, PartialReady or Ready.
    pub worker_phase: Option<String>,
    /// Why.
    pub worker_reason: Option<String>,
    /// NotReady, PartialReady or Ready.
    pub fuse_phase: Option<String>,
    /// Why.
    pub fuse_reason: Option<String>,
    /// Masters that have a pod.
    pub current_master_number_scheduled: i32,
    /// Masters that should be there.
    pub desired_master_number_scheduled: i32,
    /// Masters that are ready.
    pub master_number_ready: i32,
    /// Workers that have a pod.
    pub current_worker_number_scheduled: i32,
    /// Workers that should be there.
    pub desired_worker_number_scheduled: i32,
    /// Workers that are ready.
    pub worker_number_ready: i32,
    /// Workers that are available.
    pub worker_number_available: i32,
    /// Workers that are not.
    pub worker_number_unavailable: i32,
    /// FUSE pods.
    pub current_fuse_number_scheduled: i32,
    /// FUSE pods that should be there.
    pub desired_fuse_number_scheduled: i32,
    /// FUSE pods that are ready.
    pub fuse_number_ready: i32,
    /// FUSE pods that are available.
    pub fuse_number_available: i32,
    /// FUSE pods that are not.
    pub fuse_number_unavailable: i32,
    /// From the creation to the first time that all was ready.
    pub setup_duration: Option<String>,
    /// Observations.
    pub conditions: Vec<Condition>,
    /// Figures of the cache: cached, cacheCapacity, cachedPercentage, cacheHitRatio and so on.
    pub cache_states: BTreeMap<String, String>,
    /// Labels of worker pods, for autoscalers.
    pub selector: Option<String>,
    /// The API gateway, which GooseFS here does not have.
    pub api_gateway: Option<ApiGatewayStatus>,
    /// When the mounts were made last.
    pub mount_time: Option<Time>,
    /// What is mounted, without settings.
    pub mounts: Vec<Mount>,
    /// Nodes that have workers.
    pub cache_affinity: Option<NodeAffinity>,
    /// RPC address of the leading master.
    pub leader: Option<String>,
    /// Names the cluster for good: the runtime's UID.
    pub cluster_id: Option<String>,
    /// Raised whenever a cluster had to be begun anew.
    pub epoch: Option<i64>,
    /// The masters have formed the cluster of this epoch.
    pub bootstrapped: bool,
    /// With networkMode HostNetwork: the first of the ports on nodes that are reserved for it.
    pub first_port: Option<i32>,
    /// What the journals lie on.
    pub journal: Option<JournalStatus>,
}

/// What the journals lie on, once it is decided.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct JournalStatus {
    /// PVC or EmptyDir.
    #[serde(rename = "type")]
    pub type_: String,
    /// Why, when it was for the controller to choose.
    pub reason: Option<String>,
    /// The number of the master whose journal alone the cluster is to go on with, while that is under way.
    pub force: Option<i32>,
}

/// The API gateway, which GooseFS here does not have.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ApiGatewayStatus {
    /// Where it is.
    pub endpoint: Option<String>,
}
