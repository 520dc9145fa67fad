//! `make bench`: how fast a dev cluster of the real binary is beside other programs on the same machine.
//!
//! Machines are noisy, so every figure is a ratio of two commands that ran by turns in one run, medians of five, and both
//! commands are printed. What is measured:
//!
//! | file | figures |
//! |---|---|
//! | `cached` | FUSE reads of a cached file against the same `fio` on the bare file; the daemon's counter shows who read |
//! | `cold` | a cold file from a web server through FUSE against `curl` |
//! | `creates` | creates per second against fdatasyncs per second of the same disk |
//! | `memory` | resident memory of every process after 100,000 files were created |
//! | `scale` | a namespace of a million files: memory per inode, operations per second and what bounds them, recovery |
//!
//! `--only steady` runs nothing but the full load for ten minutes (`--seconds`), and fails if there was an election.

mod cached;
mod cold;
mod creates;
mod dev;
mod memory;
mod report;
mod scale;

use anyhow::Context;
use clap::Parser;
use dev::Dev;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Figures of a dev cluster of the real binary.
#[derive(Parser, Debug)]
struct Args {
    /// The binary to measure; an optimised build.
    #[arg(long)]
    binary: PathBuf,
    /// Where the cluster and the files lie; a folder below it is made and removed. The disk that is measured.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Files of the namespace that `scale` measures.
    #[arg(long, env = "BENCH_FILES", default_value_t = 1_000_000)]
    files: u64,
    /// Rounds of each measurement; medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Only these: cached, cold, creates, memory, scale; or steady, which runs only when it is named.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Of `scale` only the operations whose names begin so: getattr, GetStatus, list, create, rename, delete.
    #[arg(long, value_delimiter = ',')]
    operations: Vec<String>,
    /// How long `steady` loads.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

impl Args {
    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let folder = tempfile::Builder::new().prefix("goosefs-bench-").tempdir_in(&args.dir)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&args, folder.path()))
}

async fn measure(args: &Args, folder: &Path) -> anyhow::Result<()> {
    report::machine();
    if ["cached", "cold", "creates", "memory"].iter().any(|name| args.wants(name)) {
        whole_cluster(args, folder).await?;
    }
    if args.wants("scale") {
        scale::run(&args.binary, folder, args.files, &args.operations).await?;
    }
    if args.only.iter().any(|only| only == "steady") {
        scale::steady(&args.binary, folder, args.files, Duration::from_secs(args.seconds)).await?;
    }
    Ok(())
}

/// What is measured on one cluster with a mount.
async fn whole_cluster(args: &Args, folder: &Path) -> anyhow::Result<()> {
    let source = folder.join("web");
    std::fs::create_dir_all(&source)?;
    let web = goosefs_ufs::testing::Serving::of(&source, goosefs_ufs::testing::Page::Autoindex);
    let web = web
        .start()
        .map_err(|error| anyhow::anyhow!("{error}"))
        .context("start nginx (apt-get install nginx-light)")?;
    // Before the start: what appears behind a directory that is known already is seen only when it is looked at again.
    let bare = folder.join("dev/root/cached.bin");
    std::fs::create_dir_all(folder.join("dev/root"))?;
    dev::write_random(&bare, cached::BYTES)?;
    dev::write_random(&source.join(cold::NAME), cold::BYTES)?;
    let dev = Dev::start(&args.binary, &folder.join("dev"), &[format!("--mount=/web={}", web.uri())])?;
    if args.wants("cached") {
        cached::run(&dev, &bare, args.rounds)?;
    }
    if args.wants("cold") {
        cold::run(&dev, &source, &web.uri(), args.rounds)?;
    }
    // Before other files are created: its bounds are for so many files.
    if args.wants("memory") {
        memory::run(&dev).await?;
    }
    if args.wants("creates") {
        creates::run(&dev, folder, args.rounds).await?;
    }
    dev.stop()
}
