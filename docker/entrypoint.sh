#!/bin/bash
# The image's entrypoint: turns what a pod asks for into one `goosefs` command and becomes it.
#
#   master | master-only [FLAG...]        the master whose number is the end of the pod's name
#   worker | worker-only [FLAG...]
#   fuse [MOUNTPOINT] [--fuse-opts=A,B]   MOUNTPOINT or else $MOUNT_POINT; the folder is made when nothing is mounted on it
#   job-master | job-worker | proxy       of Fluid up to 1.0.8; masters and workers do what these did
#   cache-runtime                         what $FLUID_RUNTIME_COMPONENT_TYPE says, of a CacheRuntime of Fluid from 1.1
#   anything else                         a command of goosefs: controller, csi, fs, fsadmin, version and so on
#
# Fluid's --no-format is taken and means nothing: a journal is never formatted here. Properties in GOOSEFS_*_JAVA_OPTS, with
# their ${VARIABLES} and the -X flags of a Java machine between them, are read by goosefs itself.
set -euo pipefail

# To the first process of a container a signal that it does not take is lost; a pod would end only after its whole grace.
trap 'exit 143' TERM INT

die() {
    echo "entrypoint: $*" >&2
    exit 2
}

# The arguments without those of Fluid that mean nothing, in the array `kept`.
keep() {
    kept=()
    local argument
    for argument in "$@"; do
        [ "$argument" = --no-format ] || kept+=("$argument")
    done
}

# In the host's network $HOSTNAME is the node's name; the pod's comes from the pod's description then.
ordinal() {
    local pod=${POD_NAME:-${GOOSEFS_MASTER_HOSTNAME:-${HOSTNAME:-}}}
    if [[ $pod =~ -([0-9]+)$ ]]; then echo "${BASH_REMATCH[1]}"; else echo 0; fi
}

master() {
    keep "$@"
    local argument
    for argument in "${kept[@]}"; do
        case $argument in --id | --id=*) exec goosefs master "${kept[@]}" ;; esac
    done
    exec goosefs master --id "$(ordinal)" "${kept[@]}"
}

worker() {
    keep "$@"
    exec goosefs worker "${kept[@]}"
}

# What mount options say in properties, in the array `kept`; what no property says is named.
options() {
    kept=()
    local option
    for option in ${1//,/ }; do
        case $option in
            allow_other) kept+=(-Dgoosefs.fuse.allow.other=true) ;;
            attr_timeout=*) kept+=("-Dgoosefs.fuse.attr.timeout=${option#*=}s") ;;
            rw | direct_io | kernel_cache | auto_cache | big_writes | entry_timeout=* | max_readahead=* | max_background=*) ;;
            *) echo "entrypoint: mount option $option is not known and was left out" >&2 ;;
        esac
    done
}

# A mount point whose daemon may be dead must not be looked at: the kernel would wait for it.
is_mounted() {
    local _ point
    while read -r _ _ _ _ point _; do
        [ "$(printf '%b' "$point")" != "$1" ] || return 0
    done </proc/self/mountinfo
    return 1
}

fuse() {
    local point='' argument given=() definitions=()
    for argument in "$@"; do
        case $argument in
            --fuse-opts=*)
                options "${argument#*=}"
                given+=("${kept[@]}")
                ;;
            -*) definitions+=("$argument") ;;
            *) point=$argument ;;
        esac
    done
    point=${point:-${MOUNT_POINT:-}}
    [ -n "$point" ] || die "fuse: where to mount is missing; give a folder, or set MOUNT_POINT"
    is_mounted "$point" || mkdir -p "$point"
    # The last -D of a name wins, and what was written out is meant more than a list of options.
    exec goosefs fuse "$point" "${given[@]}" "${definitions[@]}"
}

# Keys and mounts may change: masters and workers follow the files that are made from Fluid's.
follow() {
    while sleep 10; do goosefs cache-runtime configure || true; done
}

cache_runtime() {
    goosefs cache-runtime configure
    case ${FLUID_RUNTIME_COMPONENT_TYPE:-} in
        master)
            follow &
            master "$@"
            ;;
        worker)
            follow &
            worker "-Dgoosefs.worker.hostname=${POD_IP:-$(hostname -i)}" "$@"
            ;;
        client) fuse "${FLUID_RUNTIME_MOUNT_PATH:-}" "$@" ;;
        *) die "cache-runtime: FLUID_RUNTIME_COMPONENT_TYPE is \"${FLUID_RUNTIME_COMPONENT_TYPE:-}\", not master, worker or client" ;;
    esac
}

# A container that Fluid's charts want to run; there is nothing left for it to do but to end when it is told.
idle() {
    trap 'kill $(jobs -p) 2>/dev/null || true; exit 0' TERM INT
    echo "entrypoint: $1 has nothing to do: masters and workers do it" >&2
    while :; do
        sleep 3600 &
        wait $!
    done
}

[ $# -gt 0 ] || die "what to run is missing: master, worker, fuse, or a command of goosefs"
role=$1
shift
case $role in
    master | master-only) master "$@" ;;
    worker | worker-only) worker "$@" ;;
    fuse) fuse "$@" ;;
    cache-runtime) if [ $# -gt 0 ]; then exec goosefs cache-runtime "$@"; else cache_runtime; fi ;;
    job-master | job-worker | proxy) idle "$role" ;;
    *) exec goosefs "$role" "$@" ;;
esac
