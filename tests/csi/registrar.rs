//! `goosefs csi register`, with the test as kubelet.

use crate::plugin::{Ground, Plugin, Process, can_mount, channel_to};
use goosefs_harness::wait_for;
use goosefs_k8s::csi::wire::registration::registration_client::RegistrationClient;
use goosefs_k8s::csi::wire::registration::{InfoRequest, RegistrationStatus};
use nix::sys::signal::Signal;
use std::fs;
use tonic::transport::Channel;

fn start(ground: &Ground) -> Process {
    let endpoint = format!("unix://{}", ground.socket().display());
    let registry = ground.path().join("registry").display().to_string();
    let kubelet = "/var/lib/kubelet/plugins/fuse.csi.fluid.io/csi.sock";
    let flags = [
        "csi",
        "register",
        "--endpoint",
        &endpoint,
        "--registry",
        &registry,
        "--kubelet-endpoint",
        kubelet,
        "--metrics-addr",
        "",
    ];
    Process::start(ground, "register", &flags)
}

fn kubelet(ground: &Ground) -> RegistrationClient<Channel> {
    let socket = ground.path().join("registry/fuse.csi.fluid.io@goosefs-reg.sock");
    wait_for("the socket is in kubelet's folder", || socket.exists());
    ground.block_on(async { RegistrationClient::new(channel_to(&socket)) })
}

#[test]
fn kubelet_learns_of_the_plugin_once_it_serves() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let mut registrar = start(&ground);
    // A socket file that nobody serves is not enough.
    drop(std::os::unix::net::UnixListener::bind(ground.socket()).unwrap());
    wait_for("it waits", || registrar.said().contains("waiting for the plugin"));
    assert!(!ground.path().join("registry").exists());
    let _plugin = Plugin::start(&ground);
    let mut client = kubelet(&ground);
    let info = ground.block_on(client.get_info(InfoRequest {})).unwrap().into_inner();
    assert_eq!((info.r#type.as_str(), info.name.as_str()), ("CSIPlugin", "fuse.csi.fluid.io"));
    assert_eq!(info.endpoint, "/var/lib/kubelet/plugins/fuse.csi.fluid.io/csi.sock");
    assert_eq!(info.supported_versions, ["1.0.0"]);
    assert!(registrar.is_silent(), "not ready before kubelet took it");
    let taken = RegistrationStatus { plugin_registered: true, error: String::new() };
    ground.block_on(client.notify_registration_status(taken)).unwrap();
    assert!(registrar.line().starts_with("ready csi registrar of fuse.csi.fluid.io: "));
    registrar.signal(Signal::SIGTERM);
    assert!(registrar.wait().success(), "{}", registrar.said());
    assert_eq!(fs::read_dir(ground.path().join("registry")).unwrap().count(), 0);
}

#[test]
fn it_ends_when_kubelet_refuses() {
    if !can_mount() {
        return;
    }
    let ground = Ground::new();
    let _plugin = Plugin::start(&ground);
    let mut registrar = start(&ground);
    let mut client = kubelet(&ground);
    let refused = RegistrationStatus { plugin_registered: false, error: "no such version".to_owned() };
    ground.block_on(client.notify_registration_status(refused)).unwrap();
    assert_eq!(registrar.wait().code(), Some(1));
    assert!(registrar.said().contains("kubelet refuses the driver fuse.csi.fluid.io: no such version"));
    assert!(registrar.is_silent());
}
