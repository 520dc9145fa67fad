# Another build and other properties, while a pod reads (rounds.sh starts it). Sourced by `run`.

# The nine pods of the runtime, those whose names are to be seen first.
versions() {
    local pod
    for pod in $(kubectl get pod -l "app=goosefs,release=$1" -o name | sort); do
        echo "$(kubectl exec "${pod#pod/}" -- goosefs version)"
    done | sort | uniq -c | sed 's/^ *//'
}

nine_pods_say() {
    local seen
    seen=$(versions rounds)
    echo "$seen"
    [ "$seen" = "9 $1" ] && rounds_are_whole
}

uids() { kubectl get pod -l "app=goosefs,release=rounds" -o 'jsonpath={range .items[*]}{.metadata.uid}{"\n"}{end}' | sort; }

no_pod_of() {
    local left
    left=$(comm -12 <(echo "$1") <(uids))
    echo "$left"
    [ -z "$left" ] && rounds_are_whole
}

# Says again and again which master leads while it is the only one left of `pods` before. Who led when all began says
# nothing: a busy machine has elections.
say_last_leader() {
    local before=$1 left leader
    while sleep 0.5; do
        leader=$(kubectl get goosefsruntime rounds -o 'jsonpath={.status.leader}')
        left=$(comm -12 <(echo "$before") <(pods rounds master))
        [[ $left != "${leader%:*} "* || $left == *$'\n'* ]] || echo "${left%% *}"
    done
}

# How often the quorum was lost so far, and when last.
quorum_losses() {
    kubectl get events --field-selector reason=QuorumLost,involvedObject.name=rounds \
        -o 'jsonpath={range .items[*]}{.count} {.series.count} {.lastTimestamp} {.series.lastObservedTime}{"\n"}{end}'
}

upgrade_image() {
    local masters seen first losses watch
    losses=$(quorum_losses)
    first=$(kubectl exec rounds-master-0 -- goosefs version)
    equals "nine pods have the first build" "9 $first" "$(versions rounds)"
    masters=$(pods rounds master)
    say_last_leader "$masters" >"$K8S_RUN/last-leader" 2>/dev/null &
    watch=$!
    seen=$(helm upgrade "${RELEASE[@]}" --set image.tag=next 2>&1) || failed "helm upgrade to the next build" "$seen"
    eventually 240 "nine pods have the next build" nine_pods_say "$first+next"
    kill "$watch"
    wait "$watch" 2>/dev/null || true
    equals "the leader was the last of the masters" "$(tail -1 "$K8S_RUN/last-leader")" \
        "$(kubectl get pod -l release=rounds,role=goosefs-master --sort-by=.status.startTime -o name | tail -1 | sed s#pod/##)"
    eventually 60 "all of fluid-system has the next build" fluid_system_is_complete
    check_errors "while everything is upgraded"
    equals "no quorum was lost" "$losses" "$(quorum_losses)"
    seen=$(kubectl get events -o 'jsonpath={range .items[*]}{.reason} {.involvedObject.name}{"\n"}{end}')
    contains "an event tells that FUSE pods were replaced" "FuseReplaced rounds" "$seen"
}

change_a_property() {
    local before patch='{"spec": {"properties": {"goosefs.user.file.metadata.sync.interval": "1h"}}}'
    before=$(uids)
    kubectl patch goosefsruntime rounds --type=merge -p "$patch" >/dev/null
    eventually 240 "nine pods are made anew for a property" no_pod_of "$before"
    contains "pods have the property" 1h "$(kubectl exec rounds-master-0 -- goosefs getConf goosefs.user.file.metadata.sync.interval)"
    check_errors "while a property is changed"
}
