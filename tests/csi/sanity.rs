//! csi-sanity, the suite that the makers of CSI try drivers with, against the real process and a real mount.

use crate::plugin::{Ground, Plugin, attributes, can_mount};
use goosefs_k8s::csi::wire::csi::controller_server::{Controller, ControllerServer};
use goosefs_k8s::csi::wire::csi::{
    CreateVolumeRequest, CreateVolumeResponse, DeleteVolumeRequest, DeleteVolumeResponse, Volume,
};
use std::path::{Path, PathBuf};
use std::process::Command;
use tokio::net::UnixListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status};

/// Makes of every volume the one that is there: csi-sanity asks for some before it tries a node.
struct OneVolume(PathBuf);

#[tonic::async_trait]
impl Controller for OneVolume {
    async fn create_volume(
        &self,
        request: Request<CreateVolumeRequest>,
    ) -> Result<Response<CreateVolumeResponse>, Status> {
        let volume = Volume {
            capacity_bytes: 1,
            volume_id: request.into_inner().name,
            volume_context: attributes(&self.0),
        };
        Ok(Response::new(CreateVolumeResponse { volume: Some(volume) }))
    }

    async fn delete_volume(
        &self,
        _request: Request<DeleteVolumeRequest>,
    ) -> Result<Response<DeleteVolumeResponse>, Status> {
        Ok(Response::new(DeleteVolumeResponse {}))
    }
}

fn csi_sanity() -> Option<PathBuf> {
    let folder = std::env::var_os("KUBE_BIN").map(PathBuf::from);
    let cache = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache/goosefs/kube/1.36.3"));
    let path = folder.or_else(cache)?.join("csi-sanity");
    path.is_file().then_some(path)
}

#[test]
fn csi_sanity_is_content_with_identity_and_node() {
    if !can_mount() {
        return;
    }
    let Some(suite) = csi_sanity() else {
        eprintln!("SKIPPED: no csi-sanity; tests/k8s/cluster/build makes it, KUBE_BIN says where it lies");
        return;
    };
    let ground = Ground::new();
    let _runtime = ground.mount();
    let _plugin = Plugin::start(&ground);
    let socket = ground.path().join("controller.sock");
    let controller = ControllerServer::new(OneVolume(ground.source()));
    ground.block_on(async {
        let connections = UnixListenerStream::new(UnixListener::bind(&socket).unwrap());
        let served = tonic::transport::Server::builder().add_service(controller);
        drop(ground.beside(served.serve_with_incoming(connections)));
    });
    // The controller that makes volumes is the test's own: only the node is tried with it.
    let controller = format!("--csi.controllerendpoint={}", socket.display());
    run(&suite, &ground, &["--ginkgo.focus=Identity Service"], 3);
    run(&suite, &ground, &["--ginkgo.focus=Node Service", &controller], 17);
}

/// Runs the suite; at least `passes` of it pass, since one that skips everything is content with everything.
fn run(suite: &Path, ground: &Ground, flags: &[&str], passes: u32) {
    let output = Command::new("timeout")
        .arg("120")
        .arg(suite)
        .arg(format!("--csi.endpoint={}", ground.socket().display()))
        .arg(format!("--csi.mountdir={}", ground.path().join("sanity-target").display()))
        .arg(format!("--csi.stagingdir={}", ground.path().join("sanity-staging").display()))
        .args(["--ginkgo.no-color", "--ginkgo.v"])
        .args(flags)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    let summary = said.lines().find(|line| line.contains("Passed")).unwrap_or_default();
    let count = |word: &str| {
        let part = summary.split(['|', '-']).find(|part| part.contains(word)).unwrap_or_default();
        part.split_whitespace().find_map(|word| word.parse::<u32>().ok())
    };
    assert!(count("Passed").is_some_and(|passed| passed >= passes), "{summary}\n{said}");
    assert_eq!(count("Failed"), Some(0), "{summary}");
    eprintln!("{flags:?}: {summary}");
}
