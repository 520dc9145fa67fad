# The tutorial, in its order; its mirror is the cluster's own. Sourced by `run`.

fluid_system_is_complete() {
    kubectl get pod -n fluid-system --no-headers | awk '
        {split($2, ready, "/"); print; if (ready[1] != ready[2] || $3 != "Running" || $4 != 0) waits = 1; count++}
        END {exit waits || count != 5}'
}

check_fluid_system() {
    eventually 60 "all pods of fluid-system run" fluid_system_is_complete
    local names
    names=$(kubectl get pod -n fluid-system --no-headers | awk '{print $1, $2, $3, $4}' | sort)
    matches "one dataset-controller, one goosefsruntime-controller, a csi pod for each node, nothing else" \
'csi-nodeplugin-fluid-[a-z0-9]{5} 2/2 Running 0
csi-nodeplugin-fluid-[a-z0-9]{5} 2/2 Running 0
csi-nodeplugin-fluid-[a-z0-9]{5} 2/2 Running 0
dataset-controller-[a-z0-9]+-[a-z0-9]{5} 1/1 Running 0
goosefsruntime-controller-[a-z0-9]+-[a-z0-9]{5} 1/1 Running 0' "$names"
    local nodes
    nodes=$(kubectl get pod -n fluid-system -l app=csi-nodeplugin-fluid -o 'jsonpath={range .items[*]}{.spec.nodeName}{"\n"}{end}' | sort -u | wc -l)
    equals "the csi pods are on different nodes" 3 "$nodes"
}

create_objects() {
    equals "kubectl create -f dataset.yaml" "dataset.data.fluid.io/hbase created" "$(kubectl create -f "$K8S/dataset.yaml" 2>&1)"
    equals "kubectl create -f runtime.yaml" "goosefsruntime.data.fluid.io/hbase created" "$(kubectl create -f "$K8S/runtime.yaml" 2>&1)"
}

pods_are() {
    local seen
    seen=$(kubectl get pod --no-headers 2>/dev/null | awk '{print $1, $2, $3}' | sort)
    echo "$seen"
    [[ $seen =~ ^$1$ ]]
}

NINE_PODS='hbase-fuse-[a-z0-9]{5} 1/1 Running
hbase-fuse-[a-z0-9]{5} 1/1 Running
hbase-fuse-[a-z0-9]{5} 1/1 Running
hbase-master-0 1/1 Running
hbase-master-1 1/1 Running
hbase-master-2 1/1 Running
hbase-worker-[a-z0-9]{5} 1/1 Running
hbase-worker-[a-z0-9]{5} 1/1 Running
hbase-worker-[a-z0-9]{5} 1/1 Running'

says() {
    local seen=$1
    shift
    local got
    got=$("$@")
    echo "$got"
    [[ $got =~ $seen ]]
}

check_pods() {
    eventually 60 "nine pods with the tutorial's names are 1/1 Running" pods_are "$NINE_PODS"
    passed "seconds from create to nine pods ready: $((SECONDS - CREATED))"
    eventually 10 "MASTER PHASE, WORKER PHASE and FUSE PHASE are Ready" says 'hbase +Ready +Ready +Ready +[0-9]+[ms]' \
        kubectl get goosefsruntime hbase --no-headers
    eventually 10 "the Dataset is Bound" says ' Bound ' kubectl get dataset hbase --no-headers
    kubectl create -f "$K8S/reader.yaml" >/dev/null
    eventually 30 "a pod lists the Dataset" says ' 1/1 ' kubectl get pod reader --no-headers
    local took=$((SECONDS - CREATED))
    [ "$took" -lt 60 ] || failed "from create to the first ls in under 60 s" "$took s"
    passed "from create to the first ls in a pod: $took s"
    equals "no pod was started again" "0 0 0 0 0 0 0 0 0 0" "$(echo $(kubectl get pod --no-headers | awk '{print $4}'))"
    check_columns
    check_reading
}

