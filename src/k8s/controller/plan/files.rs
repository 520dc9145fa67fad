//! The files that pods of a runtime read, but the mounts: properties, the member list.

use super::masters::JOURNAL;
use super::names::HOLDER_FOLDER;
use super::{Given, HOME, run_as};
use crate::crd::{Level, bytes_of};
use goosefs_core::Result;
use goosefs_core::config::keys;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Where tiers without a path lie.
const DEFAULT_TIER: &str = "/var/lib/goosefs";

/// What a tier takes when nobody says.
const DEFAULT_QUOTA: u64 = 2 << 30;

/// A folder of a tier, as worker and node see it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Folder {
    /// Name of the volume.
    pub(crate) volume: String,
    /// Its path, in the pod and, for hostPath, on the node.
    pub(crate) path: String,
    /// Most bytes in it.
    pub(crate) quota: u64,
}

/// The folders of a tier: a folder of its own for each runtime below each of its paths.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(crate) fn folders(given: &Given<'_>, number: usize, level: &Level) -> Result<Vec<Folder>> {
    let mut paths = level.paths();
    if paths.is_empty() {
        paths.push(format!("{DEFAULT_TIER}/{}", level.mediumtype.as_str().to_ascii_lowercase()));
    }
    let quotas: Vec<u64> = match &level.quota_list {
        Some(list) => {
            list.split(',').map(|quota| bytes_of(&Quantity(quota.to_owned()))).collect::<Result<_>>()?
        }
        None => {
            let whole = level.quota.as_ref().map_or(Ok(DEFAULT_QUOTA), bytes_of)?;
            vec![whole / paths.len() as u64; paths.len()]
        }
    };
    let folder = |(index, (path, quota)): (usize, (String, u64))| Folder {
        volume: format!("tier-{number}-{index}"),
        path: format!("{path}/{}/{}", given.names.namespace, given.names.name),
        quota,
    };
    Ok(paths.into_iter().zip(quotas).enumerate().map(folder).collect())
}

/// Most bytes that all workers cache together.
///
/// # Errors
/// As [`folders`].
pub(crate) fn quota_of_a_worker(given: &Given<'_>) -> Result<u64> {
    let mut sum = 0;
    for (number, level) in given.levels().iter().enumerate() {
        sum += folders(given, number, level)?.iter().map(|folder| folder.quota).sum::<u64>();
    }
    Ok(sum)
}

/// Where a worker keeps mounts of its node, in its pods and in those of FUSE.
fn worker_holder() -> String {
    format!("{HOME}/socket/holder.sock")
}

/// Who keeps a mount while its FUSE process is away: the CSI plugin, and the worker where there is one.
pub(crate) fn holders() -> [String; 2] {
    [format!("{HOLDER_FOLDER}/holder.sock"), worker_holder()]
}

/// Where masters, and pods that administer them, have the control key; others have no such file.
pub(crate) fn control_key_file() -> String {
    format!("{HOME}/mounts/control.key")
}

/// Volume and mount of the control key alone, for pods that are no masters.
pub(super) fn control_key(given: &Given<'_>) -> (Value, Value) {
    let items = json!([{"key": "control.key", "path": "control.key"}]);
    (
        json!({"name": "control", "secret": {"secretName": given.names.mounts(), "items": items}}),
        json!({"name": "control", "mountPath": format!("{HOME}/mounts"), "readOnly": true}),
    )
}

