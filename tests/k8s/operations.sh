# Data operations: loads once, by schedule and on events; backups, and Datasets that begin with them. Sourced by `run`;
# leaves the tutorial's Dataset as it was.

# load NAME SPEC: a DataLoad of hbase with more of a specification, as YAML's flow style has it.
load() {
    printf 'apiVersion: data.fluid.io/v1alpha1\nkind: DataLoad\nmetadata: {name: %s}\nspec: {dataset: {name: hbase}%s}\n' "$1" "${2:+, $2}" |
        kubectl create -f - >/dev/null
}

of_load() { kubectl get dataload "$1" -o "jsonpath={$2}"; }

events_of() {
    kubectl get events --field-selector "involvedObject.name=$1" \
        -o 'jsonpath={range .items[*]}{.reason}: {.message}{"\n"}{end}' | sort
}

# The same object again and again is one event.
reasons_of() { echo $(events_of "$1" | sed 's/:.*//' | uniq -c | awk '{print $1 "x" $2}'); }

loads() {
    load nightly 'policy: Cron, schedule: "* * * * *", target: [{path: /hbase, replicas: 2}]'
    kubectl exec hbase-master-0 -- goosefs fs free -f / >/dev/null
    eventually 20 "the cache was emptied" says ' 0\.00B +6\.00GiB +0\.0% ' kubectl get dataset hbase --no-headers
    load whole 'loadMetadata: true'
    load after 'runAfter: {kind: DataLoad, name: whole}, target: [{path: /hbase/}]'
    load wrong 'target: [{path: /hbase/missing}]'
    matches "columns of a DataLoad" 'NAME +DATASET +PHASE +AGE +DURATION' "$(kubectl get load | head -1 | sed 's/ *$//')"
    eventually 30 "a DataLoad is Complete" says '^whole +hbase +Complete +[0-9]+s +[0-9]+s' kubectl get load whole --no-headers
    contains "its progress ends with everything" '"Percentage":"100.0%"' "$(of_load whole .status.infos)"
    eventually 30 "the Dataset is cached whole" says ' 100\.0% +Bound ' kubectl get dataset hbase --no-headers
    equals "its events" "1xDataLoadJobStarted 1xDataOperationSucceed" "$(reasons_of whole)"
    eventually 10 "a DataLoad of a path that is not there is Failed" says '^wrong +hbase +Failed ' kubectl get load wrong --no-headers
    contains "and says why" 'Path "/hbase/missing" does not exist' "$(events_of wrong)"
    eventually 20 "one that was to run after another is Complete" says '^after +hbase +Complete ' kubectl get load after --no-headers
    slow_load
    refuses "policy Cron without a schedule" "needs spec.schedule" load never 'policy: Cron'
    events_load
}

# A load that takes a while: seen, gone on with by the next controller, stopped by deleting it.
slow_load() {
    local job
    kubectl exec hbase-master-0 -- goosefs fs free -f / >/dev/null
    load slow 'options: {bandwidth: 2MB}, target: [{path: /hbase}]'
    eventually 20 "a DataLoad tells how far it is" says '^[1-9][0-9]?\.[0-9]%$' kubectl get load slow -o 'jsonpath={.status.infos.Percentage}'
    contains "and its Dataset that it runs" '"DataLoad":"slow"' "$(kubectl get dataset hbase -o 'jsonpath={.status.operationRef}')"
    job=$(of_load slow .status.infos.Jobs)
    kubectl delete pod -n fluid-system -l control-plane=dataset-controller --wait=false >/dev/null
    eventually 60 "another controller goes on with it" says "^$job Executing [2-9][0-9]" of_load slow '.status.infos.Jobs} {.status.phase} {.status.infos.Percentage'
    load second 'ttlSecondsAfterFinished: 2, target: [{path: /hbase}]'
    eventually 10 "another of the same path waits, and says for what" says '^PathIsBeingLoaded .*/hbase' \
        kubectl get load second -o 'jsonpath={range .status.conditions[?(@.type=="Started")]}{.reason} {.message}{end}'
    kubectl delete dataload slow >/dev/null
    eventually 10 "deleting it stops its job" says "^$job Load (CANCELED|STOPPED)" kubectl exec hbase-master-0 -- bash -c "goosefs job ls | grep '^$job '"
    eventually 60 "then the other one goes on, and is deleted 2 s after its end" says '^$' kubectl get dataload second -o name --ignore-not-found
    contains "it was complete" DataOperationSucceed "$(events_of second)"
}

