//! `goosefs dev`: a whole cluster on this machine, each role its own process of this binary.
//!
//! It starts them, waits until all can serve, mounts what was asked for, says what runs and what to try next, and then
//! only watches: a process that dies is named and stays dead, so that people can see what the others do. Ctrl-C or
//! SIGTERM stops everything in order: mount, workers, masters.
//!
//! | file | owns |
//! |---|---|
//! | `layout` | ports, folders and command lines, made from the flags |
//! | `child` | one process |
//! | `record` | `DIR/dev.json` |
//! | `mountpoint` | what a dead FUSE process leaves behind |

mod child;
mod layout;
mod mountpoint;
mod record;

use super::out;
use super::told::told;
use crate::cli::DevArgs;
use anyhow::{Context, bail};
use child::{Child, Event};
use goosefs_client::admin::MountSettings;
use goosefs_client::{Client, Config};
use goosefs_core::config::{Properties, keys};
use goosefs_core::metrics::Metrics;
use layout::{Layout, MountPlan};
use nix::fcntl::{Flock, FlockArg};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

/// How long a cluster may take to come up.
const START_LIMIT: Duration = Duration::from_secs(60);

pub(super) fn run(args: DevArgs, define: &[String]) -> ExitCode {
    let outcome = Layout::new(&args, define).and_then(|layout| {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        runtime.block_on(cluster(&layout))
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("goosefs dev: {}", told(&error));
            ExitCode::FAILURE
        }
    }
}

async fn cluster(layout: &Layout) -> anyhow::Result<()> {
    let _lock = prepare(layout)?;
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let (sender, mut events) = mpsc::unbounded_channel();
    let mut cluster = Cluster::start(layout, &sender)?;
    let outcome = tokio::select! {
        outcome = watch(layout, &cluster, &mut events) => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
    };
    cluster.stop(layout).await;
    outcome
}

/// Makes the folders and takes the directory for this process.
fn prepare(layout: &Layout) -> anyhow::Result<Flock<File>> {
    if let Some(mount_point) = &layout.mount_point
        && !mountpoint::is_mounted(mount_point)
        && mount_point.exists()
    {
        // Before anything is made.
        anyhow::ensure!(
            mount_point.is_dir(),
            "the mount point {} is not a directory: give an empty directory, or a path where one can be made",
            mount_point.display()
        );
    }
    let mut folders = vec![layout.dir.clone(), layout.dir.join("logs"), layout.socket_folder.clone()];
    folders.extend(layout.root_folder.clone());
    for folder in folders {
        fs::create_dir_all(&folder).with_context(|| format!("make {}", folder.display()))?;
    }
    let path = layout.dir.join("dev.lock");
    let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| match errno {
        nix::errno::Errno::EAGAIN => anyhow::anyhow!(
            "another `goosefs dev` runs on {}: stop it, or give this one another --dir and --port-base",
            layout.dir.display()
        ),
        other => anyhow::anyhow!("lock {}: {other}", path.display()),
    })?;
    if let Some(mount_point) = &layout.mount_point {
        mountpoint::detach(mount_point).with_context(|| format!("unmount {}", mount_point.display()))?;
        if !mount_point.is_dir() {
            fs::create_dir_all(mount_point)
                .with_context(|| format!("make the mount point {}", mount_point.display()))?;
        }
    }
    Ok(lock)
}

struct Cluster {
    masters: Vec<Child>,
    workers: Vec<Child>,
    fuse: Option<Child>,
}

impl Cluster {
    fn start(layout: &Layout, events: &mpsc::UnboundedSender<Event>) -> anyhow::Result<Cluster> {
        let logs = layout.dir.join("logs");
        let start = |plan| Child::start(plan, &logs, events.clone());
        let cluster = Cluster {
            masters: layout.masters.iter().map(start).collect::<anyhow::Result<_>>()?,
            workers: layout.workers.iter().map(start).collect::<anyhow::Result<_>>()?,
            fuse: layout.fuse.as_ref().map(start).transpose()?,
        };
        let fuse = cluster.fuse.as_ref().zip(layout.mount_point.as_deref());
        record::write(&layout.dir, &cluster.masters, &cluster.workers, fuse).context("write dev.json")?;
        Ok(cluster)
    }

    fn children(&self) -> impl Iterator<Item = &Child> {
        self.masters.iter().chain(&self.workers).chain(&self.fuse)
    }

    fn child(&self, name: &str) -> Option<&Child> {
        self.children().find(|child| child.plan.name == name)
    }

    async fn stop(&mut self, layout: &Layout) {
        eprintln!("stopping");
        if let Some(fuse) = &mut self.fuse {
            fuse.stop().await;
        }
        if let Some(mount_point) = &layout.mount_point
            && let Err(error) = mountpoint::detach(mount_point)
        {
            eprintln!("unmount {}: {error}", mount_point.display());
        }
        futures::future::join_all(self.workers.iter_mut().map(Child::stop)).await;
        futures::future::join_all(self.masters.iter_mut().map(Child::stop)).await;
    }
}

