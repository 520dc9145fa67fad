//! The command line.
//!
//! `-Dkey=value` may stand before or after the subcommand. What a flag means is said here, once, and is what `--help`
//! prints.

mod fs;
mod fsadmin;

use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

pub use fs::{
    CopyFromLocalArgs, CopyToLocalArgs, DistributedLoadArgs, FsCommand, LoadArgs, LsArgs, MountArgs,
    PersistArgs, ProgressFormat, RmArgs,
};
pub use fsadmin::{Domain, FsadminCommand, JournalCommand, QuorumCommand, ReportArgs, ReportCategory};

/// The whole command line.
#[derive(Parser, Debug)]
#[command(
    name = "goosefs",
    version,
    about = "A distributed cache in front of slow storage: Raft masters, caching workers and FUSE in one binary",
    after_help = "Examples:\n  goosefs dev --mount /hbase=https://mirrors.example.org/apache/hbase/stable/\n  \
                  goosefs fs ls /hbase\n  goosefs master --id 0 -Dgoosefs.master.rpc.addresses=m0:9200,m1:9200,m2:9200",
    disable_help_subcommand = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Set a property, over files and environment; `goosefs getConf` lists all. May be repeated.
    #[arg(short = 'D', value_name = "KEY=VALUE", global = true, action = clap::ArgAction::Append)]
    pub define: Vec<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Run a whole cluster on this machine: masters, workers and a mount, each its own process
    Dev(DevArgs),
    /// Run a master
    #[command(
        after_help = "Example, the first of three:\n  goosefs master --id 0 \\\n    -Dgoosefs.master.rpc.addresses=m0:9200,m1:9200,m2:9200 \\\n    \
                      -Dgoosefs.master.embedded.journal.addresses=m0:9202,m1:9202,m2:9202 \\\n    -Dgoosefs.master.journal.folder=/var/lib/goosefs/journal \\\n    -Dgoosefs.master.mount.table.root.ufs=https://host/folder/"
    )]
    Master(MasterArgs),
    /// Run a worker
    #[command(
        after_help = "Example:\n  goosefs worker -Dgoosefs.worker.hostname=w1 \\\n    -Dgoosefs.master.rpc.addresses=m0:9200,m1:9200,m2:9200 \\\n    \
                      -Dgoosefs.worker.tieredstore.level0.dirs.path=/mnt/disk1 \\\n    -Dgoosefs.worker.tieredstore.level0.dirs.quota=100GB"
    )]
    Worker,
    /// Mount the namespace as a directory
    #[command(
        after_help = "Example:\n  goosefs fuse /mnt/goosefs -Dgoosefs.master.rpc.addresses=m0:9200,m1:9200,m2:9200"
    )]
    Fuse(FuseArgs),
    /// Reconcile Datasets and GooseFSRuntimes of a Kubernetes cluster
    #[command(args_conflicts_with_subcommands = true)]
    Controller(ControllerArgs),
    /// Serve kubelet on a Kubernetes node: show runtimes' mounts to pods
    #[command(
        args_conflicts_with_subcommands = true,
        after_help = "It needs root, the folder --mount-root with mount propagation HostToContainer, and kubelet's folder of pods with\n\
                      Bidirectional; no rights at the apiserver.\n\nExamples:\n  \
                      goosefs csi --endpoint unix:///csi/csi.sock --node node1\n  goosefs csi register --endpoint unix:///csi/csi.sock"
    )]
    Csi(CsiArgs),
    /// Take part in a cluster that Fluid runs as a CacheRuntime; its containers run this
    #[command(subcommand, name = "cache-runtime", arg_required_else_help = true)]
    CacheRuntime(CacheRuntimeCommand),
    /// Work with files, mounts and the cache
    #[command(subcommand, arg_required_else_help = true)]
    Fs(FsCommand),
    /// Look at the cluster and operate it
    #[command(subcommand, arg_required_else_help = true)]
    Fsadmin(FsadminCommand),
    /// Look at loads that the masters carry out, and stop them
    #[command(subcommand, arg_required_else_help = true)]
    Job(JobCommand),
    /// Print the value of a property, or all properties
    #[command(name = "getConf")]
    GetConf(GetConfArgs),
    /// Print the version
    Version,
    /// Print a completion script for a shell
    Completions {
        /// bash, zsh, fish, elvish or powershell
        shell: clap_complete::Shell,
    },
}

