//! A storage that a Dataset shows, and the credentials it needs.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A storage that is shown at a path of the namespace.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Mount {
    /// URI of the storage: https://host/folder/, s3://bucket/path, cosn://bucket/path, local:///path, pvc://claim/path.
    #[schemars(length(min = 5), regex(pattern = r"^[a-zA-Z][a-zA-Z0-9+.-]*://"))]
    #[serde(rename = "mountPoint")]
    pub mount_point: String,
    /// Settings of the storage's connector.
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// Name of the mount; it is shown at /name when there is no path.
    #[serde(default)]
    pub name: String,
    /// Where it is shown: an absolute path.
    pub path: Option<String>,
    /// Takes no writes.
    pub read_only: Option<bool>,
    /// Open to all users.
    pub shared: Option<bool>,
    /// Settings whose values lie in Secrets.
    #[serde(default)]
    pub encrypt_options: Vec<EncryptOption>,
}

/// A setting whose value lies in a Secret.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EncryptOption {
    /// Name of the setting.
    pub name: String,
    /// Where its value lies.
    pub value_from: EncryptOptionSource,
}

/// Where the value of a setting lies.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct EncryptOptionSource {
    /// A key of a Secret in the namespace of the Dataset.
    pub secret_key_ref: SecretKey,
}

/// A key of a Secret.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// Name of the Secret.
    pub name: String,
    /// Key in it.
    pub key: Option<String>,
}

impl Mount {
    /// Where it is shown: its path when that is absolute, else `/name`. A Dataset with one mount without both has it at `/`.
    #[must_use]
    pub fn shown_at(&self) -> String {
        match &self.path {
            Some(path) if path.starts_with('/') => path.clone(),
            _ => format!("/{}", self.name),
        }
    }
}
