# The tutorial once more, where there is a default StorageClass: the same words and figures, and journals that outlive
# their pods. Sourced by `run`.

prove_durable() {
    make_storage_class
    tutorial
    matches "journals are on claims" 'True PVC folders is the default StorageClass' "$(condition goosefsruntime hbase JournalDurable)"
    equals "a claim for each master is bound" "Bound Bound Bound" \
        "$(echo $(kubectl get pvc -l release=hbase,role=goosefs-master -o 'jsonpath={range .items[*]}{.status.phase}{"\n"}{end}'))"
    kubectl delete pod reader --wait=true >/dev/null
    take_away hbase
    take_storage_class_away
}
