//! Conditions, as both resources show them.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One observation of an object's state.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Condition {
    /// What is observed: MasterReady, WorkersReady, FusesReady, Ready and so on.
    #[serde(rename = "type")]
    pub type_: String,
    /// True, False or Unknown.
    pub status: String,
    /// Why, in one word.
    pub reason: Option<String>,
    /// Why, in a sentence.
    pub message: Option<String>,
    /// The generation of the object that was observed.
    pub observed_generation: Option<i64>,
    /// When it was looked at last.
    pub last_probe_time: Option<Time>,
    /// When the reason, the message or the status changed last.
    pub last_update_time: Option<Time>,
    /// When the status changed last.
    pub last_transition_time: Option<Time>,
}
