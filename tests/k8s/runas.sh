# Masters and workers that run as a user who is not root: what they write is given to that user, and masters know it by its
# name. Sourced by `run`.

prove_runas() {
    step "masters and workers as user 1000"
    make_storage_class
    make Dataset mine "$MIRROR" 'accessModes: [ReadWriteMany]'
    make GooseFSRuntime mine 'replicas: 2' "$TIER" 'master: {replicas: 3}' "$WRITABLE" \
        'runAs: {uid: 1000, gid: 2000, user: ann, group: staff}'
    becomes_ready mine 120
    contains "journals are on claims" " PVC " "$(condition goosefsruntime mine JournalDurable)"
    runs_as_the_user
    reads_through_its_cache
    files_have_its_name
    operations_are_allowed
    starts_again
    take_away mine
    take_storage_class_away
    kubectl delete databackup mine-backup --ignore-not-found >/dev/null
    rm -rf "$K8S_RUN"/node?/mnt/mine
}

runs_as_the_user() {
    local pod
    for pod in $(pods mine master | cut -d' ' -f1) $(pods mine worker | cut -d' ' -f1); do
        equals "$pod runs as ann of staff" "1000 2000 ann staff 1000" \
            "$(kubectl exec "$pod" -- bash -c 'echo $(id -u) $(id -g) $(id -un) $(id -gn) $(stat -c %u /proc/1)')"
        equals "and has no right of root's" "CapEff: 0000000000000000" \
            "$(kubectl exec "$pod" -- grep CapEff /proc/1/status | tr '\t' ' ')"
    done
    equals "a journal is ann's" "1000:2000" "$(in_master mine stat -c %u:%g /journal)"
    equals "so are folders of tiers on nodes" "1000:2000 1000:2000" \
        "$(echo $(stat -c %u:%g "$K8S_RUN"/node?/mnt/disk1/default/mine))"
    equals "and of sockets" "1000:2000" "$(kubectl exec "$pod" -- stat -c %u:%g /opt/goosefs/socket)"
}

reads_through_its_cache() {
    use mine reader "$IDLE" 'securityContext: {runAsUser: 1000, runAsGroup: 2000}
  nodeSelector: {fluid.io/s-goosefs-default-mine: "true"}'
    equals "a pod reads a file" "$(sha256sum <"$K8S_RUN/mirror/apache/hbase/stable/RELEASENOTES.md")" \
        "$(kubectl exec reader -- bash -c 'sha256sum </data/hbase/RELEASENOTES.md')"
    contains "that is cached" "100% /hbase/RELEASENOTES.md" "$(in_master mine goosefs fs ls /hbase | tr -s ' ')"
    eventually 30 "its worker hands files to the kernel by root's FUSE process" handed_out
    equals "nothing in the cache is another's" "" "$(find "$K8S_RUN"/node?/mnt/disk1/default/mine ! -uid 1000)"
}

# The reader's opens that its node's FUSE process has counted as such.
handed_out() {
    local node fuse
    kubectl exec reader -- cat /data/hbase/RELEASENOTES.md >/dev/null
    node=$(kubectl get pod reader -o 'jsonpath={.spec.nodeName}')
    fuse=$(kubectl get pod -l release=mine,role=goosefs-fuse --field-selector "spec.nodeName=$node" -o name)
    says 'goosefs_fuse_opens_total\{way="passthrough"\} [1-9]' fuse_metrics "$fuse"
}

files_have_its_name() {
    local seen
    seen=$(in_master mine goosefs fs mkdir /typed 2>&1) || failed "ann makes a folder" "$seen"
    kubectl exec reader -- bash -c 'echo hello >/data/written' || failed "a pod of ann's writes a file" ""
    seen=$(in_master mine goosefs fs ls / | tr -s ' ')
    matches "both are ann's to masters" ".* ann staff .*/typed.*" "$(tr '\n' ' ' <<<"$seen")"
    matches "both are ann's to masters, also what was written in a mount" ".* ann staff [^/]*/written.*" "$(tr '\n' ' ' <<<"$seen")"
    equals "and 1000's in a mount" "1000:2000 1000:2000" "$(echo $(kubectl exec reader -- stat -c %u:%g /data/typed /data/written))"
    seen=$(kubectl exec "$(pods mine fuse | head -1 | cut -d' ' -f1)" -- goosefs fs mkdir /typed/elsewhere 2>&1) ||
        failed "commands in FUSE pods act as ann" "$seen"
}

# What only superusers may, the controllers must.
operations_are_allowed() {
    local node
    make DataLoad mine-load 'dataset: {name: mine}'
    eventually 60 "a DataLoad is Complete" says ' Complete ' kubectl get load mine-load --no-headers
    kubectl delete dataload mine-load >/dev/null
    backup mine-backup mine local:///mnt/mine/saved 'runAs: {uid: 3000, gid: 3000, user: bob, group: bob}'
    eventually 60 "a DataBackup of another user's is Complete" says ' Complete ' kubectl get backup mine-backup --no-headers
    equals "its files are that user's" "3000:3000" "$(stat -c %u:%g "$K8S_RUN"/node?/mnt/mine/saved/* | sort -u)"
    kubectl scale goosefsruntime mine --replicas=1 >/dev/null
    eventually 120 "2 workers become 1" pods_are_ready mine worker 1
    event "the worker was drained" mine '^Normal WorkersScaledIn '
    equals "what only the cache has is still there" "hello" "$(kubectl exec reader -- cat /data/written)"
    kubectl scale goosefsruntime mine --replicas=2 >/dev/null
    eventually 60 "1 worker becomes 2" pods_are_ready mine worker 2
}

# What was root's is given away again, what is the user's is not looked at.
starts_again() {
    local folder worker
    folder=$(ls -d "$K8S_RUN"/node?/mnt/disk1/default/mine | head -1)
    mkdir -m 700 "$folder/roots"
    chown -R 0:0 "$folder"
    kubectl delete pod -l release=mine,role=goosefs-worker --wait=true >/dev/null
    kubectl delete pod mine-master-0 --wait=true >/dev/null
    eventually 90 "all are Ready again" phases_are mine 'Ready Ready Ready'
    equals "what was root's is ann's" "" "$(find "$folder" ! -uid 1000)"
    equals "a pod reads what was cached" "hello" "$(kubectl exec reader -- cat /data/written)"
    kubectl delete pod reader --wait=true >/dev/null
}