/// Commands of `goosefs cache-runtime`.
#[derive(Subcommand, Debug)]
pub enum CacheRuntimeCommand {
    /// Write properties and mounts as the file at FLUID_RUNTIME_CONFIG_PATH says
    Configure,
    /// Wait until all storages are mounted, and print those that are, as JSON
    Mounted,
    /// Print how much is cached, as JSON
    Summary,
}

/// Flags of `goosefs dev`.
#[derive(Args, Debug)]
#[command(
    after_help = "Ports: the masters' RPC ports are N, N+10, N+20 (N is --port-base); web N+1, Raft N+2 and so on.\n\
                  Worker k listens on 127.0.0.k: RPC N+3, web N+4. A client without configuration finds a cluster\n\
                  on the default ports by itself.\n\nExamples:\n  goosefs dev\n  goosefs dev --mount /hbase=http://127.0.0.1:8080/ --worker-quota 10GB"
)]
pub struct DevArgs {
    /// Where everything lies: journals, caches, logs, the mount point. Started again on it, the cluster comes back warm
    #[arg(long, default_value = "./goosefs-dev")]
    pub dir: PathBuf,
    /// Number of masters
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub masters: u32,
    /// Number of workers
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=200))]
    pub workers: u32,
    /// Most bytes that each worker caches
    #[arg(long, default_value = "2GB")]
    pub worker_quota: String,
    /// Where to mount; DIR/mnt by default
    #[arg(long, value_name = "DIR")]
    pub mount_point: Option<PathBuf>,
    /// Mount the storage URI at a path of the namespace; may be repeated. What is below none lies in a local folder inside DIR
    #[arg(long, value_name = "/PATH=URI")]
    pub mount: Vec<String>,
    /// RPC port of the first master
    #[arg(long, default_value_t = 9200, value_parser = clap::value_parser!(u16).range(1024..=65400))]
    pub port_base: u16,
    /// Mount nothing
    #[arg(long)]
    pub no_fuse: bool,
}

/// Flags of `goosefs master`.
#[derive(Args, Debug)]
pub struct MasterArgs {
    /// Which of the configured addresses is ours, from 0
    #[arg(long, default_value_t = 0)]
    pub id: u32,
    /// Found the cluster with the state of this backup: every master with an empty directory, this on master 0. The
    /// variable JOURNAL_BACKUP does the same, and nothing once there is a cluster
    #[arg(long, short = 'i', value_name = "FILE")]
    pub restore: Option<PathBuf>,
    /// Most masters' directories are lost for good: go on, for this one start, with what this directory has. What it has
    /// not seen is gone; the others come back with empty directories, never with their old ones
    #[arg(long, conflicts_with = "restore")]
    pub force_new_cluster: bool,
}

/// Flags of `goosefs fuse`.
#[derive(Args, Debug)]
pub struct FuseArgs {
    /// An empty directory; goosefs.fuse.mount.point by default
    pub mount_point: Option<PathBuf>,
}

/// Flags of `goosefs controller`.
#[derive(Args, Debug)]
pub struct ControllerArgs {
    /// Reconcile one kind alone; both by default
    #[arg(long, value_name = "KIND")]
    pub only: Option<goosefs_k8s::controller::Kind>,
    /// Where metrics, /healthz and /readyz are served; empty for nowhere
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "HOST:PORT")]
    pub metrics_addr: Option<String>,
    /// Something else than reconciling
    #[command(subcommand)]
    pub command: Option<ControllerCommand>,
}

