//! FUSE: a DaemonSet that shows the namespace as a directory on nodes with its label.

use super::names::HOLDER_FOLDER;
use super::pods::{
    config, container, definitions, environment, spec, template, user_volumes, without_nothing,
};
use super::{Given, HOME, Object, object};
use crate::crd::{Fuse, Version};
use goosefs_core::mountinfo::FSTYPE;
use serde_json::json;

/// Value of label `role` of FUSE pods.
pub(crate) const ROLE: &str = "goosefs-fuse";

/// Annotation of FUSE pods that says which template they were made from.
pub(crate) const TEMPLATE_MARK: &str = "goosefs.data.fluid.io/template";

pub(crate) fn daemon_set(given: &Given<'_>) -> Object {
    let default = Fuse::default();
    let own = given.runtime.spec.fuse.as_ref().unwrap_or(&default);
    let version = Version {
        image: own.image.clone(),
        image_tag: own.image_tag.clone(),
        image_pull_policy: own.image_pull_policy.clone(),
    };
    let (conf_volume, conf_mounts) = config(given);
    let (mut volumes, mut mounts) = user_volumes(given, &own.volume_mounts);
    volumes.extend([
        conf_volume,
        json!({"name": "goosefs-fuse-device", "hostPath": {"path": "/dev/fuse", "type": "CharDevice"}}),
        json!({"name": "goosefs-fuse-mount", "hostPath": {"path": given.names.runtime_folder(), "type": "DirectoryOrCreate"}}),
        json!({"name": "goosefs-socket", "hostPath": {"path": given.names.socket_folder(), "type": "DirectoryOrCreate"}}),
        json!({"name": "goosefs-holder", "hostPath": {"path": HOLDER_FOLDER, "type": "DirectoryOrCreate"}}),
    ]);
    mounts.extend(conf_mounts);
    mounts.extend([
        json!({"name": "goosefs-fuse-device", "mountPath": "/dev/fuse"}),
        json!({"name": "goosefs-fuse-mount", "mountPath": given.names.runtime_folder(), "mountPropagation": "Bidirectional"}),
        json!({"name": "goosefs-socket", "mountPath": format!("{HOME}/socket")}),
        json!({"name": "goosefs-holder", "mountPath": HOLDER_FOLDER}),
    ]);
    let mut command = vec!["/entrypoint.sh".to_owned(), "fuse".to_owned(), given.names.mount_point()];
    // Other pods need not be made anew for it.
    command.extend(own.takeover_timeout.iter().map(|time| format!("-Dgoosefs.fuse.takeover.timeout={time}")));
    command.extend(definitions(&own.properties));
    let fields = json!({
        "command": command,
        "env": environment(&own.env),
        "ports": [{"name": "web", "containerPort": given.ports.fuse_web, "protocol": "TCP"}],
        "resources": own.resources,
        "securityContext": {"privileged": true, "runAsUser": 0},
        "volumeMounts": mounts,
    });
    let container = container(given, ROLE, Some(&version), given.ports.fuse_web, fields);
    let mut selector = json!(own.node_selector);
    selector[given.names.fuse_label()] = json!("true");
    let tolerations = match own.tolerations.as_slice() {
        [] => json!([{"operator": "Exists"}]),
        some => json!(some),
    };
    let pod = spec(
        given,
        &own.image_pull_secrets,
        json!({
            "nodeSelector": selector,
            "tolerations": tolerations,
            "terminationGracePeriodSeconds": 30,
            "containers": [container],
            "volumes": volumes,
        }),
    );
    let template = template(given, ROLE, own.pod_metadata.as_ref(), &own.annotations, pod);
    let mut set = object(
        given,
        "apps/v1",
        "DaemonSet",
        &given.names.fuse(),
        without_nothing(json!({
            "spec": {
                "updateStrategy": {"type": "OnDelete"},
                "selector": {"matchLabels": given.names.selector(ROLE)},
                "template": template,
            }
        })),
    );
    let template = &mut set.0["spec"]["template"];
    let mark = format!("{:08x}", goosefs_core::checksum::crc32c(template.to_string().as_bytes()));
    template["metadata"]["annotations"][TEMPLATE_MARK] = json!(mark);
    set
}

/// What pods that are made now have as [`TEMPLATE_MARK`].
pub(crate) fn template_mark(set: &Object) -> &str {
    set.0["spec"]["template"]["metadata"]["annotations"][TEMPLATE_MARK].as_str().unwrap_or_default()
}

/// How pods may use the volume.
fn access_modes(given: &Given<'_>) -> Vec<String> {
    match given.dataset.spec.access_modes.as_slice() {
        [] => vec!["ReadOnlyMany".to_owned()],
        some => some.to_vec(),
    }
}

/// The volume and the claim by which pods use the mount.
pub(super) fn volume(given: &Given<'_>) -> [Object; 2] {
    let names = &given.names;
    let storage = json!({"storage": "100Pi"});
    let mut volume = object(
        given,
        "v1",
        "PersistentVolume",
        &names.volume(),
        json!({
            "spec": {
                "accessModes": access_modes(given),
                "capacity": storage,
                "storageClassName": "fluid",
                "persistentVolumeReclaimPolicy": "Retain",
                "volumeMode": "Filesystem",
                "claimRef": {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "namespace": names.namespace, "name": names.name},
                "csi": {
                    "driver": given.driver,
                    "volumeHandle": names.volume(),
                    "volumeAttributes": {
                        "fluid_path": names.mount_point(),
                        "mount_type": FSTYPE,
                        "runtime_namespace": names.namespace,
                        "runtime_name": names.name,
                        "mount_pod_node_selector_key": names.fuse_label(),
                    },
                },
            }
        }),
    );
    volume.0["metadata"]["annotations"] = json!({"CreatedBy": "fluid"});
    // A volume belongs to no namespace, so it cannot have an owner in one.
    if let Some(metadata) = volume.0["metadata"].as_object_mut() {
        metadata.remove("ownerReferences");
        metadata.remove("namespace");
    }
    let claim = object(
        given,
        "v1",
        "PersistentVolumeClaim",
        &names.name,
        json!({
            "spec": {
                "accessModes": access_modes(given),
                "resources": {"requests": storage},
                "storageClassName": "fluid",
                "volumeMode": "Filesystem",
                "volumeName": names.volume(),
            }
        }),
    );
    [volume, claim]
}