/// Waits until everything serves, mounts, says so, and then tells of whatever dies; ends only by an error.
async fn watch(
    layout: &Layout,
    cluster: &Cluster,
    events: &mut mpsc::UnboundedReceiver<Event>,
) -> anyhow::Result<()> {
    eprintln!(
        "starting {} masters and {} workers in {}",
        layout.masters.len(),
        layout.workers.len(),
        layout.dir.display()
    );
    if layout.masters.len() > 1 && layout.masters.len().is_multiple_of(2) {
        let masters = layout.masters.len();
        eprintln!(
            "{masters} masters survive the loss of no more than {} do: an odd number is better",
            masters - 1
        );
    }
    let come_up = tokio::time::timeout(START_LIMIT, wait_until_ready(layout, cluster, events));
    match come_up.await {
        Ok(outcome) => outcome?,
        Err(_) => bail!(
            "the cluster was not ready within {START_LIMIT:?}; logs are in {}",
            layout.dir.join("logs").display()
        ),
    }
    let client = client(layout)?;
    for mount in &layout.mounts {
        make_mount(&client, mount).await.with_context(|| format!("mount {} at {}", mount.uri, mount.path))?;
    }
    let leader = client.describe().await.ok();
    let leading = leader.and_then(|cluster| cluster.masters.into_iter().find(|master| master.leader));
    client.shutdown(Duration::from_secs(1)).await;
    announce(layout, cluster, leading.map(|master| master.rpc).as_deref());
    while let Some(event) = events.recv().await {
        if let Event::Ended(name, status) = event
            && let Some(child) = cluster.child(&name)
        {
            say(&format!(
                "{name} (pid {}) has ended: {}; start it again with: goosefs {}",
                child.pid,
                child::describe(status),
                quoted(&child.plan.args)
            ));
        }
    }
    Ok(())
}

async fn wait_until_ready(
    layout: &Layout,
    cluster: &Cluster,
    events: &mut mpsc::UnboundedReceiver<Event>,
) -> anyhow::Result<()> {
    let mut waited_for: BTreeSet<&str> = cluster.children().map(|child| child.plan.name.as_str()).collect();
    while !waited_for.is_empty() {
        match events.recv().await {
            Some(Event::Ready(name)) => {
                waited_for.remove(name.as_str());
            }
            Some(Event::Ended(name, status)) => {
                let words = cluster.child(&name).map(|child| child.last_words(5)).unwrap_or_default();
                let remedy = match words.contains("already in use") {
                    true => format!(
                        "\ngoosefs dev takes its ports from {}: --port-base moves them all",
                        layout.port_base
                    ),
                    false => String::new(),
                };
                bail!("{name} did not start: {}\n{}{remedy}", child::describe(status), words.trim_end());
            }
            None => bail!("nothing is left running"),
        }
    }
    Ok(())
}

fn client(layout: &Layout) -> anyhow::Result<Client> {
    let addresses: Vec<&str> = layout.masters.iter().map(|plan| plan.rpc.as_str()).collect();
    let properties = Properties::new().with(&keys::MASTER_RPC_ADDRESSES, addresses.join(","));
    Ok(Client::new(Config::from_properties(&properties)?, &Metrics::new()))
}

/// Mounts, unless the same storage is mounted there from an earlier start.
async fn make_mount(client: &Client, plan: &MountPlan) -> anyhow::Result<()> {
    let table = client.admin().mounts().await?;
    if let Some(present) = table.get(plan.path.as_str()) {
        let same = present.ufs_uri().trim_end_matches('/') == plan.uri.trim_end_matches('/');
        anyhow::ensure!(
            same,
            "{} is mounted there: unmount it first (goosefs fs unmount {})",
            present.ufs_uri(),
            plan.path
        );
        return Ok(());
    }
    client.admin().mount(&plan.path, &plan.uri, MountSettings::default()).await?;
    Ok(())
}

fn announce(layout: &Layout, cluster: &Cluster, leader: Option<&str>) {
    for child in cluster.masters.iter().chain(&cluster.workers) {
        let plan = &child.plan;
        let role = if leader == Some(plan.rpc.as_str()) { "  leader" } else { "" };
        say(&format!(
            "{:<10} pid {:<8} rpc {:<16} web http://{}/metrics{role}",
            plan.name, child.pid, plan.rpc, plan.web
        ));
    }
    if let Some((child, mount_point)) = cluster.fuse.as_ref().zip(layout.mount_point.as_deref()) {
        say(&format!("{:<10} pid {:<8} mounted at {}", child.plan.name, child.pid, mount_point.display()));
    }
    let default_ports = layout.masters.first().is_some_and(|plan| plan.rpc.ends_with(":9200"));
    let addresses: Vec<&str> = layout.masters.iter().map(|plan| plan.rpc.as_str()).collect();
    let option = if default_ports {
        String::new()
    } else {
        format!(" -Dgoosefs.master.rpc.addresses={}", addresses.join(","))
    };
    let path = layout.mounts.first().map_or("/", |mount| mount.path.as_str());
    say("");
    match &layout.mount_point {
        Some(mount_point) => say(&format!("try:  ls {}", inside(mount_point, path))),
        None => say(&format!("try:  goosefs fs{option} ls {path}")),
    }
    say(&format!("      goosefs fs{option} masterInfo"));
    say("Ctrl-C stops everything.");
}

/// A line for whoever watches. The cluster goes on without: `goosefs dev | head` is no reason to stop it.
fn say(line: &str) {
    let _nobody_reads = out::try_bytes(format!("{line}\n").as_bytes());
}

fn inside(mount_point: &Path, path: &str) -> String {
    quoted(&[mount_point.join(path.trim_start_matches('/')).display().to_string()])
}

/// Words as a shell takes them.
fn quoted(words: &[String]) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+@%".contains(c);
    let quote = |word: &String| {
        if !word.is_empty() && word.chars().all(plain) {
            word.clone()
        } else {
            format!("'{}'", word.replace('\'', "'\\''"))
        }
    };
    words.iter().map(quote).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        let words = ["a=b".to_owned(), "it's".to_owned(), "a b".to_owned(), String::new()];
        assert_eq!(quoted(&words), r"a=b 'it'\''s' 'a b' ''");
    }
}
