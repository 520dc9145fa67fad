# The world outside: a mirror as those of Apache, nginx with fancyindex over https, on the control plane's bridge. Its
# authority is one that no machine knows ($K8S_RUN/keys/mirror-authority.crt). Sourced by `up`.

FANCYINDEX=/usr/lib/nginx/modules/ngx_http_fancyindex_module.so

# About 60 files as a release has them: archives, checksums beside them, documents, names that need escaping, nothing, much.
make_mirror_tree() {
    local root=$K8S_RUN/mirror/apache/hbase/stable i
    mkdir -p "$root/api_compare/5.0" "$root/docs and notes" "$root/src"
    write_bytes "$root/hbase-2.6.3-bin.tar.gz" 24000017
    write_bytes "$root/hbase-2.6.3-client-bin.tar.gz" 16777216
    write_bytes "$root/hbase-2.6.3-src.tar.gz" 8388609
    for i in bin client-bin src; do
        (cd "$root" && sha512sum "hbase-2.6.3-$i.tar.gz" >"hbase-2.6.3-$i.tar.gz.sha512")
        write_bytes "$root/hbase-2.6.3-$i.tar.gz.asc" 833
    done
    write_bytes "$root/CHANGES.md" 65536
    write_bytes "$root/RELEASENOTES.md" 4095
    : >"$root/.htaccess-free"
    : >"$root/empty"
    for i in $(seq 20); do write_bytes "$root/src/part-$i.java" $((i * i * 997)); done
    for i in $(seq 20); do write_bytes "$root/api_compare/5.0/report_$i.html" $((i * 10007)); done
    for i in "read me.txt" "100%.txt" "a+b&c.txt" "ünïcödé-文件.txt" "semi;colon.txt" "'quoted'.txt"; do
        write_bytes "$root/docs and notes/$i" 1234
    done
    find "$K8S_RUN/mirror" -exec touch -d '2026-01-02 03:04:05 UTC' {} +
}

write_bytes() { head -c "$2" /dev/urandom >"$1"; }

start_mirror() {
    [ -e "$FANCYINDEX" ] || die "the mirror takes nginx with fancyindex (libnginx-mod-http-fancyindex)"
    local folder=$K8S_RUN/nginx kind
    mkdir -p "$folder"
    make_authority mirror-authority "an authority nobody knows"
    make_certificate mirror "/CN=$MIRROR_NAME" "DNS:$MIRROR_NAME" mirror-authority
    cat >"$folder/nginx.conf" <<CONF
load_module $FANCYINDEX;
user root;
daemon off;
pid $folder/nginx.pid;
worker_processes 1;
events { worker_connections 1024; }
http {
  access_log $folder/access.log;
$(for kind in client_body proxy fastcgi uwsgi scgi; do echo "  ${kind}_temp_path $folder/$kind;"; done)
  default_type application/octet-stream;
  sendfile on;
  server {
    listen $MIRROR_ADDRESS:443 ssl;
    server_name $MIRROR_NAME;
    ssl_certificate $K8S_RUN/keys/mirror.crt;
    ssl_certificate_key $K8S_RUN/keys/mirror.key;
    root $K8S_RUN/mirror;
    fancyindex on;
    fancyindex_exact_size off;
  }
}
CONF
    serve mirror ip netns exec "$K8S_NETWORK" nginx -p "$folder" -e "$folder/errors.log" -c "$folder/nginx.conf"
    wait_until 20 inside bash -c "exec 3<>/dev/tcp/$MIRROR_ADDRESS/443"
}