check_columns() {
    local size='[0-9]+\.[0-9]{2}(B|KiB|MiB|GiB)'
    matches "columns of the runtime" 'NAME +MASTER PHASE +WORKER PHASE +FUSE PHASE +AGE' \
        "$(kubectl get goosefsruntime hbase | head -1 | sed 's/ *$//')"
    matches "columns of the Dataset" 'NAME +UFS TOTAL SIZE +CACHED +CACHE CAPACITY +CACHED PERCENTAGE +PHASE +AGE' \
        "$(kubectl get dataset hbase | head -1 | sed 's/ *$//')"
    eventually 60 "the Dataset's size, capacity and phase" \
        says "^hbase +[0-9]+\.[0-9]{2}MiB +$size +6\.00GiB +[0-9]+\.[0-9]% +Bound +[0-9]+[ms]" kubectl get dataset hbase --no-headers
    contains "hcfs.endpoint has all masters" "goosefs://hbase-master-0.default:26000,hbase-master-1.default:26000,hbase-master-2.default:26000" \
        "$(kubectl get dataset hbase -o 'jsonpath={.status.hcfs.endpoint}')"
}

sums() { sort | sha256sum | cut -d' ' -f1; }

check_reading() {
    local mirror here
    mirror=$(cd "$K8S_RUN/mirror/apache/hbase/stable" && find . -type f -not -name '.*' -exec sha256sum {} + | sums)
    here=$(kubectl exec reader -- bash -c "cd /data/hbase && find . -type f -exec sha256sum {} +" | sums)
    equals "every file that a pod reads has the mirror's bytes" "$mirror" "$here"
    kubectl exec reader -- bash -c "cat /data/hbase/*.tar.gz >/dev/null"
    eventually 20 "what was read again came from the cache" \
        says '^([1-9][0-9]*\.[0-9]|0\.[1-9])%$' kubectl get dataset hbase -o 'jsonpath={.status.cacheStates.cacheHitRatio}'
    refuses "the volume is read-only" "Read-only file system" kubectl exec reader -- touch /data/hbase/new
}

# What a person sees who types it: on a terminal, in a shell in the pod.
typed() {
    printf 'goosefs fs masterInfo\nexit\n' |
        timeout 60 script -qfec "$K8S_CLUSTER/kubectl exec -ti hbase-master-0 -- bash" /dev/null | tr -d '\r'
}

check_masters() {
    local all='[hbase-master-0:26000, hbase-master-1:26000, hbase-master-2:26000]' first seen pod
    seen=$(typed)
    contains "masterInfo on a terminal names all masters" "All masters: $all" "$seen"
    contains "masterInfo on a terminal names the leader" "urrent leader master: hbase-master-" "$seen"
    first=$(kubectl exec hbase-master-0 -- goosefs fs masterInfo)
    [[ $first =~ urrent\ leader\ master:\ (hbase-master-[0-2]):26000 ]] || failed "one master leads" "$first"
    local leader=${BASH_REMATCH[1]}
    passed "one master leads: $leader"
    for pod in hbase-master-1 hbase-master-2; do
        equals "$pod says the same" "$first" "$(kubectl exec "$pod" -- goosefs fs masterInfo)"
    done
    seen=$(kubectl exec hbase-master-0 -- goosefs fsadmin journal quorum info -domain MASTER)
    matches "quorum info: one leader, three members" "Journal domain.: MASTER
Quorum size.: 3
Quorum leader.: $leader:26002

STATE +\\| PRIORITY +\\| SERVER ADDRESS
AVAILABLE +\\| 0 +\\| hbase-master-0:26002
AVAILABLE +\\| 0 +\\| hbase-master-1:26002
AVAILABLE +\\| 0 +\\| hbase-master-2:26002

ROLE +\\| SERVER ADDRESS
(LEADER|FOLLOWER) +\\| hbase-master-0:26002
(LEADER|FOLLOWER) +\\| hbase-master-1:26002
(LEADER|FOLLOWER) +\\| hbase-master-2:26002" "$seen"
    contains "quorum info: the leader's role" "LEADER      | $leader:26002" "$seen"
    equals "quorum info: two followers" 2 "$(grep -c '^FOLLOWER ' <<<"$seen")"
    check_control_key
}

check_control_key() {
    local worker seen
    worker=$(kubectl get pod -l release=hbase,role=goosefs-worker -o 'jsonpath={.items[0].metadata.name}')
    seen=$(kubectl exec hbase-master-1 -- goosefs fsadmin journal checkpoint 2>&1) || failed "masters are administered in their pods" "$seen"
    passed "masters are administered in their pods"
    refuses "elsewhere the name root is not enough" "takes the control key of the masters" \
        kubectl exec "$worker" -- goosefs fsadmin journal checkpoint
    equals "workers have the storages' settings alone" mounts.json "$(kubectl exec "$worker" -- ls /opt/goosefs/mounts)"
}

tutorial() {
    step "the tutorial"
    CREATED=$SECONDS
    create_objects
    check_pods
    check_masters
}
