# The chart: installed, looked at, upgraded, taken away. Sourced by `run`.

CHART=$K8S/../../charts/goosefs
RELEASE=(goosefs "$CHART" --namespace fluid-system --set runtime.goosefs.enabled=true
    --set image.repository=goosefs.test/goosefs --set image.tag=test)

install_chart() {
    step "the chart"
    contains "helm lint" "0 chart(s) failed" "$(helm lint "$CHART" 2>&1)"
    refuses "a value that the chart does not know" "imagee" helm template "$CHART" --set imagee.tag=1
    local seen
    seen=$(helm install "${RELEASE[@]}" --create-namespace 2>&1) || failed "helm install" "$seen"
    contains "helm install says what comes next" "kubectl create -f dataset.yaml" "$seen"
    check_fluid_system
    check_rights
}

# Rights that every account has are left out.
rights_of() {
    local account=system:serviceaccount:fluid-system:$1 everybody
    everybody=$(all_rights_of system:serviceaccount:default:default "$2")
    all_rights_of "$account" "$2" | grep -vxFf <(echo "$everybody") || true
}

all_rights_of() {
    kubectl auth can-i --list --as="$1" -n "$2" --no-headers | sed -E 's/ +/ /g; s/^ //; s/ $//' | sort
}

# tests/k8s/rights has what each part may do, in fluid-system and elsewhere; with K8S_BLESS=1 it is written anew.
check_rights() {
    local account space file seen
    for account in dataset-controller goosefsruntime-controller csi-nodeplugin goosefs-uninstall-check; do
        for space in fluid-system default; do
            file=$K8S/rights/$account.$space.txt
            seen=$(rights_of "$account" "$space")
            [ -z "${K8S_BLESS:-}" ] || printf '%s\n' "$seen" >"$file"
            equals "rights of $account in $space" "$(cat "$file")" "$seen"
        done
    done
}

upgrade_chart() {
    step "an upgrade from a chart of another time"
    # Its definitions have another column.
    local columns='jsonpath={.spec.versions[0].additionalPrinterColumns[0].name}' shown seen
    local old=$K8S_RUN/chart
    rm -rf "$old"
    cp -r "$CHART" "$old"
    sed -i 's/name: Ufs Total Size/name: Size/' "$old/files/crds/data.fluid.io_datasets.yaml"
    seen=$(helm upgrade "${RELEASE[0]}" "$old" "${RELEASE[@]:2}" 2>&1) || failed "helm upgrade to another chart" "$seen"
    equals "the other chart has another column" Size "$(kubectl get crd datasets.data.fluid.io -o "$columns")"
    shown=$(certificate)
    seen=$(helm upgrade "${RELEASE[@]}" 2>&1) || failed "helm upgrade" "$seen"
    equals "helm upgrade brings definitions up to date" "Ufs Total Size" "$(kubectl get crd datasets.data.fluid.io -o "$columns")"
    eventually 60 "the pods of the upgrade run" fluid_system_is_complete
    equals "helm upgrade leaves the webhook's certificate" "$shown" "$(certificate)"
}

uninstall_chart() {
    step "the end"
    local number seen
    refuses "helm uninstall with live objects" "GooseFSRuntime default/hbase" helm uninstall goosefs -n fluid-system
    seen=$(helm rollback goosefs -n fluid-system 2>&1) || failed "helm rollback after a refused uninstall" "$seen"
    passed "helm rollback makes the release whole again"
    delete_while_in_use
    eventually 60 "no object of the runtime is left" nothing_of_the_runtime
    for number in 1 2 3; do check_node_is_clean "$number"; done
    seen=$(helm uninstall goosefs -n fluid-system --wait 2>&1) || failed "helm uninstall" "$seen"
    equals "the definitions stay" "databackups.data.fluid.io dataloads.data.fluid.io datasets.data.fluid.io goosefsruntimes.data.fluid.io" \
        "$(echo $(kubectl get crd -o name | sed 's#.*/##' | sort))"
    eventually 60 "no pod is left" no_pods
    beside_fluid
    seen=$(helm install "${RELEASE[@]}" 2>&1) || failed "helm install after helm uninstall" "$seen"
    eventually 60 "installed again, all pods run" fluid_system_is_complete
}

