# Workers from 3 to 1 to 3: files that only the cache has survive, and a worker that left leaves nothing behind. Sourced by
# `run`.

prove_workers() {
    step "workers 3 to 1 to 3 with files that only the cache has"
    make Dataset scale "$MIRROR" 'accessModes: [ReadWriteMany]'
    make GooseFSRuntime scale 'replicas: 3' "$TIER" 'master: {replicas: 1}' "$WRITABLE"
    becomes_ready scale
    eventually 60 "three workers are ready" pods_are_ready scale worker 3
    write_unpersisted
    equals "before, all three workers have some of them" 3 "$(holders | wc -l)"
    local before
    before=$(sums_in_cache)
    kubectl scale goosefsruntime scale --replicas=1 >/dev/null
    eventually 120 "3 workers become 1" pods_are_ready scale worker 1
    event "that is told" scale '^Normal WorkersScaledIn '
    equals "the files that only the cache has are whole" "$before" "$(sums_in_cache)"
    eventually 60 "nothing is left on the nodes that lost their worker" cache_folders_are 1
    local left
    left=$(kubectl get node -l "$(worker_label scale)" -o name | wc -l)
    equals "one node has the worker's label" 1 "$left"
    kubectl scale goosefsruntime scale --replicas=3 >/dev/null
    eventually 60 "1 worker becomes 3" pods_are_ready scale worker 3
    event "that is told" scale '^Normal WorkersScaledOut '
    equals "the files are whole with three again" "$before" "$(sums_in_cache)"
    nowhere_to_go
    take_away scale
}

worker_label() { echo "fluid.io/s-goosefs-default-$1=true"; }

write_unpersisted() {
    in_master scale bash -c 'mkdir /tmp/u && for i in $(seq 30); do head -c $((i * 40009)) /dev/urandom >/tmp/u/$i; done' ||
        failed "files to write" ""
    local seen
    seen=$(in_master scale goosefs fs copyFromLocal /tmp/u /u 2>&1) || failed "copyFromLocal" "$seen"
    contains "thirty files are in the cache alone" "30" "$(in_master scale goosefs fs ls /u | grep -c NOT_PERSISTED)"
}

# Which workers have blocks of them.
holders() {
    in_master scale bash -c 'for i in $(seq 30); do goosefs fs location /u/$i; done' | grep -oE '[0-9]+(\.[0-9]+){3}' | sort -u
}

# Asked of masters and workers, not of the kernel's cache.
sums_in_cache() {
    in_master scale bash -c 'rm -rf /tmp/back && goosefs fs copyToLocal /u /tmp/back >/dev/null && cd /tmp/back && find . -type f -exec sha256sum {} +' | sort
}

cache_folders_are() {
    local number found=''
    for number in $(seq "$K8S_NODES"); do
        found+=$(ls -d "$(node_folder "$number")/mnt/disk1/default/scale" 2>/dev/null || true)
        found+=$'\n'
    done
    echo "$found"
    [ "$(grep -c . <<<"$found")" = "$1" ]
}

# The last worker has nowhere to leave its files, so it stays.
nowhere_to_go() {
    kubectl scale goosefsruntime scale --replicas=0 >/dev/null
    event "a worker whose files nobody can take stays, and says so" scale '^Warning WorkerNotDrained .* files are nowhere else yet; there is no other worker'
    local ready
    ready=$(ready_pods scale worker)
    [ "$ready" -ge 1 ] || failed "a worker stays" "$ready are ready"
    kubectl scale goosefsruntime scale --replicas=3 >/dev/null
    eventually 60 "three workers again" pods_are_ready scale worker 3
}
