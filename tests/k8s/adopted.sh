# A runtime that Fluid 1.0.8 has made: its objects stay untouched until an annotation says otherwise. Sourced by `run`.

prove_adopted() {
    step "a runtime of Fluid's"
    make Dataset old "$MIRROR"
    as_fluid_leaves_it
    local before
    before=$(fluids_objects)
    make GooseFSRuntime old 'replicas: 1' "$TIER" 'master: {replicas: 1}'
    event "nothing is made, and an event says why" old '^Warning MadeByFluid StatefulSet old-master, StatefulSet old-worker, DaemonSet old-fuse were not made by this controller'
    contains "the condition says so too" "False MadeByFluid" "$(condition goosefsruntime old MasterInitialized)"
    equals "nothing of Fluid's was touched" "$before" "$(fluids_objects)"
    equals "nor the runtime" "" "$(kubectl get goosefsruntime old -o 'jsonpath={.metadata.finalizers}')"
    kubectl annotate goosefsruntime old goosefs.data.fluid.io/adopt=true >/dev/null
    event "with the annotation they are replaced" old '^Warning ReplacesFluid StatefulSet old-master, .*are being deleted'
    becomes_ready old 150
    equals "Fluid's StatefulSet of workers is gone" "" "$(kubectl get statefulset old-worker -o name --ignore-not-found)"
    equals "and its values" "" "$(kubectl get configmap old-goosefs-values -o name --ignore-not-found)"
    equals "no node has its capacities" "" "$(kubectl get node -o json | grep -o 's-h-goosefs-[^"]*' || true)"
    use old reader "$IDLE"
    contains "a pod reads" "CHANGES.md" "$(kubectl exec reader -- ls /data/hbase)"
    kubectl delete pod reader --wait=true >/dev/null
    take_away old
}

# Name and version of each: a change of any would show.
fluids_objects() {
    kubectl get statefulset,daemonset,service,configmap,pvc -l fluid.io/managed-by=fluid \
        -o 'jsonpath={range .items[*]}{.kind} {.metadata.name} {.metadata.uid} {.metadata.generation}{"\n"}{end}'
    kubectl get pv default-old -o 'jsonpath={.metadata.uid} {.metadata.resourceVersion}{"\n"}'
}

# What charts/goosefs of Fluid 1.0.8 and its controller make, with an image that does nothing.
as_fluid_leaves_it() {
    local labels='{app: goosefs, release: old, fluid.io/managed-by: fluid, fluid.io/dataset-id: default-old}' role
    {
        for role in master worker; do
            cat <<YAML
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: old-$role, labels: {app: goosefs, release: old, role: goosefs-$role, fluid.io/managed-by: fluid}}
spec:
  serviceName: old-$role
  replicas: 1
  selector: {matchLabels: {app: goosefs, release: old, role: goosefs-$role}}
  template:
    metadata: {labels: {app: goosefs, release: old, role: goosefs-$role}}
    spec:
      hostNetwork: true
      terminationGracePeriodSeconds: 1
      containers: [{name: goosefs-$role, image: "goosefs.test/pause:1", ports: [{name: rpc, containerPort: 2600${#role}}]}]
---
YAML
        done
        cat <<YAML
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: old-fuse, labels: {app: goosefs, release: old, role: goosefs-fuse, fluid.io/managed-by: fluid}}
spec:
  selector: {matchLabels: {app: goosefs, release: old, role: goosefs-fuse}}
  template:
    metadata: {labels: {app: goosefs, release: old, role: goosefs-fuse}}
    spec:
      nodeSelector: {fluid.io/f-default-old: "true"}
      containers: [{name: goosefs-fuse, image: "goosefs.test/pause:1"}]
---
apiVersion: v1
kind: Service
metadata: {name: old-master-0, labels: $labels}
spec:
  clusterIP: None
  selector: {app: goosefs, release: old, role: goosefs-master, statefulset.kubernetes.io/pod-name: old-master-0}
  ports: [{name: rpc, port: 20000}, {name: web, port: 20001}, {name: job-rpc, port: 20002}]
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old-config, labels: $labels}
data: {GOOSEFS_JAVA_OPTS: "-Dgoosefs.master.hostname=old-master-0"}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: old-goosefs-values, labels: $labels}
data: {data: "fullnameOverride: old"}
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: default-old, annotations: {CreatedBy: fluid}}
spec:
  accessModes: [ReadOnlyMany]
  capacity: {storage: 100Gi}
  storageClassName: fluid
  persistentVolumeReclaimPolicy: Retain
  claimRef: {namespace: default, name: old}
  csi:
    driver: fuse.csi.fluid.io
    volumeHandle: default-old
    volumeAttributes: {fluid_path: /runtime-mnt/goosefs/default/old/goosefs-fuse, mount_type: fuse.goosefs-fuse}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: old, labels: $labels}
spec:
  accessModes: [ReadOnlyMany]
  resources: {requests: {storage: 100Gi}}
  storageClassName: fluid
  volumeName: default-old
YAML
    } >"$K8S_RUN/fluid.yaml"
    kubectl create -f "$K8S_RUN/fluid.yaml" >/dev/null
    kubectl label node "$(node_name 1)" fluid.io/s-h-goosefs-t-default-old=2GiB fluid.io/s-goosefs-default-old=true >/dev/null
    eventually 60 "Fluid's pods run" pods_are_ready old master 1
}
