# What a pod has open outlives everything around it, and a mount that nobody takes over is told, and comes back. Sourced by
# `run`; the objects are those of rounds.sh.

in_reader() { kubectl exec rounds-reader -- "$@"; }

# A process in the pod that opens a file now and adds up its bytes when it is told to.
hold_open() {
    in_reader bash -c 'rm -f /report/go /report/sum; exec 3<"$1"; touch /report/holds
        until [ -e /report/go ]; do sleep 0.1; done; sha256sum <&3 >/report/sum.part; mv /report/sum.part /report/sum' hold "$1" &
    eventually_quiet 30 "a process of the pod has a file open" in_reader test -e /report/holds
}

# What is cached where, to be told beside a failure.
cached_at() { kubectl exec rounds-master-0 -- bash -c 'goosefs fs ls /rounds; goosefs fsadmin report capacity'; }

# What a FUSE pod counts.
fuse_metrics() {
    kubectl exec "$1" -- bash -c 'exec 3<>/dev/tcp/127.0.0.1/26005; printf "GET /metrics HTTP/1.0\r\n\r\n" >&3; cat <&3'
}

# Opens so far that the FUSE process of this pod left to the kernel.
opens_by_the_kernel() { fuse_metrics "$1" | awk '/^goosefs_fuse_opens_total.*"passthrough"/ {n = $2} END {print n + 0}'; }

is_cached() { [[ $(kubectl exec rounds-master-0 -- goosefs fs ls "$1") == *"$2% "* ]]; }

# The kernel reads a file that is wholly cached on its machine by a descriptor of the worker's: the bytes stay when the worker
# is another, and when they are evicted.
check_handed_out() {
    step "a file that was handed out"
    local file=/rounds/file-00 worker fuse expected seen
    expected=$(sha256sum "$K8S_RUN/mirror$file" | cut -d' ' -f1)
    worker=$(rounds_pods worker)
    fuse=$(rounds_pods fuse)
    seen=$(kubectl exec "${worker#*/}" -- goosefs fs load --local "$file" 2>&1) || failed "a file is loaded into one worker" "$seen"
    is_cached "$file" 100 || failed "the file is wholly cached" "$seen; $(cached_at)"
    seen=$(opens_by_the_kernel "${fuse#*/}")
    hold_open "/data$file"
    equals "the kernel has the file from the worker of its node" "$((seen + 1))" "$(opens_by_the_kernel "${fuse#*/}")"
    kill_pods "$fuse" $worker
    # Without FUSE and worker, and with whatever else is cached then.
    eventually 90 "FUSE and worker are back" rounds_are_whole
    kubectl exec rounds-master-0 -- goosefs fs free "$file" >/dev/null
    in_reader bash -c 'cat /data/rounds/* >/dev/null'
    eventually 60 "the file is evicted" is_cached "$file" 0
    in_reader touch /report/go
    eventually 60 "what was opened before is read to its end" in_reader test -e /report/sum
    contains "its bytes are right" "$expected" "$(in_reader cat /report/sum)"
    wait
}

# FUSE pods that were made with the patience that is asked for.
fuse_pods_wait() {
    local seen
    seen=$(kubectl get pod -l release=rounds,role=goosefs-fuse -o 'jsonpath={range .items[*]}{.spec.containers[0].command}{"\n"}{end}')
    echo "$seen"
    [ "$(grep -c "takeover.timeout=$1" <<<"$seen")" = 3 ] && rounds_are_whole
}

# Without an image to start from, no FUSE process comes.
check_given_up() {
    step "a mount that nobody takes over"
    local pod count
    kubectl patch goosefsruntime rounds --type=merge -p '{"spec": {"fuse": {"takeoverTimeout": "5s"}}}' >/dev/null
    eventually 120 "FUSE pods are made anew for another takeoverTimeout" fuse_pods_wait 5s
    kubectl patch goosefsruntime rounds --type=merge -p '{"spec": {"fuse": {"image": "goosefs.test/none", "imageTag": "none"}}}' >/dev/null
    pod=$(rounds_pods fuse)
    kubectl delete pod "${pod#*/}" --wait=false >/dev/null
    eventually 60 "an event tells that the mount was given up" says "FuseMountGivenUp.*within 5s" \
        kubectl get events -o 'jsonpath={range .items[*]}{.reason} {.message}{"\n"}{end}'
    kubectl patch goosefsruntime rounds --type=merge -p '{"spec": {"fuse": {"takeoverTimeout": null, "image": null, "imageTag": null}}}' >/dev/null
    eventually 120 "all FUSE pods are back" rounds_are_whole
    for pod in "${READERS[@]}"; do
        eventually 30 "the volume of $pod can be listed again" kubectl exec "$pod" -- ls /data/rounds
    done
    eventually 30 "an event tells that it was recovered" says FuseRecoverSucceed \
        kubectl get events -o 'jsonpath={range .items[*]}{.reason}{"\n"}{end}'
}
