# Keys of a bucket from a Secret: missing, wrong, right, and changed while pods read. Sourced by `run`.

source "$K8S_CLUSTER/keys.sh"
source "$K8S_CLUSTER/bucket.sh"

# Unlike anything else, so that they are found wherever they are; names and keys of three, the last of which nobody takes.
FIRST=(FIRSTNAMEOFBUCKET first-geheim-3f7a)
SECOND=(SECONDNAMEOFBUCKET second-geheim-91bc)
NEVER=(SECONDNAMEOFBUCKET never-geheim-55d0)

prove_secrets() {
    step "keys of a bucket"
    if [ ! -x "$BUCKET_SERVER" ]; then
        echo "SKIPPED: the theme secrets proved nothing: $BUCKET_SERVER is missing, tests/s3/build builds it" >&2
        return
    fi
    start_bucket
    bucket_admin create-user -a "${FIRST[0]}" -s "${FIRST[1]}" -r user >/dev/null
    bucket_admin create-bucket --bucket data --owner "${FIRST[0]}" >/dev/null
    fill_bucket
    make Dataset objects "$(bucket_mount)" 'accessModes: [ReadWriteMany]'
    make GooseFSRuntime objects 'replicas: 2' "$TIER" 'master: {replicas: 3}'
    secret_comes
    uses_the_bucket
    secret_is_rotated
    secret_is_wrong
    kubectl delete pod reader --wait=true >/dev/null
    take_away objects
    kubectl delete secret keys >/dev/null
    stop_bucket
}

fill_bucket() {
    local folder number
    folder=$(bucket_folder)/set
    for number in 1 2 3; do
        mkdir -p "$folder/unseen-$number"
        write_object "$folder/cold-$number" 3000017
        write_object "$folder/unseen-$number/file" 100003
    done
    write_object "$folder/warm" 9000011
}

write_object() { head -c "$2" /dev/urandom >"$1"; }

bucket_mount() {
    local key options=''
    for key in 'aws.accessKeyId id' 'aws.secretKey key'; do
        options+="${options:+, }{name: ${key% *}, valueFrom: {secretKeyRef: {name: keys, key: ${key#* }}}}"
    done
    echo "mounts: [{mountPoint: \"s3://data/set\", name: s3, options: {goosefs.underfs.s3.endpoint: \"https://$BUCKET_NAME\"," \
        "goosefs.underfs.s3.region: us-east-1, goosefs.underfs.s3.disable.dns.buckets: \"true\"}, encryptOptions: [$options]}]"
}

# has_keys ID KEY: what the Secret says from now on.
has_keys() {
    kubectl create secret generic keys --from-literal="id=$1" --from-literal="key=$2" --dry-run=client -o yaml |
        kubectl apply -f - 2>/dev/null >/dev/null
}

says_mount() { condition dataset objects Ready; }

secret_comes() {
    event "a Secret that is missing, by mount, Secret and key" objects '^Warning SecretMissing mount /s3: Secret keys is not there'
    contains "the condition says so too" "mount /s3: Secret keys is not there" "$(says_mount)"
    has_keys "${FIRST[0]}" wrong-at-first
    event "a key that is wrong, by mount and reason" objects '^Warning MountFailed mount /s3: .*SignatureDoesNotMatch'
    contains "the condition says what to do" "the secret key does not belong to the key's id" "$(says_mount)"
    has_keys "${FIRST[@]}"
    becomes_ready objects 120
    event "mounts as they shall be" objects '^Normal MountsAsWanted no more: mount /s3: '
}

# reads PATH: the pod sees the bytes that the bucket has.
reads() {
    local there
    there=$(sha256sum <"$(bucket_folder)/set/$1")
    kubectl exec reader -- bash -c 'sha256sum <"/data/s3/$1"' bash "$1" | grep -Fx "$there"
}

uses_the_bucket() {
    use objects reader "while :; do
    if sha256sum </data/s3/warm >/tmp/now; then cat /tmp/now >>/tmp/sums; else echo failed >>/tmp/failures; fi
    sleep 0.1
done"
    eventually 30 "a pod reads an object" reads warm
    kubectl exec reader -- bash -c 'head -c 2000003 /dev/urandom >/data/s3/written-first'
    eventually 30 "and writes one" reads written-first
    keys_are_nowhere wrong-at-first "${FIRST[@]}"
}

