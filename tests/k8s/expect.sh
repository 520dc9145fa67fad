# What steps check with. Every check prints a line; the first that fails ends the run, after all that there is to see was
# written below $K8S_SEEN. Sourced by `run`.

K8S_SEEN=${K8S_SEEN:-$K8S_CACHE/last-failure}

step() { echo "--- $*"; }
passed() { echo "ok  $*"; }

# Ends the run: what was to hold, and what was seen instead.
failed() {
    printf 'FAILED %s\n' "$1" >&2
    printf '%s\n' "${2:-}" | sed 's/^/    | /' >&2
    collect >/dev/null 2>&1 || true
    echo "what there was to see is in $K8S_SEEN" >&2
    exit 1
}

collect() {
    local pod space
    rm -rf "$K8S_SEEN"
    mkdir -p "$K8S_SEEN/logs"
    kubectl get all,dataset,goosefsruntime,pv,pvc,nodes -A -o wide >"$K8S_SEEN/objects.txt" 2>&1
    kubectl get events -A --sort-by=.lastTimestamp >"$K8S_SEEN/events.txt" 2>&1
    kubectl describe pods,dataset,goosefsruntime -A >"$K8S_SEEN/described.txt" 2>&1
    kubectl get dataset,goosefsruntime,configmap -A -o yaml >"$K8S_SEEN/yaml.txt" 2>&1
    kubectl get pods -A --no-headers | while read -r space pod _; do
        kubectl logs -n "$space" --all-containers --prefix "$pod" >"$K8S_SEEN/logs/$space.$pod.txt" 2>&1
        kubectl logs -n "$space" --all-containers --prefix --previous "$pod" >"$K8S_SEEN/logs/$space.$pod.before.txt" 2>/dev/null
    done
    cp "$K8S_RUN"/log/*.log "$K8S_SEEN/logs/"
    find "$K8S_SEEN" -empty -delete
}

# equals WHAT EXPECTED SEEN
equals() {
    [ "$2" = "$3" ] || failed "$1" "$(printf 'expected:\n%s\nseen:\n%s' "$2" "$3")"
    passed "$1"
}

# matches WHAT REGEX SEEN: the whole text, an extended regular expression of one or more lines.
matches() {
    [[ $3 =~ ^$2$ ]] || failed "$1" "$(printf 'expected:\n%s\nseen:\n%s' "$2" "$3")"
    passed "$1"
}

# contains WHAT PART SEEN
contains() {
    [[ $3 == *"$2"* ]] || failed "$1" "$(printf 'expected in it:\n%s\nseen:\n%s' "$2" "$3")"
    passed "$1"
}

# eventually SECONDS WHAT COMMAND...: the command succeeds before that. What it printed last is shown when it does not.
eventually() {
    local until=$((SECONDS + $1)) what=$2 seen
    shift 2
    until seen=$("$@" 2>&1); do
        [ "$SECONDS" -lt "$until" ] || failed "$what" "$seen"
        sleep 0.3
    done
    passed "$what"
}

# refuses WHAT PART COMMAND...: the command fails and says so.
refuses() {
    local what=$1 part=$2 seen
    shift 2
    if seen=$("$@" 2>&1); then failed "$what" "it was not refused: $seen"; fi
    contains "$what" "$part" "$seen"
}

helm() { inside env HELM_CACHE_HOME="$K8S_RUN/helm" "$K8S_BIN/helm" --kubeconfig "$K8S_RUN/admin.conf" "$@"; }
