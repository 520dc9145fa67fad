# Every event that the controller writes and no other theme shows: what it takes, and what it prints. Sourced by `run`.

prove_events() {
    events_of_what_is_wrong
    events_of_masters
    events_of_replacing
    events_of_the_end
}

events_of_what_is_wrong() {
    step "events of what is wrong"
    make GooseFSRuntime told 'replicas: 1' "$TIER" 'master: {replicas: 3}'
    event "a runtime without a Dataset" told '^Warning DatasetNotFound there is no Dataset told in namespace default yet'
    make Dataset told 'mounts: [{mountPoint: "https://mirror.test/apache/hbase/stable/", name: a}, {mountPoint: "https://mirror.test/apache/", path: /a}]'
    event "two mounts at one path" told '^Warning InvalidSpec spec.mounts\[1\]: another mount is shown at /a already'
    equals "its phase is Failed" Failed "$(status dataset told phase)"
    kubectl patch dataset told --type=merge -p "{\"spec\":{\"mounts\":[{\"mountPoint\":\"https://mirror.test/apache/hbase/stable/\",\"name\":\"a\"}]}}" >/dev/null
    becomes_ready told
    event "a Dataset that can be used" told '^Normal DatasetBound '
    event "a leader" told '^Normal LeaderElected told-master-[0-2]:26000 leads'
    event "masters, workers and FUSE" told '^Normal MastersReady 3 of 3 masters are ready'
    event "workers" told '^Normal WorkersReady 1 of 1 workers are ready'
    event "FUSE" told '^Normal FusesReady 1 of 1 FUSE pods are ready'
    kubectl patch dataset told --type=merge -p \
        '{"spec":{"mounts":[{"mountPoint":"https://mirror.test/apache/hbase/stable/","name":"a"},{"mountPoint":"https://nobody.test/x/","name":"b"}]}}' >/dev/null
    event "a mount that cannot be made" told '^Warning MountFailed mount /b: .*nobody.test'
    event "the Dataset is being changed" told '^Normal DatasetUpdating from Bound'
    kubectl patch dataset told --type=merge -p '{"spec":{"mounts":[{"mountPoint":"https://mirror.test/apache/hbase/stable/","name":"a"}]}}' >/dev/null
    event "mounts as they shall be" told '^Normal MountsAsWanted no more: mount /b'
    local before
    before=$(pods told master; pods told worker; pods told fuse)
    kubectl patch goosefsruntime told --type=merge -p '{"spec":{"properties":{"goosefs.tset":"1"}}}' >/dev/null
    event "a property that no pod would start with" told '^Warning InvalidSpec spec.properties: property goosefs.tset is not known'
    equals "no pod was given it" "$before" "$(pods told master; pods told worker; pods told fuse)"
    kubectl patch goosefsruntime told --type=merge -p '{"spec":{"properties":{"goosefs.tset":null}}}' >/dev/null
    eventually 30 "without it all is well" says '^True' condition goosefsruntime told MasterInitialized
}

events_of_masters() {
    step "events of masters"
    kubectl delete pod told-master-0 --force --grace-period=0 >/dev/null 2>&1
    event "a master that is away" told '^Warning MastersPartialReady 2 of 3 masters are ready'
    eventually 60 "it comes back" phases_are told 'Ready Ready Ready'
    lose_pods told-master-0 told-master-1
    event "no quorum" told '^Warning QuorumLost no master leads'
    event "and no way to one" told '^Warning JournalLost of 3 journals only told-master-2 is left'
    event "masters that serve nobody" told '^Warning MastersNotReady no master leads'
    kubectl annotate goosefsruntime told goosefs.data.fluid.io/force-new-cluster=told-master-2 >/dev/null
    event "the order repairs this too" told '^Normal NewClusterForced '
    eventually 90 "the runtime is Ready again" phases_are told 'Ready Ready Ready'
    kubectl delete pod -l release=told,role=goosefs-worker --force --grace-period=0 >/dev/null 2>&1
    event "no worker" told '^Warning WorkersNotReady 0 of 1 workers are ready'
    kubectl delete pod -l release=told,role=goosefs-fuse --force --grace-period=0 >/dev/null 2>&1
    event "no FUSE" told '^Warning FusesNotReady 0 of 1 FUSE pods are ready'
    eventually 60 "all come back" phases_are told 'Ready Ready Ready'
}

