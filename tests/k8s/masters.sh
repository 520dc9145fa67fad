# Masters from 1 to 3 to 5 to 1 while an application writes: no acknowledged file is lost, no master that stays is started
# again. Sourced by `run`.

# Writes numbered files, and says which were acknowledged.
WRITER='trap exit TERM; mkdir -p /data/w; n=0
while :; do
    n=$((n + 1))
    if echo "file $n" >/data/w/$n; then echo $n >>/tmp/acknowledged; else echo $n >>/tmp/refused; sleep 0.1; fi
    sleep 0.02
done'

prove_masters() {
    step "masters 1 to 3 to 5 to 1 with a writer"
    make Dataset grow "$MIRROR" 'accessModes: [ReadWriteMany]'
    make GooseFSRuntime grow 'replicas: 1' "$TIER" 'master: {replicas: 1}' "$WRITABLE"
    becomes_ready grow
    use grow writer "$WRITER"
    eventually 30 "the writer writes" written_at_least 20
    masters_become 1 3
    masters_become 3 5
    check_endpoint 5
    masters_become 5 1
    check_endpoint 1
    check_written
    kubectl delete pod writer --wait=true >/dev/null
    take_away grow
}

written() { kubectl exec writer -- bash -c 'cat /tmp/acknowledged' | wc -l; }

written_at_least() {
    local seen
    seen=$(written)
    echo "$seen files"
    [ "$seen" -ge "$1" ]
}

# masters_become FROM TO: those that stay are neither restarted nor made anew, and the writer goes on.
masters_become() {
    local from=$1 to=$2 kept before after begun=$SECONDS number
    before=$(pods grow master)
    number=$(written)
    kubectl patch goosefsruntime grow --type=merge -p "{\"spec\":{\"master\":{\"replicas\":$to}}}" >/dev/null
    eventually 120 "$from masters become $to" pods_are_ready grow master "$to"
    eventually 60 "all $to vote and one leads" votes_are "$to"
    eventually 30 "MASTER PHASE is Ready with $to" phases_are grow 'Ready Ready Ready'
    passed "seconds from $from masters to $to: $((SECONDS - begun))"
    kept=$((from < to ? from : to))
    after=$(pods grow master)
    equals "the $kept masters that stay were not started again" "$(head -"$kept" <<<"$before")" "$(head -"$kept" <<<"$after")"
    eventually 20 "the writer goes on with $to masters" written_at_least $((number + 20))
}

votes_are() {
    local seen
    seen=$(in_master grow goosefs fsadmin journal quorum info -domain MASTER)
    echo "$seen"
    [ "$(grep -c '^AVAILABLE' <<<"$seen")" = "$1" ] && ! grep -q '^UNAVAILABLE' <<<"$seen"
}

check_endpoint() {
    local all
    all=$(seq -f 'grow-master-%g.default:26000' -s , 0 $(($1 - 1)))
    eventually 10 "the Dataset's endpoint has $1 masters" says "^goosefs://$all/\$" status dataset grow hcfs.endpoint
}

# What was acknowledged is there, with its bytes; asked of the masters, not of the kernel.
check_written() {
    local there lost
    kubectl exec writer -- bash -c 'cat /tmp/acknowledged' | sort >"$K8S_RUN/acknowledged"
    in_master grow goosefs fs ls /w | awk '{print $NF}' | sed 's#.*/##' | sort >"$K8S_RUN/there"
    there=$(wc -l <"$K8S_RUN/acknowledged")
    lost=$(comm -23 "$K8S_RUN/acknowledged" "$K8S_RUN/there")
    equals "of $there acknowledged files none is lost" "" "$lost"
    equals "a create that was refused" "" "$(kubectl exec writer -- bash -c 'cat /tmp/refused 2>/dev/null' || true)"
    equals "the bytes of all of them" "" "$(kubectl exec writer -- bash -c \
        'while read -r n; do [ "$(cat /data/w/$n)" = "file $n" ] || echo $n; done </tmp/acknowledged')"
}
