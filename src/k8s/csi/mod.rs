//! The CSI node plugin: what kubelet asks of a driver on the node where a pod uses a Dataset's volume.
//!
//! A volume is the mount that a runtime's FUSE pod makes on the node below [`Config::mount_root`]. Staging it waits until
//! that mount is there and answers, publishing it binds the mount to a pod's folder. Nothing is remembered: what is
//! published is read from mountinfo, so that a restart forgets nothing; and nothing on the node is looked into before
//! mountinfo was asked, since a mount whose daemon is dead would hang. Nodes are never patched and no apiserver is
//! needed: the controller labels a node for FUSE as soon as a pod that uses the volume is scheduled there.
//! Beside that it keeps mounts whose FUSE process is away, and says what became of them.
//!
//! `node` and `identity` answer kubelet, `volume` checks what a request says, `source` waits for a runtime's mount,
//! `mounts` binds and unmounts, `watch` wakes when mountinfo changes, `probe` asks a mount whether it lives, `busy` lets
//! one call at a time work on a place; `parked` says whether all mounts would outlive their process, `recover` shows a
//! runtime's next mount in place of a dead one, `report` writes events, [`unmount`] ends a mount for good. [`register`] is the process beside it that makes kubelet know the socket.
//! Started by `goosefs csi`.

mod busy;
mod identity;
mod metrics;
mod mounts;
mod node;
mod parked;
mod probe;
mod recover;
pub mod register;
mod report;
mod source;
mod unmount;
mod volume;
mod watch;
pub mod wire;

pub use unmount::unmount;

use goosefs_core::metrics::Metrics;
use goosefs_core::rpc::park::holder::Holder;
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use std::path::PathBuf;
use std::time::Duration;
use wire::csi::identity_server::IdentityServer;
use wire::csi::node_server::NodeServer;

/// Kept of the time to stop in, for stopping itself.
const LAST: Duration = Duration::from_secs(1);

/// What the plugin is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// The socket that it serves.
    pub socket: PathBuf,
    /// Name of the node, as Kubernetes knows it.
    pub node: String,
    /// Name of the driver, as in the CSIDriver object and in volumes.
    pub driver: String,
    /// The socket on which FUSE processes leave their mounts.
    pub holder: PathBuf,
    /// How long a mount whose FUSE process is away is kept.
    pub takeover: Duration,
    /// kubelet's folder: the volumes of pods lie below it.
    pub kubelet: PathBuf,
    /// The folder that all runtimes' mounts lie below: no volume shows anything else of the node.
    pub mount_root: PathBuf,
}

/// The path in `unix:///path`.
///
/// # Errors
/// `InvalidArgument` when it is something else.
pub fn socket_of(endpoint: &str) -> Result<PathBuf> {
    let path =
        endpoint.strip_prefix("unix://").or_else(|| endpoint.strip_prefix("unix:")).unwrap_or(endpoint);
    if path.starts_with('/') {
        return Ok(PathBuf::from(path));
    }
    Err(Error::new(Code::InvalidArgument, format!("\"{endpoint}\" is not the address of a Unix socket"))
        .hint("write unix:///csi/csi.sock"))
}

/// A plugin that was started.
#[derive(Debug)]
pub struct Running {
    config: Config,
    tasks: Tasks,
    metrics: Metrics,
    holder: Holder,
    can_park: bool,
}

