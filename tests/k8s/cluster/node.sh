# One node: a network namespace, a mount namespace and a cgroup of its own, with containerd, kube-proxy and kubelet. Sourced
# by `up`; the functions' argument is the node's number from 1.

lay_wire() {
    local network
    network=$(node_network "$1")
    ip netns add "$network"
    ip link add "node$1" netns "$K8S_NETWORK" type veth peer name eth0 netns "$network"
    inside ip link set "node$1" master bridge up
    inside ip route add "$(node_pods "$1").0/24" via "$(node_address "$1")"
    ip netns exec "$network" ip link set lo up
    ip netns exec "$network" ip addr add "$(node_address "$1")/24" dev eth0
    ip netns exec "$network" ip link set eth0 up
    ip netns exec "$network" ip route add default via "$BRIDGE_ADDRESS"
    ip netns exec "$network" sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0
}

# Version 1 of cgroups: a folder in every controller; those of cpuset begin without processors.
make_cgroup() {
    local controller folder file
    for controller in /sys/fs/cgroup/*/; do
        mkdir -p "$controller$(node_cgroup "$1")" 2>/dev/null || true
    done
    for folder in "/sys/fs/cgroup/cpuset/$K8S_NETWORK" "/sys/fs/cgroup/cpuset$(node_cgroup "$1")"; do
        [ -d "$folder" ] || continue
        for file in cpuset.cpus cpuset.mems; do cat "/sys/fs/cgroup/cpuset/$file" >"$folder/$file"; done
    done
}

configure_containerd() {
    local folder
    folder=$(node_folder "$1")
    cat >"$folder/cni/10-pods.conflist" <<JSON
{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [
    {
      "type": "bridge", "bridge": "pods", "isGateway": true, "ipMasq": false, "hairpinMode": true,
      "ipam": {
        "type": "host-local", "dataDir": "/run/cni-ipam",
        "ranges": [[{"subnet": "$(node_pods "$1").0/24"}]], "routes": [{"dst": "0.0.0.0/0"}]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
JSON
    # Without CAP_SYS_RESOURCE runc may not lower a score, and dies of it.
    cat >"$folder/containerd.toml" <<TOML
version = 2
root = "$folder/containerd"
state = "/run/containerd"
[grpc]
  address = "$CONTAINERD"
[cgroup]
  path = "$(node_cgroup "$1")/containerd"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "$PAUSE_IMAGE"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$folder/cni"
TOML
}

configure_kubelet() {
    local folder
    folder=$(node_folder "$1")
    : >"$K8S_RUN/resolv.conf"
    cat >"$folder/kubelet.yaml" <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: $K8S_RUN/keys/authority.crt}}
authorization: {mode: Webhook}
tlsCertFile: $K8S_RUN/keys/node$1.crt
tlsPrivateKeyFile: $K8S_RUN/keys/node$1.key
containerRuntimeEndpoint: unix://$CONTAINERD
cgroupDriver: cgroupfs
cgroupRoot: $(node_cgroup "$1")
failCgroupV1: false
failSwapOn: false
clusterDomain: cluster.local
clusterDNS: [$BRIDGE_ADDRESS]
resolvConf: $K8S_RUN/resolv.conf
evictionHard: {nodefs.available: 200Mi, imagefs.available: 200Mi, memory.available: 100Mi}
imageGCHighThresholdPercent: 100
YAML
    cat >"$folder/proxy.yaml" <<YAML
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: $K8S_RUN/admin.conf}
mode: iptables
clusterCIDR: $PODS
hostnameOverride: "$(node_name "$1")"
conntrack: {maxPerCore: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
metricsBindAddress: 127.0.0.1:10249
YAML
}

start_node() {
    local folder
    folder=$(node_folder "$1")
    mkdir -p "$folder"/{kubelet,pods,containers,runtime-mnt,mnt,containerd,cni}
    make_certificate "node$1" "/O=system:nodes/CN=system:node:$(node_name "$1")" "DNS:$(node_name "$1"),IP:$(node_address "$1")"
    make_kubeconfig "node$1"
    lay_wire "$1"
    make_cgroup "$1"
    configure_containerd "$1"
    configure_kubelet "$1"
    # `ip netns exec` would mount a /sys without cgroups.
    serve "node$1" nsenter --net="/run/netns/$(node_network "$1")" unshare --mount --propagation private \
        "$K8S_CLUSTER/node" "$1"
}

node_is_ready() {
    kubectl get node "$(node_name "$1")" -o 'jsonpath={.status.conditions[?(@.type=="Ready")].status}' | grep -qx True
}