# A Dataset that a pod uses stays until the pod is gone, and serves.
delete_while_in_use() {
    kubectl delete dataset hbase --wait=false >/dev/null
    eventually 20 "a Dataset in use is not deleted, and an event names the pod" says 'ErrorDeleteDataset.*reader' \
        kubectl get events --field-selector involvedObject.kind=Dataset \
        -o 'jsonpath={range .items[*]}{.reason} {.message}{"\n"}{end}'
    contains "it is being deleted" "20" "$(kubectl get dataset hbase -o 'jsonpath={.metadata.deletionTimestamp}')"
    equals "all nine pods stay" 9 "$(kubectl get pod -l app=goosefs -o name | wc -l)"
    check_reading
    kubectl delete pod reader --wait=true >/dev/null
    eventually 90 "once the pod is gone the Dataset goes" no_dataset
}

no_dataset() { [ -z "$(kubectl get dataset,goosefsruntime -o name)" ]; }

# What would be installed where Fluid is, which owns Datasets and the driver's name.
beside_fluid() {
    local seen release=meta.helm.sh/release-name
    kubectl annotate --overwrite crd datasets.data.fluid.io "$release=fluid" >/dev/null
    printf 'apiVersion: storage.k8s.io/v1\nkind: CSIDriver\nmetadata: {name: fuse.csi.fluid.io}\nspec: {}\n' >"$K8S_RUN/driver.yaml"
    printf '%s\nkind: MutatingWebhookConfiguration\nmetadata: {name: %s}\n' \
        "apiVersion: admissionregistration.k8s.io/v1" "$WEBHOOK" >"$K8S_RUN/webhook.yaml"
    kubectl create -f "$K8S_RUN/driver.yaml" -f "$K8S_RUN/webhook.yaml" >/dev/null
    seen=$(helm install "${RELEASE[@]}" --dry-run=server 2>&1) || failed "helm install --dry-run=server" "$seen"
    contains "beside Fluid the driver has another name" "name: fuse.csi.goosefs.io" "$seen"
    contains "beside Fluid the webhook has another name" "name: goosefs-pod-admission-webhook" "$seen"
    contains "beside Fluid the controller of runtimes admits pods" "control-plane: goosefsruntime-controller
  ports:
    - {name: webhook" "$seen"
    contains "beside Fluid there is the controller of runtimes" "name: goosefsruntime-controller" "$seen"
    contains "beside Fluid Datasets hold nobody up" "args: [controller, uninstall-check, --only, goosefsruntime]" "$seen"
    seen=$(grep -E '^  name: (dataset-controller|data(set|load|backup)s.data.fluid.io|fuse.csi.fluid.io)$' <<<"$seen" || true)
    equals "beside Fluid nothing of its own is installed" "" "$seen"
    kubectl delete -f "$K8S_RUN/driver.yaml" -f "$K8S_RUN/webhook.yaml" >/dev/null
    kubectl annotate --overwrite crd datasets.data.fluid.io "$release=goosefs" >/dev/null
}

nothing_of_the_runtime() {
    local left
    left=$(kubectl get pod,service,statefulset,daemonset,configmap,secret,pvc,pv,pdb,dataset,goosefsruntime -n default -o name |
        grep -v -e '^service/kubernetes$' -e 'configmap/kube-root-ca.crt$')
    echo "$left"
    [ -z "$left" ]
}

no_pods() { [ -z "$(kubectl get pod -n fluid-system -o name | grep -v uninstall-check)" ]; }

check_node_is_clean() {
    local node seen
    node=$(node_name "$1")
    seen=$(kubectl get node "$node" -o json | grep -o '"fluid[^"]*": "[^"]*"' || true)
    equals "node $1 has no label of ours" "" "$seen"
    seen=$("$K8S_CLUSTER/on-node" "$1" bash -c "grep -E ' (/runtime-mnt/|/var/lib/kubelet/.*fuse.csi)' /proc/self/mountinfo || true")
    equals "node $1 has no mount of ours" "" "$seen"
    seen=$(find "$(node_folder "$1")/mnt/disk1" "$(node_folder "$1")/runtime-mnt/goosefs" -mindepth 1 2>/dev/null || true)
    equals "node $1 has no file of ours" "" "$seen"
}
