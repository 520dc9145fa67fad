//! Makes kubelet know the plugin: a socket in kubelet's folder of plugins, by which kubelet asks for the driver's name and
//! tells whether it took it. Started by `goosefs csi register`, beside the plugin; it ends when kubelet refuses, so that
//! its container is started again.

use super::check_driver;
use super::wire::registration::registration_server::{self, RegistrationServer};
use super::wire::registration::{InfoRequest, PluginInfo, RegistrationStatus, RegistrationStatusResponse};
use goosefs_core::metrics::Metrics;
use goosefs_core::rpc::server;
use goosefs_core::task::Tasks;
use goosefs_core::{Code, Error, Result};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use parking_lot::Mutex;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

/// What kubelet calls plugins like ours.
const KIND: &str = "CSIPlugin";

/// The version of CSI that kubelet is told.
const VERSION: &str = "1.0.0";

/// Between two looks for the plugin's socket where changes cannot be heard of.
const LOOK: Duration = Duration::from_millis(500);

/// What the registrar is told.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the driver.
    pub driver: String,
    /// The plugin's socket, as this process sees it.
    pub socket: PathBuf,
    /// The plugin's socket, as kubelet sees it.
    pub kubelet_socket: PathBuf,
    /// The folder that kubelet watches, as this process sees it.
    pub folder: PathBuf,
}

/// A registrar that was started.
#[derive(Debug)]
pub struct Running {
    driver: String,
    place: PathBuf,
    tasks: Tasks,
    metrics: Metrics,
    registered: watch::Receiver<bool>,
    failure: Arc<Mutex<Option<Error>>>,
}

/// Starts: the socket in kubelet's folder is there as soon as the plugin serves its own.
///
/// # Errors
/// `InvalidArgument` when the driver's name is none.
pub fn start(config: Config) -> Result<Running> {
    check_driver(&config.driver)?;
    let tasks = Tasks::new("register");
    let (tell, registered) = watch::channel(false);
    let failure: Arc<Mutex<Option<Error>>> = Arc::default();
    let place = config.folder.join(socket_name(&config.driver));
    let running = Running {
        driver: config.driver.clone(),
        place: place.clone(),
        tasks: tasks.clone(),
        metrics: Metrics::new(),
        registered,
        failure: failure.clone(),
    };
    let service = Registrar { config: config.clone(), tell, failure: failure.clone(), tasks: tasks.clone() };
    let (stop, serving) = (tasks.stop(), tasks.clone());
    tasks.spawn("wait for the plugin", async move {
        let begun = tokio::select! {
            () = stop.cancelled() => return,
            served = until_served(&config.socket) => served,
        };
        let routes = tonic::service::Routes::new(RegistrationServer::new(service));
        if let Err(error) = begun.and_then(|()| server::serve_unix_grpc("register", &place, routes, &serving))
        {
            *failure.lock() = Some(error);
            serving.stop().cancel();
        }
    });
    Ok(running)
}

/// Name of the socket in kubelet's folder. Kubelet calls with the escaped path for the server's name (`:authority`), which is
/// none, and which our HTTP refuses; but what is before an `@` may be escaped, so that with one it is the name of a user.
fn socket_name(driver: &str) -> String {
    format!("{driver}@goosefs-reg.sock")
}

/// Returns when somebody serves `socket`.
async fn until_served(socket: &Path) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(format!("wait for {}", socket.display()), error);
    let folder = socket.parent().unwrap_or(Path::new("/"));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let changes = match watch_folder(folder) {
        Ok(changes) => Some(changes),
        Err(error) => {
            // A node has few of these for all that root runs.
            tracing::info!(folder = %folder.display(), %error, "changes are looked for instead of heard of");
            None
        }
    };
    let mut told = false;
    while let Err(error) = UnixStream::connect(socket).await {
        if !told {
            told = true;
            tracing::info!(socket = %socket.display(), %error, "waiting for the plugin");
        }
        let Some(changes) = &changes else {
            tokio::time::sleep(LOOK).await;
            continue;
        };
        let mut guard = changes.readable().await.map_err(failed)?;
        let mut events = [0; 4096];
        while nix::unistd::read(changes.get_ref(), &mut events).is_ok_and(|count| count > 0) {}
        guard.clear_ready();
    }
    Ok(())
}

