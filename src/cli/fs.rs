//! `goosefs fs …`

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `goosefs fs …`
#[derive(Subcommand, Debug)]
pub enum FsCommand {
    /// Print a file
    Cat {
        /// Path of a file
        path: String,
    },
    /// Copy a local file or directory into the namespace
    #[command(name = "copyFromLocal")]
    CopyFromLocal(CopyFromLocalArgs),
    /// Copy a file or directory out of the namespace
    #[command(name = "copyToLocal")]
    CopyToLocal(CopyToLocalArgs),
    /// Drop what is cached of a file or directory; the files stay
    Free {
        /// Free pinned files too
        #[arg(short)]
        force: bool,
        /// Path
        path: String,
    },
    /// Print the host of the leading master
    Leader,
    /// Have the masters cache a file or directory, and wait for the end; they go on when this command ends, and after a
    /// change of leader
    #[command(name = "distributedLoad")]
    DistributedLoad(DistributedLoadArgs),
    /// Cache a file or directory
    Load(LoadArgs),
    /// Print which workers hold blocks of a file
    Location {
        /// Path of a file
        path: String,
    },
    /// List files
    Ls(LsArgs),
    /// Print the leading master and all masters
    #[command(name = "masterInfo")]
    MasterInfo,
    /// Make directories and their missing parents
    Mkdir {
        /// Paths
        #[arg(required = true)]
        paths: Vec<String>,
    },
    /// Mount a storage, or list what is mounted
    Mount(MountArgs),
    /// Rename a file or directory
    Mv {
        /// From
        source: String,
        /// To, which must not exist
        destination: String,
    },
    /// Remove files
    Rm(RmArgs),
    /// Write files that only the cache has to their storage, and wait until they are there
    Persist(PersistArgs),
    /// Print everything about a file or directory
    Stat {
        /// Print this instead: %b blocks, %g group, %N name, %u owner, %y time of change, %Y the same in ms, %z size
        #[arg(short, value_name = "FORMAT")]
        format: Option<String>,
        /// Path
        path: String,
    },
    /// Unmount a storage; its files stay there
    Unmount {
        /// Drop files that only the cache has
        #[arg(long)]
        force: bool,
        /// Path of the mount
        path: String,
    },
}

/// Flags of `goosefs fs ls`.
#[derive(Args, Debug)]
#[command(disable_help_flag = true)]
pub struct LsArgs {
    /// List directories themselves, not what is in them
    #[arg(short)]
    pub directory: bool,
    /// Load metadata from the storage again
    #[arg(short)]
    pub force: bool,
    /// List pinned files only: none, since no command pins any
    #[arg(short)]
    pub pinned: bool,
    /// List what is below, too
    #[arg(short = 'R')]
    pub recursive: bool,
    /// Sizes for people
    #[arg(short = 'h')]
    pub human: bool,
    /// creationTime, inMemoryPercentage, lastAccessTime, lastModificationTime, name, path or size
    #[arg(long, value_name = "OPTION", default_value = "name")]
    pub sort: String,
    /// Time to print: createdTime, lastAccessTime or lastModificationTime
    #[arg(long, value_name = "OPTION", default_value = "lastModificationTime")]
    pub timestamp: String,
    /// Reverse the order
    #[arg(short)]
    pub reverse: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
    /// Paths
    #[arg(required = true)]
    pub paths: Vec<String>,
}

/// Flags of `goosefs fs copyFromLocal`.
#[derive(Args, Debug)]
pub struct CopyFromLocalArgs {
    /// Files at a time
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub thread: u16,
    /// Accepted for old scripts; the size is ours to choose
    #[arg(long, value_name = "SIZE", hide = true)]
    pub buffersize: Option<String>,
    /// Local file or directory
    pub source: PathBuf,
    /// Path in the namespace; a directory takes the source into itself
    pub destination: String,
}

/// Flags of `goosefs fs copyToLocal`.
#[derive(Args, Debug)]
pub struct CopyToLocalArgs {
    /// Accepted for old scripts; the size is ours to choose
    #[arg(long, value_name = "SIZE", hide = true)]
    pub buffersize: Option<String>,
    /// Path in the namespace
    pub source: String,
    /// Local file or directory; a directory takes the source into itself
    pub destination: PathBuf,
}

