# Journals that are lost. On folders that go with their pods: all at once, and the cluster begins anew. On claims: two of
# three, and nothing is done before a person says so. Sourced by `run`.

prove_journals() {
    all_folders_lost
    two_claims_lost
}

all_folders_lost() {
    step "all journals lost at once"
    make Dataset lost "$MIRROR" 'accessModes: [ReadWriteMany]'
    make GooseFSRuntime lost 'replicas: 1' "$TIER" 'master: {replicas: 3}' "$WRITABLE"
    becomes_ready lost
    matches "without a default StorageClass JournalDurable is False" 'False EmptyDir there is no default StorageClass' \
        "$(condition goosefsruntime lost JournalDurable)"
    equals "the first epoch" 1 "$(status goosefsruntime lost epoch)"
    use lost reader "$IDLE"
    kubectl exec reader -- bash -c 'echo old >/data/x && cat /data/hbase/CHANGES.md | sha256sum' >"$K8S_RUN/before"
    contains "the old epoch has a file of its own" x "$(in_master lost goosefs fs ls /)"
    # The storage's file is replaced: what the old epoch has cached of it is stale now.
    head -c 65536 /dev/urandom >"$K8S_RUN/mirror/apache/hbase/stable/CHANGES.md"
    kubectl delete pod -l release=lost,role=goosefs-master --force --grace-period=0 >/dev/null 2>&1
    event "that is told" lost '^Warning JournalLost all 3 journals of epoch 1 are lost: the cluster begins anew in epoch 2'
    eventually 90 "a master leads in epoch 2" says '^2$' status goosefsruntime lost epoch
    eventually 90 "the runtime is Ready again" phases_are lost 'Ready Ready Ready'
    eventually 30 "the Dataset is Bound again" says '^Bound$' status dataset lost phase
    eventually 30 "the condition says since when" says '^False ClusterGoesOn a master leads in epoch 2$' \
        condition goosefsruntime lost JournalLost
    contains "the Dataset's mount was made again by itself" "hbase" "$(in_master lost goosefs fs ls /)"
    refuses "the file of the old epoch is gone" "not exist" in_master lost goosefs fs cat /x
    equals "no stale bytes of the old epoch" "$(sha256sum <"$K8S_RUN/mirror/apache/hbase/stable/CHANGES.md")" \
        "$(in_master lost goosefs fs cat /hbase/CHANGES.md | sha256sum)"
    eventually 60 "and a pod that was there all the time reads them too" says \
        "$(sha256sum <"$K8S_RUN/mirror/apache/hbase/stable/CHANGES.md")" \
        kubectl exec reader -- bash -c 'timeout 20 sha256sum </data/hbase/CHANGES.md'
    kubectl delete pod reader --wait=true >/dev/null
    take_away lost
}

# Volumes that the script makes: folders of nodes, which outlive pods.
make_storage_class() {
    local number i
    {
        printf 'apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: folders, annotations: {storageclass.kubernetes.io/is-default-class: "true"}}\n'
        printf 'provisioner: kubernetes.io/no-provisioner\nvolumeBindingMode: WaitForFirstConsumer\n'
        for number in $(seq "$K8S_NODES"); do
            mkdir -p "$(node_folder "$number")/mnt/journal"
            cat <<YAML
---
apiVersion: v1
kind: PersistentVolume
metadata: {name: journal-$number}
spec:
  capacity: {storage: 10Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: folders
  persistentVolumeReclaimPolicy: Retain
  hostPath: {path: /mnt/journal}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: ["$(node_name "$number")"]}]}]}}
YAML
        done
    } >"$K8S_RUN/class.yaml"
    kubectl create -f "$K8S_RUN/class.yaml" >/dev/null
}

take_storage_class_away() {
    kubectl delete -f "$K8S_RUN/class.yaml" >/dev/null
    local number
    for number in $(seq "$K8S_NODES"); do rm -rf "$(node_folder "$number")/mnt/journal"; done
}

# The number of the node that a pod runs on.
node_of() {
    local name number
    name=$(kubectl get pod "$1" -o 'jsonpath={.spec.nodeName}')
    for number in $(seq "$K8S_NODES"); do [ "$(node_name "$number")" != "$name" ] || echo "$number"; done
}