# Another mount is an event, and so is its end.
events_load() {
    local first
    load watching 'policy: OnEvent'
    eventually 60 "a DataLoad on events is made at once" says '^watching +hbase +Complete ' kubectl get load watching --no-headers
    first=$(of_load watching .status.run)
    kubectl patch dataset hbase --type json -p '[{"op": "add", "path": "/spec/mounts/1", "value":
        {"mountPoint": "https://mirror.test/apache/hbase/stable/", "name": "again"}}]' >/dev/null
    eventually 60 "another mount makes it again" another_run watching "$first"
    equals "and the other mount is in the cache" "" "$(kubectl exec hbase-master-0 -- goosefs fs ls -R /again | awk '/^-/ && $3 > 0 && !/ 100% /')"
    kubectl delete dataload watching >/dev/null
    kubectl patch dataset hbase --type json -p '[{"op": "remove", "path": "/spec/mounts/1"}]' >/dev/null
    eventually 30 "the other mount is gone" says '^hbase *$' kubectl exec hbase-master-0 -- bash -c 'goosefs fs ls / | sed "s#.*/##"'
}

another_run() {
    local seen
    seen=$(of_load "$1" '.status.run} {.status.phase')
    echo "$seen"
    [ "${seen% *}" != "$2" ] && [ "${seen#* }" = Complete ]
}

# backup NAME DATASET PATH [MORE]
backup() {
    printf 'apiVersion: data.fluid.io/v1alpha1\nkind: DataBackup\nmetadata: {name: %s}\nspec: {dataset: %s, backupPath: "%s"%s}\n' "$1" "$2" "$3" "${4:+, $4}" |
        kubectl create -f - >/dev/null
}

# restored NAME PLACE: a Dataset without workers that shows what the tutorial's does and begins with a backup.
restored() {
    kubectl create -f - >/dev/null <<YAML
apiVersion: data.fluid.io/v1alpha1
kind: Dataset
metadata: {name: $1}
spec:
  mounts: [{mountPoint: "https://mirror.test/apache/hbase/stable/", name: hbase}]
  dataRestoreLocation: $2
---
apiVersion: data.fluid.io/v1alpha1
kind: GooseFSRuntime
metadata: {name: $1}
spec: {replicas: 0, master: {replicas: 3}}
YAML
}

# What only masters know: the number of a file, and the first job that was done.
known_by() {
    kubectl exec "$1-master-0" -- bash -c 'goosefs fs stat /hbase/CHANGES.md | grep -o "fileId=[0-9]*"; goosefs job ls | tail -1'
}

knows() {
    local seen
    seen=$(known_by "$1")
    echo "$seen"
    [ "$seen" = "$2" ]
}

# A claim for backups, on the first node.
make_claim() {
    kubectl create -f - >/dev/null <<YAML
apiVersion: v1
kind: PersistentVolume
metadata: {name: backups}
spec:
  capacity: {storage: 1Gi}
  accessModes: [ReadWriteOnce]
  storageClassName: ""
  hostPath: {path: /mnt/backups, type: DirectoryOrCreate}
  claimRef: {namespace: default, name: backups}
  nodeAffinity: {required: {nodeSelectorTerms: [{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [$(node_name 1)]}]}]}}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: backups}
spec: {accessModes: [ReadWriteOnce], storageClassName: "", volumeName: backups, resources: {requests: {storage: 1Gi}}}
YAML
}

