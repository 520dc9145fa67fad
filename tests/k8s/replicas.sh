# Two of each controller: the other one takes over when the one that holds the lease hangs. Sourced by `run`; needs the
# tutorial's runtime, and what rounds.sh knows of processes.

holder() { kubectl get lease -n fluid-system "$1.data.fluid.io" -o 'jsonpath={.spec.holderIdentity}'; }
holds() { [ "$(kubectl get $1 -o "jsonpath=$2" 2>&1)" = "$3" ]; }

controllers_are() {
    local name seen
    for name in dataset-controller goosefsruntime-controller; do
        seen=$(kubectl get pod -n fluid-system -l "control-plane=$name" --no-headers)
        echo "$seen"
        [ "$(awk '$2 == "1/1" && $3 == "Running"' <<<"$seen" | wc -l)" = "$1" ] && [ "$(wc -l <<<"$seen")" = "$1" ] || return 1
    done
}

# By pods that there are: those that an upgrade replaced give their leases back when they end.
leases_are_held() {
    kubectl get pod -n fluid-system "$(holder dataset)" -o name && kubectl get pod -n fluid-system "$(holder goosefs)" -o name
}

replicas() {
    local seen dataset runtime pids
    step "two of each controller"
    seen=$(helm upgrade "${RELEASE[@]}" --set dataset.replicas=2 --set runtime.goosefs.replicas=2 2>&1) || failed "helm upgrade" "$seen"
    eventually 60 "two of each controller are ready" controllers_are 2
    seen=$(kubectl get pod -n fluid-system -l control-plane -o 'jsonpath={range .items[*]}{.metadata.labels.control-plane} {.spec.nodeName}{"\n"}{end}' | sort -u | wc -l)
    equals "they are on different nodes" 4 "$seen"
    eventually 60 "one of each holds its lease" leases_are_held
    dataset=$(holder dataset)
    runtime=$(holder goosefs)
    pids=$(first_processes "fluid-system/$dataset" "fluid-system/$runtime")
    kill -STOP $pids
    # What only one that works does.
    kubectl delete configmap hbase-config >/dev/null
    sed 's/name: hbase/name: second/' "$K8S/dataset.yaml" | kubectl create -f - >/dev/null
    eventually 30 "the other dataset-controller works while the first hangs" holds dataset/second '{.status.phase}' NotBound
    eventually 30 "the other goosefsruntime-controller works while the first hangs" holds configmap/hbase-config '{.metadata.name}' hbase-config
    kill -CONT $pids
    [ "$(holder dataset)" != "$dataset" ] && [ "$(holder goosefs)" != "$runtime" ] || failed "the leases have other holders" "$dataset $runtime"
    passed "the leases have other holders"
    eventually 20 "the first ones notice, and begin anew without the lease" began_anew "$dataset" "$runtime"
    kubectl delete dataset second --wait=true >/dev/null
    seen=$(helm upgrade "${RELEASE[@]}" 2>&1) || failed "helm upgrade" "$seen"
    eventually 60 "one of each controller is left" controllers_are 1
}

# Each was started again, once, and is ready.
began_anew() {
    local pod
    for pod in "$@"; do
        holds "pod/$pod -n fluid-system" '{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}' "1 true" || return 1
    done
}
