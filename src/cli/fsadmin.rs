//! `goosefs fsadmin …`

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// `goosefs fsadmin …`
#[derive(Subcommand, Debug)]
pub enum FsadminCommand {
    /// Write all metadata to a file that `goosefs master --restore` takes
    #[command(
        after_help = "The master that is asked writes it, on its own machine, while everything goes on. The second line that is\n\
                      printed says where.\n\nExamples:\n  goosefs fsadmin backup\n  goosefs fsadmin backup /mnt/backups --local\n  \
                      goosefs fsadmin backup --to ./metadata.backup\n  \
                      goosefs fsadmin backup -Dgoosefs.master.rpc.addresses=m2:9200 /mnt/backups --local"
    )]
    Backup {
        /// An absolute path on the root storage; goosefs.master.backup.directory by default
        directory: Option<String>,
        /// The directory is one of the master's machine, whatever the root storage is
        #[arg(long)]
        local: bool,
        /// The leader writes it and sends it here: a file on the machine of this command
        #[arg(long, value_name = "FILE", conflicts_with_all = ["directory", "local"])]
        to: Option<PathBuf>,
        /// Accepted for old scripts; any master writes backups
        #[arg(long, hide = true)]
        allow_leader: bool,
    },
    /// The masters: who votes, who leads, snapshots
    #[command(subcommand, arg_required_else_help = true)]
    Journal(JournalCommand),
    /// Report on the cluster
    Report(ReportArgs),
}

/// `goosefs fsadmin journal …`
#[derive(Subcommand, Debug)]
pub enum JournalCommand {
    /// Have the leading master take a snapshot, so that the log before it can go
    #[command(after_help = "Example:\n  goosefs fsadmin journal checkpoint")]
    Checkpoint,
    /// Who votes and leads
    #[command(subcommand, arg_required_else_help = true)]
    Quorum(QuorumCommand),
}

/// `goosefs fsadmin journal quorum …`. Addresses are those of the Raft ports.
#[derive(Subcommand, Debug)]
pub enum QuorumCommand {
    /// List the voting masters; works without a leader, too
    #[command(after_help = "Example:\n  goosefs fsadmin journal quorum info -domain MASTER")]
    Info {
        /// Whose quorum
        #[arg(long, value_enum, default_value_t = Domain::Master, hide_possible_values = true)]
        domain: Domain,
    },
    /// Make a master the leader
    #[command(after_help = "Example:\n  goosefs fsadmin journal quorum elect -address m1:9202")]
    Elect {
        /// host:port of its Raft port, as `info` shows it
        #[arg(long)]
        address: String,
    },
    /// Take a master out; it may be dead
    #[command(
        after_help = "Then stop it, and take it out of the lists in the other masters' configuration.\n\n\
                      Example:\n  goosefs fsadmin journal quorum remove -domain MASTER -address m4:9202"
    )]
    Remove {
        /// Whose quorum
        #[arg(long, value_enum, default_value_t = Domain::Master, hide_possible_values = true)]
        domain: Domain,
        /// host:port of its Raft port, as `info` shows it
        #[arg(long)]
        address: String,
    },
    /// Take in a master that was started with an id and an empty directory of its own, and wait until it votes
    #[command(after_help = "Examples, from one master to three:\n  \
                      goosefs master --id 1 -Dgoosefs.master.embedded.journal.addresses=m0:9202,m1:9202,m2:9202 &\n  \
                      goosefs fsadmin journal quorum add -address m1:9202\n  \
                      goosefs master --id 2 -Dgoosefs.master.embedded.journal.addresses=m0:9202,m1:9202,m2:9202 &\n  \
                      goosefs fsadmin journal quorum add -address m2:9202")]
    Add {
        /// Whose quorum
        #[arg(long, value_enum, default_value_t = Domain::Master, hide_possible_values = true)]
        domain: Domain,
        /// host:port of its Raft port
        #[arg(long)]
        address: String,
    },
}

/// Whose quorum.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Domain {
    /// The masters.
    #[value(name = "MASTER")]
    Master,
    /// Job masters, which do not exist here.
    #[value(name = "JOB_MASTER")]
    JobMaster,
}

/// Flags of `goosefs fsadmin report`.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// What to report
    #[command(subcommand)]
    pub category: Option<ReportCategory>,
}

/// What to report.
#[derive(Subcommand, Debug)]
pub enum ReportCategory {
    /// The cluster in short
    Summary,
    /// Room on workers
    Capacity {
        /// Workers that are heard of only
        #[arg(long, alias = "live")]
        live: bool,
        /// Workers that were lost only
        #[arg(long, conflicts_with = "live")]
        lost: bool,
        /// These workers only
        #[arg(long, value_delimiter = ',', conflicts_with_all = ["live", "lost"])]
        workers: Vec<String>,
    },
    /// What is mounted
    Ufs,
}