events_of_replacing() {
    step "events of pods that are made anew"
    use told user "$IDLE"
    change_properties told 1
    event "a master" told '^Normal MasterReplaced told-master-[0-2] is made anew' 120
    event "FUSE" told '^Normal FuseReplaced told-fuse-[a-z0-9]+ is made anew' 120
    eventually 120 "all pods have the change" have_the_change told
    eventually 120 "all are Ready" phases_are told 'Ready Ready Ready'
    kubectl patch goosefsruntime told --type=merge -p '{"spec":{"fuse":{"cleanPolicy":"OnFuseChanged"}}}' >/dev/null
    change_properties told 2
    event "FUSE that is not" told '^Warning FuseNotReplaced .* fuse.cleanPolicy is OnFuseChanged' 120
    kubectl delete pod user --wait=true >/dev/null
    kubectl patch goosefsruntime told --type=merge -p '{"spec":{"master":{"replicas":1}}}' >/dev/null
    eventually 120 "one master" pods_are_ready told master 1
    change_properties told 3
    event "the only journal" told '^Warning MasterNotReplaced told-master-0 has the only copy of the journal'
}

# lose_pods POD...: all at once, with what only they had. Deleting alone takes one after the other, and while the first
# comes back the last one may still run.
lose_pods() {
    local pids
    pids=($(first_processes "${@/#/default/}"))
    [ "${#pids[@]}" = "$#" ] || failed "a process of each of $*" "${pids[*]}"
    kubectl delete pod "$@" --force --grace-period=0 >/dev/null 2>&1
    kill -KILL "${pids[@]}" 2>/dev/null || true
}

change_properties() {
    kubectl patch goosefsruntime "$1" --type=merge -p "{\"spec\":{\"properties\":{\"test.number\":\"$2\"}}}" >/dev/null
}

# have_the_change NAME: all pods are made from the newest properties.
have_the_change() {
    local mark='metadata.annotations.goosefs\.data\.fluid\.io/config' wanted seen
    wanted=$(kubectl get statefulset "$1-master" -o "jsonpath={.spec.template.$mark}")
    seen=$(kubectl get pod -l "app=goosefs,release=$1" -o "jsonpath={range .items[*]}{.$mark}{\"\n\"}{end}" | sort -u)
    echo "$seen; wanted is $wanted"
    [ "$seen" = "$wanted" ]
}

# A node that is only a name: what is left on it cannot be seen to.
events_of_the_end() {
    step "events of the end"
    printf 'apiVersion: v1\nkind: Node\nmetadata: {name: ghost, labels: {fluid.io/s-goosefs-default-told: "leaving"}}\nspec: {unschedulable: true}\n' \
        >"$K8S_RUN/ghost.yaml"
    kubectl create -f "$K8S_RUN/ghost.yaml" >/dev/null
    kubectl patch goosefsruntime told --type=merge -p '{"spec":{"cleanCachePolicy":{"gracePeriodSeconds":1}}}' >/dev/null
    use told user "$IDLE"
    kubectl delete dataset told --wait=false >/dev/null
    event "a Dataset in use" told '^Warning ErrorDeleteDataset the volume is in use by user'
    kubectl delete pod user --wait=true >/dev/null
    event "a node that is not there" told '^Warning CacheNotCleaned folders of the cache may be left on ghost' 120
    eventually 60 "told goes" is_gone told
    kubectl delete node ghost >/dev/null
    local number
    for number in $(seq "$K8S_NODES"); do check_node_is_clean "$number"; done
}
