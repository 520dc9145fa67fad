# The control plane: its network (a bridge without a way out), etcd, apiserver, controllers, scheduler, names. Sourced by `up`.

make_network() {
    ip netns add "$K8S_NETWORK"
    inside ip link set lo up
    inside ip link add bridge type bridge
    inside ip addr add "$BRIDGE_ADDRESS/24" dev bridge
    inside ip addr add "$MIRROR_ADDRESS/24" dev bridge
    inside ip addr add "$BUCKET_ADDRESS/24" dev bridge
    inside ip link set bridge up
    inside sysctl -qw net.ipv4.ip_forward=1
}

start_etcd() {
    # A test's cluster need not survive a power cut.
    serve etcd ip netns exec "$K8S_NETWORK" etcd --data-dir "$K8S_RUN/etcd" --unsafe-no-fsync \
        --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 \
        --listen-peer-urls http://127.0.0.1:2380
}

start_apiserver() {
    local keys=$K8S_RUN/keys
    # No kube-proxy runs here: --enable-aggregator-routing has webhooks called at their pods' addresses.
    serve apiserver ip netns exec "$K8S_NETWORK" "$K8S_BIN/kube-apiserver" \
        --etcd-servers=http://127.0.0.1:2379 --service-cluster-ip-range="$SERVICES" \
        --secure-port=6443 --advertise-address="$BRIDGE_ADDRESS" \
        --tls-cert-file="$keys/apiserver.crt" --tls-private-key-file="$keys/apiserver.key" --client-ca-file="$keys/authority.crt" \
        --kubelet-client-certificate="$keys/admin.crt" --kubelet-client-key="$keys/admin.key" \
        --kubelet-preferred-address-types=InternalIP \
        --service-account-key-file="$keys/accounts.pub" --service-account-signing-key-file="$keys/accounts.key" \
        --service-account-issuer=https://kubernetes.default.svc \
        --authorization-mode=Node,RBAC --allow-privileged=true --enable-aggregator-routing=true
    wait_until 60 kubectl get --raw /readyz
}

start_controllers() {
    serve controller-manager ip netns exec "$K8S_NETWORK" "$K8S_BIN/kube-controller-manager" \
        --kubeconfig="$K8S_RUN/admin.conf" --leader-elect=false --use-service-account-credentials=true \
        --service-account-private-key-file="$K8S_RUN/keys/accounts.key" --root-ca-file="$K8S_RUN/keys/authority.crt" \
        --cluster-signing-cert-file="$K8S_RUN/keys/authority.crt" --cluster-signing-key-file="$K8S_RUN/keys/authority.key"
    serve scheduler ip netns exec "$K8S_NETWORK" "$K8S_BIN/kube-scheduler" --kubeconfig="$K8S_RUN/admin.conf" --leader-elect=false
}

start_names() {
    cat >"$K8S_RUN/Corefile" <<COREFILE
cluster.local in-addr.arpa {
    bind $BRIDGE_ADDRESS
    errors
    kubernetes {
        kubeconfig $K8S_RUN/admin.conf context
        pods insecure
    }
    cache 1
}
test {
    bind $BRIDGE_ADDRESS
    hosts {
        $MIRROR_ADDRESS $MIRROR_NAME
        $BUCKET_ADDRESS $BUCKET_NAME
    }
}
. {
    bind $BRIDGE_ADDRESS
    # There is no world outside: say so at once, else resolvers wait for it.
    template ANY ANY {
        rcode NXDOMAIN
    }
}
COREFILE
    serve coredns ip netns exec "$K8S_NETWORK" "$K8S_BIN/coredns" -conf "$K8S_RUN/Corefile"
}
