//! The pod that offers a backup to the master that founds a cluster: it alone has the claim or folder that the backup is in.

use super::names::BACKUP_OFFER;
use super::pods::{self, environment, spec};
use super::{Given, Object, files, masters, object};
use crate::crd::{Component, DataRestoreLocation, Place};
use goosefs_core::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde_json::json;
use std::collections::BTreeMap;

/// Labels `app` and `role` of this pod. It is no part of `app=goosefs`, whose pods a runtime's end waits for.
pub(crate) const ROLE: &str = "goosefs-restore";

/// Arguments: what is mounted where the backup is, the rest of its path, Dataset, namespace, the place for people, the
/// address to listen on, the masters' control key. A folder has the backup of the Dataset, or that of another when there is no other.
const SCRIPT: &str = r#"set -euo pipefail
die() { echo "$*" >&2; exit 1; }
at=$1${2:+/$2} place=$5
if [ -f "$at" ]; then
    file=$at
elif [ -f "$at/metadata-backup-$3-$4.gz" ]; then
    file=$at/metadata-backup-$3-$4.gz
else
    shopt -s nullglob
    found=("$at"/metadata-backup-*.gz)
    [ ${#found[@]} != 0 ] || die "there is no backup in $place"
    [ ${#found[@]} = 1 ] || die "$place has several backups, name one of them: ${found[*]##*/}"
    file=${found[0]}
fi
about=$(dirname "$file")/$(basename "${file#*metadata-backup-}" .gz).yaml
if [ -f "$about" ]; then
    sum=$(sed -n 's/^sha256: "\(.*\)"$/\1/p' "$about")
    [ -z "$sum" ] || echo "$sum  $file" | sha256sum --check --status || die "${file##*/} in $place is damaged: it does not match its sha256"
fi
gunzip -c "$file" >/work/backup 2>/work/why || die "${file##*/} in $place is damaged: $(cat /work/why)"
exec goosefs controller offer-backup /work/backup --listen "$6" --key "$7""#;

/// Annotation of the pod: the place that it was made for.
const PLACE: &str = "goosefs.data.fluid.io/restore";

/// Whether a pod is of no use any more: it was put out, or another place is asked for since.
pub(crate) fn is_stale(pod: &Pod, location: &DataRestoreLocation) -> bool {
    matches!(pods::phase_of(pod), Some("Failed" | "Succeeded"))
        || pod.annotations().get(PLACE) != Some(&said(location))
}

fn said(location: &DataRestoreLocation) -> String {
    format!(
        "{} {}",
        location.path.as_deref().unwrap_or_default(),
        location.node_name.as_deref().unwrap_or_default()
    )
}

pub(crate) fn pod_name(given: &Given<'_>) -> String {
    format!("{}-restore", given.names.name)
}

/// # Errors
/// `InvalidArgument` for a place that is none.
pub(crate) fn pod(given: &Given<'_>, location: &DataRestoreLocation) -> Result<Object> {
    let text = location.path.clone().unwrap_or_default();
    let place = Place::parse(&text)?;
    let (volume, rest, node) = match &place {
        Place::Claim { name, path } => {
            let claim = json!({"claimName": name, "readOnly": true});
            (json!({"name": "backup", "persistentVolumeClaim": claim}), path.clone(), None)
        }
        Place::Local { path } => {
            // A file cannot be mounted as a folder.
            let (folder, file) = match path.rsplit_once('/') {
                Some((folder, file)) if file.ends_with(".gz") => (folder, file),
                _ => (path.as_str(), ""),
            };
            let host = json!({"path": folder, "type": "DirectoryOrCreate"});
            (json!({"name": "backup", "hostPath": host}), file.to_owned(), location.node_name.clone())
        }
    };
    let default = Component::default();
    let own = given.runtime.spec.master.as_ref().unwrap_or(&default);
    let (image, policy) = pods::image(given, None);
    let mut command: Vec<String> =
        ["/bin/bash", "-c", SCRIPT, "restore", "/backup"].map(str::to_owned).to_vec();
    command.extend([
        rest,
        given.names.name.clone(),
        given.names.namespace.clone(),
        text,
        format!("0.0.0.0:{BACKUP_OFFER}"),
        files::control_key_file(),
    ]);
    let (control, control_mount) = files::control_key(given);
    let mut pod = object(
        given,
        "v1",
        "Pod",
        &pod_name(given),
        json!({
            "spec": spec(given, &own.image_pull_secrets, json!({
                "nodeName": node,
                "tolerations": masters::tolerations(given, own),
                "terminationGracePeriodSeconds": 2,
                "containers": [{
                    "name": ROLE,
                    "image": image,
                    "imagePullPolicy": policy,
                    "command": command,
                    "env": environment(&BTreeMap::new()),
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "readinessProbe": {"tcpSocket": {"port": BACKUP_OFFER}, "periodSeconds": 1},
                    "volumeMounts": [
                        {"name": "backup", "mountPath": "/backup", "readOnly": true},
                        {"name": "work", "mountPath": "/work"},
                        control_mount,
                    ],
                }],
                "volumes": [volume, {"name": "work", "emptyDir": {}}, control],
            }))
        }),
    );
    pod.0["metadata"]["annotations"] = json!({PLACE: said(location)});
    pods::set_role(&mut pod, ROLE);
    Ok(pod)
}