/// Flags of `goosefs fs load`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  goosefs fs load /hbase\n  goosefs fs load /hbase --submit --bandwidth 100MB\n  goosefs fs load /hbase --progress\n  goosefs fs load /hbase --stop"
)]
pub struct LoadArgs {
    /// Take the copy on this machine's worker
    #[arg(long)]
    pub local: bool,
    /// Have the masters do it, and return at once
    #[arg(long, conflicts_with = "local")]
    pub submit: bool,
    /// Print how far they are
    #[arg(long, conflicts_with_all = ["local", "submit"])]
    pub progress: bool,
    /// Have them stop
    #[arg(long, conflicts_with_all = ["local", "submit", "progress"])]
    pub stop: bool,
    /// With --submit: bytes a second, such as 100MB; without bound by default
    #[arg(long, value_name = "SIZE", requires = "submit")]
    pub bandwidth: Option<String>,
    /// With --submit: workers that shall hold each file
    #[arg(long, value_name = "N", default_value_t = 1, requires = "submit")]
    pub replication: u32,
    /// With --submit: go on when the workers are full, at the cost of what they cached before
    #[arg(long = "ignoreCap", requires = "submit")]
    pub ignore_cap: bool,
    /// Accepted for old scripts; every page has a checksum anyway
    #[arg(long, hide = true)]
    pub verify: bool,
    /// With --progress: TEXT or JSON
    #[arg(long, value_enum, ignore_case = true, default_value_t = ProgressFormat::Text, requires = "progress")]
    pub format: ProgressFormat,
    /// With --progress: name the files that failed
    #[arg(long, requires = "progress")]
    pub verbose: bool,
    /// Path
    pub path: String,
}

impl LoadArgs {
    /// Whether the masters are to do it, or do.
    #[must_use]
    pub fn is_job(&self) -> bool {
        self.submit || self.progress || self.stop
    }
}

/// How progress is printed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum ProgressFormat {
    /// For people.
    #[value(name = "TEXT")]
    Text,
    /// For programs.
    #[value(name = "JSON")]
    Json,
}

/// Flags of `goosefs fs distributedLoad`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  goosefs fs distributedLoad /hbase\n  goosefs fs distributedLoad --replication 2 --bandwidth 1GB /hbase"
)]
pub struct DistributedLoadArgs {
    /// Workers that shall hold each file
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub replication: u32,
    /// Files at a time; 32 by default
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub active_jobs: Option<u32>,
    /// Bytes a second, such as 100MB; without bound by default
    #[arg(long, value_name = "SIZE")]
    pub bandwidth: Option<String>,
    /// Fail when it is not done after so many milliseconds; 0 is never
    #[arg(long, value_name = "MS", default_value_t = 0)]
    pub expire_time: u64,
    /// Go on when the workers are full, at the cost of what they cached before
    #[arg(long = "ignoreCap")]
    pub ignore_cap: bool,
    /// Accepted for old scripts; a load is whole, or names what is missing
    #[arg(short = 'A', hide = true)]
    pub atomic: bool,
    /// Accepted for old scripts; a file is a job
    #[arg(long, value_name = "N", hide = true)]
    pub batch_size: Option<u32>,
    /// Path
    pub path: String,
}

/// Flags of `goosefs fs mount`.
#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  goosefs fs mount\n  goosefs fs mount --readonly /hbase https://mirrors.example.org/apache/hbase/stable/\n  \
                  goosefs fs mount /s3 s3://bucket/prefix --option goosefs.underfs.s3.region=eu-west-1 \\\n    \
                  --option 'aws.accessKeyId=${file:/run/secrets/s3/id}' --option 'aws.secretKey=${file:/run/secrets/s3/key}'\n\n\
                  Keys never stand among the options, which are kept and shown: give ${file:/path} or ${env:NAME}, which\n\
                  masters and workers read for themselves, or set aws.accessKeyId, aws.secretKey (S3) or\n\
                  fs.cosn.userinfo.secretId, .secretKey (COS) in their goosefs-site.properties."
)]
pub struct MountArgs {
    /// Take no writes below it
    #[arg(long)]
    pub readonly: bool,
    /// Any user may use it
    #[arg(long)]
    pub shared: bool,
    /// An option of the storage; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub option: Vec<String>,
    /// Where to mount
    pub path: Option<String>,
    /// What: a local path, file://, http://, https://, s3://bucket/prefix or cosn://bucket-appid/prefix
    #[arg(requires = "path")]
    pub ufs: Option<String>,
}

/// Flags of `goosefs fs persist`.
#[derive(Args, Debug)]
pub struct PersistArgs {
    /// Files at a time
    #[arg(short, long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallelism: u16,
    /// Milliseconds that one file may take
    #[arg(short, long, value_name = "MS", default_value_t = 1_200_000)]
    pub timeout: u64,
    /// Milliseconds to wait before the first file
    #[arg(short, long, value_name = "MS", default_value_t = 0)]
    pub wait: u64,
    /// Paths of files or directories
    #[arg(required = true)]
    pub paths: Vec<String>,
}

/// Flags of `goosefs fs rm`.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// Remove directories with what they hold
    #[arg(short = 'R', short_alias = 'r')]
    pub recursive: bool,
    /// Do not compare with the storage first (accepted; nothing is compared)
    #[arg(short = 'U')]
    pub unchecked: bool,
    /// Leave the files in the storage
    #[arg(long = "goosefsOnly", alias = "alluxioOnly")]
    pub goosefs_only: bool,
    /// Paths
    #[arg(required = true)]
    pub paths: Vec<String>,
}
