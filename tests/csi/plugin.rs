//! One plugin process, the mounts of a runtime that it shows, and kubelet's side of its socket.

use goosefs_core::mountinfo::{self, Mount};
use goosefs_fuse::testing::TestCluster;
use goosefs_fuse::{Config, Deps, Running};
use goosefs_harness::{Binary, wait_for};
use goosefs_k8s::csi::wire::csi;
use goosefs_k8s::csi::wire::csi::node_client::NodeClient;
use goosefs_k8s::csi::wire::csi::volume_capability::access_mode::Mode;
use goosefs_k8s::csi::wire::csi::volume_capability::{AccessMode, AccessType, MountVolume};
use nix::mount::{MntFlags, umount2};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

/// A call that should end well does so within this.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// Whether mounts can be made here; says why not.
pub(crate) fn can_mount() -> bool {
    let can = nix::unistd::Uid::effective().is_root() && Path::new("/dev/fuse").exists();
    if !can {
        eprintln!("SKIPPED: mounting needs root and /dev/fuse");
    }
    can
}

/// A folder on a node: `runtime-mnt` with the runtime's mount, `pods` with the places where volumes are shown.
/// Nothing stays mounted in it.
pub(crate) struct Ground {
    dir: Option<TempDir>,
    runtime: tokio::runtime::Runtime,
}

impl Ground {
    pub(crate) fn new() -> Ground {
        let dir = TempDir::new().unwrap();
        fs::create_dir_all(dir.path().join("runtime-mnt/goosefs/default/hbase/goosefs-fuse")).unwrap();
        fs::create_dir_all(dir.path().join("pods")).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Ground { dir: Some(dir), runtime: runtime.unwrap() }
    }

    pub(crate) fn path(&self) -> &Path {
        self.dir.as_ref().unwrap().path()
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.path().join("runtime-mnt")
    }

    /// Where FUSE mounts the runtime.
    pub(crate) fn source(&self) -> PathBuf {
        self.root().join("goosefs/default/hbase/goosefs-fuse")
    }

    /// Where pod `name` gets the volume.
    pub(crate) fn target(&self, name: &str) -> PathBuf {
        self.path().join("pods").join(name)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path().join("csi.sock")
    }

    /// Mounts the runtime, with the file `hello` in it.
    pub(crate) fn mount(&self) -> Runtime {
        let data = TempDir::new().unwrap();
        let deps = Deps::new(Arc::new(TestCluster::new(data.path())));
        let running = self.runtime.block_on(goosefs_fuse::start(Config::new(self.source()), deps)).unwrap();
        fs::write(self.source().join("hello"), "hello").unwrap();
        let handle = self.runtime.handle().clone();
        Runtime { running, handle, mount: mountinfo::at(&self.source()).unwrap(), _data: data }
    }

    pub(crate) fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }

    /// Runs `work` beside the test.
    pub(crate) fn beside<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> tokio::task::JoinHandle<T> {
        self.runtime.spawn(work)
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        let inside = |mount: &Mount| mount.mount_point.starts_with(self.path());
        for mount in mountinfo::all().iter().rev().filter(|mount| inside(mount)) {
            let _ = umount2(&mount.mount_point, MntFlags::MNT_DETACH);
        }
        // Never walk into a mount that stayed.
        if mountinfo::all().iter().any(inside)
            && let Some(dir) = self.dir.take()
        {
            eprintln!("something stays mounted below {}", dir.keep().display());
        }
    }
}

/// A mount that is served until it is dropped.
pub(crate) struct Runtime {
    running: Running,
    handle: tokio::runtime::Handle,
    pub(crate) mount: Mount,
    _data: TempDir,
}

impl Runtime {
    /// Ends the connection, as the death of the daemon does: the mount stays, and every call on it fails.
    pub(crate) fn die(&self) {
        self.mount.abort().unwrap();
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.handle.block_on(self.running.shutdown(Duration::from_secs(2)));
    }
}

/// A process of the binary, and the lines it prints.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    stderr: PathBuf,
}

