//! What pods of all parts have in common.

use super::{Given, HOME, Object, ports, run_as};
use crate::crd::{PodMetadata, Version};
use goosefs_core::config::Standing;
use k8s_openapi::api::core::v1::{LocalObjectReference, Pod};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// `Pending`, `Running`, `Succeeded`, `Failed`.
pub(crate) fn phase_of(pod: &Pod) -> Option<&str> {
    pod.status.as_ref()?.phase.as_deref()
}

/// Gives a pod a role of its own: it is no part of `app=goosefs`, whose pods are counted and waited for.
pub(super) fn set_role(pod: &mut Object, role: &str) {
    merge(&mut pod.0["metadata"]["labels"], json!({"app": role, "role": role}));
}

/// `image:tag` and the pull policy of a part.
pub(super) fn image(given: &Given<'_>, own: Option<&Version>) -> (String, String) {
    let default = Version::default();
    let version = given.runtime.spec.goosefs_version.as_ref().unwrap_or(&default);
    let own = own.unwrap_or(&default);
    let name = own.image.as_ref().or(version.image.as_ref());
    let tag = own.image_tag.as_ref().or(version.image_tag.as_ref());
    let image = match (name, tag) {
        (Some(name), Some(tag)) => format!("{name}:{tag}"),
        (Some(name), None) => name.clone(),
        (None, _) => given.image.to_owned(),
    };
    let policy = own.image_pull_policy.as_ref().or(version.image_pull_policy.as_ref());
    (image, policy.cloned().unwrap_or_else(|| "IfNotPresent".to_owned()))
}

/// The container of a part: its image and probes of its web port, and the fields of `more`.
pub(super) fn container(
    given: &Given<'_>,
    role: &str,
    own: Option<&Version>,
    web: u16,
    more: Value,
) -> Value {
    let (image, policy) = image(given, own);
    let mut all = json!({
        "name": role,
        "image": image,
        "imagePullPolicy": policy,
        "startupProbe": probe("/healthz", web, 2, 150),
        "livenessProbe": probe("/healthz", web, 10, 6),
        "readinessProbe": probe("/readyz", web, 2, 2),
    });
    merge(&mut all, more);
    all
}

/// The template of a part's pods; it changes with the configuration, so that pods are replaced then.
pub(super) fn template(
    given: &Given<'_>,
    role: &str,
    own: Option<&PodMetadata>,
    annotations: &BTreeMap<String, String>,
    pod: Value,
) -> Value {
    let mut metadata = metadata(given, role, own, annotations);
    if pod["initContainers"].is_array() {
        // Else kubectl says with every command which one it has taken.
        metadata["annotations"]["kubectl.kubernetes.io/default-container"] = json!(role);
    }
    json!({"metadata": metadata, "spec": pod})
}

/// Labels and annotations of pods: the user's, then ours.
fn metadata(
    given: &Given<'_>,
    role: &str,
    own: Option<&PodMetadata>,
    annotations: &BTreeMap<String, String>,
) -> Value {
    let (mut labels, mut notes) = (BTreeMap::new(), annotations.clone());
    for metadata in given.runtime.spec.pod_metadata.iter().chain(own) {
        labels.extend(metadata.labels.clone());
        notes.extend(metadata.annotations.clone());
    }
    let mut labels = json!(labels);
    merge(&mut labels, given.names.labels());
    merge(&mut labels, json!({"role": role}));
    let mut notes = json!(notes);
    merge(&mut notes, json!({"goosefs.data.fluid.io/config": given.config_mark}));
    json!({"labels": labels, "annotations": notes})
}

/// Adds the fields of `more`, which win.
pub(super) fn merge(object: &mut Value, more: Value) {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
}

/// Environment: the user's variables, then where the pod is.
pub(super) fn environment(own: &BTreeMap<String, String>) -> Value {
    let from = |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"apiVersion": "v1", "fieldPath": path}}});
    let mut all = vec![
        from("POD_NAME", "metadata.name"),
        from("POD_NAMESPACE", "metadata.namespace"),
        from("POD_IP", "status.podIP"),
        from("NODE_NAME", "spec.nodeName"),
        json!({"name": "GOOSEFS_HOME", "value": HOME}),
    ];
    let taken = ["POD_NAME", "POD_NAMESPACE", "POD_IP", "NODE_NAME", "GOOSEFS_HOME"];
    let own = own.iter().filter(|(name, _)| !taken.contains(&name.as_str()));
    all.extend(own.map(|(name, value)| json!({"name": name, "value": value})));
    Value::Array(all)
}

/// `-Dkey=value` of properties that a part has for itself. Those that mean nothing here, as old objects have, would be
/// refused on a command line.
pub(super) fn definitions(own: &BTreeMap<String, String>) -> Vec<String> {
    own.iter()
        .filter(|(key, _)| Standing::of(key) != Standing::MeansNothing)
        .map(|(key, value)| format!("-D{key}={value}"))
        .collect()
}

/// A probe of the web port.
fn probe(path: &str, port: u16, period: u32, failures: u32) -> Value {
    json!({
        "httpGet": {"path": path, "port": port, "scheme": "HTTP"},
        "periodSeconds": period, "timeoutSeconds": 3, "failureThreshold": failures, "successThreshold": 1,
    })
}

/// The volume with the properties, and where it and single files of it are mounted.
pub(super) fn config(given: &Given<'_>) -> (Value, Vec<Value>) {
    let name = "goosefs-conf";
    let mut mounts = vec![json!({"name": name, "mountPath": format!("{HOME}/conf"), "readOnly": true})];
    mounts.extend(run_as::file_mounts(given.runtime, name));
    (json!({"name": name, "configMap": {"name": given.names.config()}}), mounts)
}

/// The user's volumes of the runtime that the part mounts.
pub(super) fn user_volumes(
    given: &Given<'_>,
    mounts: &[k8s_openapi::api::core::v1::VolumeMount],
) -> (Vec<Value>, Vec<Value>) {
    let wanted =
        |volume: &&k8s_openapi::api::core::v1::Volume| mounts.iter().any(|mount| mount.name == volume.name);
    let volumes = given.runtime.spec.volumes.iter().filter(wanted).map(|volume| json!(volume)).collect();
    (volumes, mounts.iter().map(|mount| json!(mount)).collect())
}

/// The fields of a pod that all parts have.
pub(super) fn spec(given: &Given<'_>, secrets: &[LocalObjectReference], more: Value) -> Value {
    let mut all = json!({
        "enableServiceLinks": false,
        "automountServiceAccountToken": false,
        "dnsPolicy": "ClusterFirst",
        "restartPolicy": "Always",
    });
    let secrets: Vec<Value> =
        given.runtime.spec.image_pull_secrets.iter().chain(secrets).map(|secret| json!(secret)).collect();
    if !secrets.is_empty() {
        merge(&mut all, json!({"imagePullSecrets": secrets}));
    }
    if ports::on_nodes(given.runtime) {
        merge(&mut all, json!({"hostNetwork": true, "dnsPolicy": "ClusterFirstWithHostNet"}));
    }
    merge(&mut all, more);
    without_nothing(all)
}

/// Without fields that are null or empty: server-side apply would own them.
pub(super) fn without_nothing(value: Value) -> Value {
    let is_nothing = |value: &Value| match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    match value {
        Value::Object(fields) => {
            let kept = fields.into_iter().map(|(key, value)| (key, without_nothing(value)));
            Value::Object(kept.filter(|(_, value)| !is_nothing(value)).collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(without_nothing).collect()),
        other => other,
    }
}
