//! Where workers keep what they cache.

use k8s_openapi::api::core::v1::Volume;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

/// The tiers of each worker.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct TieredStore {
    /// The tiers, fastest first.
    #[schemars(length(max = 3))]
    pub levels: Vec<Level>,
}

/// One tier.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("!has(self.high) || !has(self.low) || double(self.low) < double(self.high)").message("low must be less than high"))]
#[x_kube(validation = Rule::new("!has(self.quota) || (type(self.quota) == int ? self.quota > 0 : string(self.quota).matches('^[+]?([0-9]+([.][0-9]*)?|[.][0-9]+)([kKMGTPE]i?)?$'))").message("quota must be a positive size such as 2G (which means 2 GiB, as 2Gi does)"))]
#[x_kube(validation = Rule::new("!has(self.quotaList) || !has(self.path) || self.quotaList.split(',').size() == self.path.split(',').size()").message("quotaList must have one size for each path"))]
#[x_kube(validation = Rule::new("!(has(self.quota) && has(self.quotaList))").message("set quota or quotaList, not both"))]
pub struct Level {
    /// What the tier lies on.
    pub mediumtype: MediumType,
    /// What kind of volume the tier lies on.
    #[serde(default)]
    pub volume_type: VolumeType,
    /// Details of the volume, for volume types that have some.
    #[serde(default)]
    #[schemars(schema_with = "volume_source")]
    pub volume_source: Option<Volume>,
    /// Absolute path of the tier's folder on the node, or several with commas between them.
    #[schemars(length(min = 1, max = 1024), regex(pattern = r"^/[^/,][^,]*(,/[^/,][^,]*)*$"))]
    pub path: Option<String>,
    /// Most bytes that the tier takes, divided among its folders. 2G means 2 GiB, as 2Gi does.
    pub quota: Option<Quantity>,
    /// Most bytes in each folder, with commas between them.
    #[schemars(
        length(max = 1024),
        regex(pattern = r"^([0-9]+(\.[0-9]*)?[kKMGTPE]?i?)(,[0-9]+(\.[0-9]*)?[kKMGTPE]?i?)*$")
    )]
    pub quota_list: Option<String>,
    /// Above this share of its quota a folder is emptied in the background.
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?|\.[0-9]+)$"))]
    pub high: Option<String>,
    /// Down to this share.
    #[schemars(length(max = 16), regex(pattern = r"^(0(\.[0-9]+)?|1(\.0+)?|\.[0-9]+)$"))]
    pub low: Option<String>,
}

/// What a tier lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
pub enum MediumType {
    /// Memory.
    MEM,
    /// Solid state disks.
    SSD,
    /// Rotating disks.
    #[default]
    HDD,
}

impl MediumType {
    /// As it is written.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            MediumType::MEM => "MEM",
            MediumType::SSD => "SSD",
            MediumType::HDD => "HDD",
        }
    }
}

/// What kind of volume a tier lies on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum VolumeType {
    /// A folder of the node; the cache outlives the pod.
    #[default]
    HostPath,
    /// A folder that lives as long as the pod.
    EmptyDir,
    /// A volume claim that lives as long as the pod.
    Ephemeral,
}

/// A volume of Kubernetes without a name, which the tier gives it.
fn volume_source(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = Volume::json_schema(generator);
    if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
        properties.remove("name");
    }
    schema.remove("required");
    schema
}

impl Level {
    /// The folders of the tier.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        let paths = self.path.iter().flat_map(|path| path.split(','));
        paths.map(|path| path.trim().trim_end_matches('/').to_owned()).collect()
    }
}
