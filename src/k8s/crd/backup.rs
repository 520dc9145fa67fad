//! DataBackup: what the masters of a Dataset know is kept in a file.

use super::operation::{OperationRef, OperationStatus};
use super::runtime::RunAs;
use kube::{CustomResource, KubeSchema};
use serde::{Deserialize, Serialize};

/// What is kept, and where.
#[derive(CustomResource, Clone, PartialEq, Debug, Default, Deserialize, Serialize, KubeSchema)]
#[kube(
    group = "data.fluid.io",
    version = "v1alpha1",
    kind = "DataBackup",
    plural = "databackups",
    shortname = "backup",
    category = "fluid",
    namespaced,
    status = "OperationStatus",
    derive = "PartialEq",
    derive = "Default",
    doc = "DataBackup keeps what the masters of a Dataset know in a file; data is not in it",
    printcolumn(name = "Dataset", type_ = "string", json_path = ".spec.dataset", priority = 0, description = "What is kept"),
    printcolumn(name = "Phase", type_ = "string", json_path = ".status.phase", priority = 0, description = "Pending, Executing, Complete or Failed"),
    printcolumn(name = "Path", type_ = "string", json_path = ".status.infos.BackupLocationPath", priority = 0, description = "Where the file is"),
    printcolumn(name = "NodeName", type_ = "string", json_path = ".status.infos.BackupLocationNodeName", priority = 0, description = "The node of a local file"),
    printcolumn(name = "Duration", type_ = "string", json_path = ".status.duration", priority = 0, description = "How long it took"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp", priority = 0),
    validation = Rule::new("!has(self.spec.runAfter) || self.spec.runAfter.kind != 'DataBackup' || self.spec.runAfter.name != self.metadata.name || has(self.spec.runAfter.__namespace__)").message("spec.runAfter names this DataBackup itself"),
)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.backupPath) && self.backupPath.matches('^(pvc://[a-z0-9]([-a-z0-9.]*[a-z0-9])?(/.*)?|local:///.*)$') && !self.backupPath.split('/').exists(part, part == '..')").message("spec.backupPath must be pvc://CLAIM/FOLDER, or local:///FOLDER for a folder of the leading master's node, without .. in it"))]
#[x_kube(validation = Rule::new("has(self.dataset) && size(self.dataset) > 0").message("spec.dataset must name a Dataset"))]
#[x_kube(validation = Rule::new("self.dataset == oldSelf.dataset && self.backupPath == oldSelf.backupPath").message("spec.dataset and spec.backupPath cannot be changed: create another DataBackup"))]
pub struct DataBackupSpec {
    /// The Dataset, in the namespace of the DataBackup.
    #[serde(default)]
    #[schemars(length(max = 63))]
    pub dataset: String,
    /// pvc://CLAIM/FOLDER, or local:///FOLDER of the leading master's node; it gets metadata-backup-DATASET-NAMESPACE.gz, and
    /// DATASET-NAMESPACE.yaml, which says what that is.
    #[serde(default)]
    #[schemars(length(max = 1024))]
    pub backup_path: String,
    /// The user who writes the file; root by default. A folder that is new, or root's and empty, is given to that user.
    pub run_as: Option<RunAs>,
    /// Another operation, which must be complete first.
    pub run_after: Option<OperationRef>,
    /// The DataBackup is deleted so many seconds after its end; the file stays.
    #[schemars(range(min = 0))]
    pub ttl_seconds_after_finished: Option<i32>,
}
