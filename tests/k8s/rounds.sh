# Nothing breaks a reader: pods read all the while a part is killed, by SIGKILL and by deleting its pod; one of them has
# users of its own. Sourced by `run`.
#
#   K8S_ROUNDS   how often each part is killed in each way, 1 by default

ROUNDS=$K8S/rounds
ROUNDS_FILES=10
ROUNDS_BYTES=$((32 << 20))

# Files whose every word says where it is.
make_rounds_tree() {
    local folder=$K8S_RUN/mirror/rounds
    mkdir -p "$folder"
    perl -e 'my ($folder, $files, $bytes) = @ARGV;
        for my $n (0 .. $files - 1) {
            open(my $out, ">", sprintf("%s/file-%02d", $folder, $n)) or die;
            for (my $at = 0; $at < $bytes / 8; $at += 8192) { print $out pack("Q>*", map { ($n << 40) | $_ } $at .. $at + 8191) }
        }' "$folder" "$ROUNDS_FILES" "$ROUNDS_BYTES"
}

# Pods of a part: all of them, or that on the reader's node.
rounds_pods() {
    case $1 in
        leader) kubectl get goosefsruntime rounds -o 'jsonpath={.status.leader}' | sed 's/:.*//; s#^#default/#' ;;
        worker) on_readers_node default "release=rounds,role=goosefs-worker" ;;
        fuse) on_readers_node default "release=rounds,role=goosefs-fuse" ;;
        csi) on_readers_node fluid-system "app=csi-nodeplugin-fluid" ;;
        fuse+csi) rounds_pods fuse; rounds_pods csi ;;
    esac
}

on_readers_node() {
    kubectl get pod -n "$1" -l "$2" --field-selector "spec.nodeName=$READERS_NODE" \
        -o 'jsonpath={range .items[*]}{.metadata.namespace}/{.metadata.name}{"\n"}{end}'
}

# SIGKILL for the processes of all containers of these pods, at once.
kill_pods() {
    local pids
    pids=($(first_processes "$@"))
    [ "${#pids[@]}" -gt 0 ] || failed "a process of $*" "there is none"
    kill -KILL "${pids[@]}"
}

node_number() {
    local number
    for number in $(seq "$K8S_NODES"); do [ "$(node_name "$number")" != "$1" ] || echo "$number"; done
}

container_ids() {
    kubectl get pod -n "${1%/*}" "${1#*/}" -o 'jsonpath={range .status.containerStatuses[*]}{.containerID}{"\n"}{end}'
}

# first_processes NAMESPACE/POD...: of all their containers.
first_processes() {
    local pod
    for pod in "$@"; do
        container_pids "$(node_number "$(kubectl get pod -n "${pod%/*}" "${pod#*/}" -o 'jsonpath={.spec.nodeName}')")" "$pod"
    done
}

# The first processes of a pod's containers, as containerd on its node knows them.
container_pids() {
    local ids
    ids=$(container_ids "$2")
    "$K8S_CLUSTER/on-node" "$1" ctr -a "$CONTAINERD" -n k8s.io task ls |
        awk -v ids="$(echo $ids | sed 's#containerd://##g')" 'BEGIN {split(ids, all, " "); for (i in all) want[all[i]]} $1 in want && $3 == "RUNNING" {print $2}'
}

# All that there shall be is there, and nothing is about to end.
rounds_are_whole() {
    local seen
    seen=$(kubectl get pod -n default -l 'app=goosefs,release=rounds' --no-headers; kubectl get pod -n fluid-system -l app=csi-nodeplugin-fluid --no-headers)
    echo "$seen"
    [ "$(awk '{split($2, ready, "/")} $3 == "Running" && ready[1] == ready[2] {count++} END {print count + 0}' <<<"$seen")" = 12 ] &&
        [ "$(wc -l <<<"$seen")" = 12 ]
}