/// Readable when a socket comes to be in `folder`, or begins to be served.
fn watch_folder(folder: &Path) -> std::io::Result<AsyncFd<OwnedFd>> {
    let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
    // IN_ATTRIB comes once its server listens: it then says who may connect.
    let events = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_ATTRIB;
    inotify.add_watch(folder, events)?;
    let inotify = OwnedFd::from(inotify);
    // SAFETY: the descriptor moves in, and nobody else has it.
    #[allow(unsafe_code)]
    let changes = unsafe { AsyncFd::register_with_interest(inotify, Interest::READABLE) };
    changes.map_err(std::io::Error::from)
}

impl Running {
    /// The driver.
    #[must_use]
    pub fn driver(&self) -> &str {
        &self.driver
    }

    /// The socket in kubelet's folder.
    #[must_use]
    pub fn place(&self) -> String {
        self.place.display().to_string()
    }

    /// Its counters: none.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.metrics.clone()
    }

    /// Returns when kubelet has taken the driver.
    ///
    /// # Errors
    /// `Unavailable` when it stopped before.
    pub async fn ready(&self) -> Result<()> {
        let mut registered = self.registered.clone();
        let taken = registered.wait_for(|taken| *taken).await;
        taken.map(drop).map_err(|_| Error::new(Code::Unavailable, "stopped before kubelet took the driver"))
    }

    /// Stops; the socket goes, by which kubelet forgets the driver.
    pub async fn shutdown(&self, grace: Duration) {
        self.tasks.shutdown(grace).await;
    }

    /// Waits until it has stopped.
    ///
    /// # Errors
    /// When kubelet refused the driver, or its folder cannot be used.
    pub async fn join(&self) -> Result<()> {
        self.tasks.join().await;
        self.failure.lock().take().map_or(Ok(()), Err)
    }
}

/// Answers kubelet.
struct Registrar {
    config: Config,
    tell: watch::Sender<bool>,
    failure: Arc<Mutex<Option<Error>>>,
    tasks: Tasks,
}

#[tonic::async_trait]
impl registration_server::Registration for Registrar {
    async fn get_info(&self, _request: Request<InfoRequest>) -> Result<Response<PluginInfo>, Status> {
        Ok(Response::new(PluginInfo {
            r#type: KIND.to_owned(),
            name: self.config.driver.clone(),
            endpoint: self.config.kubelet_socket.display().to_string(),
            supported_versions: vec![VERSION.to_owned()],
        }))
    }

    async fn notify_registration_status(
        &self,
        request: Request<RegistrationStatus>,
    ) -> Result<Response<RegistrationStatusResponse>, Status> {
        let status = request.into_inner();
        if status.plugin_registered {
            tracing::info!(driver = self.config.driver, "kubelet took the driver");
        } else {
            let text = format!("kubelet refuses the driver {}: {}", self.config.driver, status.error);
            *self.failure.lock() = Some(Error::new(Code::Unavailable, text));
            self.tasks.stop().cancel();
        }
        self.tell.send_replace(status.plugin_registered);
        Ok(Response::new(RegistrationStatusResponse {}))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::codegen::http::uri::Authority;

    #[test]
    fn the_sockets_path_as_kubelet_escapes_it_may_name_a_server() {
        let path = format!("/var/lib/kubelet/plugins_registry/{}", socket_name("fuse.csi.fluid.io"));
        let escaped = path.replace('/', "%2F");
        assert_eq!(escaped.parse::<Authority>().unwrap().host(), "goosefs-reg.sock");
        assert!("%2Fvar%2Ffuse.csi.fluid.io-reg.sock".parse::<Authority>().is_err());
    }
}
