//! The pod of a DataBackup: takes a backup from the leading master, packs it, and leaves it at its place.

use super::pods::{self, config, environment, spec};
use super::{Given, Object, files, masters, object, run_as};
use crate::crd::{Component, DataBackup, Place};
use goosefs_core::Result;
use kube::ResourceExt;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// Label `role` of these pods.
const ROLE: &str = "goosefs-backup";

/// Nobody waits longer for a backup.
const LONGEST: u32 = 3600;

/// Arguments: folder, Dataset, namespace, size and files as the Dataset shows them, the masters' user. Both files appear whole or not at all; the
/// last words are read by the controller.
const SCRIPT: &str = r#"set -euo pipefail
folder=$1 dataset=$2 namespace=$3 file=metadata-backup-$2-$3.gz
goosefs fsadmin -Dgoosefs.security.login.username="$6" backup --to /work/backup >/work/said
mkdir -p -- "$folder"
cd "$folder"
gzip -1 -c /work/backup >".$file.part"
sum=$(sha256sum ".$file.part" | cut -d' ' -f1)
printf 'dataset: "%s"\nnamespace: "%s"\nufstotal: "%s"\nfilenum: "%s"\nfile: "%s"\nsha256: "%s"\n' \
    "$dataset" "$namespace" "$4" "$5" "$file" "$sum" >".$dataset-$namespace.yaml.part"
sync ".$file.part" ".$dataset-$namespace.yaml.part"
mv -- ".$file.part" "$file"
mv -- ".$dataset-$namespace.yaml.part" "$dataset-$namespace.yaml"
sync .
{
    printf 'File: %s\nSha256: %s\nBytes: %s\n' "$file" "$sum" "$(stat -c %s "$file")"
    sed -n 's/^Backup Entry Count : /Entries: /p' /work/said
} >/dev/termination-log"#;

pub(crate) fn pod_name(backup: &str) -> String {
    format!("{backup}-pod")
}

/// The pod; `node` is that of the leading master, where `local` backups go.
///
/// # Errors
/// `InvalidArgument` for a place that is none.
pub(crate) fn pod(given: &Given<'_>, backup: &DataBackup, node: Option<&str>) -> Result<Object> {
    let place = Place::parse(&backup.spec.backup_path)?;
    let (target, folder, node) = match &place {
        Place::Claim { name, path } => {
            let folder = format!("/backup/{path}").trim_end_matches('/').to_owned();
            (json!({"name": "backup", "persistentVolumeClaim": {"claimName": name}}), folder, None)
        }
        Place::Local { path } => {
            let host = json!({"path": path, "type": "DirectoryOrCreate"});
            (json!({"name": "backup", "hostPath": host}), "/backup".to_owned(), node)
        }
    };
    let default = Component::default();
    let own = given.runtime.spec.master.as_ref().unwrap_or(&default);
    let (image, policy) = pods::image(given, None);
    let (conf_volume, mut mounts) = config(given);
    let status = given.dataset.status.clone().unwrap_or_default();
    let user = backup.spec.run_as.as_ref();
    let place = json!({"name": "backup", "mountPath": "/backup"});
    let (control, control_mount) = files::control_key(given);
    let gives = run_as::gives_new(given, user, &place, &folder);
    mounts.extend([place, json!({"name": "work", "mountPath": "/work"}), control_mount]);
    let arguments = [
        folder,
        given.names.name.clone(),
        given.names.namespace.clone(),
        status.ufs_total.unwrap_or_default(),
        status.file_num.unwrap_or_default(),
        run_as::masters_user(given.runtime),
    ];
    let mut command: Vec<String> = ["/bin/bash", "-c", SCRIPT, "backup"].map(str::to_owned).to_vec();
    command.extend(arguments);
    let mut pod = object(
        given,
        "v1",
        "Pod",
        &pod_name(&backup.name_any()),
        json!({
            "spec": spec(given, &own.image_pull_secrets, json!({
                "nodeName": node,
                "tolerations": masters::tolerations(given, own),
                "restartPolicy": "Never",
                "activeDeadlineSeconds": LONGEST,
                "terminationGracePeriodSeconds": 5,
                "securityContext": run_as::security(user),
                "initContainers": gives.into_iter().collect::<Vec<_>>(),
                "containers": [{
                    "name": ROLE,
                    "image": image,
                    "imagePullPolicy": policy,
                    "command": command,
                    "env": environment(&BTreeMap::new()),
                    "terminationMessagePolicy": "FallbackToLogsOnError",
                    "volumeMounts": mounts,
                }],
                "volumes": [conf_volume, target, control, {"name": "work", "emptyDir": {}}],
            }))
        }),
    );
    pods::set_role(&mut pod, ROLE);
    pod.0["metadata"]["ownerReferences"] = owner(backup);
    Ok(pod)
}

fn owner(backup: &DataBackup) -> Value {
    json!([{
        "apiVersion": "data.fluid.io/v1alpha1",
        "kind": "DataBackup",
        "name": backup.name_any(),
        "uid": backup.uid().unwrap_or_default(),
        "controller": true,
    }])
}
