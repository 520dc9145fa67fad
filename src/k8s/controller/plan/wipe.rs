//! The last pod of a runtime on a node: takes away what workers have left in folders of the node.

use super::files::folders;
use super::{Given, Object, object, pods};
use crate::crd::VolumeType;
use goosefs_core::Result;
use serde_json::{Value, json};

/// Value of label `role` of these pods. They are no part of `app=goosefs`, whose pods are waited for first.
pub(crate) const ROLE: &str = "goosefs-wipe";

/// Removes the runtime's folder below each argument, and the namespace's when it was the last in it. Folders of mounts
/// are removed only when they are empty: what is mounted must never be deleted.
const SCRIPT: &str = r#"namespace=$1 name=$2
shift 2
for folder in "$@"; do
    rm -rf -- "$folder/$namespace/$name" || exit 1
    rmdir -- "$folder/$namespace" 2>/dev/null
done
cd /wipe/mounts && rmdir -- "$namespace/$name/goosefs-fuse" "$namespace/$name" "$namespace" 2>/dev/null
exit 0"#;

/// The pod for a node, `number` of all that there are.
///
/// # Errors
/// `InvalidArgument` for a quota that is no size.
pub(crate) fn pod(given: &Given<'_>, number: usize, node: &str) -> Result<Object> {
    let (image, policy) = pods::image(given, None);
    let mut places = vec![("/var/run/goosefs".to_owned(), "/wipe/sockets".to_owned())];
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
    let mut arguments = vec![given.names.namespace.clone(), given.names.name.clone()];
    arguments.extend(places.iter().map(|(_, inside)| inside.clone()));
    places.push(("/runtime-mnt/goosefs".to_owned(), "/wipe/mounts".to_owned()));
    let name_of = |inside: &str| inside.trim_start_matches('/').replace('/', "-");
    let volumes: Vec<Value> = places
        .iter()
        .map(|(host, inside)| json!({"name": name_of(inside), "hostPath": {"path": host, "type": "DirectoryOrCreate"}}))
        .collect();
    let mounts: Vec<Value> =
        places.iter().map(|(_, inside)| json!({"name": name_of(inside), "mountPath": inside})).collect();
    let mut command = vec!["/bin/bash".to_owned(), "-c".to_owned(), SCRIPT.to_owned(), "wipe".to_owned()];
    command.extend(arguments);
    let mut pod = object(
        given,
        "v1",
        "Pod",
        &format!("{}-wipe-{number}", given.names.name),
        json!({
            "spec": pods::spec(given, &[], json!({
                "nodeName": node,
                "tolerations": [{"operator": "Exists"}],
                "restartPolicy": "OnFailure",
                "containers": [{
                    "name": ROLE, "image": image, "imagePullPolicy": policy, "command": command, "volumeMounts": mounts,
                }],
                "volumes": volumes,
            }))
        }),
    );
    pod.0["metadata"]["labels"]["app"] = json!(ROLE);
    pod.0["metadata"]["labels"]["role"] = json!(ROLE);
    Ok(pod)
}
