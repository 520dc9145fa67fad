//! Masters: a StatefulSet, a Service for each so that they find one another before they are ready, a disruption budget.

use super::pods::{
    config, container, definitions, environment, spec, template, user_volumes, without_nothing,
};
use super::{Given, HOME, Object, object, run_as};
use crate::crd::Component;
use serde_json::{Value, json};

const ROLE: &str = "goosefs-master";

/// Where masters keep their journal.
pub(super) const JOURNAL: &str = "/journal";

/// What a claim for a journal asks for when nobody says.
const JOURNAL_SIZE: &str = "10Gi";

pub(super) fn objects(given: &Given<'_>) -> Vec<Object> {
    let mut all = vec![service(given, &given.names.masters(), None)];
    all.extend((0..given.master_pods).map(|slot| service(given, &given.names.master(slot), Some(slot))));
    all.push(disruption_budget(given));
    all.push(stateful_set(given));
    all
}

fn service(given: &Given<'_>, name: &str, slot: Option<usize>) -> Object {
    let mut selector = given.names.selector(ROLE);
    if let Some(slot) = slot {
        selector["statefulset.kubernetes.io/pod-name"] = json!(given.names.master(slot));
    }
    let port =
        |name: &str, port: u16| json!({"name": name, "port": port, "targetPort": port, "protocol": "TCP"});
    let mut all = object(
        given,
        "v1",
        "Service",
        name,
        json!({
            "spec": {
                "clusterIP": "None",
                "publishNotReadyAddresses": true,
                "selector": selector,
                "ports": [port("rpc", given.ports.master_rpc), port("web", given.ports.master_web), port("raft", given.ports.master_raft)],
            }
        }),
    );
    if slot.is_none() && given.runtime.spec.disable_prometheus != Some(true) {
        all.0["metadata"]["labels"]["monitor"] = json!("goosefs_runtime_metrics");
    }
    all
}

fn disruption_budget(given: &Given<'_>) -> Object {
    object(
        given,
        "policy/v1",
        "PodDisruptionBudget",
        &given.names.masters(),
        json!({
            "spec": {"maxUnavailable": 1, "selector": {"matchLabels": given.names.selector(ROLE)}}
        }),
    )
}

fn stateful_set(given: &Given<'_>) -> Object {
    let default = Component::default();
    let own = given.runtime.spec.master.as_ref().unwrap_or(&default);
    let (conf_volume, conf_mounts) = config(given);
    let (mut volumes, mut mounts) = user_volumes(given, &own.volume_mounts);
    volumes.extend([
        conf_volume,
        json!({"name": "goosefs-cluster", "configMap": {"name": given.names.cluster()}}),
        json!({"name": "goosefs-mounts", "secret": {"secretName": given.names.mounts()}}),
        json!({"name": "goosefs-root", "emptyDir": {}}),
    ]);
    mounts.extend(conf_mounts);
    mounts.extend([
        json!({"name": "goosefs-cluster", "mountPath": format!("{HOME}/cluster"), "readOnly": true}),
        json!({"name": "goosefs-mounts", "mountPath": format!("{HOME}/mounts"), "readOnly": true}),
        json!({"name": "goosefs-root", "mountPath": "/underFSStorage"}),
        json!({"name": "goosefs-journal", "mountPath": JOURNAL}),
    ]);
    let mut claims = Vec::new();
    if given.durable {
        claims.push(claim(own));
    } else {
        volumes.push(json!({"name": "goosefs-journal", "emptyDir": {}}));
    }
    let owner = run_as::gives(given, &mounts, &[JOURNAL], own.resources.as_ref());
    let mut command = vec!["/entrypoint.sh".to_owned(), "master".to_owned()];
    command.extend(definitions(&own.properties));
    let fields = json!({
        "command": command,
        "env": environment(&own.env),
        "ports": [
            {"name": "rpc", "containerPort": given.ports.master_rpc, "protocol": "TCP"},
            {"name": "web", "containerPort": given.ports.master_web, "protocol": "TCP"},
            {"name": "raft", "containerPort": given.ports.master_raft, "protocol": "TCP"},
        ],
        "resources": own.resources,
        "volumeMounts": mounts,
    });
    let container = container(given, ROLE, None, given.ports.master_web, fields);
    let apart = json!({
        "podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": 100, "podAffinityTerm": {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": given.names.selector(ROLE)}}},
        ]}
    });
    let pod = spec(
        given,
        &own.image_pull_secrets,
        json!({
            "affinity": apart,
            "nodeSelector": non_empty(json!(own.node_selector)),
            "tolerations": tolerations(given, own),
            "terminationGracePeriodSeconds": 30,
            "securityContext": run_as::security(given.runtime.spec.run_as.as_ref()),
            "initContainers": owner.into_iter().collect::<Vec<_>>(),
            "containers": [container],
            "volumes": volumes,
        }),
    );
    object(
        given,
        "apps/v1",
        "StatefulSet",
        &given.names.masters(),
        without_nothing(json!({
            "spec": {
                "replicas": given.master_pods,
                "serviceName": given.names.masters(),
                "podManagementPolicy": "Parallel",
                "updateStrategy": {"type": "OnDelete"},
                "selector": {"matchLabels": given.names.selector(ROLE)},
                "persistentVolumeClaimRetentionPolicy": {"whenDeleted": "Delete", "whenScaled": "Delete"},
                "template": template(given, ROLE, own.pod_metadata.as_ref(), &own.annotations, pod),
                "volumeClaimTemplates": claims,
            }
        })),
    )
}

fn claim(own: &Component) -> Value {
    let journal = own.journal.clone().unwrap_or_default();
    let size = journal.size.map_or_else(|| JOURNAL_SIZE.to_owned(), |size| size.0);
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "goosefs-journal"},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": journal.storage_class_name,
            "volumeMode": "Filesystem",
            "resources": {"requests": {"storage": size}},
        }
    })
}

/// Those of the Dataset, then the part's.
pub(super) fn tolerations(given: &Given<'_>, own: &Component) -> Value {
    let all = given.dataset.spec.tolerations.iter().chain(&own.tolerations);
    Value::Array(all.map(|toleration| json!(toleration)).collect())
}

pub(super) fn non_empty(map: Value) -> Value {
    if map.as_object().is_some_and(serde_json::Map::is_empty) { Value::Null } else { map }
}
