//! What a Dataset and its runtime ask for, as objects of Kubernetes. No I/O: the same input gives the same objects.
//!
//! [`objects`] is asked by the runtime's reconciler, which applies what comes back. Objects are plain JSON, as they are
//! sent by server-side apply: only what we mean to own is in them, and the apiserver refuses fields that it does not know.

pub(crate) mod backup;
pub(crate) mod files;
pub(crate) mod fuse;
pub(crate) mod fuse_node;
pub(crate) mod hand_over;
pub(crate) mod journals;
mod masters;
pub(crate) mod mounts;
pub(crate) mod names;
pub(crate) mod nodes;
pub(crate) mod pods;
pub(crate) mod ports;
pub(crate) mod restore;
pub(crate) mod roll;
pub(crate) mod run_as;
#[cfg(test)]
mod tests;
pub(crate) mod wipe;
pub(crate) mod worker_node;
pub(crate) mod workers;

use crate::crd::{Dataset, GooseFSRuntime, Level};
use goosefs_core::Result;
use goosefs_core::rpc::control::ControlKey;
use kube::ResourceExt;
use mounts::Mounts;
use names::Names;
use pods::without_nothing;
use ports::Ports;
use serde_json::{Value, json};

/// `GOOSEFS_HOME` in pods.
pub(crate) const HOME: &str = "/opt/goosefs";

/// An object of Kubernetes, as it is applied.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Object(pub(crate) Value);

impl Object {
    pub(crate) fn kind(&self) -> &str {
        self.0["kind"].as_str().unwrap_or_default()
    }

    pub(crate) fn name(&self) -> &str {
        self.0["metadata"]["name"].as_str().unwrap_or_default()
    }

    pub(crate) fn namespace(&self) -> Option<&str> {
        self.0["metadata"]["namespace"].as_str()
    }
}

/// What objects are made from.
#[derive(Debug)]
pub(crate) struct Given<'a> {
    pub(crate) names: Names,
    pub(crate) dataset: &'a Dataset,
    pub(crate) runtime: &'a GooseFSRuntime,
    /// Image of pods when the runtime names none.
    pub(crate) image: &'a str,
    /// Ports of its parts.
    pub(crate) ports: Ports,
    /// CSI driver of the volume.
    pub(crate) driver: &'a str,
    /// Number of masters.
    pub(crate) masters: usize,
    /// Number of their pods: more while some that are to go still vote.
    pub(crate) master_pods: usize,
    /// Journals lie on claims.
    pub(crate) durable: bool,
    /// Names the cluster for good.
    pub(crate) cluster_id: String,
    /// Raised whenever a cluster is begun anew.
    pub(crate) epoch: i64,
    /// Masters with empty folders may begin the cluster of this epoch.
    pub(crate) bootstrap: bool,
    /// Where a backup is offered that the cluster begins with.
    pub(crate) restore: Option<String>,
    /// Slot of the master whose data alone the cluster is to go on with.
    pub(crate) force: Option<i32>,
    /// The storages, with what Secrets say.
    pub(crate) mounts: Mounts,
    /// What the masters are administered with.
    pub(crate) control: Option<ControlKey>,
    /// Changes with what pods must be made anew for.
    pub(crate) config_mark: String,
}

impl<'a> Given<'a> {
    /// For what is made beside the parts of a runtime.
    pub(crate) fn bare(
        names: Names,
        dataset: &'a Dataset,
        runtime: &'a GooseFSRuntime,
        image: &'a str,
        driver: &'a str,
    ) -> Given<'a> {
        Given {
            names,
            dataset,
            runtime,
            image,
            ports: Ports::of(runtime),
            driver,
            masters: masters_of(runtime),
            master_pods: masters_of(runtime),
            durable: false,
            cluster_id: String::new(),
            epoch: 0,
            bootstrap: false,
            restore: None,
            force: None,
            mounts: Mounts::default(),
            control: None,
            config_mark: String::new(),
        }
    }

    /// The tiers; one of memory's stead on disk when there are none.
    pub(crate) fn levels(&self) -> Vec<Level> {
        match &self.runtime.spec.tieredstore {
            Some(store) if !store.levels.is_empty() => store.levels.clone(),
            _ => vec![Level {
                mediumtype: crate::crd::MediumType::HDD,
                volume_type: crate::crd::VolumeType::HostPath,
                volume_source: None,
                path: None,
                quota: None,
                quota_list: None,
                high: None,
                low: None,
            }],
        }
    }
}

/// Number of masters that a runtime asks for.
pub(crate) fn masters_of(runtime: &GooseFSRuntime) -> usize {
    let replicas = runtime.spec.master.as_ref().and_then(|master| master.replicas);
    usize::try_from(replicas.unwrap_or(1)).unwrap_or(1)
}

/// Changes when pods must be made anew: with any property but the addresses of masters, which come and go while pods run.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(crate) fn config_mark(given: &Given<'_>) -> Result<String> {
    let mut properties = files::properties(given)?;
    for key in ["goosefs.master.rpc.addresses", "goosefs.master.embedded.journal.addresses"] {
        properties.remove(key);
    }
    let text = files::properties_text(&properties);
    Ok(format!("{:08x}", goosefs_core::checksum::crc32c(text.as_bytes())))
}

/// Everything that a runtime has, in the order in which it is applied.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(crate) fn objects(given: &Given<'_>) -> Result<Vec<Object>> {
    let names = &given.names;
    let properties = files::properties_text(&files::properties(given)?);
    let cluster = files::cluster(given).to_string();
    let mut config = json!({"goosefs-site.properties": properties});
    for (file, text) in run_as::files(given.runtime) {
        config[file] = json!(text);
    }
    let mut all = vec![
        object(given, "v1", "ConfigMap", &names.config(), json!({"data": config})),
        object(given, "v1", "ConfigMap", &names.cluster(), json!({"data": {"cluster.json": cluster}})),
        secret(given),
    ];
    all.extend(masters::objects(given));
    all.push(workers::daemon_set(given)?);
    all.push(fuse::daemon_set(given));
    all.extend(fuse::volume(given));
    Ok(all)
}

/// The mounts with their keys, and the control key.
pub(crate) fn secret(given: &Given<'_>) -> Object {
    let files = json!({
        "mounts.json": given.mounts.text(),
        "control.key": given.control.as_ref().map(ControlKey::text),
    });
    let more = json!({"type": "Opaque", "stringData": without_nothing(files)});
    object(given, "v1", "Secret", &given.names.mounts(), more)
}

/// An object with the labels of all, owned by the runtime.
fn object(given: &Given<'_>, version: &str, kind: &str, name: &str, more: Value) -> Object {
    let mut all = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": {
            "name": name,
            "namespace": given.names.namespace,
            "labels": given.names.labels(),
            "ownerReferences": [{
                "apiVersion": "data.fluid.io/v1alpha1",
                "kind": "GooseFSRuntime",
                "name": given.runtime.name_any(),
                "uid": given.runtime.uid().unwrap_or_default(),
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
    });
    pods::merge(&mut all, more);
    Object(all)
}
