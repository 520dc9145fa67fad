# What kubectl create refuses, with the words that say why. Sourced by `run`.

runtime_with() {
    local name=$1 file=$K8S_RUN/refused.yaml
    printf 'apiVersion: data.fluid.io/v1alpha1\nkind: GooseFSRuntime\nmetadata: {name: %s}\nspec: %s\n' "$name" "$2" >"$file"
    kubectl create --dry-run=server -f "$file"
}

tier() { echo "{tieredstore: {levels: [{mediumtype: HDD, path: /mnt/disk1, $1}]}}"; }

refused() {
    step "what is refused"
    refuses "two masters" "odd" runtime_with hbase '{master: {replicas: 2}}'
    refuses "low above high" "low" runtime_with hbase "$(tier 'high: "0.7", low: "0.8"')"
    refuses "a medium that is none" "MEM" runtime_with hbase '{tieredstore: {levels: [{mediumtype: TAPE, path: /a}]}}'
    refuses "a negative quota" "quota" runtime_with hbase "$(tier 'quota: -2G')"
    refuses "a name of 46 characters" "45" runtime_with "$(printf 'a%.0s' {1..46})" '{replicas: 1}'
    contains "fuse.global is accepted" "created" "$(runtime_with other '{replicas: 1, fuse: {global: true}}' 2>&1)"
}
