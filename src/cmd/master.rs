//! `goosefs master`.

use super::process::{self, Role};
use crate::cli::MasterArgs;
use goosefs_core::Result;
use goosefs_core::clock::SystemClock;
use goosefs_core::config::{Properties, keys};
use goosefs_core::metrics::Metrics;
use goosefs_core::raft::Restore;
use goosefs_master::{Deps, Running};
use std::ffi::OsStr;
use std::net::ToSocketAddrs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Names a backup to found the cluster with; set in pods.
const BACKUP_VARIABLE: &str = "JOURNAL_BACKUP";

/// How long a master of several waits for its own name.
const OWN_NAME: Duration = Duration::from_secs(60);

struct Master {
    id: u32,
    running: Running,
}

pub(super) fn run(args: &MasterArgs, define: Vec<String>) -> ExitCode {
    let (id, force_new_cluster, restore) = (args.id, args.force_new_cluster, restore(args));
    process::run(
        "MASTER",
        define,
        |properties| web(properties, id),
        async move |properties: Properties| {
            let mut config = goosefs_master::configure(properties, id).await?;
            config.force_new_cluster = force_new_cluster;
            config.restore = restore;
            let deps = Deps { clock: SystemClock::shared(), listeners: None };
            Ok(Master { id, running: goosefs_master::start(config, deps).await? })
        },
    )
}

/// The backup to begin with. The variable stays from one start of a pod to the next, so it counts for the first only; the
/// flag is an order.
fn restore(args: &MasterArgs) -> Option<Restore> {
    let local = |file: &OsStr| {
        let path = file.to_str().and_then(|text| text.strip_prefix("file://"));
        path.map_or_else(|| PathBuf::from(file), PathBuf::from)
    };
    if let Some(file) = &args.restore {
        return Some(Restore { file: local(file.as_os_str()), offered: false, if_new: false });
    }
    let file = std::env::var_os(BACKUP_VARIABLE).filter(|file| !file.is_empty())?;
    Some(Restore { file: local(&file), offered: false, if_new: true })
}

/// Waits for a name of our own that is not known yet, as it is while a cluster is being started.
fn wait_for_name(host: &str) {
    let until = Instant::now() + OWN_NAME;
    let mut told = false;
    while let Err(error) = (host, 0).to_socket_addrs() {
        if Instant::now() >= until {
            return;
        }
        if !std::mem::replace(&mut told, true) {
            tracing::warn!(host, %error, "waiting for our own name to be known");
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn web(properties: &Properties, id: u32) -> Result<Option<String>> {
    let addresses = properties.list(&keys::MASTER_RPC_ADDRESSES);
    let own = addresses.get(id as usize).and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
    let host = match properties.text(&keys::MASTER_BIND_HOST) {
        "" => own.unwrap_or_else(|| properties.text(&keys::MASTER_HOSTNAME)),
        bind => bind,
    };
    if addresses.len() > 1 {
        // The role would wait for it, and the web port comes first.
        wait_for_name(host);
    }
    Ok(Some(format!("{host}:{}", properties.number::<u16>(&keys::MASTER_WEB_PORT)?)))
}

impl Role for Master {
    fn name(&self) -> String {
        format!("master {}", self.id)
    }

    fn place(&self) -> String {
        format!("rpc {}, raft {}", self.running.addresses().rpc, self.running.addresses().raft)
    }

    fn metrics(&self) -> Metrics {
        self.running.metrics()
    }

    async fn ready(&self) -> Result<()> {
        self.running.ready().await
    }

    fn is_ready(&self) -> bool {
        self.running.is_ready()
    }

    async fn shutdown(&self, grace: Duration) {
        self.running.shutdown(grace).await;
    }

    async fn join(&self) -> Result<()> {
        self.running.join().await
    }
}
