//! Names, labels and places of everything that a runtime has.

use serde_json::{Value, json};

/// Port of the pod that offers a backup.
pub(crate) const BACKUP_OFFER: u16 = 26006;

/// Folder on nodes where FUSE mounts, those of all runtimes below `goosefs`.
pub(crate) const MOUNT_ROOT: &str = "/runtime-mnt";
/// Folder on nodes where the CSI plugin keeps mounts whose FUSE process is away.
pub(crate) const HOLDER_FOLDER: &str = "/runtime-mnt/.goosefs";

/// The longest name part of a label's key, and the longest value of a label.
const LONGEST_LABEL: usize = 63;

/// What everything of a runtime is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Names {
    /// Namespace of Dataset and runtime.
    pub(crate) namespace: String,
    /// Name of Dataset and runtime.
    pub(crate) name: String,
    /// UID of the Dataset, which stands in labels for names that are too long.
    dataset_uid: String,
}

impl Names {
    pub(crate) fn new(namespace: &str, name: &str, dataset_uid: &str) -> Names {
        Names { namespace: namespace.to_owned(), name: name.to_owned(), dataset_uid: dataset_uid.to_owned() }
    }

    pub(crate) fn masters(&self) -> String {
        format!("{}-master", self.name)
    }

    pub(crate) fn master(&self, slot: usize) -> String {
        format!("{}-master-{slot}", self.name)
    }

    pub(crate) fn workers(&self) -> String {
        format!("{}-worker", self.name)
    }

    pub(crate) fn fuse(&self) -> String {
        format!("{}-fuse", self.name)
    }

    pub(crate) fn config(&self) -> String {
        format!("{}-config", self.name)
    }

    pub(crate) fn cluster(&self) -> String {
        format!("{}-cluster", self.name)
    }

    pub(crate) fn mounts(&self) -> String {
        format!("{}-mounts", self.name)
    }

    pub(crate) fn volume(&self) -> String {
        format!("{}-{}", self.namespace, self.name)
    }

    /// The folder on nodes that the mount point is in.
    pub(crate) fn runtime_folder(&self) -> String {
        format!("{MOUNT_ROOT}/goosefs/{}/{}", self.namespace, self.name)
    }

    /// The mount point on nodes.
    pub(crate) fn mount_point(&self) -> String {
        format!("{}/goosefs-fuse", self.runtime_folder())
    }

    /// What mountinfo shows as the source of the mount: tells the mounts of runtimes apart.
    pub(crate) fn mount_source(&self) -> String {
        format!("goosefs:{}/{}", self.namespace, self.name)
    }

    /// The folder on nodes where a worker hands cached files to FUSE.
    pub(crate) fn socket_folder(&self) -> String {
        format!("/var/run/goosefs/{}/{}", self.namespace, self.name)
    }

    /// Value of `fluid.io/dataset-id`.
    pub(crate) fn dataset_id(&self) -> String {
        self.short("", &format!("{}-{}", self.namespace, self.name))
    }

    /// Key of the label of nodes that have a worker.
    pub(crate) fn worker_label(&self) -> String {
        format!("fluid.io/{}", self.short("s-goosefs-", &self.volume()))
    }

    /// Key of the label of nodes that cache this Dataset, whatever the runtime.
    pub(crate) fn cached_label(&self) -> String {
        format!("fluid.io/{}", self.short("s-", &self.volume()))
    }

    /// Key of the label of nodes that have FUSE.
    pub(crate) fn fuse_label(&self) -> String {
        format!("fluid.io/{}", self.short("f-", &self.volume()))
    }

    fn short(&self, before: &str, text: &str) -> String {
        let whole = format!("{before}{text}");
        if whole.len() <= LONGEST_LABEL { whole } else { format!("{before}{}", self.dataset_uid) }
    }

    /// Labels of everything.
    pub(crate) fn labels(&self) -> Value {
        json!({
            "app": "goosefs",
            "release": self.name,
            "fluid.io/dataset-id": self.dataset_id(),
            "fluid.io/managed-by": "fluid",
        })
    }

    /// Labels that select the pods of a part: `goosefs-master`, `goosefs-worker`, `goosefs-fuse`.
    pub(crate) fn selector(&self, role: &str) -> Value {
        json!({"app": "goosefs", "release": self.name, "role": role})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_of_long_names_have_the_uid_in_them() {
        let short = Names::new("default", "hbase", "u");
        assert_eq!(short.worker_label(), "fluid.io/s-goosefs-default-hbase");
        assert_eq!(short.fuse_label(), "fluid.io/f-default-hbase");
        let long = Names::new(&"n".repeat(40), &"d".repeat(40), "9f2c");
        assert_eq!(
            (long.worker_label(), long.dataset_id()),
            ("fluid.io/s-goosefs-9f2c".to_owned(), "9f2c".to_owned())
        );
    }
}