/// Starts to serve kubelet.
///
/// # Errors
/// `InvalidArgument` when the driver's name is none, `Busy` when another process serves the socket.
pub async fn start(config: Config) -> Result<Running> {
    check_driver(&config.driver)?;
    if config.node.is_empty() {
        return Err(Error::new(Code::InvalidArgument, "the node's name is missing")
            .hint("give --node, or set KUBE_NODE_NAME from the pod's spec.nodeName"));
    }
    let tasks = Tasks::new("csi");
    let metrics = Metrics::new();
    let probes = probe::Probes::default();
    let node = node::Node::new(&config, probes.clone(), &tasks, metrics::CsiMetrics::new(&metrics));
    let identity = identity::Identity::new(&config.driver);
    let routes =
        tonic::service::Routes::new(IdentityServer::new(identity)).add_service(NodeServer::new(node));
    let (holder, lost) = Holder::serve(&config.holder, config.takeover, &tasks)?;
    server::serve_unix_grpc("csi", &config.socket, routes, &tasks)?;
    let report = report::Report::new(&config.node).await;
    let (root, stop, tell) = (config.mount_root.clone(), tasks.stop(), report.clone());
    tasks.spawn("tell of mounts", async move {
        tokio::select! {
            () = tell.given_up(lost, &root) => {}
            () = stop.cancelled() => {}
        }
    });
    let (root, kubelet, stop) = (config.mount_root.clone(), config.kubelet.clone(), tasks.stop());
    tasks.spawn("recover volumes", async move {
        tokio::select! {
            ended = recover::recover(&root, &kubelet, probes, report) => {
                if let Err(error) = ended {
                    tracing::error!(%error, "volumes whose mount ends will stay dead");
                }
            }
            () = stop.cancelled() => {}
        }
    });
    tracing::info!(driver = config.driver, node = config.node, "serves kubelet");
    Ok(Running { can_park: parked::possible(), config, tasks, metrics, holder })
}

/// A driver's name is that of a domain, at most 63 characters.
fn check_driver(name: &str) -> Result<()> {
    let fine = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    let ends = [name.as_bytes().first(), name.as_bytes().last()];
    let ends_fine = ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric));
    if name.len() <= 63 && ends_fine && name.bytes().all(fine) {
        return Ok(());
    }
    Err(Error::new(Code::InvalidArgument, format!("\"{name}\" is not the name of a CSI driver"))
        .hint("at most 63 letters, digits, dots and dashes, such as fuse.csi.fluid.io"))
}

impl Running {
    /// The socket.
    #[must_use]
    pub fn place(&self) -> String {
        self.config.socket.display().to_string()
    }

    /// The driver.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.config.driver
    }

    /// Mounts whose FUSE process is away.
    #[must_use]
    pub fn orphans(&self) -> usize {
        self.holder.orphans()
    }

    /// Whether every mount of the node would outlive its FUSE process, where the kernel allows that.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        !self.can_park || parked::missing(&self.config.mount_root, &self.holder).is_empty()
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Stops; calls under way may end within `grace`. A mount whose process is away would end with us, so that the next
    /// process is waited for as long.
    pub async fn shutdown(&self, grace: Duration) {
        let begun = tokio::time::Instant::now();
        let mut changes = self.holder.changes();
        let taken = async { while self.holder.orphans() > 0 && changes.changed().await.is_ok() {} };
        let _ = tokio::time::timeout(grace.saturating_sub(LAST), taken).await;
        self.tasks.shutdown(grace.saturating_sub(begun.elapsed())).await;
    }

    /// Waits until it has stopped.
    pub async fn join(&self) {
        self.tasks.join().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_path_with_or_without_its_scheme() {
        for endpoint in ["unix:///csi/csi.sock", "unix:/csi/csi.sock", "/csi/csi.sock"] {
            assert_eq!(socket_of(endpoint).unwrap(), PathBuf::from("/csi/csi.sock"));
        }
        for endpoint in ["", "csi.sock", "tcp://0.0.0.0:1", "unix://csi.sock"] {
            assert_eq!(socket_of(endpoint).unwrap_err().code, Code::InvalidArgument, "{endpoint}");
        }
    }

    #[test]
    fn a_driver_has_the_name_of_a_domain() {
        check_driver("fuse.csi.fluid.io").unwrap();
        for name in ["", "-a", "a.", "a/b", &"a".repeat(64)] {
            assert!(check_driver(name).is_err(), "{name}");
        }
    }
}
