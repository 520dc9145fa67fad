//! `goosefs master`.

use super::process::{self, Role};
use crate::cli::MasterArgs;
use goosefs_core::Result;
use goosefs_core::clock::SystemClock;
use goosefs_core::config::{Properties, keys};
use goosefs_core::metrics::Metrics;
use goosefs_master::{Config, Deps, Running};
use std::process::ExitCode;
use std::time::Duration;

struct Master {
    id: u32,
    running: Running,
}

pub(super) fn run(args: &MasterArgs, define: Vec<String>) -> ExitCode {
    let id = args.id;
    process::run(
        "MASTER",
        define,
        |properties| web(properties, id),
        async move |properties: Properties| {
            let config = Config::from_properties(&properties, id)?;
            let deps = Deps { clock: SystemClock::shared(), listeners: None };
            Ok(Master { id, running: goosefs_master::start(config, deps).await? })
        },
    )
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
