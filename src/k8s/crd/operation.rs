//! What DataLoad and DataBackup have in common: what they wait for, and how they are.

use super::condition::Condition;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Another operation, which must be complete first.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("self.kind in ['DataLoad', 'DataBackup']").message("only a DataLoad or a DataBackup can be waited for: GooseFS has no other operations"))]
pub struct OperationRef {
    /// Version of its kind.
    #[serde(default)]
    pub api_version: Option<String>,
    /// DataLoad or DataBackup.
    pub kind: OperationKind,
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Its namespace; that of this operation when empty.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub namespace: Option<String>,
    /// Accepted for the sake of older objects: operations have no pods whose nodes could be chosen.
    #[serde(default)]
    pub affinity_strategy: Option<AffinityStrategy>,
}

/// Kinds of operations that Fluid has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum OperationKind {
    /// Loads what a Dataset has into its cache.
    #[default]
    DataLoad,
    /// Keeps what the masters of a Dataset know in a file.
    DataBackup,
    /// Of Fluid; GooseFS has none.
    DataMigrate,
    /// Of Fluid; GooseFS has none.
    DataProcess,
}

impl OperationKind {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            OperationKind::DataLoad => "DataLoad",
            OperationKind::DataBackup => "DataBackup",
            OperationKind::DataMigrate => "DataMigrate",
            OperationKind::DataProcess => "DataProcess",
        }
    }
}

/// On which nodes pods of operations shall be, seen from one another.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct AffinityStrategy {
    /// The operation to be near to.
    pub depend_on: Option<ObjectRef>,
    /// "", Require or Prefer.
    pub policy: Option<String>,
    /// Labels of nodes that are preferred to be the same.
    pub prefers: Vec<Prefer>,
    /// Labels of nodes that must be the same.
    pub requires: Vec<Require>,
}

/// An operation by name.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectRef {
    /// Version of its kind.
    #[serde(default)]
    pub api_version: Option<String>,
    /// Its kind.
    pub kind: OperationKind,
    /// Its name.
    pub name: String,
    /// Its namespace.
    #[serde(default)]
    pub namespace: Option<String>,
}

/// A label of nodes that is preferred to be the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct Prefer {
    /// Key of the label.
    pub name: String,
    /// How much.
    pub weight: i32,
}

/// A label of nodes that must be the same.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub struct Require {
    /// Key of the label.
    pub name: String,
}

/// How an operation is.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationStatus {
    /// The generation of the specification that all this is about.
    pub observed_generation: Option<i64>,
    /// Pending, Executing, Complete or Failed.
    pub phase: Option<String>,
    /// How long it took, as 1m30s; Unfinished before its end.
    pub duration: Option<String>,
    /// Complete and Failed at its end; Started says what it waits for before.
    pub conditions: Vec<Condition>,
    /// Figures and places, by name.
    pub infos: BTreeMap<String, String>,
    /// When it was begun last, with policy Cron.
    pub last_schedule_time: Option<Time>,
    /// When it succeeded last, with policy Cron or OnEvent.
    pub last_successful_time: Option<Time>,
    /// What it waits for.
    pub waiting_for: Option<WaitingStatus>,
    /// Where the operation's pods were.
    pub node_affinity: Option<k8s_openapi::api::core::v1::NodeAffinity>,
    /// The run that this is about: it names the jobs of masters, so that none is begun twice.
    pub run: Option<String>,
    /// Jobs of the masters.
    pub jobs: Vec<OperationJob>,
}

/// What an operation waits for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct WaitingStatus {
    /// The operation of runAfter must be complete first.
    pub operation_complete: Option<bool>,
}

/// A job of the masters, as `goosefs job stat` shows it.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct OperationJob {
    /// What it loads.
    pub path: String,
    /// Its number.
    pub id: i64,
    /// It has ended.
    pub ended: bool,
}
