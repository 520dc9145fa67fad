# The cluster's authority, and the certificates and kubeconfig files that it gives out. Sourced by `up`.

make_authority() {
    openssl req -x509 -newkey rsa:2048 -nodes -days 30 -subj "/CN=$2" \
        -keyout "$K8S_RUN/keys/$1.key" -out "$K8S_RUN/keys/$1.crt" 2>/dev/null
}

# make_certificate FILE SUBJECT NAMES [AUTHORITY]
make_certificate() {
    local file=$K8S_RUN/keys/$1 authority=$K8S_RUN/keys/${4:-authority}
    openssl req -newkey rsa:2048 -nodes -subj "$2" -keyout "$file.key" -out "$file.csr" 2>/dev/null
    openssl x509 -req -in "$file.csr" -CA "$authority.crt" -CAkey "$authority.key" -CAcreateserial -days 30 -out "$file.crt" \
        -extfile <(printf 'subjectAltName=%s\nextendedKeyUsage=serverAuth,clientAuth\n' "$3") 2>/dev/null
}

# The kubeconfig of a user whose certificate has the same name.
make_kubeconfig() {
    cat >"$K8S_RUN/$1.conf" <<YAML
apiVersion: v1
kind: Config
clusters:
- name: cluster
  cluster: {server: "https://$BRIDGE_ADDRESS:6443", certificate-authority: $K8S_RUN/keys/authority.crt}
users:
- name: user
  user: {client-certificate: $K8S_RUN/keys/$1.crt, client-key: $K8S_RUN/keys/$1.key}
contexts:
- name: context
  context: {cluster: cluster, user: user}
current-context: context
YAML
}

make_keys() {
    make_authority authority "cluster authority"
    local host=kubernetes.default.svc
    make_certificate apiserver /CN=kube-apiserver "DNS:$host,DNS:kubernetes.default,DNS:kubernetes,IP:$FIRST_SERVICE,IP:$BRIDGE_ADDRESS"
    make_certificate admin /O=system:masters/CN=admin DNS:admin
    make_kubeconfig admin
    # What service accounts' tokens are signed with.
    openssl genrsa -out "$K8S_RUN/keys/accounts.key" 2048 2>/dev/null
    openssl rsa -in "$K8S_RUN/keys/accounts.key" -pubout -out "$K8S_RUN/keys/accounts.pub" 2>/dev/null
}