impl Process {
    pub(crate) fn start(ground: &Ground, name: &str, args: &[&str]) -> Process {
        let binary = Binary::new(env!("CARGO_BIN_EXE_goosefs"), ground.path());
        let stderr = ground.path().join(format!("{name}.err"));
        let log = fs::OpenOptions::new().append(true).create(true).open(&stderr).unwrap();
        let mut child = binary.command(args).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let (tell, lines) = channel();
        let out = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            for line in out.lines().map_while(std::io::Result::ok) {
                let _ = tell.send(line);
            }
        });
        Process { child, lines, stderr }
    }

    /// The next line on standard output.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("no line; it said: {}", self.said()))
    }

    /// Whether it has printed nothing yet.
    pub(crate) fn is_silent(&self) -> bool {
        self.lines.try_recv().is_err()
    }

    /// Standard error so far.
    pub(crate) fn said(&self) -> String {
        fs::read_to_string(&self.stderr).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }

    /// Bytes that it has got by read(2), from /dev/fuse for example; see proc_pid_io(5).
    pub(crate) fn bytes_read(&self) -> u64 {
        let io = std::fs::read_to_string(format!("/proc/{}/io", self.child.id())).unwrap();
        io.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        let mut status = None;
        wait_for("the process ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The plugin, ready.
pub(crate) struct Plugin {
    pub(crate) process: Process,
    client: NodeClient<Channel>,
}

impl Plugin {
    pub(crate) fn start(ground: &Ground) -> Plugin {
        Plugin::start_with(ground, &[])
    }

    /// With further flags.
    pub(crate) fn start_with(ground: &Ground, more: &[&str]) -> Plugin {
        let endpoint = format!("unix://{}", ground.socket().display());
        let root = ground.root().display().to_string();
        let pods = ground.path().join("pods").display().to_string();
        let flags = ["csi", "--endpoint", &endpoint, "--node", "n1", "--metrics-addr", ""];
        let places = ["--mount-root", &root, "--kubelet-root", &pods];
        let flags: Vec<&str> = flags.iter().chain(&places).chain(more).copied().collect();
        let process = Process::start(ground, "csi", &flags);
        let line = process.line();
        assert!(line.starts_with("ready csi driver fuse.csi.fluid.io: "), "{line}");
        let client = ground.block_on(async { NodeClient::new(channel_to(&ground.socket())) });
        Plugin { process, client }
    }

    pub(crate) fn client(&self) -> NodeClient<Channel> {
        self.client.clone()
    }
}

/// A channel to a socket, connected at first use.
pub(crate) fn channel_to(socket: &Path) -> Channel {
    Endpoint::from_shared(format!("unix://{}", socket.display())).unwrap().connect_lazy()
}

/// What kubelet says of the runtime's volume.
pub(crate) fn attributes(path: &Path) -> HashMap<String, String> {
    HashMap::from([
        ("fluid_path".to_owned(), path.display().to_string()),
        ("mount_type".to_owned(), "fuse.goosefs-fuse".to_owned()),
        ("runtime_namespace".to_owned(), "default".to_owned()),
        ("runtime_name".to_owned(), "hbase".to_owned()),
    ])
}

/// A volume that is used like that.
pub(crate) fn capability(mode: Mode) -> csi::VolumeCapability {
    csi::VolumeCapability {
        access_mode: Some(AccessMode { mode: mode.into() }),
        access_type: Some(AccessType::Mount(MountVolume::default())),
    }
}

fn within<T>(message: T, patience: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

/// Stages the volume at `source`.
pub(crate) async fn stage(
    mut client: NodeClient<Channel>,
    source: PathBuf,
    patience: Duration,
) -> Result<(), Status> {
    let request = csi::NodeStageVolumeRequest {
        volume_id: "default-hbase".to_owned(),
        staging_target_path: "/staging".to_owned(),
        volume_capability: Some(capability(Mode::MultiNodeMultiWriter)),
        volume_context: attributes(&source),
        ..Default::default()
    };
    client.node_stage_volume(within(request, patience)).await.map(drop)
}

/// Publishes the volume at `source` to `target`.
pub(crate) async fn publish(
    mut client: NodeClient<Channel>,
    source: PathBuf,
    target: PathBuf,
    mode: Mode,
    patience: Duration,
) -> Result<(), Status> {
    let request = csi::NodePublishVolumeRequest {
        volume_id: "default-hbase".to_owned(),
        target_path: target.display().to_string(),
        volume_capability: Some(capability(mode)),
        volume_context: attributes(&source),
        ..Default::default()
    };
    client.node_publish_volume(within(request, patience)).await.map(drop)
}

/// Unpublishes it there.
pub(crate) async fn unpublish(mut client: NodeClient<Channel>, target: PathBuf) -> Result<(), Status> {
    let request = csi::NodeUnpublishVolumeRequest {
        volume_id: "default-hbase".to_owned(),
        target_path: target.display().to_string(),
    };
    client.node_unpublish_volume(within(request, PATIENCE)).await.map(drop)
}

/// What it has room for.
pub(crate) async fn stats(
    mut client: NodeClient<Channel>,
    target: PathBuf,
) -> Result<Vec<csi::VolumeUsage>, Status> {
    let request = csi::NodeGetVolumeStatsRequest {
        volume_id: "default-hbase".to_owned(),
        volume_path: target.display().to_string(),
        ..Default::default()
    };
    Ok(client.node_get_volume_stats(within(request, PATIENCE)).await?.into_inner().usage)
}
