# What all scripts of the cluster agree on: versions, folders, names and addresses. Sourced, never run.
#
#   control plane   namespace $K8S_NETWORK: etcd, apiserver, controller-manager, scheduler, CoreDNS, the mirror, a bucket; no way out
#   node i          namespace $K8S_NETWORK-i: kubelet, containerd, kube-proxy and its pods, in cgroup /$K8S_NETWORK/node<i>

set -euo pipefail
# Debian keeps servers where users have no path to.
PATH=$PATH:/usr/sbin:/sbin

K8S_CLUSTER=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
K8S_VERSION=${K8S_VERSION:-1.36.3}
# Binaries and the base image: built once, kept outside the checkout.
K8S_CACHE=${K8S_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/goosefs/kube}
K8S_BIN=$K8S_CACHE/$K8S_VERSION
PATH=$K8S_BIN:$PATH
# Everything that lives while the cluster does. Short, because sockets lie below it.
K8S_RUN=${K8S_RUN:-/tmp/goosefs-k8s}
# Names the network namespaces and cgroups: with other K8S_RUN and K8S_NETWORK a second cluster runs beside the first.
K8S_NETWORK=${K8S_NETWORK:-goosefs-k8s}
K8S_NODES=${K8S_NODES:-3}

# The tutorial's nodes are 192.168.1.145, .146 and .147.
node_name() { echo "192.168.1.$((144 + $1))"; }
node_address() { echo "10.98.0.$((10 + $1))"; }
node_pods() { echo "10.97.$1"; }
node_folder() { echo "$K8S_RUN/node$1"; }
node_network() { echo "$K8S_NETWORK-$1"; }
node_cgroup() { echo "/$K8S_NETWORK/node$1"; }

BRIDGE_ADDRESS=10.98.0.1
MIRROR_ADDRESS=10.98.0.2
MIRROR_NAME=mirror.test
BUCKET_ADDRESS=10.98.0.3
BUCKET_NAME=bucket.test
SERVICES=10.43.0.0/16
FIRST_SERVICE=10.43.0.1
PODS=10.97.0.0/16
PAUSE_IMAGE=goosefs.test/pause:1
CONTAINERD=/run/containerd/containerd.sock

# Whether the nodes' containerd makes pods with users of their own.
has_own_users() { [ -x "$K8S_BIN/runc" ]; }

die() { echo "$(basename "$0"): $*" >&2; exit 1; }

# Runs a command in the control plane's network.
inside() { ip netns exec "$K8S_NETWORK" "$@"; }

kubectl() { inside "$K8S_BIN/kubectl" --kubeconfig "$K8S_RUN/admin.conf" "$@"; }

# Starts a server of the cluster by its name, in the background, with its log in a file of that name.
serve() {
    local name=$1
    shift
    setsid "$@" </dev/null >"$K8S_RUN/log/$name.log" 2>&1 &
    echo $! >"$K8S_RUN/pids/$name"
}

# Waits until a command succeeds, at most so many seconds.
wait_until() {
    local until=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$until" ] || die "timed out waiting for: $*"
        sleep 0.2
    done
}

# Which processes belong to the cluster: by network namespace, or by cgroup where a pod has a network of its own.
cluster_pids() {
    local network
    for network in "$K8S_NETWORK" $(seq -f "$K8S_NETWORK-%g" 9); do
        [ ! -e "/run/netns/$network" ] || ip netns pids "$network"
    done
    find /sys/fs/cgroup/*/"$K8S_NETWORK" -name cgroup.procs -exec cat {} + 2>/dev/null || true
}
