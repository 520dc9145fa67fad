//! Workers: a DaemonSet on the nodes that the controller has chosen.

use super::files::folders;
use super::masters::tolerations;
use super::pods::{
    config, container, definitions, environment, spec, template, user_volumes, without_nothing,
};
use super::{Given, HOME, Object, object, run_as};
use crate::crd::{Component, VolumeType};
use goosefs_core::Result;
use serde_json::{Value, json};

/// Value of label `role` of workers.
pub(crate) const ROLE: &str = "goosefs-worker";

pub(super) fn daemon_set(given: &Given<'_>) -> Result<Object> {
    let default = Component::default();
    let own = given.runtime.spec.worker.as_ref().unwrap_or(&default);
    let (conf_volume, conf_mounts) = config(given);
    let (mut volumes, mut mounts) = user_volumes(given, &own.volume_mounts);
    // Not the control key: nothing here administers masters.
    let storages = json!([{"key": "mounts.json", "path": "mounts.json"}]);
    volumes.extend([
        conf_volume,
        json!({"name": "goosefs-mounts", "secret": {"secretName": given.names.mounts(), "items": storages}}),
        json!({"name": "goosefs-root", "emptyDir": {}}),
        json!({"name": "goosefs-socket", "hostPath": {"path": given.names.socket_folder(), "type": "DirectoryOrCreate"}}),
    ]);
    mounts.extend(conf_mounts);
    mounts.extend([
        json!({"name": "goosefs-mounts", "mountPath": format!("{HOME}/mounts"), "readOnly": true}),
        json!({"name": "goosefs-root", "mountPath": "/underFSStorage"}),
        json!({"name": "goosefs-socket", "mountPath": format!("{HOME}/socket")}),
    ]);
    let mut written = vec![format!("{HOME}/socket")];
    for (number, level) in given.levels().iter().enumerate() {
        for folder in folders(given, number, level)? {
            written.push(folder.path.clone());
            volumes.push(volume(level, &folder.volume, &folder.path));
            mounts.push(json!({"name": folder.volume, "mountPath": folder.path}));
        }
    }
    let written: Vec<&str> = written.iter().map(String::as_str).collect();
    let owner = run_as::gives(given, &mounts, &written, own.resources.as_ref());
    let mut command = vec!["/entrypoint.sh".to_owned(), "worker".to_owned()];
    command.push("-Dgoosefs.worker.hostname=$(POD_IP)".to_owned());
    command.extend(definitions(&own.properties));
    let fields = json!({
        "command": command,
        "env": environment(&own.env),
        "ports": [
            {"name": "rpc", "containerPort": given.ports.worker_rpc, "protocol": "TCP"},
            {"name": "web", "containerPort": given.ports.worker_web, "protocol": "TCP"},
        ],
        "resources": own.resources,
        "volumeMounts": mounts,
    });
    let container = container(given, ROLE, None, given.ports.worker_web, fields);
    let mut selector = json!(own.node_selector);
    selector[given.names.worker_label()] = json!("true");
    let pod = spec(
        given,
        &own.image_pull_secrets,
        json!({
            "nodeSelector": selector,
            "tolerations": tolerations(given, own),
            "terminationGracePeriodSeconds": 30,
            "securityContext": run_as::security(given.runtime.spec.run_as.as_ref()),
            "initContainers": owner.into_iter().collect::<Vec<_>>(),
            "containers": [container],
            "volumes": volumes,
        }),
    );
    Ok(object(
        given,
        "apps/v1",
        "DaemonSet",
        &given.names.workers(),
        without_nothing(json!({
            "spec": {
                "updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1}},
                "selector": {"matchLabels": given.names.selector(ROLE)},
                "template": template(given, ROLE, own.pod_metadata.as_ref(), &own.annotations, pod),
            }
        })),
    ))
}

/// The volume of a tier's folder.
fn volume(level: &crate::crd::Level, name: &str, path: &str) -> Value {
    let source = level.volume_source.as_ref();
    match level.volume_type {
        VolumeType::HostPath => {
            json!({"name": name, "hostPath": {"path": path, "type": "DirectoryOrCreate"}})
        }
        VolumeType::EmptyDir => {
            let memory =
                (level.mediumtype == crate::crd::MediumType::MEM).then(|| json!({"medium": "Memory"}));
            let given = source.and_then(|source| source.empty_dir.as_ref()).map(|source| json!(source));
            json!({"name": name, "emptyDir": given.or(memory).unwrap_or_else(|| json!({}))})
        }
        VolumeType::Ephemeral => {
            json!({"name": name, "ephemeral": source.and_then(|source| source.ephemeral.as_ref())})
        }
    }
}
