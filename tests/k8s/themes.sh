# What the themes of `run BINARY THEME...` make and ask alike: each has a Dataset and a runtime of its own, and ends with
# them gone. Sourced by `run`.

THEMES=(durable masters workers journals again network places adopted events secrets runas)
for theme in "${THEMES[@]}"; do source "$K8S/$theme.sh"; done

# prove_themes 'THEME...': those, or all.
prove_themes() {
    local theme begun
    [ "$1" != all ] || set -- "${THEMES[*]}"
    for theme in $1; do
        begun=$SECONDS
        "prove_$theme"
        passed "the theme $theme took $((SECONDS - begun)) s"
    done
}

# The mirror as a Dataset's only mount.
MIRROR='mounts: [{mountPoint: "https://mirror.test/apache/hbase/stable/", name: hbase}]'
# Files may be written beside it, and stay in the cache.
WRITABLE='properties: {goosefs.master.mount.table.root.readonly: "false", goosefs.user.file.writetype.default: MUST_CACHE}'
TIER='tieredstore: {levels: [{mediumtype: HDD, path: /mnt/disk1, quota: 256M}]}'

# make KIND NAME 'FIELDS OF SPEC, IN FLOW STYLE': creates a Dataset or GooseFSRuntime.
make() {
    local kind=$1 name=$2 seen
    shift 2
    printf 'apiVersion: data.fluid.io/v1alpha1\nkind: %s\nmetadata: {name: %s}\nspec:\n' "$kind" "$name" >"$K8S_RUN/$name.yaml"
    printf '  %s\n' "$@" >>"$K8S_RUN/$name.yaml"
    seen=$(kubectl create -f "$K8S_RUN/$name.yaml" 2>&1) || failed "create $kind $name" "$seen"
}

# status KIND NAME FIELD
status() { kubectl get "$1" "$2" -o "jsonpath={.status.$3}"; }

# condition KIND NAME TYPE: its status, reason and message.
condition() {
    kubectl get "$1" "$2" -o "jsonpath={range .status.conditions[?(@.type==\"$3\")]}{.status} {.reason} {.message}{end}"
}

# events NAME: of objects of that name, a line each, the oldest first.
events() {
    kubectl get events --field-selector "involvedObject.name=$1" --sort-by=.metadata.creationTimestamp \
        -o 'jsonpath={range .items[*]}{.type} {.reason} {.message}{"\n"}{end}'
}

# event WHAT NAME REGEX [SECONDS]: such an event comes within a minute; it is shown.
event() {
    eventually "${4:-60}" "$1" has_event "$2" "$3"
    events "$2" | grep -E "$3" | tail -1 | sed 's/^/      /'
}

has_event() {
    local seen
    seen=$(events "$1")
    echo "$seen"
    grep -qE "$2" <<<"$seen"
}

# phases_are NAME 'MASTER WORKER FUSE'
phases_are() { says "^$1 +${2// / +} " kubectl get goosefsruntime "$1" --no-headers; }

becomes_ready() {
    eventually "${2:-90}" "$1 is Ready" phases_are "$1" 'Ready Ready Ready'
    eventually 60 "$1 is Bound" says '^Bound$' status dataset "$1" phase
}

# pods NAME ROLE: name, uid and restarts of each pod.
pods() {
    kubectl get pod -l "release=$1,role=goosefs-$2" --sort-by=.metadata.name \
        -o 'jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {.status.containerStatuses[0].restartCount}{"\n"}{end}'
}

ready_pods() {
    kubectl get pod -l "release=$1,role=goosefs-$2" \
        -o 'jsonpath={range .items[*]}{.status.containerStatuses[0].ready}{"\n"}{end}' | grep -c true || true
}

# pods_are_ready NAME ROLE NUMBER: so many are ready, and there are no others.
pods_are_ready() {
    local all
    all=$(pods "$1" "$2" | grep -c . || true)
    echo "$(ready_pods "$1" "$2") of $all are ready, $3 are wanted"
    [ "$all" = "$3" ] && [ "$(ready_pods "$1" "$2")" = "$3" ]
}

# use NAME POD 'SCRIPT': a pod with the claim of NAME below /data, which runs a script.
use() {
    local file=$K8S_RUN/$2.yaml seen
    cat >"$file" <<YAML
apiVersion: v1
kind: Pod
metadata: {name: $2}
spec:
  terminationGracePeriodSeconds: 1
  ${4:-}
  containers:
    - name: user
      image: goosefs.test/goosefs:test
      command:
        - bash
        - -c
        - |
$(sed 's/^/          /' <<<"$3")
      volumeMounts: [{name: data, mountPath: /data, mountPropagation: HostToContainer}]
  volumes: [{name: data, persistentVolumeClaim: {claimName: $1}}]
YAML
    seen=$(kubectl create -f "$file" 2>&1) || failed "create pod $2" "$seen"
    eventually 60 "pod $2 runs" says '^Running$' kubectl get pod "$2" -o 'jsonpath={.status.phase}'
}

IDLE='trap exit TERM; while :; do sleep 1; done'

# Any pod of it, to type commands in.
in_master() {
    local name=$1
    shift
    kubectl exec "$name-master-0" -- "$@"
}

# Deletes a Dataset with its runtime, and waits until nothing is left of both.
take_away() {
    kubectl delete dataset "$1" --wait=false >/dev/null
    eventually 150 "$1 goes" is_gone "$1"
    local number
    for number in $(seq "$K8S_NODES"); do check_node_is_clean "$number"; done
}

is_gone() {
    local left
    left=$(kubectl get dataset,goosefsruntime -o name | grep "/$1\$" || true)
    left+=$(kubectl get pod,service,statefulset,daemonset,configmap,secret,pvc -o name | grep "/$1\(-\|\$\)" || true)
    echo "$left"
    [ -z "$left" ]
}
