//! `goosefs worker`.

use super::process::{self, Role};
use goosefs_core::Result;
use goosefs_core::config::{Properties, keys};
use goosefs_core::metrics::Metrics;
use goosefs_ufs::{Fence, Settings};
use goosefs_worker::{Config, Deps, Running};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

struct Worker(Running);

pub(super) fn run(define: Vec<String>) -> ExitCode {
    process::run("WORKER", define, web, async |properties: Properties| {
        let config = Config::from_properties(&properties)?;
        let storages = Settings::of(&properties);
        let connect = move |uri: &str, options: &_| storages.connect(uri, options, &Fence::open());
        let deps = Deps { connect: Arc::new(connect), ..Deps::default() };
        Ok(Worker(goosefs_worker::start(config, deps).await?))
    })
}

fn web(properties: &Properties) -> Result<Option<String>> {
    let port: u16 = properties.number(&keys::WORKER_WEB_PORT)?;
    Ok(Some(format!("{}:{port}", properties.text(&keys::WORKER_HOSTNAME))))
}

impl Role for Worker {
    fn name(&self) -> String {
        format!("worker {}", self.0.worker())
    }

    fn place(&self) -> String {
        format!("rpc {}", self.0.addresses().rpc)
    }

    fn metrics(&self) -> Metrics {
        self.0.metrics().clone()
    }

    async fn ready(&self) -> Result<()> {
        self.0.ready().await
    }

    async fn shutdown(&self, grace: Duration) {
        self.0.shutdown(grace).await;
    }

    async fn join(&self) -> Result<()> {
        self.0.join().await
    }
}
