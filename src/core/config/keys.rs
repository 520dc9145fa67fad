//! Every property, in the order of the manual.

use super::key::Key;
use super::key::Kind::{Bool, Choice, Duration, List, Number, Ratio, Size, Text};

macro_rules! keys {
    ($($constant:ident = $name:literal, $kind:expr, $default:literal, $doc:literal;)*) => {
        $(#[doc = $doc] pub const $constant: Key = Key { name: $name, default: $default, kind: $kind, doc: $doc };)*

        /// Every property.
        pub const ALL: &[Key] = &[$($constant),*];
    };
}

/// What a port may be; 0 takes a free one.
const PORT: super::key::Kind = Number(0, 65535);

/// Values of a write type.
const WRITE_TYPES: super::key::Kind =
    Choice(&["MUST_CACHE", "TRY_CACHE", "CACHE_THROUGH", "THROUGH", "ASYNC_THROUGH", "NONE"]);

keys! {
    HOME = "goosefs.home", Text, "", "Where logs, journal and worker folders lie when they are not set themselves; the current directory's goosefs-dev by default.";
    LOGS_LEVEL = "goosefs.logs.level", Text, "info", "What is logged: a level (error, warn, info, debug, trace) or directives such as info,goosefs_master=debug.";
    LOGS_FORMAT = "goosefs.logs.format", Choice(&["TEXT", "JSON"]), "TEXT", "How log lines look.";

    AUTH_TYPE = "goosefs.security.authentication.type", Choice(&["SIMPLE", "NOSASL"]), "SIMPLE", "Whether clients name their user (SIMPLE) or nobody is asked (NOSASL).";
    LOGIN_USER = "goosefs.security.login.username", Text, "", "The user that clients act as; the user of the process by default.";

    CONTROL_KEY_FILE = "goosefs.security.control.key.file", Text, "", "File with a secret of 32 bytes or more, the same for all masters. Where masters have it, being a superuser in name is not enough to administer them (move the lead, add and take out masters, back up, checkpoint, drain workers): callers prove that they have the key, which never travels. Masters read the file again for every proof, so another key counts at once. Commands read it where it is there; other processes need none.";

    PERMISSIONS = "goosefs.security.authorization.permission.enabled", Bool, "true", "Whether masters check owner, group and mode of files; not with NOSASL, where nobody says who they are.";
    SUPERGROUP = "goosefs.security.authorization.permission.supergroup", Text, "supergroup", "The group whose members may do everything, as the user who runs the masters may.";

    MASTER_HOSTNAME = "goosefs.master.hostname", Text, "127.0.0.1", "The host that a single master is dialled at and listens on.";
    MASTER_BIND_HOST = "goosefs.master.bind.host", Text, "", "The address that a master listens on, 0.0.0.0 for all; the host of its own addresses by default.";
    MASTER_RPC_PORT = "goosefs.master.rpc.port", PORT, "9200", "RPC port of a master: gRPC of the GooseFS protocol, and frames.";
    MASTER_RPC_ADDRESSES = "goosefs.master.rpc.addresses", List, "", "host:port of every master's RPC port, in the order of their --id.";
    MASTER_WEB_PORT = "goosefs.master.web.port", PORT, "9201", "Port of a master's metrics and pages.";
    MASTER_JOURNAL_ADDRESSES = "goosefs.master.embedded.journal.addresses", List, "", "host:port of every master's Raft port, in the order of their --id.";
    MASTER_JOURNAL_PORT = "goosefs.master.embedded.journal.port", PORT, "9202", "Raft port of a master.";
    MASTER_JOURNAL_FOLDER = "goosefs.master.journal.folder", Text, "", "Where a master keeps its log and snapshots; journal in goosefs.home by default.";
    MASTER_CLUSTER_FILE = "goosefs.master.cluster.file", Text, "", "JSON file that says who the masters are: clusterId, epoch, bootstrap (whether masters with empty folders may begin the cluster), masters (host:port of their Raft ports, in the order of their --id). It is followed, goes before goosefs.master.embedded.journal.addresses, and the leader adds and takes out masters as it says. The Kubernetes controller writes it.";
    MASTER_MOUNTS_FILE = "goosefs.master.mounts.file", Text, "", "JSON file that says what shall be mounted: generation (raised with every change), mounts (path, uri, readOnly, shared, options). It is followed, by every master: the leader mounts, changes and unmounts as it says, and leaves alone what people have mounted. Options stay in the file; workers, who need the keys among them, have it at the same path. The Kubernetes controller writes it.";
    MASTER_BACKUP_DIR = "goosefs.master.backup.directory", Text, "/goosefs_backups", "Where `goosefs fsadmin backup` writes when it is not told, on the root storage.";
    MASTER_ROOT_UFS = "goosefs.master.mount.table.root.ufs", Text, "", "URI of the storage that is mounted at / when a cluster starts for the first time; underFSStorage in goosefs.home by default, as long as all masters are on one machine.";
    MASTER_ROOT_READONLY = "goosefs.master.mount.table.root.readonly", Bool, "false", "The root mount takes no writes.";
    MASTER_RAFT_HEARTBEAT = "goosefs.master.raft.heartbeat", Duration, "50ms", "How often the leading master makes itself heard.";
    MASTER_RAFT_ELECTION_MIN = "goosefs.master.raft.election.min", Duration, "150ms", "Shortest time without a leader before an election.";
    MASTER_RAFT_ELECTION_MAX = "goosefs.master.raft.election.max", Duration, "300ms", "Longest such time, and the leader's lease.";
    MASTER_RAFT_SNAPSHOT_ENTRIES = "goosefs.master.raft.snapshot.entries", Number(100, 1_000_000_000), "200000", "A snapshot is taken after so many log entries.";
    MASTER_WORKER_TIMEOUT = "goosefs.master.worker.timeout", Duration, "5s", "A worker that was silent for so long takes no part any more until it is heard again.";
    MASTER_VIRTUAL_NODES = "goosefs.master.consistent.hash.virtual.node.num.per.worker", Number(1, 100_000), "5000", "Points of each worker on the ring that places blocks.";

    WORKER_HOSTNAME = "goosefs.worker.hostname", Text, "127.0.0.1", "The host that a worker is dialled at and listens on. Clients count hosts: workers on one machine need addresses of their own.";
    WORKER_RPC_PORT = "goosefs.worker.rpc.port", PORT, "9203", "RPC and data port of a worker.";
    WORKER_WEB_PORT = "goosefs.worker.web.port", PORT, "9204", "Port of a worker's metrics.";
    WORKER_HOLDER = "goosefs.worker.holder.socket", Text, "", "Path of the Unix socket on which a worker keeps mounts of its machine while their FUSE process is away (goosefs.fuse.holder.sockets), beside the CSI plugin; empty for none.";
    WORKER_SOCKET = "goosefs.worker.data.server.domain.socket.address", Text, "", "Path of the Unix socket by which a worker hands cached files to clients on its machine; worker.sock in the first tier folder by default.";
    WORKER_TIERS = "goosefs.worker.tieredstore.levels", Number(1, 3), "1", "Number of storage tiers.";
    WORKER_TIER_ALIAS = "goosefs.worker.tieredstore.level{N}.alias", Text, "", "Name of a tier: MEM, SSD, HDD; its medium by default.";
    WORKER_TIER_DIRS_PATH = "goosefs.worker.tieredstore.level{N}.dirs.path", List, "", "Folders of a tier.";
    WORKER_TIER_DIRS_QUOTA = "goosefs.worker.tieredstore.level{N}.dirs.quota", List, "", "Most bytes in each folder (one size for all, or one for each); 2GB by default.";
    WORKER_TIER_MEDIUM = "goosefs.worker.tieredstore.level{N}.dirs.mediumtype", List, "", "Medium of each folder: MEM, SSD or HDD.";
    WORKER_TIER_HIGH = "goosefs.worker.tieredstore.level{N}.watermark.high.ratio", Ratio, "0.95", "Above this share of a folder's quota blocks are evicted in the background.";
    WORKER_TIER_LOW = "goosefs.worker.tieredstore.level{N}.watermark.low.ratio", Ratio, "0.8", "Eviction ends at this share.";
    WORKER_FILL_PARALLEL = "goosefs.worker.fill.parallel", Number(1, 256), "8", "Range requests to the storage at a time for one file.";
    WORKER_HEARTBEAT = "goosefs.worker.heartbeat.interval", Duration, "1s", "How often a worker tells the masters how it is.";

    S3_ENDPOINT = "goosefs.underfs.s3.endpoint", Text, "", "Where the S3 service of s3:// mounts is, like https://host:port; Amazon's by default. Keys: aws.accessKeyId, aws.secretKey, aws.sessionToken, or what Amazon's tools find.";
    S3_REGION = "goosefs.underfs.s3.region", Text, "", "Region of the buckets of s3:// mounts; us-east-1 by default.";
    S3_ENDPOINT_REGION = "goosefs.underfs.s3.endpoint.region", Text, "", "Another name of goosefs.underfs.s3.region.";
    S3_PATH_STYLE = "goosefs.underfs.s3.disable.dns.buckets", Text, "", "Whether a bucket's name stands in the path (true) or before the host (false); before the host at Amazon's by default.";
    S3_ANONYMOUS = "goosefs.underfs.s3.anonymous", Bool, "false", "Requests to s3:// mounts are not signed.";
    OBJECT_CONNECTION_TIMEOUT = "goosefs.underfs.object.connection.timeout", Duration, "10s", "How long connecting to an object storage may take.";
    OBJECT_HEADER_TIMEOUT = "goosefs.underfs.object.header.timeout", Duration, "30s", "How long an object storage may let a request wait for an answer.";
    OBJECT_STALL_TIMEOUT = "goosefs.underfs.object.stall.timeout", Duration, "30s", "How long a body from an object storage may bring nothing.";
    OBJECT_RETRIES = "goosefs.underfs.object.retries", Number(0, 20), "4", "How often a request to an object storage is sent again after a failure that may pass.";
    OBJECT_PART_SIZE = "goosefs.underfs.object.upload.part.size", Size, "8MB", "Bytes of a part of an upload to an object storage.";
    OBJECT_CA_FILE = "goosefs.underfs.object.tls.ca.file", Text, "", "Certificates (PEM) to trust for object storages beside the machine's own.";

    USER_WRITE_TYPE = "goosefs.user.file.writetype.default", WRITE_TYPES, "CACHE_THROUGH", "Where new files go: the cache only (MUST_CACHE), cache and storage (CACHE_THROUGH), storage only (THROUGH), or the storage later (ASYNC_THROUGH).";
    USER_READ_TYPE = "goosefs.user.file.readtype.default", Choice(&["CACHE", "CACHE_PROMOTE", "NO_CACHE"]), "CACHE", "Whether what is read is cached.";
    USER_BLOCK_SIZE = "goosefs.user.block.size.bytes.default", Size, "64MB", "Block size of new files.";
    USER_SYNC_INTERVAL = "goosefs.user.file.metadata.sync.interval", Duration, "-1", "Metadata older than this is compared with the storage at access: -1 never, 0 always.";
    USER_RETRY_MAX = "goosefs.user.rpc.retry.max.duration", Duration, "2min", "How long a call waits for a leading master before it fails.";
    USER_SOCKETS = "goosefs.user.worker.sockets", List, "", "Paths of Unix sockets of workers on this machine, besides those that the workers name.";

    FUSE_MOUNT_POINT = "goosefs.fuse.mount.point", Text, "", "Where `goosefs fuse` mounts when it is not told.";
    FUSE_WEB_PORT = "goosefs.fuse.web.port", PORT, "0", "Port of the FUSE process's metrics; 0 is none.";
    FUSE_WEB_HOST = "goosefs.fuse.web.bind.host", Text, "127.0.0.1", "The address that the FUSE process's web port listens on, 0.0.0.0 for all.";
    FUSE_ALLOW_OTHER = "goosefs.fuse.allow.other", Bool, "true", "Other users may use the mount (needs root or user_allow_other).";
    FUSE_ATTR_TIMEOUT = "goosefs.fuse.attr.timeout", Duration, "1s", "How long the kernel keeps attributes and names without asking; changes that we hear of come sooner.";
    FUSE_THREADS = "goosefs.fuse.threads", Number(1, 256), "4", "Threads that take requests from the kernel.";
    FUSE_HOLDERS = "goosefs.fuse.holder.sockets", List, "", "Sockets of the holders that keep the mount while its process is away, as `goosefs csi` and workers serve them; empty for none (needs root and kernel 6.9).";
    FUSE_TAKEOVER = "goosefs.fuse.takeover.timeout", Duration, "0", "How long holders keep the mount while its process is away, before it ends; 0 leaves it to them (2 minutes).";
    FUSE_FS_NAME = "goosefs.fuse.fs.name", Text, "goosefs", "What mount(8) shows as the mount's source. The CSI plugin tells by it which mount comes after one that has ended.";
    FUSE_IDMAPPED = "goosefs.fuse.idmapped", Bool, "false", "Containers with users of their own (`hostUsers: false` of a pod, kernel 6.12) may use the mount. The kernel then tells who calls only where something is created: it alone checks permissions, by the modes shown, and the masters see the mount's own user for everything else.";
    FUSE_PASSTHROUGH = "goosefs.fuse.passthrough", Bool, "true", "The kernel reads files that are wholly cached on this machine by itself (needs root and kernel 6.9).";
}

/// Properties of GooseFS, Alluxio's heirs, that mean nothing here: names, or prefixes that end with a dot.
pub const IGNORED: &[&str] = &[
    "goosefs.debug",
    "goosefs.extensions.",
    "goosefs.fuse.",
    "goosefs.job.",
    "goosefs.locality.",
    "goosefs.logger.",
    "goosefs.logs.dir",
    "goosefs.master.audit.",
    "goosefs.master.backup.",
    "goosefs.master.consistent.",
    "goosefs.master.daily.",
    "goosefs.master.embedded.journal.",
    "goosefs.master.file.",
    "goosefs.master.format.",
    "goosefs.master.heartbeat.",
    "goosefs.master.journal.",
    "goosefs.master.lost.",
    "goosefs.master.metadata.",
    "goosefs.master.metastore",
    "goosefs.master.metastore.",
    "goosefs.master.metrics.",
    "goosefs.master.mount.table.",
    "goosefs.master.persistence.",
    "goosefs.master.replication.",
    "goosefs.master.rpc.",
    "goosefs.master.security.",
    "goosefs.master.standby.",
    "goosefs.master.startup.",
    "goosefs.master.throttle.",
    "goosefs.master.tieredstore.",
    "goosefs.master.ttl.",
    "goosefs.master.ufs.",
    "goosefs.master.update.",
    "goosefs.master.web.",
    "goosefs.master.whitelist",
    "goosefs.master.worker.",
    "goosefs.metrics.",
    "goosefs.network.",
    "goosefs.proxy.",
    "goosefs.security.",
    "goosefs.standalone.",
    "goosefs.table.",
    "goosefs.tmp.",
    "goosefs.underfs.",
    "goosefs.user.",
    "goosefs.web.",
    "goosefs.work.dir",
    "goosefs.worker.",
    "goosefs.zookeeper.",
];