/// Flags of `goosefs csi`.
#[derive(Args, Debug)]
pub struct CsiArgs {
    /// The socket that kubelet is served on
    #[arg(long, default_value = "unix:///csi/csi.sock", value_name = "unix:///PATH")]
    pub endpoint: String,
    /// Name of the node, as Kubernetes knows it
    #[arg(long, env = "KUBE_NODE_NAME", value_name = "NAME")]
    pub node: Option<String>,
    /// Name of the driver, as in the CSIDriver object
    #[arg(long, env = "GOOSEFS_CSI_DRIVER", default_value = "fuse.csi.fluid.io", value_name = "NAME")]
    pub driver: String,
    /// The folder below which FUSE pods mount: volumes show nothing else of the node
    #[arg(long, env = "MOUNT_ROOT", default_value = "/runtime-mnt", value_name = "DIR")]
    pub mount_root: PathBuf,
    /// kubelet's folder: volumes of pods below it that show an ended mount are shown the runtime's next one
    #[arg(long, default_value = "/var/lib/kubelet", value_name = "DIR")]
    pub kubelet_root: PathBuf,
    /// The socket on which FUSE processes leave their mounts (goosefs.fuse.holder.sockets), so that the next one goes on
    /// with them; .goosefs/holder.sock in --mount-root by default
    #[arg(long, value_name = "PATH")]
    pub holder: Option<PathBuf>,
    /// Seconds that a mount without its FUSE process is kept, unless that process asked for another time
    /// (goosefs.fuse.takeover.timeout)
    #[arg(long, default_value_t = 120, value_name = "N")]
    pub takeover_seconds: u64,
    /// Where metrics, /healthz and /readyz are served; empty for nowhere
    #[arg(long, default_value = "0.0.0.0:8080", value_name = "HOST:PORT")]
    pub metrics_addr: String,
    /// Something else than serving
    #[command(subcommand)]
    pub command: Option<CsiCommand>,
}

/// `goosefs csi …`
#[derive(Subcommand, Debug)]
pub enum CsiCommand {
    /// Make kubelet know the plugin, which runs beside it; ready once kubelet took it
    #[command(after_help = "Example:\n  goosefs csi register --endpoint unix:///csi/csi.sock \\\n    \
                      --kubelet-endpoint /var/lib/kubelet/plugins/fuse.csi.fluid.io/csi.sock --registry /registration")]
    Register(RegisterArgs),
    /// End a mount that no FUSE process will take over: holders let go of it, and it is unmounted
    #[command(after_help = "Example:\n  goosefs csi unmount /runtime-mnt/goosefs/default/hbase/goosefs-fuse")]
    Unmount(UnmountArgs),
}

/// Flags of `goosefs csi unmount`.
#[derive(Args, Debug)]
pub struct UnmountArgs {
    /// Where it is mounted; refused while a FUSE process serves it
    pub mount_point: PathBuf,
    /// Sockets of holders, one or more times
    #[arg(long, default_value = "/runtime-mnt/.goosefs/holder.sock", value_name = "PATH")]
    pub holder: Vec<PathBuf>,
}

/// Flags of `goosefs csi register`.
#[derive(Args, Debug)]
pub struct RegisterArgs {
    /// The plugin's socket; it is waited for
    #[arg(long, default_value = "unix:///csi/csi.sock", value_name = "unix:///PATH")]
    pub endpoint: String,
    /// The plugin's socket, as kubelet sees it; /var/lib/kubelet/plugins/DRIVER/csi.sock by default
    #[arg(long, value_name = "PATH")]
    pub kubelet_endpoint: Option<PathBuf>,
    /// Name of the driver, as in the CSIDriver object
    #[arg(long, env = "GOOSEFS_CSI_DRIVER", default_value = "fuse.csi.fluid.io", value_name = "NAME")]
    pub driver: String,
    /// The folder in which kubelet looks for plugins
    #[arg(long, default_value = "/var/lib/kubelet/plugins_registry", value_name = "DIR")]
    pub registry: PathBuf,
    /// Where /healthz and /readyz are served; empty for nowhere
    #[arg(long, default_value = "0.0.0.0:8081", value_name = "HOST:PORT")]
    pub metrics_addr: String,
}

