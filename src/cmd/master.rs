//! `goosefs master`.

use super::process::{self, Role};
use crate::cli::MasterArgs;
use goosefs_core::Result;
use goosefs_core::clock::SystemClock;
use goosefs_core::config::{Properties, keys};
use goosefs_core::metrics::Metrics;
use goosefs_core::raft::Restore;
use goosefs_master::{Config, Deps, Running};
use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Names a backup to found the cluster with; set in pods.
const BACKUP_VARIABLE: &str = "JOURNAL_BACKUP";

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
            let mut config = Config::from_properties(&properties, id)?;
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
        return Some(Restore { file: local(file.as_os_str()), if_new: false });
    }
    let file = std::env::var_os(BACKUP_VARIABLE).filter(|file| !file.is_empty())?;
    Some(Restore { file: local(&file), if_new: true })
}

fn web(properties: &Properties, id: u32) -> Result<Option<String>> {
    let addresses = properties.list(&keys::MASTER_RPC_ADDRESSES);
    let own = addresses.get(id as usize).and_then(|address| address.rsplit_once(':')).map(|(host, _)| host);
    let host = own.unwrap_or_else(|| properties.text(&keys::MASTER_HOSTNAME));
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

    async fn shutdown(&self, grace: Duration) {
        self.running.shutdown(grace).await;
    }

    async fn join(&self) -> Result<()> {
        self.running.join().await
    }
}
