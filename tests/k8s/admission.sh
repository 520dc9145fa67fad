# Pod admission: what labelled pods get, that a webhook which is away stops nobody, that its certificates change over.
# Sourced by `run`; needs the tutorial's Dataset.

WEBHOOK=fluid-pod-admission-webhook
INJECT='fuse.serverful.fluid.io/inject: "true"'
PREFERRED='{.spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution}'
REQUIRED='{.spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution}'
PROPAGATION='{.spec.containers[0].volumeMounts[0].mountPropagation}'

# application LABELS [CLAIM]: a pod with the labels `{a: "b", c: "d"}`, which uses the claim, hbase by default.
application() {
    cat >"$K8S_RUN/application.yaml" <<YAML
apiVersion: v1
kind: Pod
metadata: {name: application, labels: {$1}}
spec:
  terminationGracePeriodSeconds: 0
  containers:
    - name: application
      image: goosefs.test/goosefs:test
      command: [bash, -c, "ls /data/hbase && sleep 600"]
      volumeMounts: [{name: data, mountPath: /data}]
  volumes:
    - {name: data, ${2:-persistentVolumeClaim: {claimName: hbase\}}}
YAML
}

# would_be JSONPATH: that part of the application as it would be made.
would_be() { kubectl create --dry-run=server -f "$K8S_RUN/application.yaml" -o "jsonpath=$1" 2>&1; }

is_injected() { [ "$(would_be "$PROPAGATION")" = HostToContainer ]; }
is_plain() { [ -z "$(would_be "$PROPAGATION$PREFERRED$REQUIRED")" ]; }

admission() {
    local began=$SECONDS
    step "pod admission"
    application "$INJECT"
    eventually 20 "the webhook answers" is_injected
    check_injection
    check_certificates
    check_replicas
    check_webhook_down
    passed "seconds of pod admission: $((SECONDS - began))"
}

check_injection() {
    local cached='"key":"fluid.io/s-default-hbase","operator":"In","values":["true"]'
    matches "a labelled pod prefers nodes that cache" ".*$(quoted "$cached").*\"weight\":100.*" "$(would_be "$PREFERRED")"
    kubectl create -f "$K8S_RUN/application.yaml" >/dev/null
    eventually 20 "a labelled pod reads the Dataset" says '[a-z]' kubectl logs application
    equals "its mount is HostToContainer" HostToContainer "$(kubectl get pod application -o "jsonpath=$PROPAGATION")"
    kubectl delete pod application --wait=false >/dev/null
    application "$INJECT, fluid.io/dataset.hbase.sched: required"
    contains "sched: required is a required term" "$cached" "$(would_be "$REQUIRED")"
    equals "and no preference" "" "$(would_be "$PREFERRED")"
    application "$INJECT, fluid.io/dataset.hbas.sched: required"
    contains "sched of a Dataset that the pod has not is warned of" "Warning: label fluid.io/dataset.hbas.sched" \
        "$(kubectl create --dry-run=server -f "$K8S_RUN/application.yaml" 2>&1)"
    application "$INJECT, fluid.io/enable-injection: \"false\""
    is_plain || failed "a pod with the opt-out label stays as it is" "$(would_be '{.spec}')"
    passed "a pod with the opt-out label stays as it is"
    application 'app: "any"'
    is_plain || failed "a pod without the label stays as it is" "$(would_be '{.spec}')"
    passed "a pod without the label stays as it is"
    application "$INJECT" "emptyDir: {}"
    contains "a labelled pod without a Dataset prefers nodes without workers" \
        '"key":"fluid.io/dataset-num","operator":"DoesNotExist"' "$(would_be "$PREFERRED")"
    application "$INJECT"
    kubectl label node "$(node_name 2)" topology.kubernetes.io/zone=here >/dev/null
    eventually 5 "a labelled pod prefers the zones of workers" says 'zone","operator":"In","values":."here".*"weight":50' would_be "$PREFERRED"
    kubectl label node "$(node_name 2)" topology.kubernetes.io/zone- >/dev/null
}

# Text as a regular expression.
quoted() { sed 's/[][\\.*^$(){}?+|]/\\&/g' <<<"$1"; }

certificate() { kubectl get secret -n fluid-system "$WEBHOOK" -o 'jsonpath={.data.tls\.crt}'; }
has_other_certificate() { [ -n "$(certificate)" ] && [ "$(certificate)" != "$1" ]; }

check_certificates() {
    local before missed=0 tried=0
    before=$(certificate)
    kubectl annotate secret -n fluid-system "$WEBHOOK" goosefs.data.fluid.io/renew=now >/dev/null
    until has_other_certificate "$before"; do
        is_injected || missed=$((missed + 1))
        tried=$((tried + 1))
        [ "$tried" -lt 200 ] || failed "a certificate is renewed on request" "$before"
    done
    for _ in 1 2 3 4 5; do is_injected || missed=$((missed + 1)); done
    equals "a certificate is renewed on request, and none of $((tried + 5)) pods meanwhile was missed" 0 "$missed"
    equals "both authorities are trusted for a while" 2 "$(kubectl get mutatingwebhookconfiguration "$WEBHOOK" \
        -o 'jsonpath={.webhooks[0].clientConfig.caBundle}' | base64 -d | grep -c BEGIN)"
    before=$(certificate)
    kubectl patch secret -n fluid-system "$WEBHOOK" --type=merge -p '{"data": null}' >/dev/null
    eventually 20 "a Secret that was emptied gets a certificate again" has_other_certificate "$before"
    eventually 10 "the webhook answers with it" is_injected
}

controllers_ready() { [ "$(kubectl get deployment -n fluid-system dataset-controller -o 'jsonpath={.status.readyReplicas}')" = "$1" ]; }

check_replicas() {
    local holder missed=0
    kubectl scale -n fluid-system deployment dataset-controller --replicas=2 >/dev/null
    eventually 30 "a second dataset-controller is ready without the lease" controllers_ready 2
    holder=$(kubectl get lease -n fluid-system admission.data.fluid.io -o 'jsonpath={.spec.holderIdentity}')
    kubectl delete pod -n fluid-system "$holder" --wait=false >/dev/null
    for _ in $(seq 20); do is_injected || missed=$((missed + 1)); done
    equals "the other one answers while the first goes: of 20 pods none was missed" 0 "$missed"
}

controller_metrics() {
    local pod
    pod=$(kubectl get pod -n fluid-system -l control-plane=dataset-controller -o 'jsonpath={.items[0].metadata.name}')
    kubectl get --raw "/api/v1/namespaces/fluid-system/pods/$pod:8080/proxy/metrics"
}

no_controllers() { [ -z "$(kubectl get pod -n fluid-system -l control-plane=dataset-controller -o name)" ]; }

check_webhook_down() {
    kubectl scale -n fluid-system deployment dataset-controller --replicas=0 >/dev/null
    eventually 30 "the webhook is down" no_controllers
    kubectl create -f "$K8S_RUN/application.yaml" >/dev/null || failed "while the webhook is down pods are made" ""
    equals "while the webhook is down pods are made, as they are" "" "$(kubectl get pod application -o "jsonpath=$PROPAGATION$PREFERRED")"
    kubectl delete pod application --wait=false >/dev/null
    kubectl scale -n fluid-system deployment dataset-controller --replicas=1 >/dev/null
    eventually 30 "the webhook is back" is_injected
    contains "admissions are counted" 'goosefs_controller_admissions_total{outcome="changed"}' "$(controller_metrics)"
}