kill_round() {
    local part=$1 way=$2 patience=90 pods pod
    pods=$(rounds_pods "$part")
    [ -n "$pods" ] || failed "a pod of $part" "there is none"
    ROUND_PODS=$pods
    ROUND_CONTAINERS=$(for pod in $pods; do container_ids "$pod"; done)
    if [ "$way" = SIGKILL ]; then
        kill_pods $pods
        # kubelet waits up to five minutes before it starts what was killed again and again.
        patience=330
    else
        for pod in $pods; do kubectl delete pod -n "${pod%/*}" "${pod#*/}" --wait=false >/dev/null; done
    fi
    eventually_quiet "$patience" "$part is back after $way" containers_were_replaced
    eventually_quiet 90 "all is whole after $way of $part" rounds_are_whole
    check_errors "while $part is ended by $way"
}

check_errors() {
    local errors reader
    for reader in "${READERS[@]}"; do
        errors=$(kubectl exec "$reader" -- bash -c 'if [ -e /report/errors ]; then tail -20 /report/errors; fi')
        [ -z "$errors" ] || failed "no error of $reader $1" "$errors"
    done
}

# A second reader on the node of the first, whose root is an ordinary user of the node.
add_reader_with_own_users() {
    if ! has_own_users; then
        echo "SKIPPED: a pod with hostUsers: false reads nothing here; the nodes' containerd cannot make one" >&2
        return
    fi
    sed "s/^spec:/&\n  nodeName: $READERS_NODE/" "$ROUNDS/own_users.yaml" | kubectl create -f - >/dev/null
    eventually 60 "a pod with users of its own reads" says ' 1/1 ' kubectl get pod rounds-own-users --no-headers
    matches "its root is not the node's" ' +0 +[1-9][0-9]* +65536' "$(kubectl exec rounds-own-users -- cat /proc/self/uid_map)"
    READERS+=(rounds-own-users)
}

end_readers() {
    local reader who seen
    for reader in "${READERS[@]}"; do kubectl exec "$reader" -- touch /report/stop; done
    for reader in "${READERS[@]}"; do
        eventually 60 "all that $reader began ends" kubectl exec "$reader" -- test -e /report/ended
        for who in held open whole list; do
            seen=$(kubectl exec "$reader" -- cat "/report/$who")
            passed "$reader, $who: operations, the longest in ms and when it ended: $seen"
        done
        seen=$(kubectl exec "$reader" -- awk '{print $2}' /report/open)
        [ "$seen" -lt 10000 ] || failed "a new open of $reader works within 10 s" "$seen ms"
        passed "a new open of $reader works within 10 s: $seen ms at most"
    done
    check_errors "at the end"
}

# Before anything is whole again, all that was killed must have gone: until kubelet sees it, a pod says that it is ready.
containers_were_replaced() {
    local pod id
    for pod in $ROUND_PODS; do
        for id in $(container_ids "$pod" 2>/dev/null); do
            ! grep -qF "$id" <<<"$ROUND_CONTAINERS" || return 1
        done
    done
}

eventually_quiet() { eventually "$@" >/dev/null; }

rounds() {
    local rounds=${K8S_ROUNDS:-1} round part way
    step "nothing breaks a reader: $rounds rounds"
    make_rounds_tree
    kubectl create configmap rounds-reader --from-file="$ROUNDS/reader.pl" >/dev/null
    kubectl create -f "$ROUNDS/objects.yaml" >/dev/null
    eventually 90 "a pod reads more than twice what the cache holds" says ' 1/1 ' kubectl get pod rounds-reader --no-headers
    READERS_NODE=$(kubectl get pod rounds-reader -o 'jsonpath={.spec.nodeName}')
    eventually 60 "all parts run" rounds_are_whole
    READERS=(rounds-reader)
    add_reader_with_own_users
    # SIGKILL again and again lets kubelet wait longer each time; a new pod begins at once.
    for round in $(seq "$rounds"); do
        for part in leader worker fuse csi fuse+csi; do
            for way in SIGKILL delete; do kill_round "$part" "$way"; done
            passed "round $round: $part killed and deleted until $(date -u +%T), no reader noticed"
        done
    done
    upgrade_image
    change_a_property
    end_readers
    check_handed_out
    check_given_up
    kubectl delete pod "${READERS[@]}" --wait=true >/dev/null
    kubectl delete dataset rounds --wait=false >/dev/null
    kubectl delete configmap rounds-reader >/dev/null
    eventually 120 "no object of the runtime is left" nothing_of_the_runtime
    for round in 1 2 3; do check_node_is_clean "$round"; done
}