/// `goosefs controller …`
#[derive(Subcommand, Debug)]
pub enum ControllerCommand {
    /// Print the CustomResourceDefinitions as YAML
    Crds,
    /// Offer a backup to the master that founds a cluster, until it is told to stop; the controller has a pod do this
    #[command(hide = true)]
    OfferBackup {
        /// What `goosefs fsadmin backup` has written
        file: PathBuf,
        /// Where it is offered
        #[arg(long, default_value = "0.0.0.0:26006", value_name = "HOST:PORT")]
        listen: String,
        /// Give it only to who has the control key in this file
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Fail while there are Datasets or GooseFSRuntimes, naming them; the chart asks before it is uninstalled
    UninstallCheck {
        /// Look for one kind alone; for both by default
        #[arg(long, value_name = "KIND")]
        only: Option<goosefs_k8s::controller::Kind>,
    },
}

/// `goosefs job …`
#[derive(Subcommand, Debug)]
pub enum JobCommand {
    /// Print the host of the master that carries jobs out: the leader
    Leader,
    /// List jobs, the newest first: id, name, status
    Ls,
    /// Print how far a job is
    Stat {
        /// Name the files that failed
        #[arg(short)]
        verbose: bool,
        /// As `ls` shows it
        id: u64,
    },
    /// Stop a job; what it has cached stays
    Cancel {
        /// As `ls` shows it
        id: u64,
    },
}

/// Flags of `goosefs getConf`.
#[derive(Args, Debug)]
pub struct GetConfArgs {
    /// Ask the configuration of the masters; they and their clients read the same properties here
    #[arg(long)]
    pub master: bool,
    /// Say where each value comes from
    #[arg(long)]
    pub source: bool,
    /// Print a size in B, KB, MB, GB, TB, or a time in MS, S, M, H, D
    #[arg(long)]
    pub unit: Option<String>,
    /// A property; all of them by default
    pub key: Option<String>,
}

/// Reads the command line; ends the process with help or a message when it is not one.
#[must_use]
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Cli {
    let matches = Cli::command().get_matches_from(definitions_first(args.into_iter().map(old_long_flag)));
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Moves every `-D` before the subcommand: of a flag given on both sides of it, clap keeps one side only.
fn definitions_first(args: impl IntoIterator<Item = OsString>) -> Vec<OsString> {
    let mut args = args.into_iter();
    let mut first: Vec<OsString> = args.next().into_iter().collect();
    let mut rest = Vec::new();
    while let Some(arg) = args.next() {
        if arg == "--" {
            rest.push(arg);
            rest.extend(args.by_ref());
        } else if arg == "-D" {
            first.push(arg);
            first.extend(args.next());
        } else if arg.as_encoded_bytes().starts_with(b"-D") {
            first.push(arg);
        } else {
            rest.push(arg);
        }
    }
    first.extend(rest);
    first
}

/// GooseFS writes some long flags with one dash.
fn old_long_flag(arg: OsString) -> OsString {
    match arg.to_str() {
        Some("-ignoreCap") => "--ignoreCap".into(),
        Some("-live") => "--live".into(),
        Some("-lost") => "--lost".into(),
        Some("-workers") => "--workers".into(),
        Some("-domain") => "--domain".into(),
        Some("-address") => "--address".into(),
        _ => arg,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Cli {
        Cli::try_parse_from(definitions_first(line.split(' ').map(OsString::from))).unwrap()
    }

    #[test]
    fn the_command_tree_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn properties_stand_before_or_after_the_subcommand() {
        for line in [
            "goosefs -Da=1 -Db=2 fs ls /",
            "goosefs -Da=1 fs -Db=2 ls /",
            "goosefs -D a=1 fs ls -D b=2 /",
            "goosefs fs -Da=1 -Db=2 ls /",
            "goosefs fs ls -Da=1 -Db=2 /",
            "goosefs fs ls / -Da=1 -Db=2",
        ] {
            assert_eq!(parsed(line).define, ["a=1", "b=2"], "{line}");
        }
    }

    #[test]
    fn ls_takes_h_for_human_sizes() {
        let Command::Fs(FsCommand::Ls(args)) = parsed("goosefs fs ls -R -h /x").command else { panic!() };
        assert!(args.recursive && args.human);
    }
}
