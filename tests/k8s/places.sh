# Where workers and FUSE are: Datasets that share nodes and one that does not, FUSE where pods use the volume and no longer
# than that. Sourced by `run`.

prove_places() {
    step "two Datasets on one node"
    make Dataset left "$MIRROR" 'placement: Shared'
    make GooseFSRuntime left 'replicas: 3' "$TIER"
    becomes_ready left
    make Dataset right "$MIRROR" 'placement: Shared'
    make GooseFSRuntime right 'replicas: 3' "$TIER"
    becomes_ready right
    equals "each node has both" "2 2 2" "$(echo $(kubectl get node -o 'jsonpath={range .items[*]}{.metadata.labels.fluid\.io/dataset-num}{"\n"}{end}'))"
    make Dataset alone "$MIRROR" 'placement: Exclusive'
    make GooseFSRuntime alone 'replicas: 1' "$TIER"
    eventually 60 "a Dataset that shares with nobody finds no node" phases_are alone 'Ready NotReady Ready'
    equals "and has no worker" "" "$(pods alone worker)"
    contains "which is said" "0 of 1 workers are ready" "$(status goosefsruntime alone workerReason)"
    kubectl delete dataset left right --wait=false >/dev/null
    eventually 150 "left goes" is_gone left
    eventually 150 "right goes" is_gone right
    eventually 60 "then it gets one" phases_are alone 'Ready Ready Ready'
    make Dataset late "$MIRROR" 'placement: Shared'
    make GooseFSRuntime late 'replicas: 3' "$TIER"
    eventually 60 "one that would share gets the other nodes alone" phases_are late 'Ready PartialReady Ready'
    event "which is told" late '^(Normal|Warning) WorkersPartialReady [12] of 3 workers are ready'
    kubectl delete dataset late --wait=false >/dev/null
    eventually 150 "late goes" is_gone late
    take_away alone
    lazy
}

fuse_nodes() { kubectl get pod -l "release=$1,role=goosefs-fuse" -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort; }

lazy() {
    step "FUSE where it is used"
    make Dataset lazy "$MIRROR"
    make GooseFSRuntime lazy 'replicas: 1' "$TIER" 'fuse: {launchPolicy: Lazy, cleanPolicy: OnDemand}'
    becomes_ready lazy
    equals "no pod uses it, so there is no FUSE pod" "" "$(fuse_nodes lazy)"
    use lazy user "$IDLE"
    equals "FUSE is where the pod is" "$(kubectl get pod user -o 'jsonpath={.spec.nodeName}')" "$(fuse_nodes lazy)"
    contains "the pod reads" "CHANGES.md" "$(kubectl exec user -- ls /data/hbase)"
    kubectl delete pod user --wait=true >/dev/null
    eventually 60 "without a pod FUSE goes" says '^$' fuse_nodes lazy
    eventually 60 "and its mark" says '^$' kubectl get node -l fluid.io/f-default-lazy -o name
    take_away lazy
}
