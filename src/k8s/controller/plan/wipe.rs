//! Pods that clean a node: the last one of a runtime takes away what it has left there, its mount and folders of the
//! cache; another ends a mount alone. A mount outlives its FUSE pod, so somebody must say when it is to end.

use super::files::{folders, holders};
use super::names::MOUNT_ROOT;
use super::{Given, HOME, Object, object, pods};
use crate::crd::VolumeType;
use goosefs_core::Result;
use serde_json::{Value, json};

/// Value of labels `app` and `role` of the last pods. They are no part of `app=goosefs`, whose pods are waited for first.
pub(crate) const ROLE: &str = "goosefs-wipe";

/// Value of labels `app` and `role` of pods that end a mount of a runtime which goes on elsewhere.
pub(crate) const UNMOUNT_ROLE: &str = "goosefs-unmount";

/// Value of labels `app` and `role` of pods that take away the folders of a worker which has left a node.
pub(crate) const FOLDERS_ROLE: &str = "goosefs-folders";

/// Ends the mount, if one was left; removes the runtime's folder below each argument, and the namespace's when it was the
/// last in it. Folders of mounts are removed only when they are empty: what is mounted must never be deleted.
const SCRIPT: &str = r#"namespace=$1 name=$2 mounts=/runtime-mnt/goosefs
shift 2
goosefs csi unmount "$mounts/$namespace/$name/goosefs-fuse" || exit 1
for folder in "$@"; do
    rm -rf -- "$folder/$namespace/$name" || exit 1
    rmdir -- "$folder/$namespace" 2>/dev/null
done
cd "$mounts" && rmdir -- "$namespace/$name/goosefs-fuse" "$namespace/$name" "$namespace" 2>/dev/null
exit 0"#;

/// Ends the mount at the third argument, and removes its folders when they are empty: what is mounted must never be deleted.
const UNMOUNT_SCRIPT: &str = r#"namespace=$1 name=$2
shift 2
goosefs csi unmount "$@" || exit 1
cd /runtime-mnt/goosefs && rmdir -- "$namespace/$name/goosefs-fuse" "$namespace/$name" "$namespace" 2>/dev/null
exit 0"#;

/// Removes the runtime's folder below each argument, and the namespace's when it was the last in it.
const FOLDERS_SCRIPT: &str = r#"namespace=$1 name=$2
shift 2
for folder in "$@"; do
    rm -rf -- "$folder/$namespace/$name" || exit 1
    rmdir -- "$folder/$namespace" 2>/dev/null
done
exit 0"#;

/// The pod that takes away what a worker has left on a node; nothing where tiers are not folders of nodes.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(crate) fn folders_pod(given: &Given<'_>, node: &str) -> Result<Option<Object>> {
    let places = tiers(given)?;
    if places.is_empty() {
        return Ok(None);
    }
    let mut command = ["/bin/bash", "-c", FOLDERS_SCRIPT, "folders"].map(str::to_owned).to_vec();
    command.extend([given.names.namespace.clone(), given.names.name.clone()]);
    command.extend(places.iter().map(|(_, inside)| inside.clone()));
    Ok(Some(on_node(given, node, FOLDERS_ROLE, &command, &places)))
}

/// Folders of nodes that tiers lie in, and where a pod that cleans has them.
fn tiers(given: &Given<'_>) -> Result<Vec<(String, String)>> {
    let mut places = Vec::new();
    for (level_number, level) in given.levels().iter().enumerate() {
        if level.volume_type != VolumeType::HostPath {
            continue;
        }
        for folder in folders(given, level_number, level)? {
            let below = format!("/{}/{}", given.names.namespace, given.names.name);
            let base = folder.path.strip_suffix(&below).unwrap_or(&folder.path).to_owned();
            places.push((base, format!("/wipe/{}", folder.volume)));
        }
    }
    Ok(places)
}

/// The last pod of a runtime on a node, which may have `cached`.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(crate) fn pod(given: &Given<'_>, node: &str, cached: bool) -> Result<Object> {
    let mut places = vec![("/var/run/goosefs".to_owned(), "/wipe/sockets".to_owned())];
    if cached {
        places.extend(tiers(given)?);
    }
    let mut command = ["/bin/bash", "-c", SCRIPT, "wipe"].map(str::to_owned).to_vec();
    command.extend([given.names.namespace.clone(), given.names.name.clone()]);
    command.extend(places.iter().map(|(_, inside)| inside.clone()));
    Ok(on_node(given, node, ROLE, &command, &places))
}

/// The same pod in another namespace, for a runtime whose own is being deleted: whoever makes it must delete it.
pub(crate) fn elsewhere(pod: &Object, from: &str, to: &str) -> Object {
    let mut moved = pod.clone();
    let metadata = &mut moved.0["metadata"];
    metadata["name"] = json!(format!("{from}-{}", pod.name()));
    metadata["namespace"] = json!(to);
    // What owns it must be in its namespace.
    if let Some(metadata) = metadata.as_object_mut() {
        metadata.remove("ownerReferences");
    }
    moved
}

/// The pod that ends the mount of a node and removes its empty folders.
pub(crate) fn unmount_pod(given: &Given<'_>, node: &str) -> Object {
    let mut command = ["/bin/bash", "-c", UNMOUNT_SCRIPT, "unmount"].map(str::to_owned).to_vec();
    command.extend([given.names.namespace.clone(), given.names.name.clone(), given.names.mount_point()]);
    command.extend(holders().map(|holder| format!("--holder={holder}")));
    let sockets = (given.names.socket_folder(), format!("{HOME}/socket"));
    on_node(given, node, UNMOUNT_ROLE, &command, &[sockets])
}

/// A pod that runs a command once on a node, with folders of the node and with its mounts.
fn on_node(
    given: &Given<'_>,
    node: &str,
    role: &str,
    command: &[String],
    places: &[(String, String)],
) -> Object {
    let (image, policy) = pods::image(given, None);
    let name_of = |inside: &str| inside.trim_start_matches('/').replace('/', "-");
    let mut volumes: Vec<Value> = places
        .iter()
        .map(|(host, inside)| json!({"name": name_of(inside), "hostPath": {"path": host, "type": "DirectoryOrCreate"}}))
        .collect();
    let mut mounts: Vec<Value> =
        places.iter().map(|(_, inside)| json!({"name": name_of(inside), "mountPath": inside})).collect();
    volumes.push(json!({"name": "mounts", "hostPath": {"path": MOUNT_ROOT, "type": "DirectoryOrCreate"}}));
    mounts.push(json!({"name": "mounts", "mountPath": MOUNT_ROOT, "mountPropagation": "Bidirectional"}));
    let number = goosefs_core::checksum::crc32c(node.as_bytes());
    let what = role.trim_start_matches("goosefs-");
    let mut pod = object(
        given,
        "v1",
        "Pod",
        &format!("{}-{what}-{number:08x}", given.names.name),
        json!({
            "spec": pods::spec(given, &[], json!({
                "nodeName": node,
                "tolerations": [{"operator": "Exists"}],
                "restartPolicy": "OnFailure",
                "containers": [{
                    "name": role, "image": image, "imagePullPolicy": policy, "command": command, "volumeMounts": mounts,
                    // What it unmounts shall be unmounted on the node.
                    "securityContext": {"privileged": true, "runAsUser": 0},
                }],
                "volumes": volumes,
            }))
        }),
    );
    pods::set_role(&mut pod, role);
    pod
}