# Uid and restarts of all pods that have a part in it.
all_parts() {
    local role
    for role in master worker fuse; do pods objects "$role"; done
}

secret_is_rotated() {
    step "another key, while a pod reads"
    local before begun seen
    before=$(all_parts)
    bucket_admin create-user -a "${SECOND[0]}" -s "${SECOND[1]}" -r user >/dev/null
    bucket_admin change-bucket-owner -b data -o "${SECOND[0]}" >/dev/null
    bucket_admin delete-user -a "${FIRST[0]}" >/dev/null
    if seen=$(kubectl exec reader -- cat /data/s3/cold-1 2>&1 >/dev/null); then failed "the old key is refused" "$seen"; fi
    contains "the old key is refused" "/data/s3/cold-1: Operation not permitted" "$seen"
    eventually 20 "a worker's log says why" says 's3://data/set.*the service refuses it .403. .check the key' \
        kubectl logs -l release=objects,role=goosefs-worker --tail=-1
    event "the Dataset says which mount cannot be read, and why" objects \
        '^Warning StorageFails what is not cached cannot be read: mount /s3: worker .*the service refuses it .403. .check the key'
    contains "the condition says so too" "False StorageFails mount /s3: worker" "$(condition dataset objects StoragesAnswer)"
    begun=$SECONDS
    has_keys "${SECOND[@]}"
    eventually 60 "with the new one an object is read that was not cached" reads cold-1
    eventually 60 "a directory is listed that was not known" reads unseen-1/file
    passed "seconds from the changed Secret: $((SECONDS - begun))"
    event "and when it can be read again" objects '^Normal StorageAnswers no more: mount /s3: worker'
    kubectl exec reader -- bash -c 'head -c 2000003 /dev/urandom >/data/s3/written-second'
    eventually 30 "and an object is written" reads written-second
    equals "no pod was made anew or started again" "$before" "$(all_parts)"
    equals "a cached object was readable throughout" "" "$(kubectl exec reader -- bash -c 'cat /tmp/failures 2>/dev/null; sort -u /tmp/sums | tail -n +2')"
    keys_are_nowhere "${SECOND[@]}"
}

# The key that masters and workers have is good still.
secret_is_wrong() {
    step "a wrong key, while the one before is good"
    has_keys "${NEVER[@]}"
    eventually 60 "the condition says so, by mount and reason" says 'mount /s3: .*SignatureDoesNotMatch' says_mount
    eventually 10 "an object is read that was not cached" reads cold-2
    eventually 10 "a directory is listed that was not known" reads unseen-2/file
    has_keys "${SECOND[@]}"
    eventually 60 "the condition says no more of it" says '^True DatasetReady the volume can be used$' says_mount
    eventually 10 "another object is read" reads cold-3
    eventually 10 "and another directory" reads unseen-3/file
    keys_are_nowhere "${NEVER[1]}"
}

# keys_are_nowhere KEY...: neither in an object but Secrets, nor in a log, a listing, a list of processes or a journal.
keys_are_nowhere() {
    local folder=$K8S_RUN/said kinds space pod key found number
    rm -rf "$folder"
    mkdir -p "$folder"
    kinds=$(kubectl api-resources --verbs=list -o name | grep -vx secrets | paste -sd,)
    kubectl get "$kinds" -A -o yaml >"$folder/objects.yaml"
    contains "all objects are looked at" "mountPoint: s3://data/set" "$(cat "$folder/objects.yaml")"
    kubectl get pods -A --no-headers | while read -r space pod _; do
        kubectl logs -n "$space" --all-containers "$pod" >"$folder/$space.$pod.log"
    done
    in_master objects goosefs fs mount >"$folder/mounts.txt"
    contains "the mount is listed" "s3://data/set" "$(cat "$folder/mounts.txt")"
    for number in 0 1 2; do
        kubectl exec "objects-master-$number" -- tar -C /journal -c . >"$folder/journal-$number.tar"
    done
    cluster_pids | while read -r key; do tr '\0' ' ' <"/proc/$key/cmdline" || true; done >"$folder/processes.txt" 2>/dev/null
    for key in "$@"; do
        found=$(grep -rlF -e "$key" -e "$(base64 -w0 <<<"$key" | cut -c-16)" "$folder" || true)
        equals "${key:0:6}… is nowhere" "" "$found"
    done
}