ORDER=goosefs.data.fluid.io/force-new-cluster

two_claims_lost() {
    step "two of three journals on claims wiped"
    make_storage_class
    make Dataset claims "$MIRROR" 'accessModes: [ReadWriteMany]'
    make GooseFSRuntime claims 'replicas: 1' "$TIER" 'master: {replicas: 3}' "$WRITABLE"
    becomes_ready claims
    matches "with a default StorageClass JournalDurable is True" 'True PVC folders is the default StorageClass' \
        "$(condition goosefsruntime claims JournalDurable)"
    equals "a claim for each master is bound" "Bound Bound Bound" \
        "$(echo $(kubectl get pvc -l release=claims,role=goosefs-master -o 'jsonpath={range .items[*]}{.status.phase}{"\n"}{end}'))"
    in_master claims goosefs fs mkdir /kept >/dev/null
    kubectl annotate goosefsruntime claims "$ORDER=claims-master-0" >/dev/null
    event "an order is refused while a master leads" claims '^Warning ForceNewClusterNotNeeded a master leads'
    eventually 10 "and taken away" says '^$' order
    all_pods_lost_keep_the_journal
    wipe_journals claims-master-1 claims-master-2
    event "that is told" claims "^Warning JournalLost of 3 journals only claims-master-0 is left, .*annotating with $ORDER=claims-master-0"
    eventually 30 "MASTER PHASE is NotReady" phases_are claims 'NotReady .*'
    contains "the condition says so too" "True MajorityLost" "$(condition goosefsruntime claims JournalLost)"
    kubectl annotate goosefsruntime claims "$ORDER=claims-master-1" >/dev/null
    event "a master without a journal is refused" claims '^Warning ForceNewClusterRefused claims-master-1 has no journal'
    eventually 10 "and the order taken away" says '^$' order
    kubectl annotate goosefsruntime claims "$ORDER=claims-master-0" >/dev/null
    event "the annotation repairs it" claims '^Normal NewClusterForced the cluster goes on in epoch [0-9]+'
    eventually 90 "the runtime is Ready again" phases_are claims 'Ready Ready Ready'
    eventually 60 "all three vote" votes_of claims 3
    contains "what was in the journal is there" "/kept" "$(in_master claims goosefs fs ls /)"
    equals "the order is gone" "" "$(order)"
    take_away claims
    take_storage_class_away
}

order() { kubectl get goosefsruntime claims -o "jsonpath={.metadata.annotations.goosefs\.data\.fluid\.io/force-new-cluster}"; }

votes_of() {
    local seen
    seen=$(in_master "$1" goosefs fsadmin journal quorum info -domain MASTER)
    echo "$seen"
    [ "$(grep -c '^AVAILABLE' <<<"$seen")" = "$2" ]
}

# The counterpart of `all_folders_lost`: nothing is lost with pods here.
all_pods_lost_keep_the_journal() {
    kubectl delete pod -l release=claims,role=goosefs-master --force --grace-period=0 >/dev/null 2>&1
    eventually 90 "all three pods made anew form the same cluster" in_master claims goosefs fs ls /kept
    equals "it is the same epoch" 1 "$(status goosefsruntime claims epoch)"
    eventually 60 "and Ready" phases_are claims 'Ready Ready Ready'
}

# Empties the journals of these masters at once: none of them runs, or is made anew, before all are empty. One by one, the
# second would have told the first what there was.
wipe_journals() {
    local pod pids
    for pod in "$@"; do eventually 60 "$pod runs" has_started "$pod"; done
    pids=($(first_processes "${@/#/default/}"))
    [ "${#pids[@]}" = "$#" ] || failed "a process of each of $*" "${pids[*]}"
    kill -STOP "${pids[@]}"
    for pod in "$@"; do rm -rf "$(node_folder "$(node_of "$pod")")"/mnt/journal/*; done
    kubectl delete pod "$@" --force --grace-period=0 >/dev/null 2>&1
    kill -KILL "${pids[@]}" 2>/dev/null || true
    for pod in "$@"; do eventually 60 "$pod runs again" has_started "$pod"; done
}

has_started() { says '^true$' kubectl get pod "$1" -o 'jsonpath={.status.containerStatuses[0].started}'; }