/// `goosefs-site.properties`, which every pod has, so that commands in any pod find the cluster.
///
/// # Errors
/// As [`folders`].
pub(crate) fn properties(given: &Given<'_>) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    let mut set = |key: &str, value: String| all.insert(key.to_owned(), value);
    let masters = |port: u16| -> String {
        let all: Vec<String> =
            (0..given.masters).map(|slot| format!("{}:{port}", given.names.master(slot))).collect();
        all.join(",")
    };
    set("goosefs.master.rpc.addresses", masters(given.ports.master_rpc));
    set("goosefs.master.embedded.journal.addresses", masters(given.ports.master_raft));
    set("goosefs.master.rpc.port", given.ports.master_rpc.to_string());
    set("goosefs.master.web.port", given.ports.master_web.to_string());
    set("goosefs.master.embedded.journal.port", given.ports.master_raft.to_string());
    set("goosefs.master.bind.host", "0.0.0.0".to_owned());
    set("goosefs.master.journal.folder", JOURNAL.to_owned());
    set("goosefs.master.cluster.file", format!("{HOME}/cluster/cluster.json"));
    set("goosefs.master.mounts.file", format!("{HOME}/mounts/mounts.json"));
    set(keys::CONTROL_KEY_FILE.name, control_key_file());
    set("goosefs.master.mount.table.root.ufs", "/underFSStorage".to_owned());
    set("goosefs.master.mount.table.root.readonly", "true".to_owned());
    set("goosefs.worker.rpc.port", given.ports.worker_rpc.to_string());
    set("goosefs.worker.web.port", given.ports.worker_web.to_string());
    set("goosefs.worker.data.server.domain.socket.address", format!("{HOME}/socket/worker.sock"));
    set("goosefs.fuse.web.bind.host", "0.0.0.0".to_owned());
    set("goosefs.fuse.web.port", given.ports.fuse_web.to_string());
    set("goosefs.fuse.mount.point", given.names.mount_point());
    set("goosefs.fuse.fs.name", given.names.mount_source());
    // Pods may have users of their own, and nothing of a running mount can be asked for later.
    set("goosefs.fuse.idmapped", "true".to_owned());
    set("goosefs.fuse.holder.sockets", holders().join(","));
    set("goosefs.worker.holder.socket", worker_holder());
    if let Some(user) = run_as::named(given.runtime) {
        set(run_as::LOGIN_USER, user.to_owned());
    }
    let levels = given.levels();
    set("goosefs.worker.tieredstore.levels", levels.len().to_string());
    for (number, level) in levels.iter().enumerate() {
        let folders = folders(given, number, level)?;
        let prefix = format!("goosefs.worker.tieredstore.level{number}");
        let list = |of: fn(&Folder) -> String| folders.iter().map(of).collect::<Vec<_>>().join(",");
        set(&format!("{prefix}.alias"), level.mediumtype.as_str().to_owned());
        set(&format!("{prefix}.dirs.mediumtype"), level.mediumtype.as_str().to_owned());
        set(&format!("{prefix}.dirs.path"), list(|folder| folder.path.clone()));
        set(&format!("{prefix}.dirs.quota"), list(|folder| folder.quota.to_string()));
        if let Some(high) = &level.high {
            set(&format!("{prefix}.watermark.high.ratio"), high.clone());
        }
        if let Some(low) = &level.low {
            set(&format!("{prefix}.watermark.low.ratio"), low.clone());
        }
    }
    for (key, value) in &given.runtime.spec.properties {
        set(key, value.clone());
    }
    Ok(all)
}

/// Properties in their file's form: a backslash before what Java's properties would take for something else.
pub(crate) fn properties_text(properties: &BTreeMap<String, String>) -> String {
    let line = |(key, value): (&String, &String)| {
        let value = value.replace('\\', "\\\\").replace('\n', "\\n");
        format!("{key}={value}\n")
    };
    properties.iter().map(line).collect()
}

/// `cluster.json`: who the masters are, whether ones with empty folders may begin a cluster, and which shall go on alone.
pub(crate) fn cluster(given: &Given<'_>) -> Value {
    let raft = given.ports.master_raft;
    let masters: Vec<String> =
        (0..given.masters).map(|slot| format!("{}:{raft}", given.names.master(slot))).collect();
    let mut all = json!({
        "clusterId": given.cluster_id,
        "epoch": given.epoch,
        "bootstrap": given.bootstrap,
        "masters": masters,
    });
    if let Some(offer) = &given.restore {
        all["restore"] = json!(offer);
    }
    if let Some(slot) = given.force {
        all["force"] = json!({"slot": slot, "epoch": given.epoch});
    }
    all
}
