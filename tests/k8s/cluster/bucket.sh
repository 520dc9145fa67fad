# The world outside: a bucket of S3 over https beside the mirror, versitygw as tests/s3/build makes it, with accounts that
# come and go. Sourced by the themes that need it.

BUCKET_SERVER=${GOOSEFS_CACHE:-$HOME/.cache/goosefs}/versitygw/$(sed -n 's/^VERSION=//p' "$K8S_CLUSTER/../../s3/build")/versitygw
BUCKET_ROOT_ID=ROOTOFTHEBUCKET
BUCKET_ROOT_KEY=root-geheim-geheim

# Where the objects of the bucket `data` are files.
bucket_folder() { echo "$K8S_RUN/bucket/buckets/data"; }

start_bucket() {
    mkdir -p "$K8S_RUN"/bucket/{buckets,accounts}
    make_certificate bucket "/CN=$BUCKET_NAME" "DNS:$BUCKET_NAME,IP:$BUCKET_ADDRESS" mirror-authority
    # Without its cache of accounts, so that a key is refused from the moment on when it is taken away.
    serve bucket ip netns exec "$K8S_NETWORK" env ROOT_ACCESS_KEY_ID="$BUCKET_ROOT_ID" ROOT_SECRET_ACCESS_KEY="$BUCKET_ROOT_KEY" \
        "$BUCKET_SERVER" --port "$BUCKET_ADDRESS:443" --keep-alive --cert "$K8S_RUN/keys/bucket.crt" --key "$K8S_RUN/keys/bucket.key" \
        --iam-dir "$K8S_RUN/bucket/accounts" --iam-cache-disable posix "$K8S_RUN/bucket/buckets"
    wait_until 20 inside bash -c "exec 3<>/dev/tcp/$BUCKET_ADDRESS/443"
}

stop_bucket() {
    local pid
    pid=$(cat "$K8S_RUN/pids/bucket")
    kill "$pid"
    wait_until 20 bash -c "! kill -0 $pid"
}

# bucket_admin COMMAND...: of versitygw's `admin`.
bucket_admin() {
    inside env ADMIN_ACCESS_KEY_ID="$BUCKET_ROOT_ID" ADMIN_SECRET_ACCESS_KEY="$BUCKET_ROOT_KEY" \
        "$BUCKET_SERVER" admin --allow-insecure --endpoint-url "https://$BUCKET_ADDRESS" "$@"
}
