# A runtime deleted and created again under one Dataset; a namespace deleted while a pod uses what is in it. Sourced by `run`.

prove_again() {
    step "a runtime deleted and created again under one Dataset"
    make Dataset again "$MIRROR"
    make GooseFSRuntime again 'replicas: 1' "$TIER"
    becomes_ready again
    local first id
    first=$(kubectl get dataset again -o 'jsonpath={.metadata.uid}')
    id=$(status goosefsruntime again clusterId)
    kubectl delete goosefsruntime again --wait=false >/dev/null
    eventually 120 "the runtime goes" no_runtime again
    equals "the Dataset stays" "$first NotBound" "$(kubectl get dataset again -o 'jsonpath={.metadata.uid} {.status.phase}')"
    make GooseFSRuntime again 'replicas: 1' "$TIER"
    becomes_ready again
    [ "$(status goosefsruntime again clusterId)" != "$id" ] || failed "it is another cluster" "$id"
    passed "it is another cluster"
    use again reader "$IDLE"
    equals "a pod reads its bytes" "$(sha256sum <"$K8S_RUN/mirror/apache/hbase/stable/RELEASENOTES.md")" \
        "$(kubectl exec reader -- sha256sum /data/hbase/RELEASENOTES.md | sed 's/ .*/  -/')"
    kubectl delete goosefsruntime again --wait=false >/dev/null
    event "a runtime in use is not deleted, and an event names the pod" again '^Warning ErrorDeleteDataset .*reader'
    contains "the pod goes on reading" "CHANGES.md" "$(kubectl exec reader -- ls /data/hbase)"
    kubectl delete pod reader --wait=true >/dev/null
    eventually 120 "once the pod is gone the runtime goes" no_runtime again
    take_away again
    namespace_deleted
}

no_runtime() { [ -z "$(kubectl get goosefsruntime "$1" -o name --ignore-not-found)" ]; }

# Kubernetes ends all pods of the namespace first, those of the runtime too, and lets nothing be made in it any more: what
# cleans the nodes runs elsewhere.
namespace_deleted() {
    step "a namespace deleted while a pod uses its Dataset"
    local file=$K8S_RUN/namespace.yaml seen
    kubectl create namespace gone >/dev/null
    cat >"$file" <<YAML
apiVersion: data.fluid.io/v1alpha1
kind: Dataset
metadata: {name: gone, namespace: gone}
spec:
  $MIRROR
---
apiVersion: data.fluid.io/v1alpha1
kind: GooseFSRuntime
metadata: {name: gone, namespace: gone}
spec:
  replicas: 3
  $TIER
---
apiVersion: v1
kind: Pod
metadata: {name: slow, namespace: gone}
spec:
  terminationGracePeriodSeconds: 20
  containers:
    - name: user
      image: goosefs.test/goosefs:test
      # Reads until it is killed.
      command: [bash, -c, 'trap "" TERM; while :; do sha256sum /data/hbase/RELEASENOTES.md >/tmp/sum; sleep 0.2; done']
      volumeMounts: [{name: data, mountPath: /data, mountPropagation: HostToContainer}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: gone}}]
YAML
    kubectl create -f "$file" >/dev/null
    eventually 90 "a pod uses it" says '^Running$' kubectl get pod slow -n gone -o 'jsonpath={.status.phase}'
    eventually 20 "and has read" kubectl exec slow -n gone -- test -s /tmp/sum
    kubectl delete namespace gone --wait=false >/dev/null
    eventually 180 "the namespace goes" no_namespace
    equals "no pod is left that cleaned nodes" "" "$(kubectl get pod -n fluid-system -l app=goosefs-wipe -o name)"
    local number
    for number in $(seq "$K8S_NODES"); do check_node_is_clean "$number"; done
}

no_namespace() { [ -z "$(kubectl get namespace gone -o name --ignore-not-found)" ]; }