backups() {
    local known leader folder
    folder=$(node_folder 1)/mnt/backups/daily
    make_claim
    known=$(known_by hbase)
    backup saved hbase pvc://backups/daily
    backup here hbase local:///mnt/saved 'runAfter: {kind: DataBackup, name: saved}'
    backup nowhere hbase pvc://missing/x
    matches "columns of a DataBackup" 'NAME +DATASET +PHASE +PATH +NODENAME +DURATION +AGE' \
        "$(kubectl get backup | head -1 | sed 's/ *$//')"
    eventually 30 "a DataBackup to a claim is Complete" says '^saved +hbase +Complete +pvc://backups/daily +NA +[0-9]+s ' kubectl get backup saved --no-headers
    equals "its events" "1xDataBackupJobStarted 1xDataOperationSucceed" "$(reasons_of saved)"
    equals "the file and what it is are in the claim" "hbase-default.yaml metadata-backup-hbase-default.gz" "$(echo $(ls -A "$folder"))"
    contains "with a sha256" "$(sha256sum <"$folder/metadata-backup-hbase-default.gz" | cut -d' ' -f1)" "$(cat "$folder/hbase-default.yaml")"
    leader=$(kubectl get goosefsruntime hbase -o 'jsonpath={.status.leader}')
    leader=$(kubectl get pod "${leader%:*}" -o 'jsonpath={.spec.nodeName}')
    eventually 30 "a local DataBackup is Complete, on the leader's node" \
        says "^here +hbase +Complete +local:///mnt/saved +$leader +[0-9]+s " kubectl get backup here --no-headers
    eventually 10 "one without its claim says what it waits for" says 'persistentvolumeclaim "missing" not found' \
        kubectl get databackup nowhere -o 'jsonpath={.status.infos.Waiting}'
    kubectl delete databackup nowhere >/dev/null
    restores "$known" "$leader" "$folder"
    kubectl delete databackup --all >/dev/null
    kubectl delete pvc/backups pv/backups >/dev/null
    rm -rf "$(node_folder 1)/mnt/backups" "$K8S_RUN"/node?/mnt/saved
}

restores() {
    local known=$1 leader=$2 folder=$3
    cp "$folder/metadata-backup-hbase-default.gz" "$K8S_RUN/whole.gz"
    printf damaged | dd of="$folder/metadata-backup-hbase-default.gz" bs=1 seek=60 conv=notrunc status=none
    restored copy '{path: "pvc://backups/nightly"}'
    eventually 30 "a backup that is not there is the masters' reason" says 'NotReady there is no backup in pvc://backups/nightly' \
        kubectl get goosefsruntime copy -o 'jsonpath={.status.masterPhase} {.status.masterReason}'
    kubectl patch dataset copy --type merge -p '{"spec": {"dataRestoreLocation": {"path": "pvc://backups/daily"}}}' >/dev/null
    eventually 30 "a damaged backup is named as the masters' reason" says 'metadata-backup-hbase-default.gz in pvc://backups/daily is damaged' \
        kubectl get goosefsruntime copy -o 'jsonpath={.status.masterPhase} {.status.masterReason}'
    contains "and by an event" RestoreFailed "$(reasons_of copy)"
    equals "no master begins without it" "" "$(kubectl get pod -l release=copy,role=goosefs-master -o name)"
    cp "$K8S_RUN/whole.gz" "$folder/metadata-backup-hbase-default.gz"
    eventually 60 "once it is whole, a Dataset of another name begins with it" says ' Bound ' kubectl get dataset copy --no-headers
    equals "it knows what the masters of the first knew" "$known" "$(known_by copy)"
    contains "an event says so" RestoredFromBackup "$(reasons_of copy)"
    eventually 20 "the pod that had the backup is gone" says '^$' kubectl get pod -l app=goosefs-restore -o name
    kubectl delete dataset copy --wait=false >/dev/null
    eventually 60 "that Dataset is deleted" says '^$' kubectl get dataset,goosefsruntime -l fluid.io/dataset-id=default-copy -o name
    restored copy "{path: 'local:///mnt/saved/metadata-backup-hbase-default.gz', nodeName: $leader}"
    eventually 60 "and created again, from the local backup" says ' Bound ' kubectl get dataset copy --no-headers
    eventually 10 "it knows it all again" knows copy "$known"
    kubectl delete dataset copy --wait=false >/dev/null
    eventually 60 "it is deleted, too" says '^$' kubectl get dataset copy -o name --ignore-not-found
}

# What was begun first and takes a minute.
scheduled_load() {
    local seen
    eventually 90 "a DataLoad by schedule was made" says '^nightly +hbase +Complete ' kubectl get load nightly --no-headers
    contains "and says when" Z "$(of_load nightly .status.lastScheduleTime)"
    seen=$(of_load nightly .status.run)
    matches "its run is called after that minute" '20[-0-9]+T[0-9]{2}:[0-9]{2}:00Z' "$seen"
    eventually 10 "the Dataset names no operation any more" says '^(\{\})?$' \
        kubectl get dataset hbase -o 'jsonpath={.status.operationRef}'
    kubectl delete dataload --all >/dev/null
    passed "DataLoads are deleted"
}

operations() {
    step "data operations"
    local began=$SECONDS
    loads
    backups
    scheduled_load
    passed "data operations took $((SECONDS - began)) s"
}
