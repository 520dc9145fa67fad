# Runtimes on the network of nodes: two beside one another, each with ports of its own. Sourced by `run`.

prove_network() {
    step "two runtimes on the network of nodes"
    local shared='placement: Shared'
    make Dataset one "$MIRROR" "$shared"
    make GooseFSRuntime one 'networkMode: HostNetwork' 'replicas: 3' "$TIER" 'master: {replicas: 3}'
    make Dataset two "$MIRROR" "$shared"
    make GooseFSRuntime two 'networkMode: HostNetwork' 'replicas: 3' "$TIER" \
        'master: {replicas: 1, ports: {rpc: 27000, web: 27001, embedded: 27002}}'
    becomes_ready one 120
    becomes_ready two 120
    local name addresses
    addresses=$(kubectl get node -o 'jsonpath={range .items[*]}{.status.addresses[?(@.type=="InternalIP")].address}{"\n"}{end}' | sort)
    for name in one two; do
        equals "workers of $name have the addresses of nodes" "$addresses" \
            "$(kubectl get pod -l "release=$name,role=goosefs-worker" -o 'jsonpath={range .items[*]}{.status.podIP}{"\n"}{end}' | sort)"
    done
    local first second
    first=$(status goosefsruntime one firstPort)
    second=$(status goosefsruntime two firstPort)
    equals "each has a row of ports" "26000 26010" "$(echo $(printf '%s\n' "$first" "$second" | sort))"
    matches "masterInfo of one has its ports" ".*one-master-0:$first.*" "$(in_master one goosefs fs masterInfo | tr '\n' ' ')"
    contains "ports that were asked for are taken" "two-master-0:27000" "$(in_master two goosefs fs masterInfo)"
    equals "the endpoint has them too" "goosefs://two-master-0.default:27000/" "$(status dataset two hcfs.endpoint)"
    for name in one two; do
        use "$name" "reader-$name" "$IDLE"
        equals "a pod reads $name" "$(sha256sum <"$K8S_RUN/mirror/apache/hbase/stable/RELEASENOTES.md")" \
            "$(kubectl exec "reader-$name" -- sha256sum /data/hbase/RELEASENOTES.md | sed 's/ .*/  -/')"
    done
    kubectl delete pod reader-one reader-two --wait=true >/dev/null
    kubectl delete dataset two --wait=false >/dev/null
    eventually 150 "two goes" is_gone two
    take_away one
}
